//! What version a program is: it says so itself.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::Problem;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(20);
/// How often a program that is "busy" is asked again: the system says so while a process that
/// another thread just made still holds the freshly written file open.
const BUSY_TRIES: usize = 20;
const BUSY_STEP: Duration = Duration::from_millis(50);

/// A version number; `15.4` is `15.4.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl Version {
    /// The version `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The first number in `text` that has a dot, with what follows it.
    pub fn in_text(text: &str) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut numbers = word.split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Runs `<program> --version`.
pub(super) async fn of(program: &Path) -> Result<Version, Problem> {
    let text = output(program).await?;
    Version::in_text(&text).ok_or_else(|| Problem::NoVersion(text.trim().to_owned()))
}

async fn output(program: &Path) -> Result<String, Problem> {
    let mut busy = 0;
    loop {
        let mut command = Command::new(program);
        command.arg("--version").kill_on_drop(true);
        match tokio::time::timeout(LIMIT, command.output()).await {
            Ok(Ok(output)) => {
                let (said, complained) = (output.stdout, output.stderr);
                return Ok([said, complained]
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .concat());
            }
            Ok(Err(error))
                if error.kind() == io::ErrorKind::ExecutableFileBusy && busy < BUSY_TRIES =>
            {
                busy += 1;
                tokio::time::sleep(BUSY_STEP).await;
            }
            Ok(Err(error)) => return Err(Problem::file(program)(error)),
            Err(_) => {
                return Err(Problem::Slow {
                    program: program.display().to_string(),
                    limit_s: LIMIT.as_secs(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        for (text, version) in [
            ("nats-server: v2.15.1", Version::new(2, 15, 1)),
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
                Version::new(15, 18, 0),
            ),
            ("postgres (PostgreSQL) 18.6", Version::new(18, 6, 0)),
            ("nats-server: v2.15.0-preview.1", Version::new(2, 15, 0)),
        ] {
            assert_eq!(Version::in_text(text), Some(version), "{text}");
        }
        assert_eq!(Version::in_text("command not found"), None);
        assert!(Version::new(2, 14, 10) > Version::new(2, 14, 4));
    }
}
