//! `millrace schema`: what stands on the wire, in the code and in the log.

mod api;
mod census;
mod check;
mod recorded;
mod rows;
mod states;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::reach::ReachArgs;

pub use api::{check_api, check_graph};
pub use census::{Census, CensusArgs, Versions, count};
pub use check::{CheckArgs, Problem, check};

/// Settings of `millrace schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SchemaCommand,
}

impl SchemaArgs {
    /// Which log is asked, if one is.
    pub(crate) fn reach(&self) -> Option<&ReachArgs> {
        match &self.command {
            SchemaCommand::Check(_) => None,
            SchemaCommand::Census(args) => Some(&args.reach),
        }
    }
}

/// What can be asked about schemas.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Compare today's events, HTTP API and graph with the committed ones; fails when an old event
    /// can't be read, or when the API or the graph is another one. Needs no servers.
    Check(CheckArgs),
    /// Count which schema versions are still alive in each stream.
    Census(CensusArgs),
}

/// Does what was asked.
///
/// # Errors
/// The committed files, or the log, can't be read.
pub async fn run(args: SchemaArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        SchemaCommand::Check(args) => check::run(&args),
        SchemaCommand::Census(args) => census::run(args).await,
    }
}
