//! An append-only file of JSON lines that survives kill -9: what was settled is read back at the next start.
//!
//! Writing is grouped: a thread of its own takes everything that waits, writes it and calls fsync once.
//! The memory of waiting records is bounded by the callers, who each wait for their record before the next.

mod writer;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use thiserror::Error;
use tokio::sync::watch;
use writer::{Progress, Queue, Writer};

/// Why a journal can't be read or written.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// The file or its folder can't be made, opened, read or locked.
    #[error("cannot open the journal {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another process holds the file.
    #[error("the journal {path} is in use by another process")]
    Locked {
        /// Which file.
        path: PathBuf,
    },
    /// A complete line isn't a record: the file was changed by something else.
    #[error("line {line} of the journal {path} is not a record")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// Writing or fsync failed; nothing is accepted from then on.
    #[error("cannot write the journal {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A stored record can't be read back.
    #[error("cannot read the journal {path} at byte {offset}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What went wrong.
        #[source]
        source: Arc<std::io::Error>,
    },
}

/// Where a record lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    offset: u64,
    length: usize,
}

impl Place {
    /// The position that must be settled before the record is durable.
    pub(crate) fn end(self) -> u64 {
        self.offset + self.length as u64
    }
}

/// The open journal. Dropping it writes what waits and frees the file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    queue: Arc<Queue>,
    progress: watch::Receiver<Progress>,
    writer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens or makes the file and hands every record in it to `replay`. A torn last line, left by a crash
    /// in the middle of a write, was never acknowledged and is cut off.
    ///
    /// # Errors
    /// When the file can't be opened, another process holds it, or a complete line isn't a record.
    pub(crate) fn open<R: DeserializeOwned>(
        path: &Path,
        replay: impl FnMut(R, Place),
    ) -> Result<Self, Error> {
        let open_error = |source| Error::Open {
            path: path.to_path_buf(),
            source: Arc::new(source),
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(open_error)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = options.open(path).map_err(open_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    path: path.to_path_buf(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(open_error(source)),
        }
        let end = read_all(path, &file, replay)?;
        file.set_len(end).map_err(open_error)?;
        file.sync_all().map_err(open_error)?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(open_error)?;
        Self::start(path, file, end)
    }

    fn start(path: &Path, file: File, end: u64) -> Result<Self, Error> {
        let file = Arc::new(file);
        let queue = Arc::new(Queue::default());
        queue.lock().end = end;
        let (report, progress) = watch::channel(Progress::Settled(end));
        let writer = Writer {
            path: path.to_path_buf(),
            file: Arc::clone(&file),
            queue: Arc::clone(&queue),
            report,
        };
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| Error::Open {
                path: path.to_path_buf(),
                source: Arc::new(source),
            })?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            queue,
            progress,
            writer: Some(writer),
        })
    }

    /// Queues one record behind all earlier ones. It is durable once [`Journal::settled`] says so; whoever
    /// keeps the same fact in memory calls this under the lock of that memory, so that both have one order.
    ///
    /// # Errors
    /// When the record can't be written as JSON.
    pub(crate) fn append<R: Serialize>(&self, record: &R) -> Result<Place, Error> {
        let mut line = serde_json::to_vec(record).map_err(|source| Error::Write {
            path: self.path.clone(),
            source: Arc::new(source.into()),
        })?;
        line.push(b'\n');
        let mut waiting = self.queue.lock();
        let place = Place {
            offset: waiting.end,
            length: line.len(),
        };
        waiting.end = place.end();
        waiting.lines.append(&mut line);
        drop(waiting);
        self.queue.changed.notify_one();
        Ok(place)
    }

    /// The position behind the last queued record.
    pub(crate) fn end(&self) -> u64 {
        self.queue.lock().end
    }

    /// Waits until everything before `position` is on the disk.
    ///
    /// # Errors
    /// When writing has failed; from then on always.
    pub(crate) async fn settled(&self, position: u64) -> Result<(), Error> {
        let mut progress = self.progress.clone();
        let reached = |progress: &Progress| match progress {
            Progress::Settled(end) => *end >= position,
            Progress::Failed(_) => true,
        };
        match progress.wait_for(reached).await.as_deref() {
            Ok(Progress::Failed(error)) => Err(error.clone()),
            Ok(Progress::Settled(_)) => Ok(()),
            Err(_) => Err(self.ended()),
        }
    }

    /// Resolves when writing has failed, or when the journal is dropped, which it doesn't keep open.
    pub(crate) fn failed(&self) -> impl Future<Output = Error> + use<> {
        let mut progress = self.progress.clone();
        let ended = self.ended();
        async move {
            let failed = |progress: &Progress| matches!(progress, Progress::Failed(_));
            match progress.wait_for(failed).await.as_deref() {
                Ok(Progress::Failed(error)) => error.clone(),
                Ok(Progress::Settled(_)) | Err(_) => ended,
            }
        }
    }

    /// Reads one settled record again. Blocks on the disk.
    ///
    /// # Errors
    /// When the file can't be read or holds something else there.
    pub(crate) fn read<R: DeserializeOwned>(&self, place: Place) -> Result<R, Error> {
        let failed = |source| Error::Read {
            path: self.path.clone(),
            offset: place.offset,
            source: Arc::new(source),
        };
        let mut line = vec![0; place.length];
        self.file
            .read_exact_at(&mut line, place.offset)
            .map_err(failed)?;
        serde_json::from_slice(&line).map_err(|source| failed(source.into()))
    }

    fn ended(&self) -> Error {
        Error::Write {
            path: self.path.clone(),
            source: Arc::new(std::io::Error::other("the writer has ended")),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to write, and its report already says "ended".
            let _ = writer.join();
        }
    }
}

