//! A running child: signal it, wait for it; dropping it ends it.

use std::fmt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use super::{Error, Spawner};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(Option<ExitStatus>);

impl Exit {
    /// Whether it ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.0.is_some_and(|status| status.success())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("exit status unknown"),
        }
    }
}

/// Signals a child for as long as it exists, and never a stranger that got its number later.
#[derive(Debug, Clone)]
pub struct Signaller {
    pid: Pid,
    /// True once the system may give the number to another process.
    reaped: Arc<Mutex<bool>>,
}

impl Signaller {
    /// Sends a signal; a child that has ended already is no error.
    ///
    /// # Errors
    /// [`Error::Signal`] when the system refuses.
    pub fn send(&self, signal: Signal) -> Result<(), Error> {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if *reaped {
            return Ok(());
        }
        match kill_process(self.pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::Signal {
                pid: self.pid.as_raw_nonzero().get().unsigned_abs(),
                source: errno.into(),
            }),
        }
    }
}

/// A running child. Dropping it sends its death signal.
#[derive(Debug)]
pub struct Child {
    signaller: Signaller,
    exit: watch::Receiver<Option<Exit>>,
    death_signal: Signal,
    /// Keeps the spawning thread alive: its end would be taken for the parent's.
    _spawner: Spawner,
}

impl Child {
    pub(super) fn watch(
        mut child: std::process::Child,
        death_signal: Signal,
        spawner: Spawner,
    ) -> Result<Self, Error> {
        let signaller = Signaller {
            pid: Pid::from_child(&child),
            reaped: Arc::new(Mutex::new(false)),
        };
        let (tell, exit) = watch::channel(None);
        let (pid, reaped) = (signaller.pid, signaller.reaped.clone());
        std::thread::Builder::new()
            .name("wait".into())
            .spawn(move || {
                wait_without_reaping(pid);
                let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
                let status = child.wait().ok();
                *reaped = true;
                drop(reaped);
                tell.send_replace(Some(Exit(status)));
            })
            .map_err(|_| Error::NoSpawner)?;
        Ok(Self {
            signaller,
            exit,
            death_signal,
            _spawner: spawner,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.signaller.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// A handle that signals this child and may outlive this value.
    pub fn signaller(&self) -> Signaller {
        self.signaller.clone()
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Exit {
        exit_of(self.exit.clone()).await
    }

    /// Resolves with the child's end and does not borrow the child.
    pub fn end(&self) -> impl Future<Output = Exit> + Send + 'static {
        exit_of(self.exit.clone())
    }

    /// Sends `signal`, waits for the end at most `patience`, then kills. Tells whether the
    /// signal was enough.
    ///
    /// # Errors
    /// [`Error::Signal`] when the system refuses a signal.
    pub async fn stop(&self, signal: Signal, patience: Duration) -> Result<bool, Error> {
        self.signaller.send(signal)?;
        if tokio::time::timeout(patience, self.wait()).await.is_ok() {
            return Ok(true);
        }
        self.signaller.send(Signal::KILL)?;
        self.wait().await;
        Ok(false)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that cannot be signalled here still has its parent-death signal.
        let _ = self.signaller.send(self.death_signal);
    }
}

async fn exit_of(mut exit: watch::Receiver<Option<Exit>>) -> Exit {
    match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.unwrap_or(Exit(None)),
        // The waiting thread is gone without a word: it panicked, and so the end is not known.
        Err(_) => Exit(None),
    }
}

/// Blocks until the child has ended, and leaves it to be reaped under the signaller's lock.
fn wait_without_reaping(pid: Pid) {
    while let Err(Errno::INTR) = waitid(
        WaitId::Pid(pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    ) {}
}
