//! Headers and bodies both ways.

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::{DateTime, TimeZone, Utc};
use kernel::{Fact, Position};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DecodeCause, EncodeError, RecordedEvent, encode, event_id, write};
use crate::contract::account::{Account, AccountEvent};

fn event() -> RecordedEvent {
    let time = Utc.with_ymd_and_hms(2026, 8, 1, 12, 0, 0).unwrap();
    RecordedEvent {
        position: Position::new("ACCOUNT", 7),
        subject: "event.account.a-1".to_owned(),
        context: "account".to_owned(),
        kind: None,
        aggregate_id: "a-1".parse().unwrap(),
        id: event_id(Uuid::from_u128(1), 0),
        event_type: "money_deposited".to_owned(),
        schema_version: 2,
        version: 3,
        time,
        recorded_at: time,
        command_id: Uuid::from_u128(1),
        correlation_id: None,
        causation_id: Some("cause".to_owned()),
        request_digest: None,
        actor: "user:1".to_owned(),
        traceparent: None,
        data: Bytes::from_static(br#"{"amount":5}"#),
    }
}

fn read_back(event: &RecordedEvent, headers: &HeaderMap) -> Result<RecordedEvent, DecodeCause> {
    RecordedEvent::read(
        event.position.clone(),
        event.recorded_at,
        &event.subject,
        Some(headers),
        event.data.clone(),
    )
    .map_err(|error| error.cause)
}

#[test]
fn the_wire_is_cloudevents_in_binary_mode() {
    let headers = write(&event()).unwrap();
    let id = "6ff55b57-2b5f-5022-ad8b-524631694aa1";
    for (name, value) in [
        ("Nats-Msg-Id", id),
        ("ce-id", id),
        ("ce-specversion", "1.0"),
        ("ce-type", "millrace.money_deposited.v2"),
        ("ce-source", "/millrace/account"),
        ("ce-subject", "a-1"),
        ("ce-time", "2026-08-01T12:00:00Z"),
        ("ce-version", "3"),
        ("ce-commandid", "00000000-0000-0000-0000-000000000001"),
        ("ce-causationid", "cause"),
        ("ce-actor", "user:1"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(
            headers.get(name).map(async_nats::HeaderValue::as_str),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(headers.len(), 12);
}

#[test]
fn an_error_names_the_header() {
    let event = event();
    let whole = write(&event).unwrap();
    for header in [
        "ce-id",
        "ce-type",
        "ce-time",
        "ce-version",
        "ce-commandid",
        "ce-actor",
    ] {
        let without: HeaderMap = whole
            .iter()
            .filter(|(name, _)| name.to_string() != header)
            .flat_map(|(name, values)| values.iter().map(|v| (name.clone(), v.clone())))
            .collect();
        let cause = read_back(&event, &without).unwrap_err();
        assert!(matches!(cause, DecodeCause::MissingHeader { header: h } if h == header));
        if header != "ce-actor" {
            let mut broken = whole.clone();
            broken.insert(header, "nonsense");
            let cause = read_back(&event, &broken).unwrap_err();
            assert!(matches!(cause, DecodeCause::BadHeader { header: h, .. } if h == header));
        }
    }
}

#[test]
fn what_another_aggregate_wrote_is_not_decoded() {
    let mut event = event();
    assert!(event.decode::<Account>().is_ok());
    event.kind = Some("number".to_owned());
    let cause = event.decode::<Account>().unwrap_err().cause;
    assert!(matches!(cause, DecodeCause::Foreign { found, .. } if found == "account.number"));
}

#[test]
fn only_the_data_is_the_body() {
    let data = encode(&AccountEvent::MoneyDeposited { amount: 5 }).unwrap();
    assert_eq!(data, br#"{"amount":5}"#.as_slice());
    assert_eq!(
        encode(&AccountEvent::AccountOpened {}).unwrap(),
        b"{}".as_slice()
    );
}

/// An enum that forgot `content = "data"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Untagged {
    Happened { what: String },
}

impl Fact for Untagged {
    fn name(&self) -> &'static str {
        "happened"
    }
}

impl cqrs_es::DomainEvent for Untagged {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

#[test]
fn an_event_of_another_shape_is_refused() {
    let what = "x".to_owned();
    let refused = encode(&Untagged::Happened { what });
    assert!(matches!(
        refused,
        Err(EncodeError::Shape {
            event_type: "happened"
        })
    ));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        text in "[ -~]{0,40}",
        version in 1..u64::MAX,
        schema_version in 1..u32::MAX,
        nanos in 0..2_000_000_000_000_000_000_i64,
    ) {
        let time = DateTime::from_timestamp_nanos(nanos);
        let written = RecordedEvent {
            correlation_id: Some(text.trim().to_owned()),
            request_digest: Some(text.trim().to_owned()),
            actor: text.trim().to_owned(),
            version,
            schema_version,
            time,
            ..event()
        };
        let headers = write(&written).unwrap();
        prop_assert_eq!(read_back(&written, &headers).unwrap(), written);
    }

    #[test]
    fn no_header_can_smuggle_in_another(text in any::<String>()) {
        let written = RecordedEvent { actor: text.clone(), ..event() };
        match write(&written) {
            Ok(_) => prop_assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b))),
            Err(error) => {
                let named = matches!(error, EncodeError::Header { header: "ce-actor" });
                prop_assert!(named);
            }
        }
    }
}
