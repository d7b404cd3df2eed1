//! The payment provider's signature under a webhook
//! (<https://docs.stripe.com/webhooks#verify-manually>): `t=<seconds>,v1=<tag>`, the tag being the
//! HMAC-SHA-256 of `<seconds>.<body>` in hex.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ring::hmac;
use thiserror::Error;

/// Most tags of one header that are looked at: the provider sends one for each of its secrets.
const TAGS_MAX: usize = 8;

/// Bytes of a tag.
const TAG_LENGTH: usize = 32;

/// What webhooks may be signed with: the provider's secret, and during a rotation the next one too.
#[derive(Clone)]
pub struct WebhookSecrets(Vec<hmac::Key>);

/// There is nothing to check a signature with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("one or more secrets are wanted, separated by commas")]
pub struct NoSecret;

/// Why a webhook is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum SignatureError {
    /// No header, or one that can't be read.
    #[error("the header Stripe-Signature is missing, or is not t=<seconds>,v1=<tag>")]
    Malformed,
    /// Signed with another secret, or changed on the way.
    #[error("the signature does not fit the body")]
    Wrong,
    /// Signed too long ago, or in the future: somebody may be sending an old one again.
    #[error("the signature was not made just now")]
    Stale,
}

impl SignatureError {
    /// For a metric's label.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Wrong => "wrong",
            Self::Stale => "stale",
        }
    }
}

impl fmt::Debug for WebhookSecrets {
    /// Never shows a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookSecrets({})", self.0.len())
    }
}

impl WebhookSecrets {
    /// Reads secrets (`whsec_…`), separated by commas.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(text: &str) -> Result<Self, NoSecret> {
        let secrets = text.split(',').map(str::trim).filter(|s| !s.is_empty());
        let keys = secrets.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return Err(NoSecret);
        }
        Ok(Self(keys))
    }

    /// Is `body` the provider's, and was it signed within `tolerance` of `now`?
    pub(crate) fn verify(
        &self,
        header: Option<&str>,
        body: &[u8],
        (now, tolerance): (DateTime<Utc>, Duration),
    ) -> Result<(), SignatureError> {
        let signature = header.and_then(Signature::parse);
        let signature = signature.ok_or(SignatureError::Malformed)?;
        let signed = [signature.seconds.to_string().as_bytes(), b".", body].concat();
        // `verify` takes the same time wherever a tag differs.
        let fits = |tag: &Tag| {
            self.0
                .iter()
                .any(|key| hmac::verify(key, &signed, tag).is_ok())
        };
        if !signature.tags.iter().any(fits) {
            return Err(SignatureError::Wrong);
        }
        let age = now.timestamp().abs_diff(signature.seconds);
        if age > tolerance.as_secs() {
            return Err(SignatureError::Stale);
        }
        Ok(())
    }
}

type Tag = [u8; TAG_LENGTH];

struct Signature {
    seconds: i64,
    tags: Vec<Tag>,
}

impl Signature {
    /// Schemes other than `v1` are passed over, as the provider asks for.
    fn parse(header: &str) -> Option<Self> {
        let pairs = || {
            header
                .split(',')
                .filter_map(|pair| pair.trim().split_once('='))
        };
        let (_, seconds) = pairs().find(|(name, _)| *name == "t")?;
        let tags = pairs().filter(|(name, _)| *name == "v1");
        let tags: Vec<_> = tags
            .filter_map(|(_, tag)| of_hex(tag))
            .take(TAGS_MAX)
            .collect();
        let seconds = seconds.parse().ok()?;
        (!tags.is_empty()).then_some(Self { seconds, tags })
    }
}

fn of_hex(text: &str) -> Option<Tag> {
    let mut tag = [0; TAG_LENGTH];
    if text.len() != 2 * TAG_LENGTH || !text.is_ascii() {
        return None;
    }
    for (byte, at) in tag.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const BODY: &[u8] = b"{\"id\":\"evt_1\"}";
    const TOLERANCE: Duration = Duration::from_mins(5);

    fn header(secret: &str, seconds: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signed = [format!("{seconds}.").as_bytes(), BODY].concat();
        let tag = hmac::sign(&key, &signed);
        let hex = tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        format!("t={seconds},v1={hex}")
    }

    fn verify(secrets: &str, header: &str, body: &[u8]) -> Result<(), SignatureError> {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let secrets = WebhookSecrets::parse(secrets).unwrap();
        secrets.verify(Some(header), body, (now, TOLERANCE))
    }

    #[test]
    fn only_who_has_a_secret_can_sign() {
        let genuine = header("whsec_a", 1_000_000);
        assert_eq!(verify("whsec_a", &genuine, BODY), Ok(()));
        assert_eq!(
            verify("whsec_b", &genuine, BODY),
            Err(SignatureError::Wrong)
        );
        let changed = verify("whsec_a", &genuine, b"{\"id\":\"evt_2\"}");
        assert_eq!(changed, Err(SignatureError::Wrong));
        let moved = genuine.replace("t=1000000", "t=1000001");
        assert_eq!(verify("whsec_a", &moved, BODY), Err(SignatureError::Wrong));
    }

    #[test]
    fn during_a_rotation_both_secrets_count_on_both_sides() {
        let old = header("whsec_old", 1_000_000);
        let new = header("whsec_new", 1_000_000);
        for genuine in [&old, &new] {
            assert_eq!(verify("whsec_new, whsec_old", genuine, BODY), Ok(()));
        }
        let both = format!("{old},v0=ff,{}", new.split_once(',').unwrap().1);
        assert_eq!(verify("whsec_new", &both, BODY), Ok(()));
    }

    #[test]
    fn what_was_signed_long_ago_or_in_the_future_is_stale() {
        for (seconds, outcome) in [
            (999_700, Ok(())),
            (1_000_300, Ok(())),
            (999_699, Err(SignatureError::Stale)),
            (1_000_301, Err(SignatureError::Stale)),
            (i64::MIN, Err(SignatureError::Stale)),
        ] {
            let header = header("whsec_a", seconds);
            assert_eq!(verify("whsec_a", &header, BODY), outcome, "{seconds}");
        }
    }

    #[test]
    fn a_header_that_is_none_is_malformed() {
        let tag = "f".repeat(64);
        for bad in [
            String::new(),
            "t=1".to_owned(),
            format!("v1={tag}"),
            format!("t=x,v1={tag}"),
            "t=1,v1=ff".to_owned(),
            format!("t=1,v1={}", "ä".repeat(32)),
            format!("t=1,v0={tag}"),
        ] {
            assert_eq!(
                verify("whsec_a", &bad, BODY),
                Err(SignatureError::Malformed),
                "{bad}"
            );
        }
        let secrets = WebhookSecrets::parse("whsec_a").unwrap();
        let none = secrets.verify(None, BODY, (Utc::now(), TOLERANCE));
        assert_eq!(none, Err(SignatureError::Malformed));
    }

    #[test]
    fn without_a_secret_there_is_nothing_to_check_with() {
        for none in ["", " , "] {
            assert!(WebhookSecrets::parse(none).is_err());
        }
        let secrets = WebhookSecrets::parse("whsec_a,whsec_b").unwrap();
        assert_eq!(format!("{secrets:?}"), "WebhookSecrets(2)");
    }
}
