//! Keyed hashes: of requests, and of what must be compared without being readable.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kernel::{EmailClaimId, UserId, WebhookEndpointId};
use ring::hmac;
use uuid::Uuid;

use super::error::SecretError;
use super::master::parse_secret;

/// What separates the uses of the one key; never change one, ids hang on it.
const REQUEST_DOMAIN: &[u8] = b"request\0";
/// As [`REQUEST_DOMAIN`].
const EMAIL_DOMAIN: &[u8] = b"email claim\0";
/// As [`REQUEST_DOMAIN`].
const VERIFICATION_DOMAIN: &[u8] = b"email verification\0";
/// As [`REQUEST_DOMAIN`].
const WEBHOOK_DOMAIN: &[u8] = b"webhook secret\0";

/// How a webhook's signing secret begins (Standard Webhooks).
const WEBHOOK_SECRET_PREFIX: &str = "whsec_";

/// HMAC-SHA256 (RFC 2104) with a key from the configuration.
#[derive(Clone)]
pub struct DigestKey(hmac::Key);

impl fmt::Debug for DigestKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

impl FromStr for DigestKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl DigestKey {
    /// Reads 32 bytes in base64url without padding.
    ///
    /// # Errors
    /// The text is something else. The error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let bytes = parse_secret(text)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice())))
    }

    /// The digest of a request, in base64url (43 characters).
    pub fn digest(&self, bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.tag(REQUEST_DOMAIN, bytes))
    }

    /// The claim on a normalized email address: the same address gives the same id, and nobody
    /// without the key gets from the id back to the address, nor can test a guess. UUIDv8.
    pub fn email_claim_id(&self, normalized: &str) -> EmailClaimId {
        let tag = self.tag(EMAIL_DOMAIN, normalized.as_bytes());
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        EmailClaimId(Uuid::new_v8(bytes))
    }

    /// What is mailed to an address so that its reader can prove to have read it. It follows from
    /// who claims which address, so nothing is kept, and it is worth nothing for another address.
    pub fn verification_token(&self, person: UserId, claim: EmailClaimId) -> String {
        let about = verification(person, claim);
        URL_SAFE_NO_PAD.encode(self.tag(VERIFICATION_DOMAIN, &about))
    }

    /// Is it the token of this person and claim? Takes as long for a nearly right one.
    pub fn is_verification_token(&self, token: &str, person: UserId, claim: EmailClaimId) -> bool {
        let message = [VERIFICATION_DOMAIN, &verification(person, claim)].concat();
        URL_SAFE_NO_PAD
            .decode(token)
            .is_ok_and(|tag| hmac::verify(&self.0, &message, &tag).is_ok())
    }

    /// What an endpoint's webhooks are signed with, as Standard Webhooks writes it: `whsec_` and 32
    /// bytes in base64. It follows from the endpoint and the secret's number, so it stands nowhere.
    pub fn webhook_secret(&self, endpoint: WebhookEndpointId, generation: u32) -> String {
        let about = [endpoint.0.as_bytes().as_slice(), &generation.to_be_bytes()].concat();
        let secret = STANDARD.encode(self.tag(WEBHOOK_DOMAIN, &about));
        format!("{WEBHOOK_SECRET_PREFIX}{secret}")
    }

    fn tag(&self, domain: &[u8], bytes: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(domain);
        context.update(bytes);
        context.sign()
    }
}

fn verification(person: UserId, claim: EmailClaimId) -> Vec<u8> {
    [person.0.as_bytes().as_slice(), claim.0.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> DigestKey {
        DigestKey::parse(&URL_SAFE_NO_PAD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn the_same_address_has_one_claim_and_only_under_the_same_key() {
        let id = key(1).email_claim_id("ada@example.org");
        assert_eq!(id, key(1).email_claim_id("ada@example.org"));
        assert_ne!(id, key(1).email_claim_id("bob@example.org"));
        assert_ne!(id, key(2).email_claim_id("ada@example.org"));
        assert_eq!(id.0.get_version_num(), 8);
    }

    #[test]
    fn digests_are_pinned() {
        // Stored in events for ever (`ce-requestdigest`): a change here breaks idempotency.
        let digest = key(1).digest(b"{}");
        assert_eq!(digest.len(), 43);
        assert_eq!(digest, key(1).digest(b"{}"));
        assert_ne!(digest, key(1).digest(b"{ }"));
    }

    #[test]
    fn a_webhook_secret_is_of_one_endpoint_and_number() {
        let [one, two] = [1, 2].map(|number| WebhookEndpointId(Uuid::from_u128(number)));
        let secret = key(1).webhook_secret(one, 1);
        assert_eq!(secret, key(1).webhook_secret(one, 1));
        let bytes = STANDARD.decode(secret.strip_prefix("whsec_").unwrap());
        assert_eq!(bytes.unwrap().len(), 32);
        for (digest, endpoint, generation) in [(2, one, 1), (1, two, 1), (1, one, 2)] {
            assert_ne!(key(digest).webhook_secret(endpoint, generation), secret);
        }
    }

    #[test]
    fn a_verification_token_is_of_one_person_and_address() {
        let [ada, bob] = [1, 2].map(|number| UserId(Uuid::from_u128(number)));
        let [home, work] = ["a@example.org", "b@example.org"].map(|a| key(1).email_claim_id(a));
        let token = key(1).verification_token(ada, home);
        assert!(key(1).is_verification_token(&token, ada, home));
        for (digest, person, claim) in [(1, bob, home), (1, ada, work), (2, ada, home)] {
            assert!(!key(digest).is_verification_token(&token, person, claim));
        }
        for nonsense in ["", "x", "not base64url!", &token[1..]] {
            assert!(!key(1).is_verification_token(nonsense, ada, home));
        }
    }
}
