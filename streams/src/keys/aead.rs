//! ChaCha20-Poly1305 (RFC 8439) with a random nonce in front, written in base64url.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Length of every key, in bytes.
pub(super) const KEY_LEN: usize = 32;

/// The bytes of a key; overwritten when they are dropped.
pub(super) type KeyBytes = Zeroizing<[u8; KEY_LEN]>;

/// What can fail: no randomness, or a text that this key did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AeadError {
    Random,
    Broken,
}

/// A key that seals and opens.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    pub(super) fn new(bytes: &KeyBytes) -> Result<Self, AeadError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes.as_slice());
        Ok(Self(LessSafeKey::new(key.map_err(|_| AeadError::Broken)?)))
    }

    /// `context` must be the same again to open it; it is not part of the text.
    pub(super) fn seal(&self, plain: &[u8], context: &[u8]) -> Result<String, AeadError> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut text = plain.to_vec();
        let sealed = self.0.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut text,
        );
        sealed.map_err(|_| AeadError::Broken)?;
        let mut whole = nonce.to_vec();
        whole.append(&mut text);
        Ok(URL_SAFE_NO_PAD.encode(whole))
    }

    pub(super) fn open(&self, text: &str, context: &[u8]) -> Result<Zeroizing<Vec<u8>>, AeadError> {
        let whole = URL_SAFE_NO_PAD.decode(text);
        let mut whole = Zeroizing::new(whole.map_err(|_| AeadError::Broken)?);
        let (nonce, sealed) = whole
            .split_at_mut_checked(NONCE_LEN)
            .ok_or(AeadError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| AeadError::Broken)?;
        let plain = self.0.open_in_place(nonce, Aad::from(context), sealed);
        let plain = plain.map_err(|_| AeadError::Broken)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }
}

/// A new key.
pub(super) fn new_key() -> Result<KeyBytes, AeadError> {
    random().map(Zeroizing::new)
}

fn random<const N: usize>() -> Result<[u8; N], AeadError> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| AeadError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_context() {
        let cipher = Cipher::new(&new_key().unwrap()).unwrap();
        let text = cipher.seal(b"Ada", b"a name").unwrap();
        assert_eq!(cipher.open(&text, b"a name").unwrap().as_slice(), b"Ada");
        assert_eq!(
            cipher.open(&text, b"an email").unwrap_err(),
            AeadError::Broken
        );
        let other = Cipher::new(&new_key().unwrap()).unwrap();
        assert_eq!(other.open(&text, b"a name").unwrap_err(), AeadError::Broken);
    }

    #[test]
    fn the_same_text_is_never_sealed_to_the_same() {
        let cipher = Cipher::new(&new_key().unwrap()).unwrap();
        let two = [
            cipher.seal(b"x", b"").unwrap(),
            cipher.seal(b"x", b"").unwrap(),
        ];
        assert_ne!(two[0], two[1]);
    }

    #[test]
    fn nonsense_does_not_open() {
        let cipher = Cipher::new(&new_key().unwrap()).unwrap();
        for nonsense in ["", "a", "not base64url!", "AAAAAAAAAAAAAAAA", "AAAA"] {
            assert_eq!(cipher.open(nonsense, b"").unwrap_err(), AeadError::Broken);
        }
    }
}
