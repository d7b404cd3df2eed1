//! `go install`, for machines that have Go and reach only its module proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::{Problem, Sources, http};

/// A cold build of nats-server on a slow machine fits in.
const LIMIT: Duration = Duration::from_mins(10);
/// How many of a failed program's last words are kept, in bytes.
const LAST_WORDS_BYTES: usize = 400;

/// Builds `module` (with its `@version`) into `folder` and returns the program called `name`.
pub(super) async fn install(
    sources: &Sources,
    module: &str,
    name: &str,
    folder: &Path,
) -> Result<PathBuf, Problem> {
    let go = sources.on_path("go").next().ok_or(Problem::Needs("go"))?;
    let mut command = Command::new(go);
    command.args(["install", module]).env("GOBIN", folder);
    let spinner = http::spinner(format!("go install {module}"), &sources.progress);
    let done = run(command, "go install", LIMIT).await;
    spinner.finish_and_clear();
    done.map(|()| folder.join(name))
}

/// Runs a program that fetches something for us; it ends with us.
pub(super) async fn run(
    mut command: Command,
    program: &str,
    limit: Duration,
) -> Result<(), Problem> {
    command
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    let failed = |words: String| Problem::Program {
        program: program.to_owned(),
        words,
    };
    let output = tokio::time::timeout(limit, command.output())
        .await
        .map_err(|_| Problem::Slow {
            program: program.to_owned(),
            limit_s: limit.as_secs(),
        })?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let from = output.stderr.len().saturating_sub(LAST_WORDS_BYTES);
    let words = String::from_utf8_lossy(output.stderr.get(from..).unwrap_or_default());
    let words: Vec<&str> = words.split_whitespace().collect();
    Err(failed(format!("{} ({})", words.join(" "), output.status)))
}
