//! What an endpoint is told.
//!
//! ```json
//! { "type": "order.order_shipped", "timestamp": "2026-01-31T12:00:00Z", "id": "<the order>",
//!   "version": 3, "position": "ORDER:42", "data": { "tracking": "1Z 999" } }
//! ```
//!
//! `data` is the event's own, as `GET …/{id}/events` shows it, with `null` for what is sealed: personal
//! data leaves by no webhook.

use chrono::{DateTime, SecondsFormat, Utc};
use kernel::{Sealed, WebhookEndpointId};
use notification::webhook::EventRef;
use serde::Serialize;
use serde_json::{Value, json};
use streams::RecordedEvent;

/// The body. Its fields are in this order for ever: a signature is about bytes.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    data: Value,
}

/// The body that tells of an event.
///
/// # Errors
/// Its data is no JSON.
pub(super) fn telling(about: &EventRef, event: &RecordedEvent) -> serde_json::Result<Vec<u8>> {
    let mut data: Value = serde_json::from_slice(&event.data)?;
    blank_sealed(&mut data);
    serde_json::to_vec(&Message {
        r#type: &about.event_type,
        timestamp: time(about.occurred_at),
        id: Some(event.aggregate_id.as_str()),
        version: Some(event.version),
        position: Some(event.position.to_string()),
        data,
    })
}

/// The body of a test.
///
/// # Errors
/// Never: it is made here.
pub(super) fn test(
    about: &EventRef,
    endpoint_id: WebhookEndpointId,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Message {
        r#type: &about.event_type,
        timestamp: time(about.occurred_at),
        id: None,
        version: None,
        position: None,
        data: json!({ "endpoint_id": endpoint_id }),
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Puts `null` in the place of everything sealed.
fn blank_sealed(value: &mut Value) {
    match value {
        Value::String(text) if text.parse::<Sealed>().is_ok() => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(blank_sealed),
        Value::Object(fields) => fields.values_mut().for_each(blank_sealed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use kernel::UserId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nothing_sealed_is_told() {
        let sealed = Sealed::new(UserId(Uuid::from_u128(1)), "c2VhbGVk");
        let mut data = json!({
            "email": sealed, "plan": "basic", "addresses": [{ "address": sealed, "default": true }],
        });
        blank_sealed(&mut data);
        assert_eq!(
            data,
            json!({ "email": null, "plan": "basic", "addresses": [{ "address": null, "default": true }] })
        );
    }
}
