//! The look through the log once a key is gone: whatever is about the person must be sealed, or
//! stands on the receipt.
//!
//! One pass over every stream that may tell of people. It takes as long as reading the log takes,
//! which an erasure may: there are few.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::{Position, Sealed, UserId, purpose};
use serde_json::Value;
use streams::keys::{Keys, KeysError};
use streams::lanes::HandleError;
use streams::{Connection, RecordedEvent, Streams};
use user::{Receipt, Scanned, User, UserEvent};

/// The streams whose events may be about a person. Orders come before what follows from them.
const STREAMS: [&str; 5] = ["USER", "ORDER", "PAYMENT", "NOTIFICATION", "CHECKOUT"];

/// Shortest word that is searched for, in characters: "Al" stands in half of all events.
const WORD_LENGTH_MIN: usize = 3;

/// Most places that a receipt names.
const READABLE_MAX: usize = 100;

/// Of an address: what tells one person from another.
const ADDRESS_FIELDS: [&str; 3] = ["name", "line1", "line2"];

/// What was sealed for a person, readable for as long as it takes to look for it.
#[derive(Default)]
pub(crate) struct Words(BTreeSet<String>);

impl Words {
    /// Everything that the person ever told about themselves; nothing, once the key is gone. What can't be
    /// read, today or with our keys, is not searched for: the key must go all the same.
    pub(crate) async fn of(
        streams: &Streams,
        keys: &Keys,
        user_id: UserId,
    ) -> Result<Self, HandleError> {
        let mut sealed = Vec::new();
        for event in streams.history::<User>(&user_id.into()).await? {
            match event.decode::<User>() {
                Ok(event) => sealed.extend(sealed_in(event)),
                Err(error) => tracing::error!(%error, "words of an event are not searched for"),
            }
        }
        let wanted: Vec<_> = sealed
            .iter()
            .map(|(text, purpose)| (text, *purpose))
            .collect();
        let opened = keys.open_many(&wanted).await;
        let opened = match opened {
            Err(error @ KeysError::Unavailable { .. }) => {
                return Err(HandleError::retryable(error));
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%user_id, error, "a person's words are not searched for");
                Vec::new()
            }
            Ok(opened) => opened,
        };
        let mut words = Self::default();
        for text in opened.into_iter().flatten() {
            words.take(&text);
        }
        Ok(words)
    }

    fn take(&mut self, text: &str) {
        let address: Option<Value> = serde_json::from_str(text).ok();
        let address = address.filter(Value::is_object);
        let parts = ADDRESS_FIELDS
            .iter()
            .filter_map(|field| address.as_ref()?.get(field)?.as_str());
        let whole = address.is_none().then_some(text);
        let words = parts.chain(whole).map(str::trim);
        let words = words.filter(|word| word.chars().count() >= WORD_LENGTH_MIN);
        self.0.extend(words.map(str::to_owned));
    }

    fn stand_in(&self, text: &str) -> bool {
        self.0.iter().any(|word| text.contains(word))
    }
}

/// Words of people whose key is gone and whose receipt is not on record yet: another try in this process
/// can't read them any more. A process that starts anew has none, and the receipt says so (`searched`).
#[derive(Default)]
pub(crate) struct Noted(Mutex<HashMap<UserId, Arc<Words>>>);

impl Noted {
    /// What can be read of the person now, or could be before.
    pub(crate) fn note(&self, user_id: UserId, readable: Words) -> Arc<Words> {
        let mut noted = self.lock();
        match noted.get(&user_id) {
            Some(before) if readable.0.is_empty() => Arc::clone(before),
            Some(_) | None => {
                let words = Arc::new(readable);
                noted.insert(user_id, Arc::clone(&words));
                words
            }
        }
    }

