//! What a key may do: one [`Grant`], one [`Grant::allows`]. Pure.

mod grant;
mod scope;

pub use grant::{AccessLevel, Grant, GrantError};
pub use scope::{Action, Scope, ScopeError};
