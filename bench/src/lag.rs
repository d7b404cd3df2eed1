//! `lag`: how long after its acknowledgement an event's row can be read, while so many events come a
//! second, whether the rows keep up or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use kernel::UserId;
use projections::projector::Settings;
use projections::{Access, Projector, Reader, USER_ACCOUNT, read};
use streams::Streams;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Args;
use crate::accounts::{Accounts, CONTEXT, register};
use crate::load::{LATENCY_MAX_US, Run, Take, in_turn};
use crate::report::{Row, rows};
use crate::shop::progress;
use crate::usage;

/// Events a second.
const RATE: u32 = 2_000;

/// One event of so many is waited for: what asks must not be what is measured.
const SAMPLE: u32 = 10;

/// Longest wait for a row.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(accounts: &Accounts, args: &Args) -> anyhow::Result<Vec<Row>> {
    let connection = accounts.connect().await?;
    let streams = accounts
        .connect()
        .await?
        .streams(streams::Settings::default());
    let login = accounts.login(Access::Writer)?;
    let projector = Projector::new(CONTEXT, connection, login, Settings::default())?;
    let stop = CancellationToken::new();
    let projector = tokio::spawn(projector.run(stop.clone()));
    let reader = Reader::open(&accounts.readers()?, read::Settings::default());
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("lag", args.rounds);
    let takes = [Take::new("append → row", || {
        paced(streams.clone(), reader.clone(), duration)
    })];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    bar.finish_and_clear();
    stop.cancel();
    projector.await??;
    Ok(rows("lag", usize::try_from(RATE)?, &takes, &runs))
}

/// Appends at that rate, whatever comes of it. The rate that is told is the one that was reached.
async fn paced(streams: Streams, reader: Reader, duration: Duration) -> anyhow::Result<Run> {
    let reader = Arc::new(reader);
    let before = usage::now();
    let mut clock = tokio::time::interval(Duration::from_secs(1) / RATE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = u32::try_from(duration.as_secs())? * RATE;
    let mut appends = JoinSet::new();
    let started = Instant::now();
    for number in 0..count {
        clock.tick().await;
        let streams = streams.clone();
        let reader = (number % SAMPLE == 0).then(|| Arc::clone(&reader));
        appends.spawn(async move { append(&streams, reader.as_deref()).await });
    }
    let mut latency = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    let mut failures = 0;
    while let Some(appended) = appends.join_next().await {
        match appended? {
            Ok(None) => {}
            Ok(Some(waited)) => {
                latency.saturating_record(u64::try_from(waited.as_micros())?.max(1));
            }
            Err(error) => {
                if failures == 0 {
                    eprintln!("bench: the first failure: {error:#}");
                }
                failures += 1;
            }
        }
    }
    Ok(Run {
        per_second: f64::from(count) / started.elapsed().as_secs_f64(),
        failures,
        ..Run::of(latency, started.elapsed(), &before)
    })
}

/// One event; and how long its row took from the acknowledgement on, if that is asked.
async fn append(streams: &Streams, reader: Option<&Reader>) -> anyhow::Result<Option<Duration>> {
    let person = UserId(Uuid::now_v7());
    let sequence = register(streams, person).await?.position.sequence;
    let began = Instant::now();
    let Some(reader) = reader else {
        return Ok(None);
    };
    let id = person.to_string();
    let found = reader
        .get_at(&USER_ACCOUNT, &id, (sequence, PATIENCE))
        .await?;
    ensure!(
        found.position >= sequence,
        "event {sequence} is not there in time"
    );
    found.row.context("its row is missing")?;
    Ok(Some(began.elapsed()))
}
