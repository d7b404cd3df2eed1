//! The writing half of a journal: a thread that takes everything that waits, writes it and calls fsync once.

use super::Error;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) lines: Vec<u8>,
    /// The position behind the last line.
    pub(super) end: u64,
    /// Nothing more comes.
    pub(super) closed: bool,
}

/// How far the writer has come.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// Everything before this position is on the disk.
    Settled(u64),
    /// The disk refused; nothing is written any more.
    Failed(Error),
}

impl Queue {
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) queue: Arc<Queue>,
    pub(super) report: watch::Sender<Progress>,
}

impl Writer {
    /// Writes and settles whatever waits, until the journal is dropped or the disk refuses.
    pub(super) fn run(self) {
        while let Some((lines, end)) = self.next() {
            let written = (&*self.file)
                .write_all(&lines)
                .and_then(|()| self.file.sync_data());
            if let Err(source) = written {
                let path = self.path.clone();
                let source = Arc::new(source);
                self.report
                    .send_replace(Progress::Failed(Error::Write { path, source }));
                return;
            }
            self.report.send_replace(Progress::Settled(end));
        }
    }

    fn next(&self) -> Option<(Vec<u8>, u64)> {
        let waiting = self.queue.lock();
        let idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.closed;
        let mut waiting = self
            .queue
            .changed
            .wait_while(waiting, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.lines.is_empty() {
            return None;
        }
        Some((std::mem::take(&mut waiting.lines), waiting.end))
    }
}
