//! What is to be done with the Lease, and what an answer means. Pure: the edge sends it and brings the answer.
//!
//! The Lease is ours alone: its name is random, and every write names the version that it follows. So whatever stands there that
//! we did not write means that somebody else writes it, or that the API server was restored: nobody may have waited for us.

use jiff::Timestamp;

use super::super::fence::Watermarks;

/// What the Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When, in whole microseconds.
    pub at: Timestamp,
    /// The resourceVersions that are applied.
    pub applied: Watermarks,
}

/// A Lease that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whether it is still the same one.
    pub uid: String,
    /// Its version, which the next write names.
    pub version: String,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// There is none.
    Create(Said),
    /// It is as we know it.
    Update(Said, Known),
    /// It is not as we know it: how is it?
    Read,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It stands there now like this.
    Written(Known),
    /// There is none of that name.
    Gone,
    /// There is one already, or it is not the one that was named.
    Conflict,
    /// It stands there like this, and says that, if it can be read.
    Found(Known, Option<Said>),
    /// No answer, or one that says nothing about the Lease.
    Failed,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The Lease says what was last known.
    Renewed,
    /// It was written, but with what was to be said before.
    Repeated,
    /// It was not ours for some time: all that was proven is void before anything else is sent.
    Lost,
    /// There is more to be sent at once.
    GoOn,
    /// The same again, after a while.
    TryAgain,
}

/// What is known of the Lease.
#[derive(Debug, Default)]
pub struct Keeper {
    known: Option<Known>,
    /// What was sent without an answer. It is sent again word for word, so that it can be told from what others write.
    unanswered: Option<Said>,
    is_repeating: bool,
    must_read: bool,
}

impl Keeper {
    /// What to send now, if the Lease were to say this.
    pub fn next(&mut self, said: Said) -> Request {
        if self.must_read {
            return Request::Read;
        }
        // What has become void must not be said again.
        let to_repeat = self.unanswered.take().filter(|before| before.applied.are_reached_by(&said.applied));
        self.is_repeating = to_repeat.is_some();
        let said = self.unanswered.insert(to_repeat.unwrap_or(said)).clone();
        match self.known.clone() {
            Some(known) => Request::Update(said, known),
            None => Request::Create(said),
        }
    }

    /// What follows from the answer.
    pub fn answered(&mut self, answer: Answer) -> Verdict {
        match answer {
            Answer::Written(now) => {
                self.unanswered = None;
                let is_another = self.known.as_ref().is_some_and(|known| known.uid != now.uid);
                self.known = Some(now);
                match (is_another, self.is_repeating) {
                    (true, _) => Verdict::Lost,
                    (false, true) => Verdict::Repeated,
                    (false, false) => Verdict::Renewed,
                }
            }
            Answer::Conflict => {
                self.must_read = true;
                Verdict::GoOn
            }
            Answer::Found(now, says) => {
                self.must_read = false;
                if self.known.as_ref() == Some(&now) {
                    // Nobody wrote, not even we.
                    return Verdict::TryAgain;
                }
                let is_ours = self.unanswered.take().is_some_and(|sent| says == Some(sent));
                let is_next = self.known.as_ref().is_some_and(|known| is_after(&now, known));
                self.known = Some(now);
                if is_ours && is_next { Verdict::GoOn } else { Verdict::Lost }
            }
            Answer::Gone if self.known.is_none() && !self.must_read => Verdict::TryAgain,
            Answer::Gone => {
                *self = Self::default();
                Verdict::Lost
            }
            Answer::Failed => Verdict::TryAgain,
        }
    }
}

/// Is it a later version of the same?
fn is_after(now: &Known, before: &Known) -> bool {
    let versions = now.version.parse::<u64>().ok().zip(before.version.parse().ok());
    now.uid == before.uid && versions.is_some_and(|(now, before)| now > before)
}

#[cfg(test)]
mod tests {
    use super::super::super::fence::{OF_NAMESPACE, WATCHES};
    use super::*;

    fn said(second: i64, applied: u64) -> Said {
        let applied = Watermarks { least: [applied; WATCHES], of_namespaces: vec![[applied; OF_NAMESPACE]] };
        Said { at: Timestamp::constant(second, 0), applied }
    }

    fn known(uid: &str, version: &str) -> Known {
        Known { uid: uid.to_owned(), version: version.to_owned() }
    }

    /// One that wrote its Lease at second 1 in version 10.
    fn held() -> Keeper {
        let mut keeper = Keeper::default();
        assert_eq!(keeper.next(said(1, 0)), Request::Create(said(1, 0)));
        assert_eq!(keeper.answered(Answer::Written(known("a", "10"))), Verdict::Renewed);
        keeper
    }

    #[test]
    fn each_renewal_names_the_version_before_it() {
        let mut keeper = held();
        assert_eq!(keeper.next(said(2, 5)), Request::Update(said(2, 5), known("a", "10")));
        assert_eq!(keeper.answered(Answer::Written(known("a", "11"))), Verdict::Renewed);
        assert_eq!(keeper.next(said(3, 6)), Request::Update(said(3, 6), known("a", "11")));
    }

