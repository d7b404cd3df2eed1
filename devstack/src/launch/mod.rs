//! Child processes that end with their parent, even when the parent is killed.
//!
//! ```text
//! millrace up ── spawner thread ──► millrace __exec --parent 1 --uid 2 --death-signal int -- postgres …
//!                                     └ sets groups, gid, uid, parent-death signal, checks its parent, then *becomes* postgres
//! ```
//!
//! The kernel sends a process its parent-death signal when the *thread* that made it ends, and
//! forgets the signal when the process changes its user. Hence one long-lived thread that makes
//! every child, and a hidden subcommand of our own that does the steps in the right order without
//! any unsafe code between fork and exec.

mod child;
mod exec;
mod spawner;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use child::{Child, Exit, Signaller};
pub use exec::{COMMAND, take_over};
pub use rustix::process::Signal;
pub use spawner::Spawner;
use thiserror::Error;

/// The program that carries the hidden subcommand (see [`take_over`]).
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// The launcher at `program`; in tests `env!("CARGO_BIN_EXE_millrace")`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }

    /// The program that runs now.
    ///
    /// # Errors
    /// When the system does not say which program that is.
    pub fn current() -> Result<Self, Error> {
        std::env::current_exe()
            .map(Self::new)
            .map_err(Error::NoLauncher)
    }

    /// Where the program is; the sinks are subcommands of it too.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// A numeric user and group that a child runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id; supplementary groups are dropped.
    pub gid: u32,
}

/// What a child runs, and as whom.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program, by absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, besides the few variables that every child gets (`PATH`, `HOME`, …).
    pub env: Vec<(OsString, OsString)>,
    /// Its working folder.
    pub folder: PathBuf,
    /// Another user to run as; only root can.
    pub user: Option<User>,
    /// What the kernel sends it when this process ends, and what dropping [`Child`] sends.
    pub death_signal: Signal,
    /// The file that its output is appended to; `None` discards it.
    pub log: Option<PathBuf>,
    /// A locked file that the child and its children hold open as standard input, so that the
    /// lock is free only once all of them are gone.
    pub hold: Option<Arc<File>>,
}

impl Spec {
    /// A child that runs `program` in `/` as the present user and is told to terminate.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: PathBuf::from("/"),
            user: None,
            death_signal: Signal::TERM,
            log: None,
            hold: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds one variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// Why a child could not be started or signalled.
#[derive(Debug, Error)]
pub enum Error {
    /// The system does not say where the running program is.
    #[error("the path of the running program is unknown")]
    NoLauncher(#[source] std::io::Error),
    /// The thread that starts children could not be started, or is gone.
    #[error("the thread that starts the servers is not running")]
    NoSpawner,
    /// The log file of a child cannot be opened.
    #[error("cannot open the log file {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The launcher could not be run.
    #[error("cannot start {} through {}", program.display(), launcher.display())]
    Spawn {
        /// The program that was asked for.
        program: PathBuf,
        /// The launcher that should have become it.
        launcher: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The system refused a signal.
    #[error("cannot signal process {pid}")]
    Signal {
        /// The process.
        pid: u32,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}
