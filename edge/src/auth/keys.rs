//! The signing keys: one file each in one folder; the newest whose time has come signs, all of them verify.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{DecodingKey, EncodingKey};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Most keys in a folder: retired ones are to be removed once their last token has expired.
const KEYS_MAX: usize = 16;

/// How often the folder is read again: a few small files.
const REREAD_PAUSE: Duration = Duration::from_secs(5);

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The folder or a file in it can't be read or written.
    #[error("the token keys in {path} can't be read or written", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no key.
    #[error("{path} holds no Ed25519 key as `millrace up` writes it", path = .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// There is no key.
    #[error("no token key in {path}: `millrace keys add-token-key` makes one", path = .path.display())]
    Empty {
        /// Where one was expected.
        path: PathBuf,
    },
    /// More than can be meant.
    #[error("more than {KEYS_MAX} token keys in {path}: remove the retired ones", path = .path.display())]
    TooMany {
        /// Where.
        path: PathBuf,
    },
    /// The system's random generator failed.
    #[error("no random numbers for a token key")]
    Random,
}

/// A key file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    /// The thumbprint (RFC 7638) of the public key.
    kid: String,
    created_at: DateTime<Utc>,
    /// Before that it only verifies, so that everybody has it when it signs first. None: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signs_from: Option<DateTime<Utc>>,
    /// PKCS #8 v2 in base64url.
    pkcs8: String,
}

/// One key.
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) signs_from: Option<DateTime<Utc>>,
    pub(super) public: Vec<u8>,
    pub(super) signs: EncodingKey,
    pub(super) verifies: DecodingKey,
}

/// The keys of one folder, the newest last. Files are named `0001.json`, `0002.json`, …: the
/// number tells the age, whatever a restored file's times say. Clones have the same keys, also when the
/// folder is read again.
#[derive(Clone)]
pub struct KeySet {
    folder: PathBuf,
    keys: Arc<RwLock<Arc<[Key]>>>,
}

impl KeySet {
    /// Reads the folder.
    ///
    /// # Errors
    /// No folder, no key in it, too many, or a file that is no key.
    pub fn load(folder: &Path) -> Result<Self, KeysError> {
        Ok(Self {
            folder: folder.to_owned(),
            keys: Arc::new(RwLock::new(read_all(folder)?)),
        })
    }

    /// Reads the folder again every few seconds, until `shutdown`. As long as it can't be read, or has a
    /// file that is no key, or none at all, what was read before stays.
    pub async fn follow(self, shutdown: CancellationToken) {
        let mut was_read = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(REREAD_PAUSE) => {}
            }
            let folder = self.folder.clone();
            // Err = the runtime ends.
            let Ok(read) = tokio::task::spawn_blocking(move || read_all(&folder)).await else {
                return;
            };
            match read {
                Ok(ref keys) => self.replace(keys),
                // Once, not every few seconds.
                Err(ref error) if was_read => {
                    tracing::error!(%error, "the token keys stay as they were");
                }
                Err(_) => {}
            }
            was_read = read.is_ok();
        }
    }

    fn replace(&self, keys: &Arc<[Key]>) {
        let kids = |keys: &[Key]| -> Vec<_> { keys.iter().map(|key| key.kid.clone()).collect() };
        let (before, now) = (kids(&self.all()), kids(keys));
        if before != now {
            tracing::info!(keys = now.len(), "other token keys count from now on");
            let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            *held = Arc::clone(keys);
        }
    }

    /// Reads the folder, after making it and a first key if there is none. Of two processes that do
    /// so at once, one makes the key and both read it.
    ///
    /// # Errors
    /// As [`KeySet::load`]; the file can't be written.
    pub fn create_if_missing(folder: &Path) -> Result<Self, KeysError> {
        Self::create_first(folder)?;
        Self::load(folder)
    }

    /// Makes the folder, for nobody else's eyes, and a first key, which signs at once, and answers with its
    /// file; `None` = there is one already. A folder that is there keeps its rights.
    ///
    /// # Errors
    /// As [`KeySet::load`], also where the folder has other files than keys; the file can't be written.
    pub fn create_first(folder: &Path) -> Result<Option<PathBuf>, KeysError> {
        if !folder.exists() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(failed(folder))?;
        }
        match Self::load(folder) {
            Err(KeysError::Empty { .. }) if !has_others(folder)? => {
                Ok(create(folder, 1, None)?.then(|| file(folder, 1)))
            }
            loaded => loaded.map(|_there| None),
        }
    }

    /// Adds a key, newer than all there are, and answers with its file. It signs from `signs_from` on.
    ///
    /// # Errors
    /// As [`KeySet::load`]; the file can't be written.
    pub fn add(folder: &Path, signs_from: DateTime<Utc>) -> Result<PathBuf, KeysError> {
        if read_all(folder)?.len() >= KEYS_MAX {
            return Err(KeysError::TooMany {
                path: folder.to_owned(),
            });
        }
        loop {
            let numbers = files(folder)?.into_iter().filter_map(|path| number(&path));
            let next = numbers.max().unwrap_or(0) + 1;
            if create(folder, next, Some(signs_from))? {
                return Ok(file(folder, next));
            }
        }
    }

    pub(super) fn all(&self) -> Arc<[Key]> {
        // Nothing panics while it is held.
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }
}

fn read_all(folder: &Path) -> Result<Arc<[Key]>, KeysError> {
    let mut files = files(folder)?;
    if files.len() > KEYS_MAX {
        return Err(KeysError::TooMany {
            path: folder.to_owned(),
        });
    }
    files.sort();
    let keys = files.iter().map(|path| read(path));
    let keys = keys.collect::<Result<Arc<[Key]>, _>>()?;
    if keys.is_empty() {
        return Err(KeysError::Empty {
            path: folder.to_owned(),
        });
    }
    Ok(keys)
}

