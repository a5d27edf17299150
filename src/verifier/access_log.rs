//! One line for some of the answers: who asked what, and what was said. Off unless asked for. It names keys by their
//! public id and never shows a header.

use std::time::Duration;

use super::call::Call;
use super::code::Code;
use super::question::Question;
use crate::key::KeyId;

/// Which answers are logged: each with this probability.
#[derive(Clone, Copy, Debug)]
pub struct AccessLog(f64);

/// What a line says.
pub struct Line<'l, 'r> {
    /// How it came in, and what it came with.
    pub call: &'l Call<'r>,
    /// What was said.
    pub code: Code,
    /// The id that was shown; of an unknown key it is whatever its bearer made up.
    pub key_id: Option<KeyId>,
    /// What the route wanted.
    pub question: &'l Question,
    /// How long it took.
    pub took: Duration,
}

impl AccessLog {
    /// 0 is off, 1 is all.
    pub fn new(probability: f64) -> Self {
        Self(probability)
    }

    /// Writes a line, or not.
    pub fn say(self, line: &Line<'_, '_>) {
        if self.0 <= 0.0 || (self.0 < 1.0 && rand::random::<f64>() >= self.0) {
            return;
        }
        let Line { call, code, key_id, question, took } = line;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (key_id, trace_id) = (key_id.map(tracing::field::display), call.trace_id());
        tracing::info!(
            target: "keywright::access",
            transport = call.transport.as_str(), code = code.as_str(), key_id, need = %question.need, micros, trace_id
        );
    }
}
