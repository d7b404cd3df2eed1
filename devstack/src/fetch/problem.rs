//! Why a program is not to be had: every source with its reason, and what to do by hand.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Version;

/// Why one source did not give the program.
#[derive(Debug, Error)]
pub enum Problem {
    /// There is nothing at that place.
    #[error("not found")]
    Absent,
    /// The source needs a program that is not there.
    #[error("needs {0}, which is not installed")]
    Needs(&'static str),
    /// The source is named by an environment variable, which is not set.
    #[error("{0} is not set")]
    Unset(&'static str),
    /// The source has nothing for this operating system and processor.
    #[error("has nothing for {os} on {arch}", os = std::env::consts::OS, arch = std::env::consts::ARCH)]
    Platform,
    /// The program is too old.
    #[error("is version {found}, and at least {floor} is needed")]
    TooOld {
        /// Its version.
        found: Version,
        /// The lowest that will do.
        floor: Version,
    },
    /// The program's version does not fit the data.
    #[error("is version {found}, and the data was made by version {needed}")]
    OtherMajor {
        /// Its version.
        found: Version,
        /// The major version that made the data.
        needed: u32,
    },
    /// The program does not say its version.
    #[error("does not say its version, but: {0}")]
    NoVersion(String),
    /// A program that should fetch it failed.
    #[error("{program} failed: {words}")]
    Program {
        /// The program.
        program: String,
        /// Its last words.
        words: String,
    },
    /// A program takes too long.
    #[error("{program} did not finish within {limit_s} s")]
    Slow {
        /// The program.
        program: String,
        /// The limit in seconds.
        limit_s: u64,
    },
    /// A request failed.
    #[error("cannot be reached")]
    Http(#[from] reqwest::Error),
    /// A request was answered with another status than 200.
    #[error("{url} answers {status}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// A download is larger than anything that we expect.
    #[error("{url} is larger than {limit_bytes} bytes")]
    Large {
        /// The address.
        url: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A download does not have the published checksum.
    #[error("{file} has SHA-256 {found} and should have {expected}")]
    Checksum {
        /// The file.
        file: String,
        /// The published checksum.
        expected: String,
        /// The checksum of what arrived.
        found: String,
    },
    /// An archive or list lacks something.
    #[error("{place} lacks {what}")]
    Lacks {
        /// The archive or list.
        place: String,
        /// What is missing.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// An archive cannot be read.
    #[error("is not a readable archive")]
    Archive(#[from] zip::result::ZipError),
}

impl Problem {
    /// For `map_err`: an I/O error at `path`.
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// One source that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// The source, in words.
    pub source: String,
    /// Why it did not give the program.
    pub problem: Problem,
}

/// Why a program is not to be had.
#[derive(Debug, Error)]
pub enum Error {
    /// The program that an environment variable names cannot be used.
    #[error("{variable} names {}, which cannot be used", path.display())]
    Named {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// Why not.
        #[source]
        problem: Problem,
    },
    /// Every source failed.
    #[error("no {what} is to be had:{}\n{advice}", Listed(attempts))]
    Nowhere {
        /// The program.
        what: &'static str,
        /// Every source with its reason.
        attempts: Vec<Attempt>,
        /// What to do by hand.
        advice: &'static str,
    },
}

struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Attempt { source, problem } in self.0 {
            write!(f, "\n  - {source}: {problem}")?;
            let mut cause = std::error::Error::source(problem);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}
