//! `millrace keys`: every person's key wrapped anew, with the newest master key; a new key for access tokens.

use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use edge::auth::{ACCESS_TOKEN_TIME_S, KeySet};
use serde_json::json;
use streams::keys::Keys;

use crate::reach::{ReachArgs, bar};

/// The role that may read all of KEYS.
const ROLE: &str = "provision";

/// Settings of `millrace keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeysCommand,
}

impl KeysArgs {
    /// Which stack is asked, if one is.
    pub(crate) fn reach(&self) -> Option<&ReachArgs> {
        match &self.command {
            KeysCommand::Rotate(args) => Some(&args.reach),
            KeysCommand::AddTokenKey(_) => None,
        }
    }
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Wrap every person's key with the newest master key, and overwrite the old record.
    ///
    /// First give every role both master keys, the newest first (`MILLRACE_MASTER_KEY=new,old`),
    /// and restart it; then rotate; then give every role the new one alone. It can be interrupted
    /// and repeated.
    Rotate(RotateArgs),
    /// Add a key that signs access tokens, in a folder that is made if there is none.
    ///
    /// The first one signs at once.
    ///
    /// A role reads the folder again every few seconds. Give the new file to every gateway and API before it
    /// signs; it is the newest from then on. Take the old file away once the last token that it has signed is
    /// over, 15 minutes later; what it has signed counts no longer from then on.
    AddTokenKey(AddTokenKeyArgs),
}

/// Settings of `millrace keys add-token-key`.
#[derive(Debug, Args)]
pub struct AddTokenKeyArgs {
    /// The folder with the keys that sign access tokens.
    #[arg(long, env = "MILLRACE_JWT_KEYS")]
    pub jwt_keys: PathBuf,
    /// After how many seconds it signs: long enough to give it to every role.
    #[arg(long, default_value_t = SIGNS_AFTER_S)]
    pub signs_after_s: u32,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Long enough to give a file to every machine.
const SIGNS_AFTER_S: u32 = 60 * 60;

/// Settings of `millrace keys rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Which stack.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// A secret is missing, NATS can't be reached, or a key is under a master key that is not
/// configured: what was done stays done. Or the folder can't be read or written.
pub async fn run(args: KeysArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        KeysCommand::Rotate(args) => rotate(args).await,
        KeysCommand::AddTokenKey(args) => add_token_key(&args),
    }
}

fn add_token_key(args: &AddTokenKeyArgs) -> anyhow::Result<ExitCode> {
    if let Some(first) = KeySet::create_first(&args.jwt_keys)? {
        if args.json {
            println!("{}", json!({ "file": first }));
        } else {
            println!(
                "{} is the first key, and signs at once: give it to every gateway and API.",
                first.display()
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let signs_from = Utc::now() + TimeDelta::seconds(args.signs_after_s.into());
    let file = KeySet::add(&args.jwt_keys, signs_from)?;
    let old_until = signs_from + TimeDelta::seconds(ACCESS_TOKEN_TIME_S);
    if args.json {
        let made = json!({ "file": file, "signs_from": signs_from, "old_until": old_until });
        println!("{made}");
    } else {
        let shown = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S UTC");
        println!(
            "{} signs from {}: give it to every gateway and API before. Take the older \
             files away after {}.",
            file.display(),
            shown(signs_from),
            shown(old_until)
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate(args: RotateArgs) -> anyhow::Result<ExitCode> {
    let master = args.reach.master_keys()?;
    let connection = args.reach.as_role(ROLE).await?;
    let bar = bar("keys", 0);
    let rotated = Keys::new(&connection, master)
        .rotate(&connection, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })
        .await;
    bar.finish_and_clear();
    let rotated = rotated?;
    let (rewrapped, current, erased) = (rotated.rewrapped, rotated.current, rotated.erased);
    if args.json {
        let counts = json!({ "rewrapped": rewrapped, "current": current, "erased": erased });
        println!("{counts}");
    } else {
        println!(
            "{rewrapped} keys wrapped anew, {current} were under the newest master key already, {erased} people are erased"
        );
    }
    Ok(ExitCode::SUCCESS)
}
