//! The master key wraps the keys of persons.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::UserId;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::aead::{AeadError, Cipher, KEY_LEN, KeyBytes};
use super::error::SecretError;

/// Bytes of the fingerprint that a record names its master key by.
const FINGERPRINT_LEN: usize = 8;

/// The key that wraps the keys of persons; from the configuration, in no log and no stream.
#[derive(Clone)]
pub struct MasterKey {
    cipher: Arc<Cipher>,
    fingerprint: String,
}

impl fmt::Debug for MasterKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint)
    }
}

impl FromStr for MasterKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl MasterKey {
    /// Reads 32 bytes in base64url without padding.
    ///
    /// # Errors
    /// The text is something else. The error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let bytes = parse_secret(text)?;
        let hash = digest(
            &SHA256,
            &[b"millrace master key ".as_slice(), bytes.as_slice()].concat(),
        );
        Ok(Self {
            cipher: Arc::new(Cipher::new(&bytes).map_err(|_| SecretError)?),
            fingerprint: fingerprint(hash.as_ref()),
        })
    }

    /// Tells two master keys apart without showing either.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn wrap(&self, person: UserId, key: &KeyBytes) -> Result<String, AeadError> {
        self.cipher.seal(key.as_slice(), &self.context(person))
    }

    pub(super) fn unwrap(&self, person: UserId, wrapped: &str) -> Result<KeyBytes, AeadError> {
        let plain = self.cipher.open(wrapped, &self.context(person))?;
        let bytes: [u8; KEY_LEN] = plain.as_slice().try_into().map_err(|_| AeadError::Broken)?;
        Ok(Zeroizing::new(bytes))
    }

    /// A wrapped key is bound to its person and its master key.
    fn context(&self, person: UserId) -> Vec<u8> {
        format!("{person} {}", self.fingerprint).into_bytes()
    }
}

/// Most master keys that are configured at once: the newest, and older ones while keys are rotated.
pub const MASTER_KEYS_MAX: usize = 4;

/// The master keys: the newest wraps, each unwraps what it has wrapped. Usually one.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    newest: MasterKey,
    older: Vec<MasterKey>,
}

impl MasterKeys {
    /// Reads master keys with commas between them, the newest first.
    ///
    /// # Errors
    /// There is none, more than [`MASTER_KEYS_MAX`], or one is no key. The error repeats none.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let keys: Result<Vec<_>, _> = text.split(',').map(MasterKey::parse).collect();
        let mut keys = keys?.into_iter();
        let newest = keys.next().ok_or(SecretError)?;
        let older: Vec<_> = keys.collect();
        if older.len() >= MASTER_KEYS_MAX {
            return Err(SecretError);
        }
        Ok(Self { newest, older })
    }

    pub(super) fn newest(&self) -> &MasterKey {
        &self.newest
    }

    pub(super) fn is_newest(&self, fingerprint: &str) -> bool {
        self.newest.fingerprint == fingerprint
    }

    pub(super) fn of(&self, fingerprint: &str) -> Option<&MasterKey> {
        let mut all = std::iter::once(&self.newest).chain(&self.older);
        all.find(|key| key.fingerprint == fingerprint)
    }
}

impl From<MasterKey> for MasterKeys {
    fn from(newest: MasterKey) -> Self {
        Self {
            newest,
            older: Vec::new(),
        }
    }
}

impl fmt::Display for MasterKeys {
    /// Their fingerprints, the newest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.newest.fingerprint)?;
        self.older
            .iter()
            .try_for_each(|key| write!(f, ", {}", key.fingerprint))
    }
}

fn fingerprint(hash: &[u8]) -> String {
    let short: Vec<u8> = hash.iter().copied().take(FINGERPRINT_LEN).collect();
    URL_SAFE_NO_PAD.encode(short)
}

/// 32 bytes in base64url without padding.
pub(super) fn parse_secret(text: &str) -> Result<KeyBytes, SecretError> {
    let bytes = Zeroizing::new(
        URL_SAFE_NO_PAD
            .decode(text.trim())
            .map_err(|_| SecretError)?,
    );
    let bytes: [u8; KEY_LEN] = bytes.as_slice().try_into().map_err(|_| SecretError)?;
    Ok(Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::aead::new_key;
    use super::*;

    fn master(byte: u8) -> MasterKey {
        MasterKey::parse(&URL_SAFE_NO_PAD.encode([byte; KEY_LEN])).unwrap()
    }

    #[test]
    fn only_32_bytes_are_a_secret() {
        let short = URL_SAFE_NO_PAD.encode([1; 31]);
        for bad in ["", "x", short.as_str(), "…"] {
            assert!(MasterKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_wrapped_key_is_bound_to_its_person_and_master() {
        let (person, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let key = new_key().unwrap();
        let wrapped = master(1).wrap(person, &key).unwrap();
        assert_eq!(master(1).unwrap(person, &wrapped).unwrap(), key);
        assert!(master(1).unwrap(other, &wrapped).is_err());
        assert!(master(2).unwrap(person, &wrapped).is_err());
        assert_ne!(master(1).fingerprint(), master(2).fingerprint());
    }

    #[test]
    fn the_newest_of_several_comes_first_and_each_is_found() {
        let text = |byte: u8| URL_SAFE_NO_PAD.encode([byte; KEY_LEN]);
        let keys = MasterKeys::parse(&format!("{}, {}", text(2), text(1))).unwrap();
        let (newer, older) = (master(2), master(1));
        assert!(keys.is_newest(newer.fingerprint()) && !keys.is_newest(older.fingerprint()));
        assert!(keys.of(older.fingerprint()).is_some());
        assert!(keys.of(master(3).fingerprint()).is_none());
        let many = [text(1), text(2), text(3), text(4), text(5)].join(",");
        for bad in ["", ",", many.as_str(), &format!("{},x", text(1))] {
            assert!(MasterKeys::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", master(7));
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode([7; KEY_LEN])));
        assert!(shown.starts_with("MasterKey("));
    }
}
