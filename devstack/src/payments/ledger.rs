//! The ledger: every intent, refund, idempotency key and unsent event, in memory and in the journal.
//!
//! One lock. A change is one journal line that carries everything it did, so a crash keeps all of it or
//! nothing; the answer leaves only once the line is on the disk.

use super::command::{Command, Operation};
use super::intent::Intent;
use super::journal::{Error, Journal, Place};
use super::keys::{Claim, Keys};
use super::refund::Refund;
use super::refusal::{Answer, Refusal};
use super::webhook::Event;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Intents in one ledger; a further one is refused as too many requests.
const MAX_INTENTS: usize = 1_000_000;
/// Refunds in one ledger.
const MAX_REFUNDS: usize = 1_000_000;
/// Events that wait for delivery; a further one is not sent.
const MAX_PENDING_EVENTS: usize = 100_000;

/// One line of the journal: all that one request did. Absent fields didn't change.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    at: i64,
    /// The intent as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<Intent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refund: Option<Refund>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered: Option<Answered>,
    /// A request that names an intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<(String, Operation)>,
    /// An event to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Event>,
    /// An event that needs no more sending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    key: String,
    fingerprint: String,
    status: u16,
    body: String,
}

/// An intent with what the ledger counts about it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) intent: Intent,
    /// How many requests of each kind named it.
    pub(super) calls: BTreeMap<Operation, u64>,
    /// Its place in the order of creation.
    pub(super) number: usize,
}

/// The memory of the ledger.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) rows: HashMap<String, Row>,
    /// The intents' ids, oldest first.
    pub(super) created: Vec<String>,
    /// Every refund, oldest first.
    pub(super) refunds: Vec<Refund>,
    pub(super) pending: BTreeMap<String, Event>,
    keys: Keys,
}

/// The ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    books: Mutex<Books>,
    journal: Journal,
    /// Whether changes make events.
    with_events: bool,
}

/// A request to execute.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) command: Command,
    /// The intent that it names, if it names one.
    pub(super) intent: Option<String>,
    /// Where the simulator's pages are.
    pub(super) pages: Arc<str>,
    pub(super) now: i64,
}

/// What an execution leaves behind.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) answer: Answer,
    pub(super) event: Option<Event>,
    /// The journal's position that must be settled before anybody hears of it.
    pub(super) position: u64,
}

/// What a command changes; kept as a whole or not at all.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) intent: Intent,
    pub(super) refund: Option<Refund>,
    pub(super) event: Option<Event>,
    pub(super) answer: Answer,
    /// The request count that goes with a creation, whose id nobody could name before.
    pub(super) call: Option<Operation>,
}

impl Ledger {
    /// Reads the ledger of an earlier process.
    pub(super) fn open(folder: &Path, with_events: bool) -> Result<Self, Error> {
        let mut books = Books::default();
        let path = folder.join("ledger.jsonl");
        let journal = Journal::open(&path, |record, place| books.keep(record, place))?;
        Ok(Self {
            books: Mutex::new(books),
            journal,
            with_events,
        })
    }

    /// Claims an idempotency key; the claim ends with what it returns.
    pub(super) fn claim(
        self: &Arc<Self>,
        key: &str,
        fingerprint: &str,
        now: i64,
    ) -> Result<(Claim, Running), Refusal> {
        let claim = self.books().keys.claim(key, fingerprint, now)?;
        let running = Running {
            ledger: Arc::clone(self),
            key: key.to_owned(),
            fingerprint: fingerprint.to_owned(),
            held: claim == Claim::Run,
        };
        Ok((claim, running))
    }

    /// Forgets a key, until the next start.
    pub(super) fn forget(&self, key: &str) {
        self.books().keys.forget(key);
    }

    /// Runs a command and puts it into the journal with its answer.
    ///
    /// # Errors
    /// When the journal can't take it.
    pub(super) fn execute(&self, order: &Order, claim: Option<Running>) -> Result<Done, Error> {
        let mut books = self.books();
        let decided = books.full().and_then(|()| books.decide(order));
        let mut record = Record {
            at: order.now,
            ..Record::default()
        };
        let answer = match decided {
            Ok(change) => {
                record.call = change.call.map(|call| (change.intent.id.clone(), call));
                record.intent = Some(change.intent);
                record.refund = change.refund;
                let room = self.with_events && books.pending.len() < MAX_PENDING_EVENTS;
                record.event = change.event.filter(|_| room);
                change.answer
            }
            Err(refusal) => refusal.answer(),
        };
        record.answered = claim.map(|claim| claim.answered(&answer));
        let event = record.event.clone();
        if record.intent.is_some() || record.answered.is_some() {
            let place = self.journal.append(&record)?;
            books.keep(record, place);
        }
        Ok(Done {
            answer,
            event,
            position: self.journal.end(),
        })
    }

