//! How far the views are behind the true end of their stream, in events and in time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use kernel::Position;
use schemars::JsonSchema;
use serde::Serialize;
use streams::{Streams, clock};
use tokio::time::timeout;

use crate::read::{Reader, ViewStatus};

/// Longest that Postgres or NATS may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// A view that has not moved for so long, while an event waits as long, has stalled. A busy projector
/// commits many times a second; one that is taken over stands still for a few.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);

/// How far one view is behind.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Lag {
    /// Which view.
    pub view: String,
    /// Of which stream.
    pub stream: String,
    /// How far it has come.
    pub position: u64,
    /// The last event of its stream, as the stream's leader says; none when it can't be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// Events that it has not taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// How long the first of them has been in the stream, in seconds; 0 when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_s: Option<f64>,
    /// Events wait, and it doesn't move; or it has stopped.
    pub stalled: bool,
    /// Rows are left that an older version has made: rebuild it.
    pub outdated: bool,
    /// When it has moved last.
    pub updated_at: DateTime<Utc>,
    /// The event at which it has stopped; the cause stands in `view_position` and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
}

/// What a look at one context has found.
#[derive(Debug)]
pub struct Looked {
    /// Which context.
    pub context: &'static str,
    /// Its views; none when its database is away.
    pub views: Option<Vec<Lag>>,
    /// Its stream's last event; none when the stream can't be asked.
    pub end: Option<u64>,
}

/// Looks at every context that `reader` reads, at the same time.
pub async fn look_at_all(reader: &Reader, streams: &Streams) -> Vec<Looked> {
    let contexts = reader.contexts();
    join_all(contexts.map(|context| look(reader, streams, context))).await
}

/// Looks how far the views of `context` are behind. What can't be asked within two seconds is away.
///
/// The positions are asked first and the end afterwards, so a lag is never told smaller than it is.
pub async fn look(reader: &Reader, streams: &Streams, context: &'static str) -> Looked {
    let stream = context.to_ascii_uppercase();
    let statuses = timeout(ANSWER_TIME_MAX, reader.statuses(context)).await;
    let statuses = statuses.ok().and_then(Result::ok);
    let state = timeout(ANSWER_TIME_MAX, streams.stream_state(&stream)).await;
    let end = state.ok().and_then(Result::ok).map(|state| state.last);
    let mut views = Vec::new();
    for status in statuses.iter().flatten() {
        let next = match end {
            Some(end) if end > status.position => recorded_at(streams, status).await,
            Some(_) | None => None,
        };
        views.push(lag(status, end, next, clock::now()));
    }
    Looked {
        context,
        views: statuses.map(|_| views),
        end,
    }
}

/// When the first event was recorded that the view has not taken in.
async fn recorded_at(streams: &Streams, status: &ViewStatus) -> Option<DateTime<Utc>> {
    let next = Position::new(status.stream.as_str(), status.position.saturating_add(1));
    let event = timeout(ANSWER_TIME_MAX, streams.event_at(&next)).await;
    let event = event.ok()?.ok()??;
    Some(event.recorded_at)
}

fn lag(
    status: &ViewStatus,
    end: Option<u64>,
    next: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Lag {
    let behind = end.map(|end| end.saturating_sub(status.position));
    // Clocks of three machines: never less than nothing.
    let since = |then: DateTime<Utc>| (now - then).to_std().unwrap_or_default();
    let waiting = match behind {
        Some(0) => Some(Duration::ZERO),
        Some(_) => next.map(since),
        None => None,
    };
    let still = status.still >= STALLED_AFTER;
    let waits = waiting.is_some_and(|waiting| waiting >= STALLED_AFTER);
    Lag {
        view: status.view.clone(),
        stream: status.stream.clone(),
        position: status.position,
        end,
        behind,
        behind_s: waiting.map(|waiting| waiting.as_secs_f64()),
        stalled: status.failed_position.is_some() || (still && waits),
        outdated: status.is_outdated(),
        updated_at: status.updated_at,
        stopped_at: status.failed_position,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn standing(position: u64, still_s: u32) -> ViewStatus {
        ViewStatus {
            view: "order_summary".into(),
            stream: "ORDER".into(),
            position,
            // By another clock, which is an hour ahead.
            updated_at: Utc::now() + TimeDelta::hours(1),
            still: Duration::from_secs(still_s.into()),
            failed_position: None,
            last_error: None,
            revision: crate::ORDER_SUMMARY.revision,
        }
    }

    fn told(position: u64, still_s: u32, waits_s: Option<i64>) -> Lag {
        let now = Utc::now();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let status = standing(position, still_s);
        lag(&status, Some(10), waits_s.map(ago), now)
    }

    #[test]
    fn a_view_has_stalled_when_events_wait_and_it_does_not_move() {
        assert!(told(9, 11, Some(11)).stalled);
        // Catching up from far behind.
        assert!(!told(2, 0, Some(3600)).stalled);
        // The first event after a quiet night.
        assert!(!told(9, 3600, Some(1)).stalled);
        let quiet = told(10, 3600, None);
        assert!(!quiet.stalled);
        assert_eq!((quiet.behind, quiet.behind_s), (Some(0), Some(0.0)));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let unknown = told(9, 11, None);
        assert_eq!((unknown.behind, unknown.behind_s), (Some(1), None));
        // Clocks that go apart.
        assert_eq!(told(9, 0, Some(-5)).behind_s, Some(0.0));
    }

    #[test]
    fn a_view_that_has_stopped_has_stalled_whatever_the_log_says() {
        let stopped = |position| ViewStatus {
            failed_position: Some(position),
            ..standing(position, 0)
        };
        // The next event can't be read; the log has become shorter.
        for position in [9, 12] {
            let lag = lag(&stopped(position), Some(10), None, Utc::now());
            assert!(lag.stalled, "{lag:?}");
        }
    }
}
