//! A request's body while it goes up: its observer adds to it, and whoever writes the exchange down reads it once it is whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::budget::{Copied, Kept};

/// The copy of a body that may still grow.
#[derive(Debug)]
pub(super) struct Asking {
    /// What the head says of the body's length, in bytes.
    told: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Growing {
        copied: Copied,
        /// Bytes seen, the ones not kept included.
        seen: u64,
        /// Somebody asked for the whole before there was one.
        awaited: bool,
    },
    Whole(Kept),
}

impl Asking {
    pub(super) fn new(mut copied: Copied, told: Option<u64>) -> Self {
        if let Some(told) = told {
            copied.expect(usize::try_from(told).unwrap_or(usize::MAX));
        }
        Asking {
            told,
            state: Mutex::new(State::Growing {
                copied,
                seen: 0,
                awaited: false,
            }),
        }
    }

    /// One that is whole already.
    #[cfg(test)]
    pub(super) fn of(kept: Kept) -> Self {
        Asking {
            told: None,
            state: Mutex::new(State::Whole(kept)),
        }
    }

    pub(super) fn push(&self, data: &[u8]) {
        if let State::Growing { copied, seen, .. } = &mut *self.lock() {
            copied.push(data);
            *seen += data.len() as u64;
        }
    }

    /// There is no more of it. Gives it where somebody had asked for it before.
    pub(super) fn complete(&self) -> Option<Kept> {
        let mut state = self.lock();
        let State::Growing {
            copied, awaited, ..
        } = &mut *state
        else {
            return None;
        };
        let (kept, awaited) = (copied.take().kept(), *awaited);
        *state = State::Whole(kept.clone());
        awaited.then_some(kept)
    }

    /// Nothing more is added to it: it is whole, or the exchange has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(&*self.lock(), State::Whole(_))
    }

    /// Whether more may come, and less than `limit` bytes have.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        matches!(&*self.lock(), State::Growing { seen, .. } if *seen < limit as u64)
    }

    /// The whole of it; none as long as it grows, and then [`Self::complete`] will give it.
    pub(super) fn whole(&self) -> Option<Kept> {
        match &mut *self.lock() {
            State::Whole(kept) => Some(kept.clone()),
            State::Growing { awaited, .. } => {
                *awaited = true;
                None
            }
        }
    }

    /// As much as there is of it, at the exchange's end. What is still on its way is cut off, unless only its end was to come.
    pub(super) fn end(&self) -> Kept {
        let mut state = self.lock();
        let kept = match &mut *state {
            State::Whole(kept) => return kept.clone(),
            State::Growing { copied, seen, .. } => {
                let all = self.told.is_none_or(|told| told == *seen);
                let copied = copied.take();
                if all {
                    copied.kept()
                } else {
                    copied.kept().cut_off()
                }
            }
        };
        *state = State::Whole(kept.clone());
        kept
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Budget;

    fn asking(told: Option<u64>) -> Asking {
        Asking::new(Copied::new(100, Budget::new(1000)), told)
    }

    #[test]
    fn a_body_that_was_asked_for_too_early_is_given_when_it_is_whole() {
        let asking = asking(None);
        asking.push(b"ab");
        assert!(asking.whole().is_none());
        asking.push(b"c");
        assert_eq!(asking.complete().unwrap().bytes(), b"abc");
        assert_eq!(asking.whole().unwrap().bytes(), b"abc");
        assert!(asking.complete().is_none());
    }

    #[test]
    fn a_body_that_nobody_asked_for_is_given_to_nobody() {
        let asking = asking(None);
        asking.push(b"abc");
        assert!(asking.complete().is_none());
        assert_eq!(asking.end().bytes(), b"abc");
    }

    #[test]
    fn what_is_missing_at_the_end_shows() {
        for (told, cut) in [(Some(5), true), (Some(3), false), (None, false)] {
            let asking = asking(told);
            asking.push(b"abc");
            let kept = asking.end();
            assert_eq!(
                (kept.bytes(), kept.is_cut()),
                (&b"abc"[..], cut),
                "{told:?}"
            );
        }
    }
}
