//! `millrace keys rotate`: every person's key wrapped anew, with the newest master key.

use std::process::ExitCode;

use clap::{Args, Subcommand};
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

/// What to do with the keys of people.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Wrap every person's key with the newest master key, and overwrite the old record.
    ///
    /// First give every role both master keys, the newest first (`MILLRACE_MASTER_KEY=new,old`),
    /// and restart it; then rotate; then give every role the new one alone. It can be interrupted
    /// and repeated.
    Rotate(RotateArgs),
}

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
/// configured. What was done stays done.
pub async fn run(args: KeysArgs) -> anyhow::Result<ExitCode> {
    let KeysCommand::Rotate(args) = args.command;
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
