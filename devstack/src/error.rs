//! Why the stack does not come up or go down.

use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::launch::Exit;
use crate::{Service, data, fetch, launch, secrets};

/// Why the stack does not come up or go down.
#[derive(Debug, Error)]
pub enum Error {
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The secrets cannot be read or made.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    /// A server's program is not to be had.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// A child cannot be started or signalled.
    #[error(transparent)]
    Launch(#[from] launch::Error),
    /// No port is to be had.
    #[error("no port for {service}")]
    Port {
        /// The server that needs one.
        service: Service,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The data folder's streams are those of another number of NATS nodes.
    #[error(
        "{} was made with {before} NATS node(s), not {nodes}: start it with --nats-nodes {before}, name another folder with --data, or empty it with --fresh",
        data.display()
    )]
    NatsNodes {
        /// The folder.
        data: PathBuf,
        /// How many made it.
        before: usize,
        /// How many are wanted.
        nodes: usize,
    },
    /// A file of a server cannot be written or read.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A server ended before it was ready, or does not answer in time.
    #[error("{service} did not start: {what}; the end of {}:\n{tail}", log.display())]
    NotReady {
        /// The server.
        service: Service,
        /// What was seen instead.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A helper program (such as `initdb`) failed.
    #[error("{program} failed ({exit}); the end of {}:\n{tail}", log.display())]
    Program {
        /// The program.
        program: &'static str,
        /// How it ended.
        exit: Exit,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// Postgres runs but does not know our password.
    #[error(
        "postgres at {address} refuses the password in secrets.env, so these files belong to other data; start with --fresh or bring the old secrets.env back"
    )]
    Password {
        /// Where it listens.
        address: SocketAddr,
        /// Postgres's reason.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Postgres must not run as root, and no other user can be used.
    #[error(
        "postgres must not run as root, and {reason}; set MILLRACE_POSTGRES_USER to a normal user's name"
    )]
    PostgresUser {
        /// Why the user cannot be used.
        reason: String,
    },
    /// The unprivileged user can reach none of the folders that were tried.
    #[error("user {uid} can write to none of: {tried}")]
    Unreachable {
        /// The user.
        uid: u32,
        /// The folders.
        tried: String,
    },
    /// A server did not end when asked, and was killed.
    #[error("{service} did not stop within {waited_s} s and was killed")]
    Killed {
        /// The server.
        service: Service,
        /// How long we waited, in seconds.
        waited_s: u64,
    },
}

/// A server that ended although nobody asked it to.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The server.
    pub service: Service,
    /// How it ended.
    pub exit: Exit,
    /// Its log.
    pub log: PathBuf,
    /// The last lines of the log.
    pub tail: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ended unexpectedly ({}); the end of {}:\n{}",
            self.service,
            self.exit,
            self.log.display(),
            self.tail
        )
    }
}
