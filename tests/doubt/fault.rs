//! What may break while a call is decided.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::body::Body;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Runtime;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::ask::given_up;

#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// The caller goes after so many turns.
    GivenUp(usize),
    /// There is no timer and no thread to be had: what asks for one panics.
    NoRuntime,
    /// Writing a line of the log panics.
    LogPanics,
    /// The request's body does not come as it should.
    Body(BodyFault),
}

#[derive(Clone, Copy, Debug)]
pub enum BodyFault {
    Panics,
    Fails,
    Ends,
}

impl Fault {
    pub fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => Just(Self::None),
            3 => (0usize..4).prop_map(Self::GivenUp),
            2 => Just(Self::NoRuntime),
            2 => Just(Self::LogPanics),
            2 => select(&[BodyFault::Panics, BodyFault::Fails, BodyFault::Ends][..]).prop_map(Self::Body),
        ]
    }

    /// A panic in the verifier itself.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::NoRuntime | Self::LogPanics | Self::Body(BodyFault::Panics))
    }

    /// The answer to a call while this goes wrong; `None` when there is none.
    pub fn during<T>(&self, runtime: &Runtime, call: impl Future<Output = T>) -> Option<T> {
        match self {
            Self::None | Self::Body(_) => runtime.block_on(unless_it_panics(call)),
            Self::GivenUp(turns) => runtime.block_on(given_up(call, *turns)),
            Self::NoRuntime => catch_unwind(AssertUnwindSafe(|| call.now_or_never())).ok().flatten(),
            Self::LogPanics => {
                tracing::subscriber::with_default(PanickingLog, || runtime.block_on(unless_it_panics(call)))
            }
        }
    }

    /// A request's body, in two pieces.
    pub fn body(&self, text: String) -> Body {
        let text = Bytes::from(text);
        let half = text.len() / 2;
        let (begin, end) = (text.slice(..half), text.slice(half..));
        let end = match self {
            Self::Body(BodyFault::Panics) => stream::once(async { panic!("the body panics") }).boxed(),
            Self::Body(BodyFault::Fails) => stream::iter([Err(std::io::Error::other("the body fails"))]).boxed(),
            Self::Body(BodyFault::Ends) => stream::empty().boxed(),
            _ => stream::iter([Ok(end)]).boxed(),
        };
        Body::from_stream(stream::iter([Ok(begin)]).chain(end))
    }
}

/// A panic that comes this far would end the connection, which is no answer.
async fn unless_it_panics<T>(call: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(call).catch_unwind().await.ok()
}

struct PanickingLog;

impl Subscriber for PanickingLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("keywright")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        panic!("the log panics at {}", event.metadata().name());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