    #[test]
    fn what_was_not_answered_is_sent_again_word_for_word_and_what_is_new_follows() {
        let mut keeper = held();
        keeper.next(said(2, 5));
        assert_eq!(keeper.answered(Answer::Failed), Verdict::TryAgain);
        assert_eq!(keeper.next(said(3, 6)), Request::Update(said(2, 5), known("a", "10")));
        assert_eq!(keeper.answered(Answer::Written(known("a", "11"))), Verdict::Repeated);
        assert_eq!(keeper.next(said(4, 6)), Request::Update(said(4, 6), known("a", "11")));
    }

    #[test]
    fn a_conflict_with_a_lost_answer_of_our_own_is_none() {
        let mut keeper = held();
        keeper.next(said(2, 5));
        keeper.answered(Answer::Failed);
        keeper.next(said(3, 6));
        assert_eq!(keeper.answered(Answer::Conflict), Verdict::GoOn);
        assert_eq!(keeper.next(said(4, 6)), Request::Read);
        assert_eq!(keeper.answered(Answer::Failed), Verdict::TryAgain);
        assert_eq!(keeper.next(said(5, 6)), Request::Read);
        assert_eq!(keeper.answered(Answer::Found(known("a", "11"), Some(said(2, 5)))), Verdict::GoOn);
        assert_eq!(keeper.next(said(6, 7)), Request::Update(said(6, 7), known("a", "11")));
    }

    #[test]
    fn a_conflict_that_we_cannot_explain_makes_everything_void() {
        let strange = [
            (known("a", "11"), Some(said(2, 6)), "another says other things under our name"),
            (known("a", "11"), None, "it cannot be read"),
            (known("a", "9"), Some(said(2, 5)), "time ran back"),
            (known("b", "11"), Some(said(2, 5)), "it is another Lease"),
        ];
        for (found, says, why) in strange {
            let mut keeper = held();
            keeper.next(said(2, 5));
            keeper.answered(Answer::Conflict);
            assert_eq!(keeper.next(said(3, 5)), Request::Read);
            assert_eq!(keeper.answered(Answer::Found(found.clone(), says)), Verdict::Lost, "{why}");
            assert_eq!(keeper.next(said(4, 0)), Request::Update(said(4, 0), found), "{why}");
        }
    }

    #[test]
    fn a_conflict_with_nothing_is_none() {
        let mut keeper = held();
        for second in [2, 4] {
            assert_eq!(keeper.next(said(second, 5)), Request::Update(said(2, 5), known("a", "10")));
            assert_eq!(keeper.answered(Answer::Conflict), Verdict::GoOn);
            assert_eq!(keeper.next(said(second + 1, 5)), Request::Read);
            assert_eq!(keeper.answered(Answer::Found(known("a", "10"), Some(said(1, 0)))), Verdict::TryAgain);
        }
    }

    #[test]
    fn a_lease_that_is_gone_is_made_anew() {
        let (mut updated, mut read) = (held(), held());
        updated.next(said(2, 5));
        read.next(said(2, 5));
        read.answered(Answer::Conflict);
        for keeper in [&mut updated, &mut read] {
            assert_eq!(keeper.answered(Answer::Gone), Verdict::Lost);
            assert_eq!(keeper.next(said(3, 0)), Request::Create(said(3, 0)));
            assert_eq!(keeper.answered(Answer::Gone), Verdict::TryAgain, "nor is there a namespace");
        }
    }

    #[test]
    fn an_update_that_made_another_lease_counts_for_nothing() {
        let mut keeper = held();
        keeper.next(said(2, 5));
        assert_eq!(keeper.answered(Answer::Written(known("b", "11"))), Verdict::Lost);
    }

    #[test]
    fn a_creation_whose_answer_was_lost_is_found_and_written_before_it_counts() {
        let mut keeper = Keeper::default();
        keeper.next(said(1, 0));
        assert_eq!(keeper.answered(Answer::Failed), Verdict::TryAgain);
        assert_eq!(keeper.next(said(2, 0)), Request::Create(said(1, 0)));
        assert_eq!(keeper.answered(Answer::Conflict), Verdict::GoOn);
        assert_eq!(keeper.next(said(3, 0)), Request::Read);
        assert_eq!(keeper.answered(Answer::Found(known("a", "10"), Some(said(1, 0)))), Verdict::Lost);
        assert_eq!(keeper.next(said(4, 0)), Request::Update(said(4, 0), known("a", "10")));
        assert_eq!(keeper.answered(Answer::Written(known("a", "11"))), Verdict::Renewed);
    }

    #[test]
    fn what_has_become_void_is_not_said_again() {
        let mut keeper = held();
        keeper.next(said(2, 5));
        keeper.answered(Answer::Failed);
        assert_eq!(keeper.next(said(3, 0)), Request::Update(said(3, 0), known("a", "10")));
    }
}
