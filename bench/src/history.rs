//! `load` and `replay`: one aggregate, and a whole stream, out of a long history.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;
use kernel::{AggregateId, Decider};
use serde_json::json;
use streams::{Connection, Settings, Snapshots, Streams};
use tokio::task::JoinSet;

use crate::Args;
use crate::load::{Take, closed_loop, in_turn, one_go};
use crate::note::{CONTEXT, Note};
use crate::report::{Row, rows};
use crate::shop::progress;
use crate::store::{Store, command};

/// Events of the aggregates that are loaded.
const LONG: u64 = 100;

/// How many such aggregates there are.
const LONG_ONES: usize = 50;

/// Events of each of the others, on average: 200,000 aggregates among 1,000,000 events.
const SHORT: u64 = 5;

/// In how many parts the short ones are written, one after another: of 1,000,000 events each has 10,000
/// aggregates, which fit into a cache ten times over.
const WINDOWS: u64 = LONG / SHORT;

/// Commands under way at the same time while the history is written.
const WRITERS: u64 = 256;

/// How many loads are under way at the same time.
const IN_FLIGHT: [usize; 2] = [1, 16];

/// performance.md: at most 1.3 times the time of a batched direct get.
const LOAD_TARGET: f64 = 1.0 / 1.3;

/// performance.md: from a snapshot, at most the time of two direct gets.
const SNAPSHOT_TARGET: f64 = 1.0 / 2.0;

/// performance.md: ours over a raw pull consumer that nobody acknowledges.
const REPLAY_TARGET: f64 = 0.7;

/// Messages that one pull asks for, and a replay takes at once.
const PULL_BATCH: usize = 500;

/// Status of the message that ends a batched direct get.
const END_OF_BATCH: u16 = 204;

