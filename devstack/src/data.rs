//! The data folder: its layout, who may use it, and how it is emptied.
//!
//! ```text
//! .millrace/  made-by-millrace  lock  lock.servers  secrets.env  postgres.location
//!             keys/jwt/  nats/  postgres/  mail/  payments/  logs/
//! ```

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::secrets;

/// Marks a folder as ours: only such a folder is ever used again or emptied.
const MARK: &str = "made-by-millrace";
const MARK_TEXT: &str =
    "Millrace keeps its data here. `millrace up --fresh` empties this folder.\n";
/// What a role, the mail sink or the payment simulator that was run alone may have put there before.
const MAY_COME_FIRST: [&str; 3] = ["keys", "mail", "payments"];
/// Says where Postgres's files are when they are not in the data folder.
const LOCATION: &str = "postgres.location";

/// Bytes of the digest that names the folder outside.
const NAME_BYTES: usize = 8;

/// Folders that an unprivileged user must be able to pass through.
const OPEN: u32 = 0o755;
/// Folders that only their owner may read.
const PRIVATE: u32 = 0o700;
/// The folders and who may pass through them.
const FOLDERS: [(&str, u32); 7] = [
    ("keys", PRIVATE),
    ("keys/jwt", PRIVATE),
    ("nats", PRIVATE),
    ("postgres", OPEN),
    ("mail", PRIVATE),
    ("payments", PRIVATE),
    ("logs", PRIVATE),
];

/// A log that has grown beyond this is put aside at the next start, as `<name>.log.1`.
const LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// A file or folder cannot be made, read or removed.
    #[error("cannot use {}", path.display())]
    Path {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The folder holds something else.
    #[error(
        "{} is not empty and was not made by millrace; name another folder with --data",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Another process uses the folder.
    #[error("{} is in use by {holder}; stop that one or name another folder with --data", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// Who uses it.
        holder: Box<crate::Holder>,
    },
    /// The servers of a process that is gone do not end.
    #[error(
        "the servers of an earlier run still use {} after {waited_s} s; end nats-server and postgres there by hand",
        path.display()
    )]
    Lingering {
        /// The folder.
        path: PathBuf,
        /// How long we waited, in seconds.
        waited_s: u64,
    },
}

/// A data folder that exists and is ours.
#[derive(Debug, Clone)]
pub struct Data {
    root: PathBuf,
}

impl Data {
    /// Makes the folder, or recognises it by its mark.
    ///
    /// # Errors
    /// [`Error::Foreign`] when it holds something that is not ours; [`Error::Path`] when it
    /// cannot be made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let at = |source| Error::Path {
            path: root.to_owned(),
            source,
        };
        DirBuilder::new().recursive(true).create(root).map_err(at)?;
        let root = root.canonicalize().map_err(at)?;
        let mark = root.join(MARK);
        if !mark.exists() {
            let mut found = fs::read_dir(&root).map_err(at)?.filter_map(Result::ok);
            let is_ours = |name: &OsStr| MAY_COME_FIRST.iter().any(|ours| name == *ours);
            if found.any(|entry| !is_ours(&entry.file_name())) {
                return Err(Error::Foreign { path: root });
            }
            fs::set_permissions(&root, Permissions::from_mode(OPEN)).map_err(at)?;
            fs::write(&mark, MARK_TEXT).map_err(at)?;
        }
        Ok(Self { root })
    }

    /// Makes the sub-folders and puts logs aside that have grown large.
    ///
    /// # Errors
    /// [`Error::Path`] when one cannot be made.
    pub fn lay_out(&self) -> Result<(), Error> {
        for (name, mode) in FOLDERS {
            let path = self.root.join(name);
            let made = match DirBuilder::new().mode(mode).create(&path) {
                // The process's umask may have taken away what an unprivileged user needs.
                Ok(()) => fs::set_permissions(&path, Permissions::from_mode(mode)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(error),
            };
            made.map_err(|source| Error::Path { path, source })?;
        }
        Ok(())
    }

    /// Removes what we made, and nothing else. Only under the folder's lock.
    ///
    /// # Errors
    /// [`Error::Path`] when something cannot be removed.
    pub fn empty(&self) -> Result<(), Error> {
        if let Some(elsewhere) = self.postgres_elsewhere() {
            remove(&elsewhere)?;
        }
        for (name, _) in FOLDERS {
            remove(&self.root.join(name))?;
        }
        remove(&self.root.join(LOCATION))?;
        remove(&self.root.join(secrets::FILE))
    }

    /// The folder itself, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The log of one server.
    pub fn log(&self, name: &str) -> PathBuf {
        let path = self.root.join("logs").join(format!("{name}.log"));
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_LIMIT_BYTES) {
            // A log that cannot be put aside just grows on.
            let _ = fs::rename(&path, path.with_extension("log.1"));
        }
        path
    }

    /// Where Postgres's files are, if an earlier start put them outside the data folder. A note
    /// that came here with a copy of another data folder is not believed: its folder is in use.
    pub fn postgres_elsewhere(&self) -> Option<PathBuf> {
        let text = fs::read_to_string(self.root.join(LOCATION)).ok()?;
        let folder = PathBuf::from(text.trim_end());
        let ours = folder.file_name() == Some(OsStr::new(&name_elsewhere(&self.root)));
        ours.then_some(folder)
    }

    /// Remembers that Postgres's files are at `folder`.
    ///
    /// # Errors
    /// [`Error::Path`] when the note cannot be written.
    pub fn put_postgres_elsewhere(&self, folder: &Path) -> Result<(), Error> {
        let path = self.root.join(LOCATION);
        fs::write(&path, format!("{}\n", folder.display()))
            .map_err(|source| Error::Path { path, source })
    }
}

/// The name of the folder outside that belongs to the data folder at `root` alone.
pub(crate) fn name_elsewhere(root: &Path) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, root.as_os_str().as_bytes());
    let short = digest
        .as_ref()
        .first_chunk::<NAME_BYTES>()
        .copied()
        .map_or(0, u64::from_be_bytes);
    format!("millrace-{short:016x}")
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|source| Error::Path {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_things_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
        assert!(matches!(
            Data::open(folder.path()).unwrap_err(),
            Error::Foreign { .. }
        ));
    }

    #[test]
    fn a_folder_in_which_what_was_run_alone_has_left_its_own_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        for left in ["keys/jwt", "mail", "payments"] {
            fs::create_dir_all(folder.path().join(left)).unwrap();
        }
        Data::open(folder.path()).unwrap().lay_out().unwrap();
    }

    #[test]
    fn emptying_removes_what_we_made_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(folder.path()).unwrap();
        data.lay_out().unwrap();
        fs::write(data.join("logs/nats.log"), "x").unwrap();
        fs::write(data.join("secrets.env"), "A=b").unwrap();
        fs::write(data.join("notes.txt"), "mine").unwrap();
        data.empty().unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["made-by-millrace", "notes.txt"]);
        Data::open(folder.path()).unwrap();
    }

    #[test]
    fn a_large_log_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(folder.path()).unwrap();
        data.lay_out().unwrap();
        let log = fs::File::create(data.join("logs/nats.log")).unwrap();
        log.set_len(LOG_LIMIT_BYTES + 1).unwrap();
        assert!(!data.log("nats").exists());
        assert!(data.join("logs/nats.log.1").exists());
    }
}
