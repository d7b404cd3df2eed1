//! `millrace inbox`: what foreign systems told that nobody could match yet.
//!
//! Letters may hold personal data, so people see which wait, and not what they say: the sender's
//! own console shows that under the same ids.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use streams::inbox::Inbox;

use crate::reach::ReachArgs;

/// Settings of `millrace inbox`.
#[derive(Debug, Args)]
pub struct InboxArgs {
    /// Which stack.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Print JSON, an object a line.
    #[arg(long)]
    pub json: bool,
}

/// Lists the letters that wait.
///
/// # Errors
/// NATS can't be reached.
pub async fn run(args: InboxArgs) -> anyhow::Result<ExitCode> {
    let connection = args.reach.log().await?;
    let letters = Inbox::new(&connection).waiting().await?;
    for letter in &letters {
        let (source, about, id) = (&letter.source, &letter.key, &letter.id);
        if args.json {
            println!("{}", json!({ "source": source, "about": about, "id": id }));
        } else {
            println!("{source}: {id} about {about}");
        }
    }
    if letters.is_empty() && !args.json {
        println!("Nothing waits.");
    }
    Ok(ExitCode::SUCCESS)
}
