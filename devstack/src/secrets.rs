//! The secrets of one data folder: made once with random values, kept in `secrets.env`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// The file's name in the data folder.
pub const FILE: &str = "secrets.env";

/// Roles with a NATS user of their own; the user's name is the role in kebab case.
pub const NATS_ROLES: [&str; 8] = [
    "COMMAND_API",
    "QUERY_API",
    "GATEWAY",
    "PROJECTOR",
    "SAGA",
    "REACTOR",
    "PROVISION",
    "OPERATOR",
];

/// Contexts with a Postgres database, and so a writer and a reader, of their own.
pub const CONTEXTS: [&str; 7] = [
    "USER",
    "PRODUCT",
    "INVENTORY",
    "ORDER",
    "PAYMENT",
    "NOTIFICATION",
    "CHECKOUT",
];

/// The password of Postgres's superuser `millrace_admin`.
pub const POSTGRES_ADMIN: &str = "MILLRACE_POSTGRES_ADMIN_PASSWORD";
/// The key that callers of the payment simulator present.
pub const PAYMENT_SECRET_KEY: &str = "MILLRACE_PAYMENT_SECRET_KEY";
/// The key that signs the payment simulator's webhooks.
pub const PAYMENT_WEBHOOK_SECRET: &str = "MILLRACE_PAYMENT_WEBHOOK_SECRET";
/// The key that wraps the per-person keys.
pub const MASTER_KEY: &str = "MILLRACE_MASTER_KEY";
/// The key of request digests and email hashes.
pub const DIGEST_KEY: &str = "MILLRACE_DIGEST_KEY";

/// Bytes of randomness in every secret.
const SECRET_BYTES: usize = 32;
const MODE: u32 = 0o600;

/// Environment variable names with their secret values, in alphabetical order.
#[derive(Clone)]
pub struct Secrets(BTreeMap<String, String>);

/// Why the secrets are not to be had.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A line is not `NAME=value`.
    #[error("line {line} of {} is not NAME=value", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl Secrets {
    /// Reads the data folder's secrets; makes those that are missing and keeps them.
    ///
    /// # Errors
    /// When the file is unreadable, not `NAME=value`, or cannot be written.
    pub fn load_or_create(data: &Path) -> Result<Self, Error> {
        let path = data.join(FILE);
        let mut values = match fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(Error::File { path, source }),
        };
        let before = values.len();
        for (name, prefix) in names() {
            if let Entry::Vacant(missing) = values.entry(name) {
                missing.insert(random(prefix)?);
            }
        }
        let secrets = Self(values);
        if secrets.0.len() > before {
            secrets
                .write(&path)
                .map_err(|source| Error::File { path, source })?;
        }
        Ok(secrets)
    }

    /// The value of one secret.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whole or not at all: a half-written file would lock everybody out.
    fn write(&self, path: &Path) -> io::Result<()> {
        let half = path.with_extension("env.new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&half)?;
        for (name, value) in self.iter() {
            writeln!(file, "{name}={value}")?;
        }
        file.sync_all()?;
        fs::rename(&half, path)
    }
}

/// Shows the names only: secrets do not belong in logs.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Every secret's name with the text that its value starts with.
fn names() -> impl Iterator<Item = (String, &'static str)> {
    // nats.conf reads these as bare values, where a leading digit would make a number.
    let nats = NATS_ROLES.map(|role| (format!("MILLRACE_NATS_{role}_PASSWORD"), "n"));
    let postgres = CONTEXTS.into_iter().flat_map(|context| {
        ["WRITER", "READER"]
            .map(|right| (format!("MILLRACE_POSTGRES_{context}_{right}_PASSWORD"), ""))
    });
    let others = [
        (POSTGRES_ADMIN, ""),
        (PAYMENT_SECRET_KEY, "sk_test_"),
        (PAYMENT_WEBHOOK_SECRET, "whsec_"),
        (MASTER_KEY, ""),
        (DIGEST_KEY, ""),
    ];
    nats.into_iter()
        .chain(postgres)
        .chain(others.map(|(name, prefix)| (name.to_owned(), prefix)))
}

fn random(prefix: &str) -> Result<String, Error> {
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Random)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn parse(path: &Path, text: &str) -> Result<BTreeMap<String, String>, Error> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            line.split_once('=')
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .ok_or_else(|| Error::Line {
                    path: path.to_owned(),
                    line: index + 1,
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept() {
        let data = tempfile::tempdir().unwrap();
        let first = Secrets::load_or_create(data.path()).unwrap();
        let second = Secrets::load_or_create(data.path()).unwrap();
        assert!(first.iter().eq(second.iter()));
        let of_nats = NATS_ROLES.len();
        let writers_and_readers = 2 * CONTEXTS.len();
        assert_eq!(first.iter().count(), of_nats + writers_and_readers + 5);
        let mode = fs::metadata(data.path().join(FILE)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_a_newer_version_needs_is_added_and_the_others_stay() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "MILLRACE_MASTER_KEY=mine\n").unwrap();
        let secrets = Secrets::load_or_create(data.path()).unwrap();
        assert_eq!(secrets.get(MASTER_KEY), Some("mine"));
        assert!(secrets.get(DIGEST_KEY).is_some_and(|key| key.len() == 43));
    }

    #[test]
    fn secrets_have_the_forms_that_their_readers_need() {
        let data = tempfile::tempdir().unwrap();
        let secrets = Secrets::load_or_create(data.path()).unwrap();
        for (name, value) in secrets.iter().filter(|(name, _)| name.contains("_NATS_")) {
            assert!(value.starts_with('n'), "{name}={value}");
        }
        let key = secrets.get(MASTER_KEY).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(key).unwrap().len(), 32);
        assert!(
            secrets
                .get(PAYMENT_SECRET_KEY)
                .unwrap()
                .starts_with("sk_test_")
        );
    }

    #[test]
    fn a_broken_line_is_named_and_secrets_are_not_printed() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "A=b\nnonsense\n").unwrap();
        let error = Secrets::load_or_create(data.path()).unwrap_err();
        assert!(matches!(error, Error::Line { line: 2, .. }));
        let secrets = Secrets(BTreeMap::from([("NAME".into(), "hidden".into())]));
        assert_eq!(format!("{secrets:?}"), r#"{"NAME"}"#);
    }
}
