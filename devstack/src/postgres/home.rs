//! The folder of Postgres's files, which its user must really be able to reach.
//!
//! When we are root, the data folder may lie under a private parent (a home folder with mode
//! 0700). Permissions, access lists, mounts and confinement all have a say there, so this is
//! tried, not computed: a command runs as that user. If it fails, a folder of this clone's own
//! under `/var/tmp` takes over; it is remembered in the data folder. Should that folder be
//! cleaned away, the read models are built again from the log.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::Ground;
use crate::fetch::{PROGRAMS, Postgres};
use crate::launch::User;
use crate::{Error, Notice, data};

/// The folder that everybody can reach and that outlives a restart of the machine; where there is
/// none, the ordinary folder for temporary files has to do.
const COMMON_GROUND: &str = "/var/tmp";
/// Passable for everybody, writable for its owner.
const OPEN: u32 = 0o755;
const PRIVATE: u32 = 0o700;
/// What others must not be able to do to a folder that we trust.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where Postgres's files are, and what the user should be told about it.
pub(super) struct Home {
    pub(super) folder: PathBuf,
    pub(super) notices: Vec<Notice>,
}

/// Finds or makes the folder.
pub(super) async fn find(ground: &Ground<'_>, user: Option<User>) -> Result<Home, Error> {
    let usual = ground.data.join("postgres");
    let Some(user) = user else {
        return Ok(Home::plain(usual));
    };
    let remembered = ground.data.postgres_elsewhere();
    if remembered.is_none() && can_write(ground, user, &usual).await? {
        return Ok(Home::plain(usual));
    }
    let mut tried = vec![usual.display().to_string()];
    for folder in candidates(ground, remembered) {
        tried.push(folder.display().to_string());
        if own(&folder).is_ok() && can_write(ground, user, &folder).await? {
            ground.data.put_postgres_elsewhere(&folder)?;
            return Ok(Home::elsewhere(folder, &usual, user));
        }
    }
    Err(Error::Unreachable {
        uid: user.uid,
        tried: tried.join(", "),
    })
}

/// The folder with the programs, copied to `home` if the user cannot run them where they are.
pub(super) async fn reachable_programs(
    ground: &Ground<'_>,
    user: Option<User>,
    home: &Path,
    found: &Postgres,
) -> Result<PathBuf, Error> {
    let Some(user) = user else {
        return Ok(found.bin.clone());
    };
    if can_run(ground, user, &found.bin).await? {
        return Ok(found.bin.clone());
    }
    let unreachable = || Error::Unreachable {
        uid: user.uid,
        tried: found.bin.display().to_string(),
    };
    let whole = found.copy_from.as_deref().ok_or_else(unreachable)?;
    let inside = found.bin.strip_prefix(whole).map_err(|_| unreachable())?;
    let copy = home.join(format!("programs-{}", found.version));
    if !copy.is_dir() {
        copy_whole(whole, &copy).map_err(|source| file(&copy, source))?;
    }
    let bin = copy.join(inside);
    if can_run(ground, user, &bin).await? {
        return Ok(bin);
    }
    Err(unreachable())
}

impl Home {
    fn plain(folder: PathBuf) -> Self {
        Self {
            folder,
            notices: Vec::new(),
        }
    }

    fn elsewhere(folder: PathBuf, usual: &Path, user: User) -> Self {
        let notice = Notice::PostgresElsewhere {
            folder: folder.clone(),
            instead_of: usual.to_owned(),
            uid: user.uid,
        };
        Self {
            folder,
            notices: vec![notice],
        }
    }
}

fn candidates(ground: &Ground<'_>, remembered: Option<PathBuf>) -> Vec<PathBuf> {
    let name = data::name_elsewhere(ground.data.root());
    let common = [PathBuf::from(COMMON_GROUND), std::env::temp_dir()];
    let common = common.map(|parent| parent.join(&name));
    remembered.into_iter().chain(common).collect()
}

/// Makes the folder, or makes sure that nobody else made it: its name can be guessed.
fn own(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(OPEN).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(OPEN)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(folder)?;
            let ours = found.is_dir()
                && found.uid() == rustix::process::geteuid().as_raw()
                && found.mode() & WRITABLE_BY_OTHERS == 0;
            ours.then_some(())
                .ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied))
        }
        Err(error) => Err(error),
    }
}

/// Whether `user` can write into a folder of its own below `parent`: it tries.
async fn can_write(ground: &Ground<'_>, user: User, parent: &Path) -> Result<bool, Error> {
    let folder = parent.join("reach-test");
    let made = make_for(&folder, user);
    if made.is_err() {
        return Ok(false);
    }
    let spec = ground
        .helper("/bin/sh", Some(user))
        .args(["-c", r#"cd "$1" && : > written"#, "sh"])
        .args([&folder]);
    let succeeded = ground.succeeds(&spec).await?;
    fs::remove_dir_all(&folder).map_err(|source| file(&folder, source))?;
    Ok(succeeded)
}

/// Whether `user` can run the programs in `bin`: it does.
async fn can_run(ground: &Ground<'_>, user: User, bin: &Path) -> Result<bool, Error> {
    for program in PROGRAMS {
        let spec = ground
            .helper(bin.join(program), Some(user))
            .args(["--version"]);
        if !ground.succeeds(&spec).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a private folder that belongs to `user`.
pub(super) fn make_for(folder: &Path, user: User) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().mode(PRIVATE).create(folder)?;
    chown(folder, Some(user.uid), Some(user.gid))
}

/// Copies a folder whole or not at all, readable for everybody.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    let mut half = to.as_os_str().to_owned();
    half.push(".half");
    let half = PathBuf::from(half);
    match fs::remove_dir_all(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    copy_tree(from, &half)?;
    fs::rename(&half, to)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, Permissions::from_mode(OPEN))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_somebody_else_could_have_made_is_not_trusted() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("millrace-x");
        own(&folder).unwrap();
        own(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        own(&folder).unwrap_err();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        own(&link).unwrap_err();
    }

    #[test]
    fn a_copied_folder_keeps_links_and_executable_files() {
        let parent = tempfile::tempdir().unwrap();
        let from = parent.path().join("from");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("bin/tool"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("bin/tool"), Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("tool", from.join("bin/alias")).unwrap();
        let to = parent.path().join("to");
        copy_whole(&from, &to).unwrap();
        let mode = fs::metadata(to.join("bin/alias")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o755);
        assert_eq!(
            fs::read_link(to.join("bin/alias")).unwrap(),
            Path::new("tool")
        );
    }
}
