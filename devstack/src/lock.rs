//! One user per data folder: two locks, ours and the one that our servers hold.
//!
//! `lock` is held by this process alone and says who we are. `lock.servers` is held by every
//! server too (it is their standard input), so after this process was killed the folder is free
//! only once the last of them has gone. Both are advisory locks of the kernel: nothing stale
//! survives a crash.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::data::Error;
use crate::{Data, Endpoints};

/// How long a start waits for the servers of an earlier run that was killed: a shutdown of
/// Postgres with a checkpoint on a slow disk fits in.
const LINGER_LIMIT: Duration = Duration::from_mins(1);
/// How often it looks.
const LINGER_STEP: Duration = Duration::from_millis(50);
/// How many looks a start gives to a lock that is taken before it believes it.
const LOOKER_TRIES: usize = 3;
const MODE: u32 = 0o600;

/// Who uses a data folder, and where to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process id.
    pub pid: u32,
    /// When it took the folder.
    pub since: DateTime<Utc>,
    /// The entry URL, once it serves.
    pub entry: Option<String>,
    /// Where its servers listen, once they do.
    pub endpoints: Option<Endpoints>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.format("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "process {} since {since}", self.pid)?;
        match &self.entry {
            Some(entry) => write!(f, ", which serves {entry}"),
            None => Ok(()),
        }
    }
}

/// The locks on a data folder; dropping it frees our own.
#[derive(Debug)]
pub(crate) struct Lock {
    ours: File,
    servers: Arc<File>,
    holder: Holder,
    waited: Duration,
}

impl Lock {
    /// Takes both locks, and waits a while for servers that an earlier run left behind.
    ///
    /// # Errors
    /// [`Error::Held`] when a process uses the folder; [`Error::Lingering`] when servers of an
    /// earlier run do not end in time.
    pub(crate) async fn take(data: &Data) -> Result<Self, Error> {
        let path = data.join("lock");
        let mut ours = open(&path)?;
        if !try_lock_patiently(&ours, &path).await? {
            let holder = read(&mut ours).unwrap_or_else(unknown_holder);
            return Err(Error::Held {
                path: data.root().to_owned(),
                holder: Box::new(holder),
            });
        }
        // What the last holder has said of itself is over.
        ours.set_len(0).map_err(|source| Error::Path {
            path: path.clone(),
            source,
        })?;
        let (servers, waited) = take_after_servers(data).await?;
        let holder = Holder {
            pid: std::process::id(),
            since: Utc::now(),
            entry: None,
            endpoints: None,
        };
        let mut lock = Self {
            ours,
            servers: Arc::new(servers),
            holder,
            waited,
        };
        lock.write(&path)?;
        Ok(lock)
    }

    /// The file that servers hold open as standard input.
    pub(crate) fn hold(&self) -> Arc<File> {
        self.servers.clone()
    }

    /// How long it took until the servers of an earlier run were gone.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Writes down where the servers are and, once it serves, the entry URL.
    ///
    /// # Errors
    /// [`Error::Path`] when the lock file cannot be written.
    pub(crate) fn announce(
        &mut self,
        data: &Data,
        endpoints: &Endpoints,
        entry: Option<&str>,
    ) -> Result<(), Error> {
        self.holder.endpoints = Some(endpoints.clone());
        self.holder.entry = entry.map(str::to_owned);
        self.write(&data.join("lock"))
    }

    fn write(&mut self, path: &Path) -> Result<(), Error> {
        let at = |source| Error::Path {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_string(&self.holder).map_err(|error| at(error.into()))?;
        self.ours.rewind().map_err(at)?;
        self.ours.set_len(0).map_err(at)?;
        self.ours.write_all(text.as_bytes()).map_err(at)
    }
}

/// Who uses the data folder at `root` now, if anybody does.
///
/// # Errors
/// [`Error::Path`] when the lock file exists and cannot be opened.
pub fn holder(root: &Path) -> Result<Option<Holder>, Error> {
    let path = root.join("lock");
    if !path.exists() {
        return Ok(None);
    }
    let mut file = open(&path)?;
    if try_lock(&file, &path)? {
        return Ok(None);
    }
    Ok(Some(read(&mut file).unwrap_or_else(unknown_holder)))
}

/// Somebody who only looks ([`holder`]) has the lock for an instant.
async fn try_lock_patiently(file: &File, path: &Path) -> Result<bool, Error> {
    for _ in 0..LOOKER_TRIES {
        if try_lock(file, path)? {
            return Ok(true);
        }
        tokio::time::sleep(LINGER_STEP).await;
    }
    try_lock(file, path)
}

async fn take_after_servers(data: &Data) -> Result<(File, Duration), Error> {
    let path = data.join("lock.servers");
    let file = open(&path)?;
    let start = Instant::now();
    while !try_lock(&file, &path)? {
        if start.elapsed() > LINGER_LIMIT {
            return Err(Error::Lingering {
                path: data.root().to_owned(),
                waited_s: LINGER_LIMIT.as_secs(),
            });
        }
        tokio::time::sleep(LINGER_STEP).await;
    }
    Ok((file, start.elapsed()))
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(|source| Error::Path {
            path: path.to_owned(),
            source,
        })
}

fn try_lock(file: &File, path: &Path) -> Result<bool, Error> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(Error::Path {
            path: path.to_owned(),
            source: errno.into(),
        }),
    }
}

fn read(file: &mut File) -> io::Result<Holder> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// The holder has not written its name yet: it took the lock this very moment.
fn unknown_holder(_unreadable: io::Error) -> Holder {
    Holder {
        pid: 0,
        since: Utc::now(),
        entry: None,
        endpoints: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_taker_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(folder.path()).unwrap();
        let mut lock = Lock::take(&data).await.unwrap();
        let endpoints = Endpoints::example();
        lock.announce(&data, &endpoints, Some("http://127.0.0.1:8080"))
            .unwrap();
        let error = Lock::take(&data).await.unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            error.contains(&format!("process {pid} since 20")),
            "{error}"
        );
        assert!(error.contains("http://127.0.0.1:8080"), "{error}");
        let found = holder(folder.path()).unwrap().unwrap();
        assert_eq!(found.endpoints, Some(endpoints));
        drop(lock);
        assert_eq!(holder(folder.path()).unwrap(), None);
        Lock::take(&data).await.unwrap();
    }

    #[tokio::test]
    async fn a_start_waits_for_servers_that_still_run() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(folder.path()).unwrap();
        let lock = Lock::take(&data).await.unwrap();
        let server = lock.hold();
        drop(lock);
        let end = Duration::from_millis(300);
        tokio::spawn(async move {
            tokio::time::sleep(end).await;
            drop(server);
        });
        let next = Lock::take(&data).await.unwrap();
        assert!(next.waited() >= Duration::from_millis(200));
    }
}
