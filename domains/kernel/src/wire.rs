//! The body of an event: its data, without the tag that says which event it is.
//!
//! What was written under an older schema version is brought forward by [`Decider::upcast`], one
//! version at a time.

use serde_json::Value;
use thiserror::Error;

use crate::{Decider, Fact};

/// A body is not what its type and schema version say.
#[derive(Debug, Error)]
pub enum WireError {
    /// It does not fit the event type.
    #[error("the body is not the data of {event_type} v{schema_version}")]
    Body {
        /// Which event it should be.
        event_type: String,
        /// Under which version it was read.
        schema_version: u32,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// Written by newer code, or under a schema that nothing brings forward.
    #[error("schema version {found} of {event_type} can't be brought to version {known}")]
    SchemaVersion {
        /// Which event it should be.
        event_type: String,
        /// Under which version it was written.
        found: u32,
        /// What this code writes.
        known: u32,
    },
}

/// The event that `data` is, brought forward from `schema_version` where that is needed.
///
/// # Errors
/// It is none that this code knows.
pub fn decode<A: Decider>(
    event_type: &str,
    schema_version: u32,
    data: &[u8],
) -> Result<A::Event, WireError> {
    let direct = tagged::<A::Event>(event_type, data);
    if let Ok(event) = &direct
        && event.schema_version() == schema_version
    {
        return direct.map_err(|source| body(event_type, schema_version, source));
    }
    let (reached, upcast) = bring_forward::<A>(event_type, schema_version, data)
        .map_err(|source| body(event_type, schema_version, source))?;
    if reached == schema_version {
        // No step forward: either the body is broken, or the version is not one of ours.
        return match direct {
            Err(source) => Err(body(event_type, schema_version, source)),
            Ok(event) => Err(version(event_type, schema_version, &event)),
        };
    }
    let upcast = serde_json::to_vec(&upcast).map_err(|source| body(event_type, reached, source))?;
    let event = tagged::<A::Event>(event_type, &upcast)
        .map_err(|source| body(event_type, reached, source))?;
    if event.schema_version() == reached {
        Ok(event)
    } else {
        Err(version(event_type, schema_version, &event))
    }
}

/// The event that `data` is, of whichever kind of aggregate: nothing is brought forward.
///
/// # Errors
/// It is none that this code writes.
pub fn decode_as<E: Fact>(
    event_type: &str,
    schema_version: u32,
    data: &[u8],
) -> Result<E, WireError> {
    let event =
        tagged::<E>(event_type, data).map_err(|source| body(event_type, schema_version, source))?;
    if event.schema_version() == schema_version {
        Ok(event)
    } else {
        Err(version(event_type, schema_version, &event))
    }
}

/// What stands before the data where serde writes the tag too.
pub fn prefix(event_type: &str) -> String {
    format!("{{\"type\":\"{event_type}\",\"data\":")
}

/// Reads tag and data as serde wrote them; the tag comes first, so nothing is buffered.
fn tagged<E: Fact>(event_type: &str, data: &[u8]) -> Result<E, serde_json::Error> {
    let prefix = prefix(event_type);
    let mut json = Vec::with_capacity(prefix.len() + data.len() + 1);
    json.extend_from_slice(prefix.as_bytes());
    json.extend_from_slice(data);
    json.push(b'}');
    E::parse(&json)
}

/// Every step that the aggregate knows, one version at a time; each must lead upwards.
fn bring_forward<A: Decider>(
    event_type: &str,
    schema_version: u32,
    data: &[u8],
) -> Result<(u32, Value), serde_json::Error> {
    let mut version = schema_version;
    let mut value: Value = serde_json::from_slice(data)?;
    while let Some((next, upcast)) = A::upcast(event_type, version, &value) {
        if next <= version {
            break;
        }
        (version, value) = (next, upcast);
    }
    Ok((version, value))
}

fn body(event_type: &str, schema_version: u32, source: serde_json::Error) -> WireError {
    WireError::Body {
        event_type: event_type.to_owned(),
        schema_version,
        source,
    }
}

fn version<E: Fact>(event_type: &str, found: u32, event: &E) -> WireError {
    WireError::SchemaVersion {
        event_type: event_type.to_owned(),
        found,
        known: event.schema_version(),
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::event_sink::EventSink;
    use cqrs_es::{Aggregate, DomainEvent};
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use thiserror::Error;

    use super::*;

    /// Version 1 called the amount `sum`; version 2 had no currency.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data", rename_all = "snake_case")]
    enum Moved {
        MoneyDeposited { amount: u64, currency: String },
    }

    impl Fact for Moved {
        fn name(&self) -> &'static str {
            "money_deposited"
        }

        fn schema_version(&self) -> u32 {
            3
        }
    }

    impl DomainEvent for Moved {
        fn event_type(&self) -> String {
            self.name().to_owned()
        }

        fn event_version(&self) -> String {
            self.schema_version().to_string()
        }
    }

    #[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
    #[error("never")]
    struct Never;

    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    struct Account;

    impl Aggregate for Account {
        const TYPE: &'static str = "account";
        type Command = ();
        type Event = Moved;
        type Error = Never;
        type Services = ();

        async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Never> {
            Ok(())
        }

        fn apply(&mut self, event: Moved) {
            self.evolve(&event);
        }
    }

    impl Decider for Account {
        const CONTEXT: &'static str = "account";

        fn decide(&self, (): &()) -> Result<Vec<Moved>, Never> {
            Ok(vec![])
        }

        fn evolve(&mut self, _: &Moved) {}

        fn upcast(event_type: &str, version: u32, data: &Value) -> Option<(u32, Value)> {
            match (event_type, version) {
                ("money_deposited", 1) => Some((2, json!({ "amount": data.get("sum") }))),
                ("money_deposited", 2) => {
                    let amount = data.get("amount");
                    Some((3, json!({ "amount": amount, "currency": "EUR" })))
                }
                _ => None,
            }
        }
    }

    #[test]
    fn each_old_version_goes_through_every_step_that_follows() {
        let read = |version, data: &[u8]| decode::<Account>("money_deposited", version, data);
        let currency = "EUR".to_owned();
        let expected = Moved::MoneyDeposited {
            amount: 5,
            currency,
        };
        assert_eq!(read(1, br#"{"sum":5}"#).unwrap(), expected);
        assert_eq!(read(2, br#"{"amount":5}"#).unwrap(), expected);
        let newest = br#"{"amount":5,"currency":"EUR"}"#;
        assert_eq!(read(3, newest).unwrap(), expected);
        let as_it_is = |version| decode_as::<Moved>("money_deposited", version, newest);
        assert_eq!(as_it_is(3).unwrap(), expected);
        assert!(as_it_is(4).is_err());
        // Of a program that knows more.
        let newer = read(4, newest).unwrap_err();
        assert!(matches!(
            newer,
            WireError::SchemaVersion {
                found: 4,
                known: 3,
                ..
            }
        ));
    }
}
