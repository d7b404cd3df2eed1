//! Ids: what may stand in a subject token, and nothing else.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// Longest id, in bytes.
const ID_LENGTH_MAX: usize = 64;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Empty, too long, or with a character that means something in a subject.
    #[error("an id is 1 to 64 of the characters A-Z a-z 0-9 _ -")]
    NotAToken,
    /// Not a UUID.
    #[error("a UUID is wanted, as in 0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a")]
    NotAUuid,
}

fn is_token(text: &str) -> bool {
    (1..=ID_LENGTH_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Any aggregate's id as a subject token: `[A-Za-z0-9_-]{1,64}`, so it holds no `.`, `*` or `>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AggregateId(String);

impl AggregateId {
    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AggregateId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_token(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::NotAToken)
        }
    }
}

impl TryFrom<String> for AggregateId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AggregateId> for String {
    fn from(id: AggregateId) -> Self {
        id.0
    }
}

impl fmt::Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stock keeping unit: names a product and its stock item alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(AggregateId);

impl Sku {
    /// The token.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Sku {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Sku {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0.into()
    }
}

impl From<&Sku> for AggregateId {
    fn from(sku: &Sku) -> Self {
        sku.0.clone()
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Uuid);

        impl FromStr for $name {
            type Err = IdError;

            /// Only as it is written everywhere, with hyphens and in lower case: what follows from the
            /// text of a request must not depend on how an id is spelled.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let id = Uuid::try_parse(text).map_err(|_| IdError::NotAUuid)?;
                let mut spelled = Uuid::encode_buffer();
                if id.hyphenated().encode_lower(&mut spelled) == text {
                    Ok(Self(id))
                } else {
                    Err(IdError::NotAUuid)
                }
            }
        }

        impl From<$name> for AggregateId {
            fn from(id: $name) -> Self {
                Self(id.0.hyphenated().to_string())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    )*};
}

uuid_id! {
    /// A person with an account.
    UserId;
    /// An address in a person's address book.
    AddressId;
    /// The claim on an email address: a keyed hash of the normalized address, as UUIDv8.
    EmailClaimId;
    /// An order; also the correlation id of everything that its flow does.
    OrderId;
    /// A payment of an order.
    PaymentId;
    /// A refund of a payment.
    RefundId;
    /// Goods of an order that are to come back.
    ReturnId;
    /// A message to a person.
    NotificationId;
    /// A bulk import of products; follows from who imports under which Idempotency-Key.
    ImportId;
    /// Somebody's server that is told of events.
    WebhookEndpointId;
    /// One event that is told to one endpoint.
    WebhookDeliveryId;
}

/// A hold on stock: which order, and which try of the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReservationId {
    /// For whom.
    pub order_id: OrderId,
    /// Counted in saga state, from 1.
    pub attempt: u32,
}

impl FromStr for ReservationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (order, attempt) = text.rsplit_once('_').ok_or(IdError::NotAToken)?;
        Ok(Self {
            order_id: order.parse()?,
            attempt: attempt.parse().map_err(|_| IdError::NotAToken)?,
        })
    }
}

impl TryFrom<String> for ReservationId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ReservationId> for String {
    fn from(id: ReservationId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ReservationId {
    /// `<order>_<attempt>`, so that it can be a map's key in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.order_id, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_metacharacters_are_no_ids() {
        let long = "x".repeat(65);
        for bad in ["", "a.b", "a*", "a>", "a b", "a\r\nb", "ä", long.as_str()] {
            assert_eq!(
                bad.parse::<AggregateId>(),
                Err(IdError::NotAToken),
                "{bad:?}"
            );
            assert_eq!(bad.parse::<Sku>(), Err(IdError::NotAToken), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_spelled_in_one_way() {
        let id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        assert_eq!(id.parse::<OrderId>().unwrap().to_string(), id);
        let bare = id.replace('-', "");
        let others = [id.to_uppercase(), format!("{{{id}}}"), bare, "x".to_owned()];
        for other in others {
            assert_eq!(other.parse::<OrderId>(), Err(IdError::NotAUuid), "{other}");
        }
    }

    #[test]
    fn reservations_round_trip_through_json_keys() {
        let id = ReservationId {
            order_id: OrderId(Uuid::from_u128(7)),
            attempt: 3,
        };
        let map = std::collections::BTreeMap::from([(id, 1)]);
        let json = serde_json::to_string(&map).unwrap();
        let back: std::collections::BTreeMap<ReservationId, i32> =
            serde_json::from_str(&json).unwrap();
        assert_eq!(back, map);
    }
}
