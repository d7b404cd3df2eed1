//! The hidden subcommand: sets user and parent-death signal, checks its parent, becomes the program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Gid, Pid, Signal, Uid, getppid};

use super::User;

/// The first argument that selects the hidden subcommand.
pub const COMMAND: &str = "__exec";

/// Exit code when the subcommand itself fails (as `env` and `nohup` use it).
const EXIT_FAILED: i32 = 125;

/// What the command line asks for.
struct Request {
    parent: u32,
    user: Option<User>,
    death_signal: Signal,
    program: OsString,
    args: Vec<OsString>,
}

/// Becomes another program when the command line says `<this> __exec …`, and never returns then;
/// returns at once otherwise.
///
/// Call it first thing in `main`, before any thread exists: the kernel changes user ids of one
/// thread only.
pub fn take_over(args: impl IntoIterator<Item = OsString>) {
    let mut args = args.into_iter().skip(1);
    if args.next().is_none_or(|first| first != COMMAND) {
        return;
    }
    let Err(problem) = parse(args).and_then(|request| become_program(&request));
    eprintln!("millrace {COMMAND}: {problem}");
    std::process::exit(EXIT_FAILED)
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let (mut parent, mut uid, mut gid, mut death_signal) = (None, None, None, Signal::TERM);
    while let Some(name) = args.next() {
        if name == "--" {
            break;
        }
        let name = name.to_string_lossy().into_owned();
        let value = args
            .next()
            .and_then(|value| value.into_string().ok())
            .ok_or_else(|| format!("{name} lacks its value"))?;
        let number = || {
            value
                .parse::<u32>()
                .map_err(|_| format!("{name} is not a number: {value}"))
        };
        match name.as_str() {
            "--parent" => parent = Some(number()?),
            "--uid" => uid = Some(number()?),
            "--gid" => gid = Some(number()?),
            "--death-signal" => death_signal = signal_named(&value)?,
            other => return Err(format!("unknown option {other}")),
        }
    }
    let user = match (uid, gid) {
        (Some(uid), Some(gid)) => Some(User { uid, gid }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err("--uid and --gid go together".into()),
    };
    Ok(Request {
        parent: parent.ok_or("--parent is missing")?,
        user,
        death_signal,
        program: args.next().ok_or("the program is missing")?,
        args: args.collect(),
    })
}

/// The order matters: a change of user clears the parent-death signal, and only a parent that is
/// still there after the signal was set is one whose end will be told.
fn become_program(request: &Request) -> Result<std::convert::Infallible, String> {
    if let Some(user) = request.user {
        change_user(user).map_err(|error| format!("cannot become user {}: {error}", user.uid))?;
    }
    set_death_signal(request.death_signal)
        .map_err(|error| format!("cannot set the parent-death signal: {error}"))?;
    if getppid().map(Pid::as_raw_pid) != i32::try_from(request.parent).ok() {
        return Err(format!("the parent {} is already gone", request.parent));
    }
    let error = Command::new(&request.program).args(&request.args).exec();
    Err(format!(
        "cannot run {}: {error}",
        request.program.to_string_lossy()
    ))
}

#[cfg(target_os = "linux")]
fn change_user(user: User) -> io::Result<()> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Elsewhere there is no safe call for it, and nobody develops as root there.
#[cfg(not(target_os = "linux"))]
fn change_user(user: User) -> io::Result<()> {
    let now = (rustix::process::getuid(), rustix::process::getgid());
    if now == (Uid::from_raw(user.uid), Gid::from_raw(user.gid)) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "changing the user is supported on Linux only; run as a normal user",
    ))
}

#[cfg(target_os = "linux")]
fn set_death_signal(signal: Signal) -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        signal,
    ))?)
}

/// Other systems have no parent-death signal: there, servers outlive a parent that is killed.
#[cfg(not(target_os = "linux"))]
fn set_death_signal(_signal: Signal) -> io::Result<()> {
    Ok(())
}

fn signal_named(name: &str) -> Result<Signal, String> {
    match name {
        "int" => Ok(Signal::INT),
        "term" => Ok(Signal::TERM),
        "kill" => Ok(Signal::KILL),
        "quit" => Ok(Signal::QUIT),
        other => Err(format!("unknown signal {other}")),
    }
}

/// The name under which the subcommand knows a signal.
pub(super) fn name_of(signal: Signal) -> &'static str {
    [
        ("int", Signal::INT),
        ("kill", Signal::KILL),
        ("quit", Signal::QUIT),
    ]
    .into_iter()
    .find(|(_, known)| *known == signal)
    .map_or("term", |(name, _)| name)
}
