//! Looks at each message of one stream, and remembers what the next ones must fit to.

use std::collections::{HashMap, HashSet};

use async_nats::HeaderValue;
use async_nats::header::HeaderName;
use serde::Serialize;
use uuid::Uuid;

use super::Scanned;
use crate::envelope::{DecodeCause, RecordedEvent};
use crate::subject::stream_name;

/// Findings kept of one stream; more are counted.
const FINDINGS_MAX: usize = 1_000;

/// The aggregate's id, as CloudEvents calls it.
const SUBJECT_HEADER: &str = "ce-subject";

/// What is wrong with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sequences of an event stream are gone: events were deleted or lost.
    MissingEvents,
    /// An aggregate's versions do not follow each other.
    VersionGap,
    /// An id that another event of the stream has.
    DuplicateId,
    /// Not to be read as the event that it should be.
    Undecodable,
    /// Not on the subject of an aggregate of this context, or not on its own.
    WrongSubject,
    /// Of a type or schema version that this code doesn't know: newer code wrote it.
    NewerThanCode,
    /// A stream or durable is missing, could lose events as it is configured, or is kept by one server of a
    /// cluster alone.
    Topology,
    /// Somebody says to have read further than the log goes: the log lost its end.
    AheadOfLog,
    /// A read model has stopped at an event that it can't take in.
    ViewStopped,
    /// Events wait for a read model, and it doesn't move.
    ViewStalled,
    /// Rows of a read model are left that an older version has made.
    ViewOutdated,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// In which stream.
    pub stream: String,
    /// At which sequence, if it is about one.
    pub position: Option<u64>,
    /// On which subject, if it is about one.
    pub subject: Option<String>,
    /// In words.
    pub detail: String,
}

/// What the domain says about an event's type and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It can be read.
    Yes,
    /// There is no such aggregate in this context.
    NoSuchAggregate,
    /// Its type or schema version is none that this code knows.
    Newer(String),
    /// Its body is not what its type says.
    Broken(String),
}

/// The examination of one stream. Remembers 16 bytes for each event and, for each aggregate, its
/// subject and version.
pub struct Audit<'a> {
    context: &'a str,
    stream: String,
    knows: &'a dyn Fn(&RecordedEvent) -> Known,
    next: u64,
    ids: HashSet<Uuid>,
    versions: HashMap<String, u64>,
    events: u64,
    findings: Vec<Finding>,
    count: u64,
}

impl<'a> Audit<'a> {
    /// Of the stream of `context`, from its first event on.
    pub fn new(context: &'a str, knows: &'a dyn Fn(&RecordedEvent) -> Known) -> Self {
        Self {
            context,
            stream: stream_name(context),
            knows,
            next: 1,
            ids: HashSet::new(),
            versions: HashMap::new(),
            events: 0,
            findings: Vec::new(),
            count: 0,
        }
    }

    /// Looks at the next message.
    pub fn see(&mut self, message: &Scanned) {
        self.events += 1;
        let sequence = message.position.sequence;
        self.missing_up_to(sequence);
        self.next = sequence + 1;
        match message.event() {
            Ok(event) => self.event(message, &event),
            Err(error) => {
                let kind = match &error.cause {
                    DecodeCause::Subject => Kind::WrongSubject,
                    DecodeCause::Foreign { .. }
                    | DecodeCause::MissingHeader { .. }
                    | DecodeCause::BadHeader { .. }
                    | DecodeCause::Wire(_)
                    | DecodeCause::Version { .. } => Kind::Undecodable,
                };
                self.found(kind, message, error.cause.to_string());
            }
        }
    }

    /// There was nothing behind this sequence, which the stream calls its last.
    pub fn end(&mut self, last: u64) {
        self.missing_up_to(last + 1);
    }

    /// How many messages were seen.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many aggregates they are of.
    pub fn aggregates(&self) -> usize {
        self.versions.len()
    }

    /// How much is wrong; of very much, [`Audit::into_findings`] has the first only.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is wrong, in the order of the stream.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    fn missing_up_to(&mut self, sequence: u64) {
        if sequence <= self.next {
            return;
        }
        let (from, to) = (self.next, sequence - 1);
        let detail = format!("{} events are gone: {from} to {to}", sequence - self.next);
        let (kind, stream) = (Kind::MissingEvents, self.stream.clone());
        self.keep(Finding {
            kind,
            stream,
            position: Some(from),
            subject: None,
            detail,
        });
    }

    fn event(&mut self, message: &Scanned, event: &RecordedEvent) {
        if !self.ids.insert(event.id) {
            let detail = format!("id {} stands in the stream before", event.id);
            self.found(Kind::DuplicateId, message, detail);
        }
        let before = self.versions.insert(event.subject.clone(), event.version);
        let expected = before.unwrap_or(0).saturating_add(1);
        if event.version != expected {
            let detail = format!("version {} where {expected} follows", event.version);
            self.found(Kind::VersionGap, message, detail);
        }
        let named = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(HeaderName::from_static(SUBJECT_HEADER)))
            .map(HeaderValue::as_str);
        if event.context != self.context {
            let detail = format!("an event of {}", event.context);
            return self.found(Kind::WrongSubject, message, detail);
        }
        if let Some(named) = named.filter(|named| *named != event.aggregate_id.to_string()) {
            self.found(Kind::WrongSubject, message, format!("an event of {named}"));
        }
        match (self.knows)(event) {
            Known::Yes => {}
            Known::NoSuchAggregate => {
                let detail = "no aggregate of this context has such subjects".to_owned();
                self.found(Kind::WrongSubject, message, detail);
            }
            Known::Newer(detail) => self.found(Kind::NewerThanCode, message, detail),
            Known::Broken(detail) => self.found(Kind::Undecodable, message, detail),
        }
    }

    fn found(&mut self, kind: Kind, message: &Scanned, detail: String) {
        self.keep(Finding {
            kind,
            stream: self.stream.clone(),
            position: Some(message.position.sequence),
            subject: Some(message.subject.clone()),
            detail,
        });
    }

    fn keep(&mut self, finding: Finding) {
        self.count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}
