//! Official release archives of one program, checked against the published checksums.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use indicatif::MultiProgress;
use zip::ZipArchive;

use super::{Problem, http};

/// How an archive is packed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Packed {
    /// `.tar.gz`
    Tar,
    /// `.zip`
    Zip,
}

/// The release of a program that is fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release {
    /// The program in the archive.
    pub(super) program: &'static str,
    /// Its version, without a v.
    pub(super) version: &'static str,
    /// What stands before the platform in the archive's name.
    pub(super) archive: &'static str,
    /// How it is packed.
    pub(super) packed: Packed,
}

impl Release {
    /// Downloads the archive from `releases` into `folder` and takes the program out of it.
    pub(super) async fn fetch(
        self,
        releases: &str,
        folder: &Path,
        progress: &MultiProgress,
    ) -> Result<PathBuf, Problem> {
        let ending = match self.packed {
            Packed::Tar => "tar.gz",
            Packed::Zip => "zip",
        };
        let archive = format!("{}{}.{ending}", self.archive, platform()?);
        let base = format!("{releases}/v{}", self.version);
        let sums_url = format!("{base}/SHA256SUMS");
        let sums = http::text(&sums_url).await?;
        let expected = published(&sums, &archive).ok_or_else(|| Problem::Lacks {
            place: sums_url,
            what: archive.clone(),
        })?;
        let file = folder.join(&archive);
        let found = http::download(&format!("{base}/{archive}"), &file, progress).await?;
        if !found.eq_ignore_ascii_case(&expected) {
            return Err(Problem::Checksum {
                file: archive,
                expected,
                found,
            });
        }
        let program = folder.join(self.program);
        let target = program.clone();
        tokio::task::spawn_blocking(move || self.take_out(&file, &target))
            .await
            .map_err(|error| Problem::file(folder)(io::Error::other(error)))??;
        Ok(program)
    }

    fn take_out(self, archive: &Path, target: &Path) -> Result<(), Problem> {
        let file = File::open(archive).map_err(Problem::file(archive))?;
        let found = match self.packed {
            Packed::Tar => self.out_of_tar(file, archive, target)?,
            Packed::Zip => self.out_of_zip(file, target)?,
        };
        found.then_some(()).ok_or_else(|| Problem::Lacks {
            place: archive.display().to_string(),
            what: self.program.into(),
        })
    }

    fn out_of_tar(self, file: File, archive: &Path, target: &Path) -> Result<bool, Problem> {
        let at = || Problem::file(archive);
        let mut tar = tar::Archive::new(GzDecoder::new(file));
        for entry in tar.entries().map_err(at())? {
            let mut entry = entry.map_err(at())?;
            let wanted = entry.path().is_ok_and(|path| path.ends_with(self.program))
                && entry.header().entry_type().is_file();
            if wanted {
                write(&mut entry, target)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn out_of_zip(self, file: File, target: &Path) -> Result<bool, Problem> {
        let mut zip = ZipArchive::new(file)?;
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index)?;
            if entry.is_file() && Path::new(entry.name()).ends_with(self.program) {
                write(&mut entry, target)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn write(from: &mut impl Read, target: &Path) -> Result<(), Problem> {
    let mut out = File::create(target).map_err(Problem::file(target))?;
    io::copy(from, &mut out).map_err(Problem::file(target))?;
    out.sync_all().map_err(Problem::file(target))
}

/// The releases' name for this operating system and processor.
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
