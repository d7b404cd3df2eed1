//! An email address as people type it, and the form in which two of them are the same.

use std::borrow::Cow;
use std::fmt;

use kernel::EmailClaimId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use streams::keys::DigestKey;
use thiserror::Error;

/// Longest address, in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
const LENGTH_MAX: usize = 254;

/// Longest part before the `@`, in bytes (RFC 5321 §4.5.3.1.1).
const LOCAL_LENGTH_MAX: usize = 64;

/// What [`Email`] takes, but for white space around it and the lengths of its parts.
const PATTERN: &str = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\
    @([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$";

/// An email address as typed, trimmed, with the domain in lower case. ASCII only: an internationalized one is written in its punycode form.
///
/// Not every address that RFC 5322 allows is taken (no quotes, no comments, no address literals):
/// those that real mailboxes have are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Email(String);

/// Why a text is no email address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "it must be an email address of at most {LENGTH_MAX} ASCII characters, as in ann@example.com"
)]
pub(crate) struct EmailError;

impl Email {
    /// All in lower case: the form in which one address has one owner.
    pub(crate) fn normalized(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The claim's id: a keyed hash of the normalized address.
    pub(crate) fn claim(&self, digest: &DigestKey) -> EmailClaimId {
        digest.email_claim_id(&self.normalized())
    }
}

impl TryFrom<String> for Email {
    type Error = EmailError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let text = text.trim();
        let (local, domain) = text.split_once('@').ok_or(EmailError)?;
        if text.len() > LENGTH_MAX || !is_local(local) || !is_domain(domain) {
            return Err(EmailError);
        }
        Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl JsonSchema for Email {
    fn schema_name() -> Cow<'static, str> {
        "Email".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": LENGTH_MAX, "pattern": PATTERN })
    }
}

impl fmt::Debug for Email {
    /// Personal data doesn't belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

/// RFC 5322's dot-atom.
fn is_local(local: &str) -> bool {
    (1..=LOCAL_LENGTH_MAX).contains(&local.len())
        && local.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b))
        })
}

/// At least two labels of a host name.
fn is_domain(domain: &str) -> bool {
    domain.contains('.')
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Email, EmailError> {
        Email::try_from(text.to_owned())
    }

    #[test]
    fn one_mailbox_has_one_claim() {
        let digest = DigestKey::parse(&"A".repeat(43)).unwrap();
        let typed = parse("  Ann.O'Neil+shop@Example.COM ").unwrap();
        assert_eq!(typed.0, "Ann.O'Neil+shop@example.com");
        assert_eq!(typed.normalized(), "ann.o'neil+shop@example.com");
        let other = parse("ann.o'neil+shop@example.com").unwrap();
        assert_eq!(typed.claim(&digest), other.claim(&digest));
        let stranger = parse("ann@example.com").unwrap();
        assert_ne!(typed.claim(&digest), stranger.claim(&digest));
        assert_eq!(format!("{typed:?}"), "Email(…)");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}.com", "a.".repeat(130));
        for bad in [
            "",
            "ann",
            "ann@",
            "@example.com",
            "a@b@example.com",
            "ann@example",
            "a b@example.com",
            ".a@example.com",
            "a..b@example.com",
            "a@-b.com",
            "a@b..com",
            "a@b.com\r\nBcc: c@d.e",
            "\"a b\"@example.com",
            "a@[127.0.0.1]",
            "ä@example.com",
            "Ann <a@b.com>",
            long_local.as_str(),
            long.as_str(),
        ] {
            assert_eq!(parse(bad), Err(EmailError), "{bad}");
        }
    }
}