/// Reads every complete line; answers where the last one ends.
fn read_all<R: DeserializeOwned>(
    path: &Path,
    file: &File,
    mut replay: impl FnMut(R, Place),
) -> Result<u64, Error> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let (mut end, mut number) = (0_u64, 0_u64);
    loop {
        line.clear();
        let length = reader
            .read_until(b'\n', &mut line)
            .map_err(|source| Error::Open {
                path: path.to_path_buf(),
                source: Arc::new(source),
            })?;
        if line.last() != Some(&b'\n') {
            return Ok(end);
        }
        number += 1;
        let record = serde_json::from_slice(&line).map_err(|source| Error::Corrupt {
            path: path.to_path_buf(),
            line: number,
            source: Arc::new(source),
        })?;
        let place = Place {
            offset: end,
            length,
        };
        end = place.end();
        replay(record, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopen(path: &Path) -> Result<(Journal, Vec<u32>), Error> {
        let mut found = Vec::new();
        let journal = Journal::open(path, |record: u32, _| found.push(record))?;
        Ok((journal, found))
    }

    #[tokio::test]
    async fn settled_records_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/journal.jsonl");
        let (journal, found) = reopen(&path).unwrap();
        assert_eq!(found, Vec::<u32>::new());
        let place = journal.append(&7).unwrap();
        let last = journal.append(&1_234).unwrap();
        journal.settled(last.end()).await.unwrap();
        assert_eq!(journal.read::<u32>(place).unwrap(), 7);
        assert_eq!(journal.read::<u32>(last).unwrap(), 1_234);
        drop(journal);
        assert_eq!(reopen(&path).unwrap().1, vec![7, 1_234]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_writing_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, b"1\n2\n33").unwrap();
        let (journal, found) = reopen(&path).unwrap();
        assert_eq!(found, vec![1, 2]);
        journal.append(&4).unwrap();
        drop(journal);
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n2\n4\n");
    }

    #[tokio::test]
    async fn waiting_for_a_failure_ends_with_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = reopen(&folder.path().join("journal.jsonl")).unwrap();
        let failed = journal.failed();
        drop(journal);
        assert!(matches!(failed.await, Error::Write { .. }));
    }

    #[test]
    fn a_damaged_line_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, b"1\nx\n3\n").unwrap();
        assert!(matches!(
            reopen(&path).unwrap_err(),
            Error::Corrupt { line: 2, .. }
        ));
    }
}
