//! Access to the API server that no single object can disturb.
//!
//! Tenants choose most bytes of their objects, and lists, watches and the answers to writes carry the objects of all. So
//! every answer is read as [`Received`], lists are parsed object by object, and a watch that fails is reported.
//!
//! - [`received`]: parses one object (no I/O)
//! - [`collection`]: requests for the objects of one resource
//! - [`list`]: streams a page of a list
//! - [`reflect`](mod@reflect): lists and watches without end
//! - [`health`]: watches that fail, for `/readyz` and metrics

pub mod collection;
pub mod health;
pub mod received;
pub mod reflect;

mod list;

pub use collection::Collection;
pub use health::{Failure, Kind, WatchHealth};
pub use received::{Received, Unreadable};
pub use reflect::{Pace, Sink, reflect};
