//! Side-by-side figures: what Millrace does beside the plainest thing that does the same.
//!
//! ```text
//!   cargo run --release -p bench -- commands orders [--seconds 5] [--rounds 3] [--json]
//! ```
//!
//! Everything of one run shares one machine and one set of servers, reference and ours in turn,
//! so the ratios hold where the absolute figures don't.

mod commands;
mod load;
mod orders;
mod reference;
mod report;
mod shop;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Measures Millrace beside references, on servers of its own.
#[derive(Debug, Parser)]
struct Args {
    /// Which benchmarks; `all` runs every one.
    #[arg(value_enum, required = true)]
    benches: Vec<Bench>,
    /// How long each figure is taken, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each figure is taken; the table shows minimum, median and maximum.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How NATS syncs: `always`, or an interval like `2m` (NATS's own default).
    #[arg(long, default_value = "always")]
    sync: String,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// POST /v1/orders beside a raw publish and a minimal axum handler that publishes.
    Commands,
    /// Whole order flows: orders a second, time from POST to confirmed.
    Orders,
    /// Every one.
    All,
}

fn main() -> ExitCode {
    // The stack's children are this program again.
    devstack::launch::take_over(std::env::args_os());
    let outcome = run();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> anyhow::Result<ExitCode> {
    // Some other part of this process may have been first; either way one is installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if std::env::args()
        .nth(1)
        .is_some_and(|first| shop::is_role(&first))
    {
        return millrace::cli::run(millrace::cli::Cli::parse()).await;
    }
    let args = Args::parse();
    let wanted = |bench| args.benches.contains(&bench) || args.benches.contains(&Bench::All);
    let stack = shop::Stack::start(&args.sync).await?;
    let mut rows = Vec::new();
    if wanted(Bench::Commands) {
        rows.extend(commands::run(&stack, &args).await?);
    }
    if wanted(Bench::Orders) {
        rows.extend(orders::run(&stack, &args).await?);
    }
    stack.stop().await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        report::print(&rows);
    }
    Ok(ExitCode::SUCCESS)
}
