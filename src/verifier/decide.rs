//! May this key do this now? Pure: the same view, key, question and time give the same verdict.

use std::sync::Arc;

use arc_swap::Guard;
use jiff::Timestamp;

use super::code::Code;
use super::index::View;
use super::live::Live;
use super::question::{Need, Question};
use super::subject::{Account, Nanos, Site, nanos};
use crate::access::Grant;
use crate::key::{CredentialEnd, KeyId};

/// The answer. Its default is a deny.
#[derive(Default)]
pub struct Verdict<'v> {
    /// Why it passes or does not.
    pub code: Code,
    /// Who asks: there only when the right secret was presented, so that nobody else learns more than `unknown`.
    pub holder: Option<Holder<'v>>,
    /// The value whose public id was shown, whatever became of it: what is counted.
    pub attempted: Option<&'v Live>,
    /// Whose Site ID was shown.
    pub site: Option<&'v Site>,
    /// The tag's pepper is gone: check the record of this value, remember the tag, and decide again.
    pub unproven: Option<&'v Live>,
}

/// Someone who presented the right secret.
pub struct Holder<'v> {
    /// The public id of the value.
    pub id: KeyId,
    /// The value.
    pub live: &'v Live,
    /// Its account.
    pub account: Guard<Arc<Account>>,
}

impl Holder<'_> {
    /// What the value may do under its account's ceiling, in force.
    pub fn grant(&self) -> Option<Grant> {
        Some(self.live.grant()?.grant.under(&self.account.ceiling.as_deref()?.grant))
    }

    /// When the value ends by itself: with its key, by its age, or because a newer one has come.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.live.ends_at(self.account.ceiling.as_deref())
    }
}

impl Verdict<'_> {
    fn deny(code: Code) -> Self {
        Self { code, ..Self::default() }
    }
}

/// The verdict on a presented key. The order of the checks is the order of the codes: an unknown key is `unknown`
/// before anything else is said, and what its owner can mend comes before what the route wants.
pub fn decide<'v>(view: &'v View<'_>, question: &Question, now: Timestamp) -> Verdict<'v> {
    let (Some(pepper), Some(shown)) = (view.pepper.as_deref(), &view.shown) else { return Verdict::default() };
    let Some(live) = view.live() else { return Verdict::deny(Code::Unknown) };
    live.bring_counts();
    match pepper.check(&view.presented, shown, &live.tag) {
        Some(true) => {}
        Some(false) => return Verdict { attempted: Some(live), ..Verdict::deny(Code::Unknown) },
        None => return Verdict { unproven: Some(live), ..Verdict::default() },
    }
    let account = live.account();
    let code = judge(live, &account, question, now);
    Verdict {
        code,
        holder: Some(Holder { id: view.presented.id(), live, account }),
        attempted: Some(live),
        ..Verdict::default()
    }
}

/// The verdict on a Site ID, which everybody may know: it opens what is public, and nothing else.
pub(super) fn decide_public<'v>(site: Option<&'v Site>, question: &Question) -> Verdict<'v> {
    let Some(site) = site else { return Verdict::deny(Code::Unknown) };
    let account = site.account();
    let code = match account.ceiling.as_deref() {
        None => Code::AccountNotFound,
        Some(_) if account.suspended => Code::AccountSuspended,
        Some(ceiling) if ceiling.disabled => Code::AccountDisabled,
        Some(_) if !question.accepts(site.full_name()) => Code::WrongAccount,
        Some(_) if question.need == Need::Public => Code::Ok,
        Some(_) => Code::InsufficientScope,
    };
    Verdict { code, site: Some(site), ..Verdict::default() }
}

fn judge(live: &Live, account: &Account, question: &Question, now: Timestamp) -> Code {
    let moment = nanos(now);
    let is_over = |at: Nanos| at <= moment;
    let Some(ceiling) = account.ceiling.as_deref() else { return Code::AccountNotFound };
    if account.suspended {
        return Code::AccountSuspended;
    }
    if live.suspended {
        return Code::Suspended;
    }
    if ceiling.disabled {
        return Code::AccountDisabled;
    }
    if live.disabled {
        return Code::Disabled;
    }
    let is_too_old = live.ended == Some(CredentialEnd::Expired) || is_over(live.outlives(ceiling));
    if is_over(live.ends) || is_too_old {
        // Only the value may have ended, while its key has not.
        let has_expired = live.subject.expires_at().is_some_and(|at| at <= now) || is_too_old;
        return if has_expired { Code::Expired } else { Code::Retired };
    }
    if live.ended == Some(CredentialEnd::Revoked) {
        return Code::Revoked;
    }
    if !question.accepts(live.cell().full_name()) {
        return Code::WrongAccount;
    }
    if live.level.is_none() {
        return Code::NotReady;
    }
    match &question.need {
        Need::Any | Need::Public => Code::Ok,
        Need::Scope(scope) => match live.allows(scope) {
            Some(true) if ceiling.grant.allows(scope) => Code::Ok,
            Some(_) => Code::InsufficientScope,
            None => Code::NotReady,
        },
    }
}
