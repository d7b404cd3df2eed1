//! nats-server's official release archive, checked against the published checksums.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::{Problem, Sources, http};

/// The release that is fetched.
pub(super) const VERSION: &str = "2.15.2";
/// The program in the archive.
const PROGRAM: &str = "nats-server";

/// Downloads the archive into `folder` and takes the program out of it.
pub(super) async fn fetch(sources: &Sources, folder: &Path) -> Result<PathBuf, Problem> {
    let archive = format!("nats-server-v{VERSION}-{}.tar.gz", platform()?);
    let base = format!("{}/v{VERSION}", sources.nats_releases);
    let sums_url = format!("{base}/SHA256SUMS");
    let sums = http::text(&sums_url).await?;
    let expected = published(&sums, &archive).ok_or_else(|| Problem::Lacks {
        place: sums_url,
        what: archive.clone(),
    })?;
    let file = folder.join(&archive);
    let found = http::download(&format!("{base}/{archive}"), &file, &sources.progress).await?;
    if !found.eq_ignore_ascii_case(&expected) {
        return Err(Problem::Checksum {
            file: archive,
            expected,
            found,
        });
    }
    let program = folder.join(PROGRAM);
    let target = program.clone();
    tokio::task::spawn_blocking(move || take_out(&file, &target))
        .await
        .map_err(|error| Problem::file(folder)(io::Error::other(error)))??;
    Ok(program)
}

/// The release's name for this operating system and processor.
fn platform() -> Result<&'static str, Problem> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-amd64"),
        ("linux", "aarch64") => Ok("linux-arm64"),
        ("macos", "x86_64") => Ok("darwin-amd64"),
        ("macos", "aarch64") => Ok("darwin-arm64"),
        ("freebsd", "x86_64") => Ok("freebsd-amd64"),
        _ => Err(Problem::Platform),
    }
}

/// The line `<checksum>  <file>` of a `sha256sum` list.
fn published(sums: &str, archive: &str) -> Option<String> {
    sums.lines()
        .filter_map(|line| line.split_once(char::is_whitespace))
        .find(|(_, name)| name.trim_start_matches([' ', '*']) == archive)
        .map(|(sum, _)| sum.to_owned())
}

fn take_out(archive: &Path, target: &Path) -> Result<(), Problem> {
    let at = || Problem::file(archive);
    let file = File::open(archive).map_err(at())?;
    let mut tar = tar::Archive::new(GzDecoder::new(file));
    for entry in tar.entries().map_err(at())? {
        let mut entry = entry.map_err(at())?;
        let wanted = entry.path().is_ok_and(|path| path.ends_with(PROGRAM))
            && entry.header().entry_type().is_file();
        if wanted {
            let mut out = File::create(target).map_err(Problem::file(target))?;
            io::copy(&mut entry, &mut out).map_err(at())?;
            return out.sync_all().map_err(Problem::file(target));
        }
    }
    Err(Problem::Lacks {
        place: archive.display().to_string(),
        what: PROGRAM.into(),
    })
}
