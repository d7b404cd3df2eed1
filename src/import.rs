//! `millrace import`: sends a file of products and follows how far it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::client::{Answer, ClientError, Shop};
use crate::http::HttpArgs;
use crate::{reach, token, up};

/// Tries to send the file before giving up; each goes on where the one before it broke off.
const TRIES_MAX: u32 = 5;

/// Pause before the second try, and that much longer before each later one.
const PAUSE: Duration = Duration::from_secs(1);

/// How often to look how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Line errors that are printed for people; `--json` prints all that are kept.
const ERRORS_SHOWN_MAX: usize = 20;

/// Settings of `millrace import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The products: a JSON object a line, with sku, title, description, category, price
    /// `{"amount": 1299, "currency": "EUR"}` and, to put it on sale, publish.
    pub file: PathBuf,
    /// The Idempotency-Key: the same key again goes on where it broke off. Without it the key
    /// follows from the file's name, size and time, so that a changed file is another import.
    #[arg(long)]
    pub key: Option<String>,
    /// Where the running local stack keeps its data; not looked at with --entry.
    #[arg(long, env = "MILLRACE_DATA", default_value = ".millrace")]
    pub data: PathBuf,
    /// The shop, instead of a local stack: `http(s)://host:port`.
    #[arg(long, env = "MILLRACE_ENTRY", requires = "token")]
    pub entry: Option<String>,
    /// An operator's access token for it.
    #[arg(long, env = "MILLRACE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// TLS to it.
    #[command(flatten)]
    pub http: HttpArgs,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Sends the file, and reports. Fails if a line did.
///
/// # Errors
/// The file can't be read, or the shop does not take it.
pub async fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let file = &args.file;
    let key = match &args.key {
        Some(key) => key.clone(),
        None => key_of(file).await?,
    };
    let lines = count(file)
        .await
        .with_context(|| format!("{} can't be read", file.display()))?;
    let page = page_of(&key)?;
    let bar = reach::bar("lines", lines);
    let answer = tokio::select! {
        answer = send(&args, &key) => answer,
        never = follow(&args, &page, &bar) => never,
    };
    bar.finish_and_clear();
    let report = answer?.success()?.body;
    if args.json {
        println!("{report}");
    } else {
        tell(&report);
    }
    Ok(if number(&report, "failed") == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The shop, as an operator sees it; of a local stack with a token made now, for an import may take longer than
/// one is good for.
async fn shop(args: &ImportArgs) -> anyhow::Result<Shop> {
    if let (Some(entry), Some(token)) = (&args.entry, &args.token) {
        return Ok(args.http.shop(entry).await?.with_token(token));
    }
    let endpoints = up::running(&args.data)?.with_context(|| {
        format!(
            "no stack runs on {}: say --data, or --entry and --token",
            args.data.display()
        )
    })?;
    let token = token::operator(&args.data)?;
    Ok(Shop::new(&endpoints.entry)?.with_token(&token))
}

/// The same for the same file, as far as its name, size and time tell.
async fn key_of(file: &Path) -> anyhow::Result<String> {
    let about = tokio::fs::metadata(file)
        .await
        .with_context(|| format!("{} can't be read", file.display()))?;
    let changed = about.modified()?.duration_since(UNIX_EPOCH)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(100)
        .collect();
    let (bytes, at) = (about.len(), changed.as_millis());
    Ok(format!("{name}:{bytes}:{at}"))
}

/// How many lines a file has; a last one without a line break counts.
async fn count(file: &Path) -> std::io::Result<u64> {
    let mut reader = BufReader::new(File::open(file).await?);
    let (mut lines, mut in_line) = (0, false);
    loop {
        let piece = reader.fill_buf().await?;
        let Some(last) = piece.last() else {
            return Ok(lines + u64::from(in_line));
        };
        in_line = *last != b'\n';
        // So many line breaks, one more part.
        lines += piece.split(|byte| *byte == b'\n').count() as u64 - 1;
        let length = piece.len();
        reader.consume(length);
    }
}

/// Sends the whole file; again when that may help.
async fn send(args: &ImportArgs, key: &str) -> anyhow::Result<Answer> {
    let (mut shop, mut tries) = (shop(args).await?, 1);
    loop {
        let lines = File::open(&args.file).await?;
        let sent: Result<Answer, ClientError> = shop.import(key, lines).await;
        let again = match &sent {
            Ok(answer) => answer.body.pointer("/retryable") == Some(&Value::Bool(true)),
            Err(_) => true,
        };
        if !again || tries == TRIES_MAX {
            return Ok(sent?);
        }
        tokio::time::sleep(PAUSE * tries).await;
        tries += 1;
        if let Ok(again) = self::shop(args).await {
            shop = again;
        }
    }
}

/// Where the read model tells of the import under this key.
fn page_of(key: &str) -> anyhow::Result<String> {
    let page = "http://shop/v1/products/imports";
    let page = Url::parse_with_params(page, [("limit", "1"), ("key", key)])?;
    Ok(format!(
        "{}?{}",
        page.path(),
        page.query().unwrap_or_default()
    ))
}

/// Shows how far it is, as the read model tells. Never ends by itself.
async fn follow(args: &ImportArgs, page: &str, bar: &ProgressBar) -> ! {
    loop {
        // No answer is no news: the bar stays where it is.
        if let Ok(shop) = shop(args).await {
            while let Ok(answer) = shop.get(page).await
                && answer.status != StatusCode::UNAUTHORIZED
            {
                if let Some(import) = answer.body.pointer("/items/0") {
                    bar.set_position(number(import, "lines"));
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn tell(report: &Value) {
    println!(
        "{} lines: {} products created, {} updated, {} unchanged, {} lines failed",
        number(report, "lines"),
        number(report, "created"),
        number(report, "updated"),
        number(report, "unchanged"),
        number(report, "failed"),
    );
    let errors = report.get("errors").and_then(Value::as_array);
    let shown = errors.into_iter().flatten().take(ERRORS_SHOWN_MAX);
    let mut told = 0;
    for error in shown {
        println!(
            "  line {}: {} {}: {}",
            number(error, "line"),
            text(error, "code"),
            text(error, "pointer"),
            text(error, "detail")
        );
        told += 1;
    }
    let more = number(report, "failed").saturating_sub(told);
    if more > 0 {
        println!("  and {more} more");
    }
}

fn number(of: &Value, name: &str) -> u64 {
    of.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}
