//! `millrace stuck`: everything that waits for a human or is late.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use projections::stuck::{Action, Item, Part, Radar, Stuck};
use streams::Snapshots;

use crate::reach::ReachArgs;

/// How long something may be away before that is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before another look.
const PAUSE: Duration = Duration::from_millis(100);

/// Settings of `millrace stuck`.
#[derive(Debug, Args)]
pub struct StuckArgs {
    /// Which stack.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Most items of each kind.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Print JSON, as `GET /v1/system/stuck` answers.
    #[arg(long)]
    pub json: bool,
}

/// Tells what is stuck. The exit code is 0 only when nothing is, and everything could be asked.
///
/// # Errors
/// NATS can't be reached.
pub async fn run(args: StuckArgs) -> anyhow::Result<ExitCode> {
    // People may not read them: they hold what the states do.
    let snapshots = Snapshots::Off;
    let radar = Radar::new(args.reach.views()?, args.reach.log().await?, snapshots);
    let stuck = look(&radar, args.limit).await;
    if args.json {
        println!("{}", serde_json::to_string(&stuck)?);
    } else {
        tell(&stuck, args.reach.data.as_deref());
    }
    Ok(if stuck.items.is_empty() && stuck.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Looks again while something can't be asked: the first connections may still be on their way.
async fn look(radar: &Radar, limit: usize) -> Stuck {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stuck = radar.look(limit).await;
        if stuck.is_whole() || Instant::now() >= deadline {
            return stuck;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn tell(stuck: &Stuck, data: Option<&Path>) {
    for item in &stuck.items {
        tell_item(item, data);
    }
    for Part {
        kind, more, away, ..
    } in &stuck.parts
    {
        if let Some(why) = away {
            println!("{kind}: could not be asked: {why}");
        }
        if *more {
            println!("{kind}: there may be more");
        }
    }
    if stuck.items.is_empty() {
        println!("Nothing is known to be stuck.");
    }
}

fn tell_item(item: &Item, data: Option<&Path>) {
    let Item {
        kind, id, cause, ..
    } = item;
    let since = item
        .since
        .map(|since| since.format(" since %Y-%m-%d %H:%M:%S UTC"));
    let since = since.map(|since| since.to_string()).unwrap_or_default();
    println!("{kind} {id}{since}: {cause}");
    for events in &item.events {
        println!("    see {events}");
    }
    for action in &item.actions {
        println!("    {}", line(action, data));
    }
}

/// What to do, and how; a command of ours as it is typed for the stack whose data folder was named.
fn line(action: &Action, data: Option<&Path>) -> String {
    let Action {
        name,
        call,
        body,
        command,
    } = action;
    let data = data.map(|data| format!(" --data {}", data.display()));
    let typed = |command: &String| format!("{command}{}", data.as_deref().unwrap_or_default());
    let how = call.clone().or_else(|| command.as_ref().map(typed));
    let body = body.as_ref().map(|body| format!(" {body}"));
    format!(
        "{name}: {}{}",
        how.unwrap_or_default(),
        body.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_as_it_is_typed_here() {
        let retry = Action {
            name: "retry",
            call: None,
            body: None,
            command: Some("millrace reconcile".to_owned()),
        };
        assert_eq!(line(&retry, None), "retry: millrace reconcile");
        let here = line(&retry, Some(Path::new("x")));
        assert_eq!(here, "retry: millrace reconcile --data x");
    }
}
