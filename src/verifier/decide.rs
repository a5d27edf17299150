//! May this key do this now? Pure: the same view, key, question and time give the same verdict.

use std::sync::Arc;

use arc_swap::Guard;
use jiff::Timestamp;

use super::code::Code;
use super::index::{Ceiling, Live, View};
use super::question::{Need, Question};
use crate::key::Presented;

/// The answer. Its default is a deny.
#[derive(Default)]
pub struct Verdict<'v> {
    /// Why it passes or does not.
    pub code: Code,
    /// Who asks: there only when the right secret was presented, so that nobody else learns more than `unknown`.
    pub holder: Option<Holder<'v>>,
    /// The tag's pepper is gone: check the record of this value, remember the tag, and decide again.
    pub unproven: Option<&'v Live>,
}

/// Someone who presented the right secret.
pub struct Holder<'v> {
    /// The value.
    pub live: &'v Live,
    /// The ceiling of its account, where that exists.
    pub ceiling: Guard<Option<Arc<Ceiling>>>,
}

impl Verdict<'_> {
    fn deny(code: Code) -> Self {
        Self { code, ..Self::default() }
    }
}

/// The verdict on a presented key. The order of the checks is the order of the codes: an unknown key is `unknown`
/// before anything else is said, and what its owner can mend comes before what the route wants.
pub fn decide<'v>(view: &'v View<'_>, presented: &Presented<'_>, question: &Question, now: Timestamp) -> Verdict<'v> {
    let Some(pepper) = view.pepper.as_deref() else { return Verdict::default() };
    let Some(live) = view.get(presented.id()) else {
        // As much work as for an id that exists, so that time does not tell which ids do.
        std::hint::black_box(pepper.tag_presented(presented));
        return Verdict::deny(Code::Unknown);
    };
    match pepper.check(presented, &live.tag) {
        Some(true) => {}
        Some(false) => return Verdict::deny(Code::Unknown),
        None => return Verdict { code: Code::NotReady, holder: None, unproven: Some(live) },
    }
    let ceiling = live.ceiling();
    let code = judge(live, ceiling.as_deref(), question, now);
    Verdict { code, holder: Some(Holder { live, ceiling }), unproven: None }
}

fn judge(live: &Live, ceiling: Option<&Ceiling>, question: &Question, now: Timestamp) -> Code {
    let key = &*live.key;
    let Some(ceiling) = ceiling else { return Code::AccountNotFound };
    if ceiling.disabled {
        return Code::AccountDisabled;
    }
    if key.disabled {
        return Code::Disabled;
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        return Code::Expired;
    }
    if !question.accepts(&key.namespace, &key.account) {
        return Code::WrongAccount;
    }
    match &question.need {
        Need::Any => Code::Ok,
        Need::Scope(scope) if key.grant.allows(scope) && ceiling.grant.allows(scope) => Code::Ok,
        Need::Scope(_) => Code::InsufficientScope,
    }
}
