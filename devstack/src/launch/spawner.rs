//! The one thread that starts every child.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::{COMMAND, Child, Error, Exit, Launcher, Spec, exec};

/// Variables that every child gets from our environment; nothing else leaks into the servers.
const PASSED_ON: [&str; 7] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// A log may be read by its owner's group, not by others.
const LOG_MODE: u32 = 0o640;

struct Job {
    command: Command,
    reply: oneshot::Sender<std::io::Result<std::process::Child>>,
}

/// Starts children, all from one thread that lives as long as any of them or any clone of this.
#[derive(Debug, Clone)]
pub struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::NoSpawner`] when the system gives no thread.
    pub fn start() -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for mut job in queue {
                    if let Err(Ok(mut child)) = job.reply.send(job.command.spawn()) {
                        // Nobody waits for it any more; it may have ended by itself already.
                        let _ = child.kill();
                        let _ = child.wait();
                    }
                }
            })
            .map_err(|_| Error::NoSpawner)?;
        Ok(Self { jobs })
    }

    /// Starts the program of `spec` through the launcher. The child gets a process group of its
    /// own, so that a Ctrl-C in the terminal reaches only us and we stop it in order.
    ///
    /// # Errors
    /// When the log file or the launcher cannot be opened or run. A program that cannot be run
    /// shows as a child that exits, with the reason in its log.
    pub async fn spawn(&self, launcher: &Launcher, spec: &Spec) -> Result<Child, Error> {
        let (reply, started) = oneshot::channel();
        let command = command(launcher, spec)?;
        self.jobs
            .send(Job { command, reply })
            .map_err(|_| Error::NoSpawner)?;
        let child = started
            .await
            .map_err(|_| Error::NoSpawner)?
            .map_err(|source| Error::Spawn {
                program: spec.program.clone(),
                launcher: launcher.program().to_owned(),
                source,
            })?;
        Child::watch(child, spec.death_signal, self.clone())
    }

    /// Runs the program of `spec` to its end.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub async fn run(&self, launcher: &Launcher, spec: &Spec) -> Result<Exit, Error> {
        let child = self.spawn(launcher, spec).await?;
        Ok(child.wait().await)
    }
}

fn command(launcher: &Launcher, spec: &Spec) -> Result<Command, Error> {
    let (out, err, input) = (
        output(spec.log.as_deref())?,
        output(spec.log.as_deref())?,
        input(launcher, spec)?,
    );
    let mut command = Command::new(launcher.program());
    command
        .arg(COMMAND)
        .arg("--parent")
        .arg(std::process::id().to_string())
        .arg("--death-signal")
        .arg(exec::name_of(spec.death_signal));
    if let Some(user) = spec.user {
        command.arg("--uid").arg(user.uid.to_string());
        command.arg("--gid").arg(user.gid.to_string());
    }
    command
        .arg("--")
        .arg(&spec.program)
        .args(&spec.args)
        .env_clear()
        .envs(PASSED_ON.iter().filter_map(passed_on))
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.folder)
        .process_group(0)
        .stdin(input)
        .stdout(out)
        .stderr(err);
    Ok(command)
}

fn passed_on(name: &&'static str) -> Option<(&'static str, OsString)> {
    std::env::var_os(name).map(|value| (*name, value))
}

fn output(log: Option<&Path>) -> Result<Stdio, Error> {
    let Some(path) = log else {
        return Ok(Stdio::null());
    };
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(LOG_MODE)
        .open(path)
        .map(Stdio::from)
        .map_err(|source| Error::Log {
            path: path.to_owned(),
            source,
        })
}

fn input(launcher: &Launcher, spec: &Spec) -> Result<Stdio, Error> {
    let Some(hold) = &spec.hold else {
        return Ok(Stdio::null());
    };
    File::try_clone(hold)
        .map(Stdio::from)
        .map_err(|source| Error::Spawn {
            program: spec.program.clone(),
            launcher: launcher.program().to_owned(),
            source,
        })
}
