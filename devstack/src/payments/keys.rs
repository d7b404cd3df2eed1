//! Idempotency keys: who runs, who is answered again (<https://docs.stripe.com/api/idempotent_requests>).

use super::journal::Place;
use super::refusal::Refusal;
use std::collections::{HashMap, VecDeque};

/// How long a key is remembered, in seconds.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// Keys remembered at once; more are refused as too many requests.
const MAX_KEYS: usize = 4_000_000;
/// Characters in a key.
pub(super) const MAX_KEY: usize = 255;

/// What a request with a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is the first: run it.
    Run,
    /// It ran before: its answer is there.
    Replay(Place),
}

#[derive(Debug)]
struct Key {
    fingerprint: String,
    /// Where the answer is, once there is one.
    answer: Option<Place>,
    since: i64,
}

/// The keys of the last 24 hours.
#[derive(Debug, Default)]
pub(super) struct Keys {
    known: HashMap<String, Key>,
    oldest: VecDeque<(i64, String)>,
}

impl Keys {
    /// Claims a key for a request.
    ///
    /// # Errors
    /// Stripe's refusal, when the first request still runs or was another one.
    pub(super) fn claim(&mut self, key: &str, print: &str, now: i64) -> Result<Claim, Refusal> {
        self.forget_old(now);
        match self.known.get(key) {
            Some(first) if first.fingerprint != print => Err(Refusal::other_request(key)),
            Some(Key {
                answer: Some(place),
                ..
            }) => Ok(Claim::Replay(*place)),
            Some(_) => Err(Refusal::key_in_use(key)),
            None if self.known.len() >= MAX_KEYS => Err(Refusal::rate_limited()),
            None => {
                self.insert(key, print, now, None);
                Ok(Claim::Run)
            }
        }
    }

    /// The request has its answer.
    pub(super) fn answered(&mut self, key: &str, print: &str, now: i64, place: Place) {
        if let Some(known) = self.known.get_mut(key) {
            known.answer = Some(place);
        } else {
            self.insert(key, print, now, Some(place));
        }
    }

    /// The request never ran: the key is free again.
    pub(super) fn release(&mut self, key: &str) {
        let running = self.known.get(key).is_some_and(|key| key.answer.is_none());
        if running {
            // The entry in `oldest` stays and finds nothing, or a younger key that it leaves alone.
            self.known.remove(key);
        }
    }

    /// What ran under the key is no longer known; the key is free again.
    pub(super) fn forget(&mut self, key: &str) {
        self.known.remove(key);
    }

    fn insert(&mut self, key: &str, print: &str, since: i64, answer: Option<Place>) {
        let fingerprint = print.to_owned();
        let entry = Key {
            fingerprint,
            answer,
            since,
        };
        self.known.insert(key.to_owned(), entry);
        self.oldest.push_back((since, key.to_owned()));
    }

    fn forget_old(&mut self, now: i64) {
        let old = |since: i64| since + KEPT_SECONDS <= now;
        while let Some((_, key)) = self.oldest.pop_front_if(|(since, _)| old(*since)) {
            let answered = |key: &Key| old(key.since) && key.answer.is_some();
            if self.known.get(&key).is_some_and(answered) {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payments::journal::Journal;

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(&path, |_: u32, _| {}).unwrap();
        journal.append(&1).unwrap()
    }

    #[test]
    fn an_answered_key_is_replayed_for_24_hours_and_then_free() {
        let mut keys = Keys::default();
        assert_eq!(keys.claim("k", "a", 0).unwrap(), Claim::Run);
        keys.answered("k", "a", 0, place());
        let last_second = KEPT_SECONDS - 1;
        assert_eq!(
            keys.claim("k", "a", last_second).unwrap(),
            Claim::Replay(place())
        );
        assert!(keys.claim("k", "b", last_second).is_err());
        assert_eq!(keys.claim("k", "b", KEPT_SECONDS).unwrap(), Claim::Run);
    }

    #[test]
    fn a_request_that_never_ran_frees_its_key() {
        let mut keys = Keys::default();
        assert_eq!(keys.claim("k", "a", 0).unwrap(), Claim::Run);
        assert!(keys.claim("k", "a", 0).is_err());
        keys.release("k");
        assert_eq!(keys.claim("k", "b", 0).unwrap(), Claim::Run);
    }
}
