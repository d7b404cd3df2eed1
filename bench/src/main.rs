//! Side-by-side figures: what Millrace does beside the plainest thing that does the same.
//!
//! ```text
//!   cargo run --profile dist -p bench -- commands orders [--seconds 5] [--rounds 3] [--json]
//! ```
//!
//! Everything of one run shares one machine and one set of servers, reference and ours in turn,
//! so the ratios hold where the absolute figures don't.

mod accounts;
mod append;
mod commands;
mod decide;
mod gateway;
mod growth;
mod history;
mod hot;
mod idle;
mod lag;
mod load;
mod memory;
mod note;
mod orders;
mod overload;
mod plain;
mod projection;
mod reads;
mod recovery;
mod reference;
mod report;
mod server;
mod shop;
mod simulate;
mod sku;
mod startup;
mod store;
mod usage;

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};

use crate::accounts::Accounts;
use crate::report::Row;
use crate::shop::{Flow, Stack};
use crate::store::Store;

/// As the program has it: the references allocate no more slowly than what they stand beside.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// NATS's own default.
const HISTORY_SYNC: &str = "2m";

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
    /// How many NATS servers the shop runs on, where a benchmark runs all of it: 1, or a cluster of 3 that
    /// keeps three copies of every stream, the reference's too.
    #[arg(
        long,
        default_value = "1",
        value_parser = PossibleValuesParser::new(["1", "3"]).map(|count| count.parse::<usize>().unwrap_or(1))
    )]
    nats_nodes: usize,
    /// How long a history `load`, `replay`, `growth`, `projection` and `rebuild` work on, in events, of a
    /// fifth as many aggregates; and how many aggregates `memory` sees.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How many sagas `recovery` has open.
    #[arg(long, default_value_t = 10_000)]
    sagas: u64,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// POST /v1/orders beside a raw publish, a minimal axum handler that publishes, and a plain app on
    /// cqrs-es and postgres-es; and commands on one product from many clients.
    Commands,
    /// Whole order flows: orders a second, time from POST to confirmed.
    Orders,
    /// GET /v1/products/{sku} beside a minimal axum handler with one select; and how long a read waits
    /// for the write before it.
    Query,
    /// GET /v1/products/{sku} through the gateway, beside the same call to the query API and through nginx;
    /// and a write beside the same one to the command API; every role a process of its own.
    Gateway,
    /// How long `up` and one role take until they are ready, what each role holds in memory, idle and
    /// busy, and how large the program is.
    Startup,
    /// POST /v1/orders when ten times as many arrive as can be done.
    Overload,
    /// Memory of clients that are connected to the command API and ask nothing.
    Idle,
    /// Commands through the store alone, beside a raw publish.
    Append,
    /// Many callers on one aggregate, beside one raw publish after another.
    Hot,
    /// An aggregate of 100 events out of a long history, beside a batched direct get; and from its
    /// snapshot, beside a direct get of one message.
    Load,
    /// A long history through `evolve`, beside a raw pull consumer.
    Replay,
    /// New aggregates on a store with a history of `--events`, beside the same on one with 100,000.
    Growth,
    /// A stream into the rows of a read model, beside a plain fold that upserts a batch in one statement,
    /// and beside postgres-es's own query.
    Projection,
    /// A read model built anew from `--events`: how long it takes, and memory at its peak.
    Rebuild,
    /// From an append's acknowledgement to its row, at 2,000 events a second.
    Lag,
    /// Resident memory while a million aggregates pass through a store.
    Memory,
    /// Decisions of the domain alone.
    Decide,
    /// A product that everybody buys: `--events` of its stock, beside one that was sold 100 times.
    Sku,
    /// How soon the sagas go on after their role was killed with −9: with `--sagas` open, and with one.
    Recovery,
    /// Runs of the simulator.
    Simulate,
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
    if shop::is_role(&std::env::args().skip(1).collect::<Vec<_>>()) {
        return millrace::cli::run(millrace::cli::Cli::parse()).await;
    }
    let args = Args::parse();
    let mut rows = measure_store(&args).await?;
    rows.extend(measure_views(&args).await?);
    rows.extend(measure_shop(&args).await?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        report::print(&rows);
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn any(&self, benches: &[Bench]) -> bool {
        let wanted = |bench: &Bench| {
            [*bench, Bench::All]
                .iter()
                .any(|b| self.benches.contains(b))
        };
        benches.iter().any(wanted)
    }
}

