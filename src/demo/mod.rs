//! `millrace demo`: five orders over HTTP, told as they happen, and checked against everything
//! that remembers them: the read models, the stock, the provider's ledger and the mailbox.

mod audit;
mod story;
mod teller;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::client::Shop;
use crate::token;
use crate::up::{self, Endpoints, UpArgs};

/// Settings of `millrace demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the stack keeps its data.
    #[arg(long, env = "MILLRACE_DATA", default_value = ".millrace")]
    pub data: PathBuf,
}

/// Runs the demo: on the stack that holds `--data`, or on one that it starts and stops.
///
/// # Errors
/// The stack can't be started, or the shop does not answer.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    if let Some(endpoints) = up::running(&args.data)? {
        println!("Using the stack that runs at {}.\n", endpoints.entry);
        return tell(&args, &endpoints).await;
    }
    println!("Starting NATS, Postgres, a mail sink, a payment simulator and every role …");
    let mut running = up::start(&UpArgs::quiet(args.data.clone())).await?;
    let endpoints = running.endpoints().clone();
    println!("… up at {}.\n", endpoints.entry);
    let told = tokio::select! {
        told = tell(&args, &endpoints) => told,
        failure = running.failed() => Err(failure),
    };
    running.stop().await?;
    told
}

async fn tell(args: &DemoArgs, endpoints: &Endpoints) -> anyhow::Result<ExitCode> {
    let shop = Shop::new(&endpoints.entry)?;
    let operator = token::operator(&args.data).context("can't make an operator's token")?;
    let teller = teller::Teller::start(&args.data, endpoints).await?;
    let story = story::play(&shop, &shop.with_token(&operator), &teller).await?;
    let audit = audit::check(endpoints, &shop.with_token(&operator), &story).await?;
    audit.print();
    println!("{}", teller::replay_commands(&args.data, endpoints, &story));
    if audit.all_right() {
        println!(
            "Every outcome, every stock figure, the ledger and the mailbox are as they must be."
        );
        Ok(ExitCode::SUCCESS)
    } else {
        println!("Something is not as it must be: see the lines marked ✗ above.");
        Ok(ExitCode::FAILURE)
    }
}
