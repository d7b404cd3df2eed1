//! Tells what happens: every event of an order, as the streams carry it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kernel::Money;
use serde_json::Value;
use streams::{RecordedEvent, Settings};
use tokio::task::JoinSet;

use super::story::Story;
use crate::up::{self, Endpoints};

/// How long no event may come before an order counts as told.
const QUIET: Duration = Duration::from_millis(300);

/// How often the teller looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

struct Told {
    /// With when they came.
    events: Vec<(Instant, RecordedEvent)>,
    /// When something was said last.
    spoke: Instant,
}

/// Follows all streams as the operator, who may only read, and prints what belongs to an order.
pub(super) struct Teller {
    told: std::sync::Arc<Mutex<Told>>,
    /// Ends with the teller.
    _followers: JoinSet<()>,
}

impl Teller {
    pub(super) async fn start(data: &Path, endpoints: &Endpoints) -> anyhow::Result<Self> {
        let connection = up::operator_connection(data, endpoints).await?;
        let streams = connection.streams(Settings::reading());
        let now = Instant::now();
        let told = std::sync::Arc::new(Mutex::new(Told {
            events: Vec::new(),
            spoke: now,
        }));
        let mut followers = JoinSet::new();
        for context in domains::CONTEXTS {
            let last = streams.stream_state(context.stream).await?.last;
            let mut subscription = connection.ordered(context.stream, last);
            let told = told.clone();
            followers.spawn(async move {
                // The story goes on without a teller that can't read: the audit is what counts.
                while let Ok(event) = subscription.next().await {
                    let Ok(mut told) = told.lock() else { return };
                    told.events.push((Instant::now(), event));
                }
            });
        }
        Ok(Self {
            told,
            _followers: followers,
        })
    }

    pub(super) fn heading(&self, title: &str) {
        println!(
            "── {title} {}",
            "─".repeat(72usize.saturating_sub(title.chars().count()))
        );
        self.spoke();
    }

    pub(super) fn line(&self, text: &str) {
        println!("   {text}");
        self.spoke();
    }

    /// What was said counts as something that came: the story waits until it is quiet again.
    fn spoke(&self) {
        if let Ok(mut told) = self.told.lock() {
            told.spoke = Instant::now();
        }
    }

    /// Prints what came of `order_id` since the last look, once nothing more comes.
    pub(super) async fn catch_up(&self, order_id: &str) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let Ok(mut told) = self.told.lock() else {
                return;
            };
            // Whatever else goes on in the shop is another story.
            told.events.retain(|(_, event)| is_of(event, order_id));
            let came = told.events.last().map(|(came, _)| *came);
            let last = came.map_or(told.spoke, |came| came.max(told.spoke));
            if last.elapsed() < QUIET {
                continue;
            }
            let new = std::mem::take(&mut told.events);
            let mut new: Vec<RecordedEvent> = new.into_iter().map(|(_, event)| event).collect();
            new.sort_by_key(|event| event.recorded_at);
            let first = new.first().map(|event| event.recorded_at);
            for event in &new {
                let since = first.map_or(0, |first| (event.recorded_at - first).num_milliseconds());
                println!(
                    "   {since:>6} ms  {:<18} {:<26} {}",
                    event.position.to_string(),
                    event.event_type,
                    highlights(event)
                );
            }
            println!();
            return;
        }
    }
}

fn is_of(event: &RecordedEvent, order_id: &str) -> bool {
    event.correlation_id.as_deref() == Some(order_id) || event.aggregate_id.as_str() == order_id
}

/// The few fields that a reader wants to see.
fn highlights(event: &RecordedEvent) -> String {
    const SHOWN: [&str; 10] = [
        "step",
        "cause",
        "code",
        "reason",
        "quantity",
        "amount",
        "total",
        "template",
        "intent_id",
        "why",
    ];
    let Ok(data) = serde_json::from_slice::<Value>(&event.data) else {
        return String::new();
    };
    let mut text = String::new();
    for name in SHOWN {
        let Some(value) = data.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        // Writing to a String can't fail.
        let _ = write!(text, "{name}={} ", short(value));
    }
    text
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            if let Ok(money) = serde_json::from_value::<Money>(value.clone()) {
                return money.to_string();
            }
            let parts: Vec<String> = fields.values().map(short).collect();
            parts.join(" ")
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            plain.to_string()
        }
    }
}

/// What to type to see the same in the streams.
pub(super) fn replay_commands(data: &Path, endpoints: &Endpoints, story: &Story) -> String {
    let order = story
        .chapters
        .first()
        .map_or("*", |chapter| chapter.order_id.as_str());
    format!(
        "Replay it with the nats CLI, read only, while the stack runs (`millrace up`):

{}
  nats sub 'event.order.{order}' --stream ORDER --all -T -t
  nats sub 'event.checkout.{order}' --stream CHECKOUT --all -T -t
  nats sub 'event.inventory.{}' --stream INVENTORY --all -T -t
  nats stream subjects PAYMENT
  nats micro ls
",
        up::nats_cli_setup(data, endpoints),
        story.mug
    )
}