/// Writes the history: `events` in all, the long aggregates spread over all of it, each short one
/// over its window, with whatever else is in that between its events.
pub(crate) async fn write(store: &Store, events: u64) -> anyhow::Result<()> {
    let connection = store.connect().await?;
    let short = events.saturating_sub(LONG * LONG_ONES as u64) / SHORT;
    let bar = progress("history", 0);
    bar.set_length(events);
    let mut streams = connection.streams(Settings::default());
    for round in 0..LONG {
        if round % SHORT == 0 {
            // A cache that is full of what was used often takes in nothing that is new.
            streams = connection.streams(Settings::default());
        }
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (streams, bar) = (streams.clone(), bar.clone());
            writers.spawn(async move {
                for id in in_round(round, writer, short)? {
                    command(&streams, &id).await?;
                    bar.inc(1);
                }
                anyhow::Ok(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written??;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// What one writer adds to in one of [`LONG`] rounds: its share of the long ones, and of those
/// short ones whose window it is in.
fn in_round(round: u64, writer: u64, short: u64) -> anyhow::Result<Vec<AggregateId>> {
    let window = round / SHORT;
    let stride = usize::try_from(WINDOWS * WRITERS)?;
    let long = (writer..LONG_ONES as u64).step_by(usize::try_from(WRITERS)?);
    let short = (window + WINDOWS * writer..short).step_by(stride);
    long.map(long_id)
        .chain(short.map(|number| format!("short-{number}")))
        .map(|id| Ok(id.parse()?))
        .collect()
}

fn long_id(number: u64) -> String {
    format!("long-{number}")
}

/// Loads of aggregates of 100 events each, by a process that has none in memory.
pub(crate) async fn load(store: &Store, args: &Args) -> anyhow::Result<Vec<Row>> {
    let connection = store.connect().await?;
    let duration = Duration::from_secs(args.seconds);
    let streams = |snapshots| {
        connection.streams(Settings {
            cache_capacity: 0,
            snapshots,
            ..Settings::default()
        })
    };
    let bar = progress("load", IN_FLIGHT.len() * args.rounds * 4);
    let mut all = Vec::new();
    for in_flight in IN_FLIGHT {
        let take = |what, work| taken(what, in_flight, duration, work);
        let takes = [
            take(
                "one batched direct get, 100",
                Work::Batch(connection.clone()),
            ),
            take("load 100 events ÷ it", Work::Load(streams(Snapshots::Off))),
            take("one direct get of 1", Work::One(connection.clone())),
            take(
                "load from a snapshot ÷ it",
                Work::Load(streams(Snapshots::Read)),
            ),
        ];
        let runs = in_turn(&takes, args.rounds, &bar).await?;
        let mut figures = rows("load", in_flight, &takes, &runs);
        if let [batch, whole, one, snapshot] = figures.as_mut_slice() {
            *whole = whole.clone().beside(batch.ours, Some(LOAD_TARGET));
            *snapshot = snapshot.clone().beside(one.ours, Some(SNAPSHOT_TARGET));
        }
        all.extend(figures);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// What is done about one long aggregate.
#[derive(Clone)]
enum Work {
    /// Its messages, neither decoded nor looked at.
    Batch(Connection),
    /// One message of it.
    One(Connection),
    /// It, through the store.
    Load(Streams),
}

fn taken<'a>(what: &str, in_flight: usize, duration: Duration, work: Work) -> Take<'a> {
    let turn = Arc::new(AtomicUsize::new(0));
    Take::new(what, move || {
        let (work, turn) = (work.clone(), turn.clone());
        closed_loop(in_flight, duration, move |_, _| {
            let (work, turn) = (work.clone(), turn.clone());
            async move {
                let id = next_long(&turn);
                match work {
                    Work::Batch(connection) => direct_gets(&connection, &id).await,
                    Work::One(connection) => direct_get(&connection, &id).await,
                    Work::Load(streams) => whole(&streams, &id).await,
                }
            }
        })
    })
}

async fn whole(streams: &Streams, id: &str) -> anyhow::Result<()> {
    let loaded = streams.load::<Note>(&id.parse()?).await?;
    ensure!(loaded.version == LONG, "{id} has {} events", loaded.version);
    Ok(())
}

fn next_long(turn: &AtomicUsize) -> String {
    long_id((turn.fetch_add(1, Ordering::Relaxed) % LONG_ONES) as u64)
}

/// The last message alone.
async fn direct_get(connection: &Connection, id: &str) -> anyhow::Result<()> {
    let subject = format!("$JS.API.DIRECT.GET.NOTE.event.{CONTEXT}.{id}");
    let message = connection.client().request(subject, Bytes::new()).await?;
    ensure!(message.status.is_none(), "{id}: {:?}", message.status);
    Ok(())
}

async fn direct_gets(connection: &Connection, id: &str) -> anyhow::Result<()> {
    let client = connection.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let subject = format!("event.{CONTEXT}.{id}");
    let ask = json!({ "seq": 1, "next_by_subj": subject, "batch": PULL_BATCH });
    let ask: Bytes = serde_json::to_vec(&ask)?.into();
    client
        .publish_with_reply("$JS.API.DIRECT.GET.NOTE", inbox, ask)
        .await?;
    let mut events = 0;
    loop {
        let message = answers.next().await.context("the answer broke off")?;
        match message.status.map(|status| status.as_u16()) {
            None => events += 1,
            Some(END_OF_BATCH) => break,
            Some(status) => anyhow::bail!("status {status}"),
        }
    }
    ensure!(events == LONG, "{id} has {events} events");
    Ok(())
}

/// The whole stream through `evolve`, as a projector or a cold start would.
pub(crate) async fn replay(store: &Store, args: &Args) -> anyhow::Result<Vec<Row>> {
    let connection = store.connect().await?;
    let streams = connection.streams(Settings::default());
    let events = streams.stream_state("NOTE").await?.last;
    let bar = progress("replay", args.rounds * 2);
    let takes = [
        Take::new("raw pull, no ack", || {
            one_go(events, pull(&connection, events))
        }),
        Take::new("ordered + evolve ÷ raw pull", || {
            one_go(events, fold(&connection, events))
        }),
    ];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    let mut figures = rows("replay", 1, &takes, &runs);
    if let [raw, ours] = figures.as_mut_slice() {
        *ours = ours.clone().beside(raw.ours, Some(REPLAY_TARGET));
    }
    bar.finish_and_clear();
    Ok(figures)
}

async fn pull(connection: &Connection, events: u64) -> anyhow::Result<()> {
    let stream = connection.jetstream().get_stream("NOTE").await?;
    let config = pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.stream().max_messages_per_batch(PULL_BATCH);
    let mut messages = messages.messages().await?;
    let mut bytes = 0;
    for _ in 0..events {
        let message = messages.next().await.context("the stream broke off")??;
        bytes += message.payload.len();
    }
    ensure!(bytes > 0, "nothing came");
    Ok(())
}

async fn fold(connection: &Connection, events: u64) -> anyhow::Result<()> {
    let mut subscription = connection.ordered("NOTE", 0);
    let mut notes: HashMap<AggregateId, Note> = HashMap::new();
    let mut read = 0;
    while read < events {
        let linger = Duration::from_millis(10);
        for event in subscription.next_batch(PULL_BATCH, linger).await? {
            let page = event.decode::<Note>()?;
            notes.entry(event.aggregate_id).or_default().evolve(&page);
            read += 1;
        }
    }
    let pages: u64 = notes.values().map(|note| note.pages).sum();
    ensure!(pages == events, "{pages} pages of {events}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_short_one_has_all_its_events_in_its_window_and_a_long_one_one_a_round() {
        let short = 1_003;
        let mut rounds: BTreeMap<AggregateId, Vec<u64>> = BTreeMap::new();
        for round in 0..LONG {
            let ids = (0..WRITERS).flat_map(|writer| in_round(round, writer, short).unwrap());
            for id in ids {
                rounds.entry(id).or_default().push(round);
            }
        }
        assert_eq!(rounds.len() as u64, short + LONG_ONES as u64);
        for (id, written) in rounds {
            let first = written[0];
            let expected = if id.as_str().starts_with("long") {
                (0..LONG).collect()
            } else {
                assert_eq!(first % SHORT, 0, "{id}");
                (first..first + SHORT).collect::<Vec<_>>()
            };
            assert_eq!(written, expected, "{id}");
        }
    }
}