    /// Counts a request that names an intent, if there is such an intent.
    ///
    /// # Errors
    /// When the journal can't take it.
    pub(super) fn count(&self, id: &str, operation: Operation, now: i64) -> Result<(), Error> {
        let mut books = self.books();
        if !books.rows.contains_key(id) {
            return Ok(());
        }
        let record = Record {
            at: now,
            call: Some((id.to_owned(), operation)),
            ..Record::default()
        };
        let place = self.journal.append(&record)?;
        books.keep(record, place);
        Ok(())
    }

    /// An event needs no more sending.
    ///
    /// # Errors
    /// When the journal can't take it.
    pub(super) fn sent(&self, event: &str, now: i64) -> Result<(), Error> {
        let mut books = self.books();
        let record = Record {
            at: now,
            sent: Some(event.to_owned()),
            ..Record::default()
        };
        let place = self.journal.append(&record)?;
        books.keep(record, place);
        Ok(())
    }

    /// The first answer to a request that comes again, and the intent that it created, if it did.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(super) async fn replay(&self, place: Place) -> Result<(Answer, Option<String>), Error> {
        self.journal.settled(place.end()).await?;
        let record: Record = self.journal.read(place)?;
        let answer = record.answered.map(|answered| Answer {
            status: answered.status,
            body: answered.body,
        });
        let unreadable = || Refusal::internal("the first answer is not there").answer();
        let created = record.call.map(|(id, _)| id);
        Ok((answer.unwrap_or_else(unreadable), created))
    }

    /// Reads the books, and answers once what was read is on the disk.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(super) async fn read<T>(&self, read: impl FnOnce(&Books) -> T) -> Result<T, Error> {
        let (answer, position) = {
            let books = self.books();
            (read(&books), self.journal.end())
        };
        self.journal.settled(position).await?;
        Ok(answer)
    }

    /// Reads the books as they are in memory, for decisions that nobody sees.
    pub(super) fn peek<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.books())
    }

    /// Waits until everything before `position` is on the disk.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(super) async fn settled(&self, position: u64) -> Result<(), Error> {
        self.journal.settled(position).await
    }

    /// Resolves when the journal has failed.
    pub(super) async fn failed(&self) -> Error {
        self.journal.failed().await
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn full(&self) -> Result<(), Refusal> {
        if self.created.len() >= MAX_INTENTS || self.refunds.len() >= MAX_REFUNDS {
            return Err(Refusal::rate_limited());
        }
        Ok(())
    }

    /// Takes over what a journal line says: the one way in which anything changes, also at the start.
    fn keep(&mut self, record: Record, place: Place) {
        let Record {
            at,
            intent,
            refund,
            answered,
            call,
            event,
            sent,
        } = record;
        if let Some(intent) = intent {
            self.keep_intent(intent);
        }
        self.refunds.extend(refund);
        if let Some(Answered {
            key, fingerprint, ..
        }) = answered
        {
            self.keys.answered(&key, &fingerprint, at, place);
        }
        if let Some((id, operation)) = call
            && let Some(row) = self.rows.get_mut(&id)
        {
            *row.calls.entry(operation).or_default() += 1;
        }
        if let Some(event) = event {
            self.pending.insert(event.id.clone(), event);
        }
        if let Some(sent) = sent {
            self.pending.remove(&sent);
        }
    }

    fn keep_intent(&mut self, intent: Intent) {
        if let Some(row) = self.rows.get_mut(&intent.id) {
            row.intent = intent;
            return;
        }
        let row = Row {
            number: self.created.len(),
            calls: BTreeMap::new(),
            intent,
        };
        self.created.push(row.intent.id.clone());
        self.rows.insert(row.intent.id.clone(), row);
    }
}

/// A claimed key. Dropped without an answer, the key is free again.
#[derive(Debug)]
pub(super) struct Running {
    ledger: Arc<Ledger>,
    key: String,
    fingerprint: String,
    held: bool,
}

impl Running {
    fn answered(mut self, answer: &Answer) -> Answered {
        self.held = false;
        Answered {
            key: std::mem::take(&mut self.key),
            fingerprint: std::mem::take(&mut self.fingerprint),
            status: answer.status,
            body: answer.body.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.held {
            self.ledger.books().keys.release(&self.key);
        }
    }
}
