//! `millrace parked`: what the sagas and reactors could not handle, and what is to become of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use query_api::ParkedItem;
use serde_json::{Value, json};
use streams::Connection;
use streams::parking::{self, Note, ParkedKey, Record, What, Wish};

use crate::reach::ReachArgs;

/// How often to look how far a retry is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Longest piece of a body that `show` prints for people, in characters; `--json` prints all.
const BODY_SHOWN_MAX: usize = 400;

/// Settings of `millrace parked`.
#[derive(Debug, Args)]
pub struct ParkedArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
    /// Print JSON, an object a line.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done about parked events.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the keys whose events wait.
    List {
        /// Which log.
        #[command(flatten)]
        reach: Box<ReachArgs>,
    },
    /// Show everything that happened to one key, oldest first.
    Show {
        /// As `list` prints it: subscription/key.
        id: String,
        /// Which log.
        #[command(flatten)]
        reach: Box<ReachArgs>,
    },
    /// Have the waiting events of a key handled again, in order, and then its new ones.
    Retry {
        /// Whose (`checkout-order`).
        subscription: String,
        /// Which key.
        key: String,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
        /// Who asks and how long to wait.
        #[command(flatten)]
        ask: AskArgs,
        /// Which log.
        #[command(flatten)]
        reach: Box<ReachArgs>,
    },
    /// Leave the first waiting event of a key out, for good, and have the later ones handled.
    Skip {
        /// Whose (`checkout-order`).
        subscription: String,
        /// Which key.
        key: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Who asks and how long to wait.
        #[command(flatten)]
        ask: AskArgs,
        /// Which log.
        #[command(flatten)]
        reach: Box<ReachArgs>,
    },
}

impl Action {
    /// Which log is asked.
    pub(crate) fn reach(&self) -> &ReachArgs {
        match self {
            Self::List { reach }
            | Self::Show { reach, .. }
            | Self::Retry { reach, .. }
            | Self::Skip { reach, .. } => reach,
        }
    }
}

/// Who asks, and how long to wait for the outcome.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// Who asks, for the record.
    #[arg(long, env = "USER", default_value = "operator")]
    pub by: String,
    /// How long to wait for the outcome, in seconds; 0 = don't.
    #[arg(long, default_value_t = 30)]
    pub wait: u64,
}

/// Does it.
///
/// # Errors
/// NATS can't be reached, or nothing is parked under that key.
pub async fn run(args: ParkedArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    let (wish, subscription, key, ask, reach) = match args.action {
        Action::List { reach } => return list(&reach.log().await?, json).await,
        Action::Show { id, reach } => return show(&reach.log().await?, &id, json).await,
        Action::Retry {
            subscription,
            key,
            reason,
            ask,
            reach,
        } => (Wish::Retry { reason }, subscription, key, ask, reach),
        Action::Skip {
            subscription,
            key,
            reason,
            ask,
            reach,
        } => (Wish::Skip { reason }, subscription, key, ask, reach),
    };
    let connection = reach.log().await?;
    let asking = Asking::new(&connection, &subscription, &key, json);
    asking.run(wish, &ask).await
}

async fn list(connection: &Connection, json: bool) -> anyhow::Result<ExitCode> {
    let parked = parking::parked(connection).await?;
    for (subscription, key, state) in &parked {
        if json {
            let item = ParkedItem::new(subscription, key, state);
            println!("{}", serde_json::to_string(&item)?);
        } else {
            println!("{}", line(subscription, key, state));
        }
    }
    if parked.is_empty() && !json {
        println!("Nothing is parked.");
    }
    Ok(ExitCode::SUCCESS)
}

fn line(subscription: &str, key: &str, state: &ParkedKey) -> String {
    let count = state.waiting.len();
    let asked = if state.asked.is_some() {
        "; another try is due"
    } else {
        ""
    };
    match state.waiting.front() {
        Some(first) => format!(
            "{subscription}/{key}: {count} waiting since {}, first {} after {} tries: {}{asked}",
            first.since.format("%Y-%m-%d %H:%M:%S UTC"),
            first.position,
            first.attempts,
            first.cause
        ),
        None => format!("{subscription}/{key}: nothing waits{asked}"),
    }
}

