//! Which stream and which subject an aggregate has: `event.<context>[.<kind>].<id>`.

use kernel::{AggregateId, Decider};

/// First token of every event's subject.
const EVENT_TOKEN: &str = "event";

/// The stream of a context: its name in upper case.
pub fn stream_name(context: &str) -> String {
    context.to_ascii_uppercase()
}

/// The one exact subject of an aggregate.
pub fn subject_of<A: Decider>(id: &AggregateId) -> String {
    subject(A::CONTEXT, A::KIND, id)
}

/// The one exact subject of an aggregate of `context` and `kind`.
pub fn subject(context: &str, kind: Option<&str>, id: &AggregateId) -> String {
    match kind {
        None => [EVENT_TOKEN, context, id.as_str()].join("."),
        Some(kind) => [EVENT_TOKEN, context, kind, id.as_str()].join("."),
    }
}

/// Everything that happens in a context, as a wildcard.
pub fn all_of(context: &str) -> String {
    format!("{EVENT_TOKEN}.{context}.>")
}

/// Everything that happens to one secondary kind of aggregate, as a wildcard.
pub fn all_of_kind(context: &str, kind: &str) -> String {
    format!("{EVENT_TOKEN}.{context}.{kind}.*")
}

/// An event subject, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSubject<'a> {
    /// The bounded context.
    pub context: &'a str,
    /// The secondary kind of aggregate, if it is one.
    pub kind: Option<&'a str>,
    /// Which aggregate.
    pub id: &'a str,
}

impl<'a> EventSubject<'a> {
    /// The parts of `subject`, or `None` when it isn't an event's.
    pub fn parse(subject: &'a str) -> Option<Self> {
        let mut tokens = subject.split('.');
        if tokens.next() != Some(EVENT_TOKEN) {
            return None;
        }
        let (context, second) = (tokens.next()?, tokens.next()?);
        let (kind, id) = match tokens.next() {
            None => (None, second),
            Some(id) => (Some(second), id),
        };
        tokens
            .next()
            .is_none()
            .then_some(Self { context, kind, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_come_apart_as_they_were_put_together() {
        let id: AggregateId = "a-1".parse().unwrap();
        for kind in [None, Some("email")] {
            let text = subject("user", kind, &id);
            let parsed = EventSubject::parse(&text).unwrap();
            assert_eq!(
                (parsed.context, parsed.kind, parsed.id),
                ("user", kind, "a-1")
            );
        }
    }

    #[test]
    fn foreign_subjects_are_none() {
        for foreign in ["", "event", "event.order", "timer.due.x", "event.a.b.c.d"] {
            assert_eq!(EventSubject::parse(foreign), None, "{foreign}");
        }
    }
}