/// The key files of a folder, in no order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, KeysError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if is_key(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Has the folder files that are no keys, beside hidden ones? Then it is hardly meant for keys.
fn has_others(folder: &Path) -> Result<bool, KeysError> {
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && !is_key(&path) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_key(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
}

/// The number of a key file.
fn number(path: &Path) -> Option<usize> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn file(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number:04}.json"))
}

/// Writes key `number`; false when somebody else has just done so. The file appears whole or not
/// at all: it is written under another name and linked, and a link never replaces a file.
fn create(
    folder: &Path,
    number: usize,
    signs_from: Option<DateTime<Utc>>,
) -> Result<bool, KeysError> {
    let content = generate(signs_from)?;
    let temporary = folder.join(format!(".{}", Uuid::new_v4()));
    let mut written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed(&temporary))?;
    written
        .write_all(content.as_bytes())
        .and_then(|()| written.sync_all())
        .map_err(failed(&temporary))?;
    let target = file(folder, number);
    let linked = fs::hard_link(&temporary, &target);
    fs::remove_file(&temporary).map_err(failed(&temporary))?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(&target)(error)),
    }
}

fn generate(signs_from: Option<DateTime<Utc>>) -> Result<String, KeysError> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_unspecified| KeysError::Random)?;
    let pair =
        Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_rejected| KeysError::Random)?;
    let content = KeyFile {
        kid: thumbprint(pair.public_key().as_ref()),
        created_at: Utc::now(),
        signs_from,
        pkcs8: URL_SAFE_NO_PAD.encode(document.as_ref()),
    };
    serde_json::to_string(&content).map_err(|_never| KeysError::Random)
}

fn read(path: &Path) -> Result<Key, KeysError> {
    let malformed = || KeysError::Malformed {
        path: path.to_owned(),
    };
    let text = fs::read_to_string(path).map_err(failed(path))?;
    let content: KeyFile = serde_json::from_str(&text).map_err(|_| malformed())?;
    let pkcs8 = URL_SAFE_NO_PAD
        .decode(content.pkcs8)
        .map_err(|_| malformed())?;
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| malformed())?;
    let public = pair.public_key().as_ref().to_vec();
    if content.kid != thumbprint(&public) {
        return Err(malformed());
    }
    Ok(Key {
        kid: content.kid,
        signs_from: content.signs_from,
        signs: EncodingKey::from_ed_der(&pkcs8),
        verifies: DecodingKey::from_ed_der(&public),
        public,
    })
}

/// RFC 7638 over RFC 8037's members, in their order.
fn thumbprint(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let members = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
    URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> KeysError {
    move |source| KeysError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn newest(keys: &KeySet) -> String {
        keys.all().last().unwrap().kid.clone()
    }

    #[test]
    fn a_key_that_is_added_is_the_newest_whichever_were_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        KeySet::create_if_missing(folder).unwrap();
        fs::rename(file(folder, 1), file(folder, 20)).unwrap();
        assert_eq!(KeySet::add(folder, Utc::now()).unwrap(), file(folder, 21));
        let added = read(&file(folder, 21)).unwrap().kid;
        assert_eq!(newest(&KeySet::load(folder).unwrap()), added);
        for _ in 2..KEYS_MAX {
            KeySet::add(folder, Utc::now()).unwrap();
        }
        let full = KeySet::add(folder, Utc::now());
        assert!(matches!(full, Err(KeysError::TooMany { .. })));
        KeySet::load(folder).unwrap();
    }

    #[test]
    fn a_folder_keeps_its_rights_and_one_of_something_else_gets_no_key() {
        let parent = tempfile::tempdir().unwrap();
        let mode = |folder: &Path| fs::metadata(folder).unwrap().permissions().mode() & 0o777;
        let new = parent.path().join("new");
        let first = KeySet::create_first(&new).unwrap();
        assert_eq!((first, mode(&new)), (Some(file(&new, 1)), 0o700));
        // Of a group whose members read it.
        fs::set_permissions(&new, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(KeySet::create_first(&new).unwrap(), None);
        assert_eq!(mode(&new), 0o750);
        let before = mode(parent.path());
        let mistaken = KeySet::create_first(parent.path());
        assert!(matches!(mistaken, Err(KeysError::Empty { .. })));
        assert!(!file(parent.path(), 1).exists());
        assert_eq!(mode(parent.path()), before);
    }

    #[test]
    fn the_first_key_is_made_once_and_the_newest_signs() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("jwt");
        assert!(matches!(KeySet::load(&folder), Err(KeysError::Io { .. })));
        let racing: Vec<_> = (0..8)
            .map(|_| {
                let folder = folder.clone();
                std::thread::spawn(move || newest(&KeySet::create_if_missing(&folder).unwrap()))
            })
            .collect();
        let kids: std::collections::BTreeSet<_> = racing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(kids.len(), 1, "all agree on one key");
        let added = KeySet::add(&folder, Utc::now()).unwrap();
        assert_eq!(added, file(&folder, 2));
        let rotated = KeySet::load(&folder).unwrap();
        assert_eq!(rotated.all().len(), 2);
        assert!(!kids.contains(&newest(&rotated)));
        let mode = fs::metadata(file(&folder, 1)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(file(&folder, 3), "{}").unwrap();
        assert!(matches!(
            KeySet::load(&folder),
            Err(KeysError::Malformed { .. })
        ));
    }
}