async fn show(connection: &Connection, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let (subscription, key) = id
        .split_once('/')
        .with_context(|| format!("{id:?} is not subscription/key, as `list` prints it"))?;
    let records = parking::history(connection, subscription, key).await?;
    if records.is_empty() {
        bail!("{id} was never parked");
    }
    for record in &records {
        if json {
            println!("{}", record_json(record));
        } else {
            println!("{}", record_line(record));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn record_json(record: &Record) -> Value {
    let mut value = match &record.what {
        What::Note(note) => json!(note),
        What::Parked(event) => json!({
            "record": "parked",
            "position": event.position.to_string(),
            "subject": event.subject,
            "recorded_at": event.recorded_at,
            "event_type": event.event_type(),
            "traceparent": event.traceparent(),
            "cause": event.cause,
            "attempts": event.attempts,
            "body": String::from_utf8_lossy(&event.payload),
        }),
    };
    if let Some(fields) = value.as_object_mut() {
        fields.insert("at".to_owned(), json!(record.at));
        fields.insert("sequence".to_owned(), json!(record.sequence));
    }
    value
}

fn record_line(record: &Record) -> String {
    let at = record.at.format("%Y-%m-%d %H:%M:%S UTC");
    let text = match &record.what {
        What::Parked(event) => {
            let body: String = String::from_utf8_lossy(&event.payload)
                .chars()
                .take(BODY_SHOWN_MAX)
                .collect();
            format!(
                "parked {} ({}) after {} tries: {}\n    {body}",
                event.position,
                event.event_type().unwrap_or("no event"),
                event.attempts,
                event.cause
            )
        }
        What::Note(note) => note_line(note),
    };
    format!("{at}  {text}")
}

fn note_line(note: &Note) -> String {
    match note {
        Note::Retry { by, reason } => {
            let reason = reason.as_deref().unwrap_or("no reason given");
            format!("{by} asked for another try: {reason}")
        }
        Note::Skip {
            by,
            reason,
            position,
        } => format!("{by} left {position} out: {reason}"),
        Note::Trying {} => "tried again".to_owned(),
        Note::Handled { position } => format!("{position} is handled"),
        Note::Failed { position, cause } => format!("{position} failed: {cause}"),
        Note::Done {} => "no longer parked".to_owned(),
    }
}

/// A wish, and the wait for its outcome.
struct Asking<'a> {
    connection: &'a Connection,
    subscription: &'a str,
    key: &'a str,
    json: bool,
}

impl<'a> Asking<'a> {
    fn new(connection: &'a Connection, subscription: &'a str, key: &'a str, json: bool) -> Self {
        Self {
            connection,
            subscription,
            key,
            json,
        }
    }

    async fn run(&self, wish: Wish, args: &AskArgs) -> anyhow::Result<ExitCode> {
        let (subscription, key) = (self.subscription, self.key);
        let asked = parking::ask(self.connection, subscription, key, &args.by, wish).await?;
        let until = Instant::now() + Duration::from_secs(args.wait);
        let mut told = asked;
        loop {
            let records = parking::history(self.connection, subscription, key).await?;
            for record in records.iter().filter(|record| record.sequence > told) {
                self.tell(record);
            }
            told = records.last().map_or(told, |last| last.sequence.max(told));
            if let Some(ended) = outcome(&records, asked) {
                return Ok(ended);
            }
            if Instant::now() >= until {
                break;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        eprintln!(
            "recorded; the role has not finished it yet (`millrace parked show {subscription}/{key}`)"
        );
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, record: &Record) {
        if self.json {
            println!("{}", record_json(record));
        } else {
            println!("{}", record_line(record));
        }
    }
}

/// How what was asked for at `asked` ended, if it has.
fn outcome(records: &[Record], asked: u64) -> Option<ExitCode> {
    let later = records.iter().filter(|record| record.sequence > asked);
    later
        .filter_map(|record| match &record.what {
            What::Note(Note::Done {}) => Some(ExitCode::SUCCESS),
            What::Note(Note::Failed { .. }) => Some(ExitCode::FAILURE),
            What::Note(_) | What::Parked(_) => None,
        })
        .last()
}
