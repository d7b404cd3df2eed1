//! Downloads: short time-outs, a size limit, a progress bar, the checksum of what arrived.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use reqwest::{Client, Response};
use ring::digest::{Context, SHA256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::Problem;

/// A source that cannot be reached must cost seconds, not minutes.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest silence in the middle of an answer.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// No archive that we want is larger.
const SIZE_LIMIT_BYTES: u64 = 256 * 1024 * 1024;
/// No list that we read is larger.
const TEXT_LIMIT_BYTES: u64 = 8 * 1024 * 1024;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

fn client() -> Result<Client, Problem> {
    // Err means that the process has a provider already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(READ_LIMIT)
        .user_agent("millrace-devstack")
        .build()?)
}

async fn get(url: &str) -> Result<Response, Problem> {
    let response = client()?.get(url).send().await?;
    if response.status() == reqwest::StatusCode::OK {
        return Ok(response);
    }
    Err(Problem::Status {
        url: url.to_owned(),
        status: response.status().as_u16(),
    })
}

/// The text at `url`.
pub(super) async fn text(url: &str) -> Result<String, Problem> {
    let mut response = get(url).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        too_large(url, bytes.len() as u64, TEXT_LIMIT_BYTES)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes what is at `url` to `path` and returns its SHA-256 in hexadecimal.
pub(super) async fn download(
    url: &str,
    path: &Path,
    progress: &MultiProgress,
) -> Result<String, Problem> {
    let mut response = get(url).await?;
    let mut file = File::create(path).await.map_err(Problem::file(path))?;
    let bar = progress.add(bar(url, response.content_length()));
    let mut digest = Context::new(&SHA256);
    while let Some(chunk) = response.chunk().await? {
        digest.update(&chunk);
        file.write_all(&chunk).await.map_err(Problem::file(path))?;
        bar.inc(chunk.len() as u64);
        too_large(url, bar.position(), SIZE_LIMIT_BYTES)?;
    }
    file.sync_all().await.map_err(Problem::file(path))?;
    bar.finish_and_clear();
    Ok(hex(digest.finish().as_ref()))
}

/// A spinner for a program that fetches something for us.
pub(super) fn spinner(what: String, progress: &MultiProgress) -> ProgressBar {
    let spinner = progress.add(ProgressBar::new_spinner());
    spinner.set_message(what);
    spinner.enable_steady_tick(TICK);
    spinner
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn too_large(url: &str, bytes: u64, limit_bytes: u64) -> Result<(), Problem> {
    if bytes <= limit_bytes {
        return Ok(());
    }
    Err(Problem::Large {
        url: url.to_owned(),
        limit_bytes,
    })
}

fn bar(url: &str, length: Option<u64>) -> ProgressBar {
    let name = url.rsplit('/').next().unwrap_or(url).to_owned();
    let Some(length) = length else {
        return ProgressBar::new_spinner().with_message(name);
    };
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length)
        .with_style(style)
        .with_message(name)
}
