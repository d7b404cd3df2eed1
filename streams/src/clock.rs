//! What time it is, for every role the same: as the server says.
//!
//! What one role writes others hold against their time: until when an ask is of use, when a hold lapses,
//! when a token expires. Machines' clocks are apart, and jump. So all go by the one of the server that they are
//! connected to (of a cluster, one of several: keep them together with NTP), whose like also stamps the messages
//! and rings the timers. A process asks for it when it first connects, and again now
//! and then; in between this process counts on by its monotonic clock, which nobody sets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::Client;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::log::BoxError;

/// What the server is asked: who asks. Any user of any account may, unless their rights leave it out; the
/// answer also says when it was given. It needs no stream, and none of JetStream.
const QUESTION: &str = "$SYS.REQ.USER.INFO";

/// How long an answer may take: it is as old as half of that.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// How often the server is asked. Monotonic clocks stand still while a machine sleeps.
const ASK_INTERVAL: Duration = Duration::from_secs(30);

/// The same, as long as none has told it.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How far this machine's clock may be from the server's before that is told.
const APART_MAX: TimeDelta = TimeDelta::seconds(5);

/// One for the process, as the machine's own is.
static TOLD: RwLock<Option<Told>> = RwLock::new(None);

/// Is it known that the clocks are apart?
static APART: AtomicBool = AtomicBool::new(false);

/// What the server said, and when by the clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    time: DateTime<Utc>,
    at: Instant,
}

impl Told {
    fn by(self, now: Instant) -> DateTime<Utc> {
        let since = TimeDelta::from_std(now.saturating_duration_since(self.at));
        let time = since.ok().and_then(|s| self.time.checked_add_signed(s));
        time.unwrap_or(self.time)
    }
}

/// The server's time. This machine's, as long as no server has told (there is none, or it didn't answer).
pub fn now() -> DateTime<Utc> {
    let told = *TOLD.read().unwrap_or_else(PoisonError::into_inner);
    told.map_or_else(Utc::now, |told| told.by(Instant::now()))
}

/// As much of an answer of the server as tells the time.
#[derive(Deserialize)]
struct Stamped {
    server: Server,
}

#[derive(Deserialize)]
struct Server {
    time: DateTime<Utc>,
}

/// Asks the server, unless one has told this process before: that is asked again now and then.
pub(crate) async fn begin(client: &Client) {
    if !is_told() {
        learn(client).await;
    }
}

fn is_told() -> bool {
    TOLD.read()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some()
}

async fn learn(client: &Client) {
    match ask(client).await {
        Ok(told) => {
            *TOLD.write().unwrap_or_else(PoisonError::into_inner) = Some(told);
            compare(Utc::now() - told.by(Instant::now()));
        }
        Err(error) => {
            let error: &dyn std::error::Error = error.as_ref();
            tracing::warn!(error, "the server's time is asked again later");
        }
    }
}

pub(crate) async fn ask(client: &Client) -> Result<Told, BoxError> {
    let asked = Instant::now();
    let answer = client.request(QUESTION, "".into());
    let answer = timeout(ANSWER_TIME_MAX, answer).await??;
    let Stamped { server } = serde_json::from_slice(&answer.payload)?;
    // It was written somewhere in between.
    let at = asked + asked.elapsed() / 2;
    let time = server.time;
    Ok(Told { time, at })
}

/// Tells, once, when this machine's clock is `ahead` of the server's, or behind.
fn compare(ahead: TimeDelta) {
    #[expect(clippy::cast_precision_loss, reason = "seconds, as metrics count them")]
    metrics::gauge!("clock_ahead_seconds").set(ahead.num_milliseconds() as f64 / 1_000.0);
    let apart = ahead.abs() > APART_MAX;
    if !APART.swap(apart, Ordering::Relaxed) && apart {
        let ahead_s = ahead.num_seconds();
        tracing::warn!(
            ahead_s,
            "this machine's clock is not the NATS server's, which the shop goes by: set one of them right"
        );
    }
}

/// Asks again and again, until `closed`.
pub(crate) async fn follow(client: Client, closed: CancellationToken) {
    let asking = async {
        loop {
            sleep(if is_told() { ASK_INTERVAL } else { ASK_AGAIN }).await;
            learn(&client).await;
        }
    };
    closed.run_until_cancelled(asking).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_time_goes_on_by_the_clock_that_nobody_sets() {
        let time = Utc::now() - TimeDelta::hours(1);
        let at = Instant::now();
        let told = Told { time, at };
        let later = told.by(at + Duration::from_secs(90));
        assert_eq!(later, time + TimeDelta::seconds(90));
        let earlier = at.checked_sub(Duration::from_secs(9)).unwrap_or(at);
        assert_eq!(told.by(earlier), time);
    }
}
