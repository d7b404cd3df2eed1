//! Makes the cluster, once: whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use super::{ADMIN, Ground, home};
use crate::fetch::Version;
use crate::launch::User;
use crate::server::log_end;
use crate::{Error, secrets};

/// The first version with a locale provider that depends on no library of the system.
const BUILTIN_LOCALE_SINCE: u32 = 17;
const PRIVATE: u32 = 0o700;
const SECRET: u32 = 0o600;

/// The major version that made the cluster, if there is one.
pub(super) fn major(cluster: &Path) -> Option<u32> {
    let text = fs::read_to_string(cluster.join("PG_VERSION")).ok()?;
    text.trim().parse().ok()
}

/// Runs `initdb` beside the final place and moves the result there, unless it is there already.
pub(super) async fn make_once(
    ground: &Ground<'_>,
    user: Option<User>,
    cluster: &Path,
    bin: &Path,
    version: Version,
) -> Result<(), Error> {
    if major(cluster).is_some() {
        return Ok(());
    }
    let half = cluster.with_extension("half");
    empty_folder(&half, user).map_err(|source| file(&half, source))?;
    let password = cluster.with_extension("password");
    let secret = ground
        .secrets
        .get(secrets::POSTGRES_ADMIN)
        .unwrap_or_default();
    write_password(&password, secret, user).map_err(|source| file(&password, source))?;
    let made = run_initdb(ground, user, [&half, &password], bin, version).await;
    fs::remove_file(&password).map_err(|source| file(&password, source))?;
    made?;
    fs::rename(&half, cluster).map_err(|source| file(cluster, source))
}

async fn run_initdb(
    ground: &Ground<'_>,
    user: Option<User>,
    [folder, password]: [&PathBuf; 2],
    bin: &Path,
    version: Version,
) -> Result<(), Error> {
    let log = ground.data.log("initdb");
    let mut spec = ground
        .helper(bin.join("initdb"), user)
        .args([Path::new("-D"), folder])
        .args(["-U", ADMIN, "--pwfile"])
        .args([password])
        .args([
            "--auth=scram-sha-256",
            "--data-checksums",
            "--encoding=UTF8",
        ])
        .args(locale(version));
    spec.log = Some(log);
    let exit = ground
        .host
        .spawner
        .run(&ground.host.launcher, &spec)
        .await?;
    if exit.success() {
        return Ok(());
    }
    let (log, tail) = log_end(spec.log.as_deref());
    Err(Error::Program {
        program: "initdb",
        exit,
        log,
        tail,
    })
}

/// Byte order in every language: texts sort the same on every machine.
fn locale(version: Version) -> &'static [&'static str] {
    if version.major >= BUILTIN_LOCALE_SINCE {
        return &[
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ];
    }
    &["--locale=C.UTF-8"]
}

fn empty_folder(folder: &Path, user: Option<User>) -> io::Result<()> {
    if let Some(user) = user {
        return home::make_for(folder, user);
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::DirBuilder::new().mode(PRIVATE).create(folder)
}

fn write_password(path: &Path, secret: &str, user: Option<User>) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(SECRET)
        .open(path)?;
    writeln!(file, "{secret}")?;
    match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}
