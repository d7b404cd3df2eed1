//! How a webhook is signed (Standard Webhooks, symmetric): HMAC-SHA256 of `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use thiserror::Error;

/// How a secret begins.
const SECRET_PREFIX: &str = "whsec_";

/// The scheme of a signature.
const VERSION: &str = "v1";

/// The text is no signing secret. It is not repeated here.
#[derive(Debug, Error)]
#[error("a signing secret is whsec_ and base64")]
pub(super) struct NoSecret;

/// The value of `webhook-signature`: a signature for each secret, with spaces between them. Whoever
/// knows one of the secrets finds a signature that is right.
pub(super) fn sign(
    secrets: &[String],
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<String, NoSecret> {
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let signatures = secrets.iter().map(|secret| {
        let secret = secret.strip_prefix(SECRET_PREFIX).ok_or(NoSecret)?;
        let secret = STANDARD.decode(secret).map_err(|_| NoSecret)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let tag = STANDARD.encode(hmac::sign(&key, &signed));
        Ok(format!("{VERSION},{tag}"))
    });
    let signatures: Vec<String> = signatures.collect::<Result<_, _>>()?;
    Ok(signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries (standard-webhooks, `test_sign`).
    #[test]
    fn the_published_example_comes_out() {
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()];
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = br#"{"test": 2432232314}"#;
        let signature = sign(&secrets, id, 1_614_265_330, body).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn there_is_a_signature_for_each_secret_and_none_without_one() {
        let secrets = ["whsec_AAAA".to_owned(), "whsec_BBBB".to_owned()];
        let both = sign(&secrets, "1", 2, b"3").unwrap();
        let alone = |secret: &String| sign(std::slice::from_ref(secret), "1", 2, b"3").unwrap();
        assert_eq!(
            both,
            format!("{} {}", alone(&secrets[0]), alone(&secrets[1]))
        );
        for bad in ["AAAA", "whsec_?", ""] {
            assert!(sign(&[bad.to_owned()], "1", 2, b"3").is_err(), "{bad}");
        }
    }
}
