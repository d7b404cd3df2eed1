//! What can't be handled, set aside: an event and the later ones of its key, in order.
//!
//! ```text
//!   durable ──► handler ──✗──► parked.<subscription>.<key>   the event, why, how often it was tried
//!                              parked.<subscription>.<key>   the next event of the key, …
//!   a person ────────────────► parked.<subscription>.<key>.asked   retry, or skip with a reason
//!   the role ────────────────► parked.<subscription>.<key>   trying, handled, …, done
//! ```
//!
//! Another try is begun by the process that works on the durable, or by any where nobody does: two of a key are
//! never handled at once. As long as it takes the process says now and then that it is still at it; one that is
//! silent for [`DurableLimits::silence_max`](crate::subscription::DurableLimits::silence_max) is taken for dead,
//! and another goes on.
//!
//! The subject of a key is its history, and nothing is ever deleted from it. Every record of the
//! role states which record it expects to be the last (as events do), so two processes can't set
//! the same event aside twice, nor go past each other: whoever was too slow reads on and decides
//! again. A key is parked from its first event until the record `done`.
//!
//! What was lost on the way is delivered late, behind newer events of its key. Before whatever waits
//! it is handled at once; else it waits at its own place, since it is told by its sequence alone what
//! has been set aside.

mod end;
mod follow;
mod keys;
mod lot;
mod people;
mod record;

pub use keys::{Asked, ParkedKey, Waiting};
pub use lot::ParkingError;
pub use people::{Overview, Wish, ask, history, parked};
pub use record::{Note, ParkedEvent, Record, What};

pub(crate) use end::End;
pub(crate) use lot::{Lot, Parked, Reading};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::AggregateId;

/// First token of everything in stream PARKED.
const ROOT: &str = "parked";

/// Whatever is in stream PARKED, as a wildcard.
const EVERYTHING: &str = "parked.>";

/// Last token of what people ask for.
const ASKED: &str = "asked";

/// Marks a key that had to be written in base64: no plain key starts with it.
const ENCODED: char = '=';

/// The key as one token of a subject: as it is when it can be one, else in base64.
fn token(key: &str) -> String {
    match key.parse::<AggregateId>() {
        Ok(plain) => plain.to_string(),
        Err(_) => format!("{ENCODED}{}", URL_SAFE_NO_PAD.encode(key)),
    }
}

/// The key that a token stands for.
fn key_of(token: &str) -> Option<String> {
    match token.strip_prefix(ENCODED) {
        None => Some(token.to_owned()),
        Some(encoded) => String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok(),
    }
}

/// Where the events of a key are set aside.
fn subject(subscription: &str, key: &str) -> String {
    format!("{ROOT}.{subscription}.{}", token(key))
}

/// Everything about one subscription, as a wildcard.
pub(crate) fn all_of(subscription: &str) -> String {
    format!("{ROOT}.{subscription}.>")
}

/// A subject of stream PARKED, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    subscription: String,
    key: String,
    /// Written by a person.
    asked: bool,
}

impl Place {
    fn parse(subject: &str) -> Option<Self> {
        let mut tokens = subject.split('.');
        if tokens.next() != Some(ROOT) {
            return None;
        }
        let (subscription, key) = (tokens.next()?, tokens.next()?);
        let asked = match tokens.next() {
            None => false,
            Some(ASKED) => true,
            Some(_) => return None,
        };
        if tokens.next().is_some() {
            return None;
        }
        Some(Self {
            subscription: subscription.to_owned(),
            key: key_of(key)?,
            asked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_fits_a_subject_and_comes_back() {
        for key in ["o-1", "a.b", "* >", "ä", "=x", &"k".repeat(300)] {
            let place = Place::parse(&subject("mailer", key)).unwrap();
            assert_eq!((place.key.as_str(), place.asked), (key, false));
            let asked = format!("{}.{ASKED}", subject("mailer", key));
            assert!(Place::parse(&asked).unwrap().asked);
        }
    }

    #[test]
    fn foreign_subjects_are_none() {
        for foreign in ["", "parked.a", "event.a.b", "parked.a.b.c", "parked.a.=!"] {
            assert_eq!(Place::parse(foreign), None, "{foreign}");
        }
    }
}
