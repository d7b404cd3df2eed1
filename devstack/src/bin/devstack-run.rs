//! The devstack on its own: the launcher of this crate's tests, and servers for experiments.
//!
//! `devstack-run up --data <folder> [--only nats,postgres]` prints the endpoints as JSON, then
//! waits for SIGTERM or Ctrl-C.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use devstack::launch::{self, Launcher};
use devstack::sinks::{MailSink, PaymentSimulator};
use devstack::{Options, Ports, Service, Services, Stack};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring servers up and wait
    Up {
        /// The data folder
        #[arg(long)]
        data: PathBuf,
        /// Which servers, separated by commas; all without it
        #[arg(long, value_delimiter = ',')]
        only: Vec<Service>,
        /// Remove earlier data first
        #[arg(long)]
        fresh: bool,
    },
    /// Run the mail sink
    MailSink(MailSink),
    /// Run the payment simulator
    PaymentSimulator(PaymentSimulator),
}

fn main() -> ExitCode {
    launch::take_over(std::env::args_os());
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devstack-run: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(task: Task) -> Result<(), Box<dyn std::error::Error>> {
    let shutdown = CancellationToken::new();
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let asked = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        asked.cancel();
    });
    match task {
        Task::Up { data, only, fresh } => up(data, only, fresh, shutdown).await,
        Task::MailSink(sink) => Ok(sink.run(shutdown).await?),
        Task::PaymentSimulator(simulator) => Ok(simulator.run(shutdown).await?),
    }
}

async fn up(
    data: PathBuf,
    only: Vec<Service>,
    fresh: bool,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::new(data, Launcher::current()?);
    options.fresh = fresh;
    options.ports = Ports::free();
    if !only.is_empty() {
        options.services = Services::only(only);
    }
    let mut stack = Stack::start(options).await?;
    for notice in stack.notices() {
        eprintln!("{notice}");
    }
    let mut out = io::stdout();
    writeln!(out, "{}", serde_json::to_string(stack.endpoints())?)?;
    out.flush()?;
    tokio::select! {
        () = shutdown.cancelled() => Ok(stack.stop().await?),
        failure = stack.failed() => Err(failure.to_string().into()),
    }
}