/// What needs NATS alone.
async fn measure_store(args: &Args) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if args.any(&[Bench::Decide]) {
        rows.extend(decide::run(args)?);
    }
    if args.any(&[Bench::Simulate]) {
        rows.extend(simulate::run(args)?);
    }
    if args.any(&[Bench::Sku]) {
        rows.extend(sku::run(HISTORY_SYNC, args).await?);
    }
    if args.any(&[Bench::Growth]) {
        rows.extend(growth::run(HISTORY_SYNC, args).await?);
    }
    if args.any(&[Bench::Memory]) {
        // First, while this process is still small; memory does not depend on syncs.
        let store = Store::start(HISTORY_SYNC).await?;
        rows.extend(memory::run(&store, args).await?);
        store.stop().await?;
    }
    if args.any(&[Bench::Append, Bench::Hot]) {
        let store = Store::start(&args.sync).await?;
        if args.any(&[Bench::Append]) {
            rows.extend(append::run(&store, args).await?);
        }
        if args.any(&[Bench::Hot]) {
            rows.extend(hot::run(&store, args).await?);
        }
        store.stop().await?;
    }
    if args.any(&[Bench::Load, Bench::Replay]) {
        // Reads don't sync: the history is written the quick way.
        let store = Store::start(HISTORY_SYNC).await?;
        history::write(&store, args.events).await?;
        if args.any(&[Bench::Load]) {
            rows.extend(history::load(&store, args).await?);
        }
        if args.any(&[Bench::Replay]) {
            rows.extend(history::replay(&store, args).await?);
        }
        store.stop().await?;
    }
    Ok(rows)
}

/// What needs a read model's stream and database.
async fn measure_views(args: &Args) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if args.any(&[Bench::Projection, Bench::Rebuild]) {
        // Reads don't sync: the history is written the quick way.
        let accounts = Accounts::start(HISTORY_SYNC).await?;
        let events = accounts.write(args.events).await?;
        if args.any(&[Bench::Rebuild]) {
            // First, while this process is still small.
            rows.extend(projection::rebuild(&accounts, events, args).await?);
        }
        if args.any(&[Bench::Projection]) {
            rows.extend(projection::run(&accounts, events, args).await?);
        }
        accounts.stop().await?;
    }
    if args.any(&[Bench::Lag]) {
        let accounts = Accounts::start(&args.sync).await?;
        rows.extend(lag::run(&accounts, args).await?);
        accounts.stop().await?;
    }
    Ok(rows)
}

/// What needs the whole shop.
async fn measure_shop(args: &Args) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if args.any(&[Bench::Startup]) {
        rows.extend(startup::run(args).await?);
    }
    if args.any(&[Bench::Gateway]) {
        let stack = Stack::start(args, Flow::Apart).await?;
        rows.extend(gateway::run(&stack, args).await?);
        stack.stop().await?;
    }
    if args.any(&[Bench::Commands, Bench::Idle, Bench::Overload]) {
        let stack = Stack::start(args, Flow::Left).await?;
        if args.any(&[Bench::Idle]) {
            // First, while this process is still small.
            rows.extend(idle::run(&stack).await?);
        }
        if args.any(&[Bench::Commands]) {
            rows.extend(commands::run(&stack, args).await?);
        }
        if args.any(&[Bench::Overload]) {
            // Last: what nobody waits for any more may still be under way.
            rows.extend(overload::run(&stack, args).await?);
        }
        stack.stop().await?;
    }
    if args.any(&[Bench::Recovery]) {
        rows.extend(recovery::run(args).await?);
    }
    if args.any(&[Bench::Orders, Bench::Query]) {
        let stack = Stack::start(args, Flow::Followed).await?;
        if args.any(&[Bench::Orders]) {
            rows.extend(orders::run(&stack, args).await?);
        }
        if args.any(&[Bench::Query]) {
            rows.extend(reads::run(&stack, args).await?);
        }
        stack.stop().await?;
    }
    Ok(rows)
}