    /// The receipt is on record.
    pub(crate) fn forget(&self, user_id: UserId) {
        self.lock().remove(&user_id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Arc<Words>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event holds that is worth looking for, and what it was sealed for.
fn sealed_in(event: UserEvent) -> Vec<(Sealed, &'static str)> {
    match event {
        UserEvent::UserRegistered { email, name, .. } => {
            vec![(email, purpose::USER_EMAIL), (name, purpose::USER_NAME)]
        }
        UserEvent::EmailChanged { email, .. } => vec![(email, purpose::USER_EMAIL)],
        UserEvent::ProfileUpdated { name, phone } => {
            let phone = phone.map(|phone| (phone, purpose::USER_PHONE));
            let name = (name, purpose::USER_NAME);
            phone.into_iter().chain([name]).collect()
        }
        UserEvent::AddressAdded { address, .. } => vec![(address, purpose::USER_ADDRESS)],
        UserEvent::EmailVerified { .. }
        | UserEvent::PasswordChanged { .. }
        | UserEvent::AddressRemoved { .. }
        | UserEvent::DefaultAddressSet { .. }
        | UserEvent::NotificationPreferenceSet { .. }
        | UserEvent::RoleGranted { .. }
        | UserEvent::RoleRevoked { .. }
        | UserEvent::UserSuspended { .. }
        | UserEvent::UserReactivated {}
        | UserEvent::ErasureRequested { .. }
        | UserEvent::UserErased { .. } => vec![],
    }
}

/// Reads the log.
pub(crate) struct Scan {
    connection: Connection,
    streams: Streams,
}

impl Scan {
    pub(crate) fn new(connection: Connection, streams: Streams) -> Self {
        Self {
            connection,
            streams,
        }
    }

    /// Looks through everything that is there by now.
    pub(crate) async fn run(&self, user_id: UserId, words: &Words) -> Result<Receipt, HandleError> {
        let mut person = Person::new(user_id);
        let mut receipt = Receipt {
            scanned: Vec::with_capacity(STREAMS.len()),
            searched: u32::try_from(words.0.len()).unwrap_or(u32::MAX),
            readable: Vec::new(),
        };
        for stream in STREAMS {
            let scanned = self.stream(stream, &mut person, (words, &mut receipt.readable));
            receipt.scanned.push(scanned.await?);
        }
        Ok(receipt)
    }

    async fn stream(
        &self,
        stream: &str,
        person: &mut Person,
        (words, readable): (&Words, &mut Vec<Position>),
    ) -> Result<Scanned, HandleError> {
        let state = self.streams.stream_state(stream).await?;
        let mut scanned = Scanned {
            up_to: Position::new(stream, state.last),
            events: 0,
            sealed: 0,
        };
        let filter = format!("event.{}.>", stream.to_lowercase());
        let mut events = self.connection.ordered_matching(stream, filter, 0);
        let mut read = 0;
        while read < state.last {
            let event = events.next().await.map_err(HandleError::retryable)?;
            read = event.position.sequence;
            let text = String::from_utf8_lossy(&event.data);
            if !person.is_concerned(&event, &text) {
                continue;
            }
            scanned.events += 1;
            scanned.sealed += person.sealed_in(&text);
            if readable.len() < READABLE_MAX && words.stand_in(&text) {
                readable.push(event.position);
            }
        }
        Ok(scanned)
    }
}

/// Who an event may be about: the person, or one of their orders.
struct Person {
    id: String,
    /// How everything begins that was sealed for them.
    sealed: String,
    /// Theirs, by id.
    orders: HashSet<String>,
}

impl Person {
    fn new(user_id: UserId) -> Self {
        Self {
            id: user_id.to_string(),
            sealed: Sealed::new(user_id, "").as_str().to_owned(),
            orders: HashSet::new(),
        }
    }

    fn is_concerned(&mut self, event: &RecordedEvent, text: &str) -> bool {
        let of = |id: &str| id == self.id || self.orders.contains(id);
        if of(event.aggregate_id.as_str()) || event.correlation_id.as_deref().is_some_and(of) {
            return true;
        }
        let named = text.contains(&self.id);
        if named && event.context == "order" && event.kind.is_none() {
            self.orders.insert(event.aggregate_id.to_string());
        }
        named
    }

    fn sealed_in(&self, text: &str) -> u64 {
        text.matches(&self.sealed)
            .count()
            .try_into()
            .unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Words {
        let mut words = Words::default();
        for text in texts {
            words.take(text);
        }
        words
    }

    #[test]
    fn what_tells_a_person_is_looked_for_and_nothing_else() {
        let address = r#"{"name":"Ann B","line1":"Main St 1","city":"Bonn","country":"DE"}"#;
        let words = words(&["Ann", "ann@example.com", "Al", address]);
        for readable in ["for Ann", "ann@example.com", "Main St 1, rear"] {
            assert!(words.stand_in(readable), "{readable}");
        }
        for harmless in ["Al", "Bonn", "DE", "nothing"] {
            assert!(!words.stand_in(harmless), "{harmless}");
        }
    }

    #[test]
    fn what_could_be_read_once_is_looked_for_until_the_receipt_is_on_record() {
        let [ann, ben] = [1, 2].map(|number| UserId(uuid::Uuid::from_u128(number)));
        let noted = Noted::default();
        assert!(noted.note(ann, words(&["Ann"])).stand_in("for Ann"));
        assert!(noted.note(ann, Words::default()).stand_in("for Ann"));
        assert!(!noted.note(ben, Words::default()).stand_in("for Ann"));
        noted.forget(ann);
        assert!(!noted.note(ann, Words::default()).stand_in("for Ann"));
    }

    #[test]
    fn what_was_sealed_for_others_is_not_counted() {
        let [ann, ben] = [1, 2].map(|number| UserId(uuid::Uuid::from_u128(number)));
        let text = [ann, ben, ann].map(|id| Sealed::new(id, "x").as_str().to_owned());
        assert_eq!(Person::new(ann).sealed_in(&text.join(",")), 2);
    }
}
