//! How much one server takes on, at most. Each bound has a name and a setting.

use std::time::Duration;

use clap::Args;

use crate::prefer::WAIT_MAX_S;

/// Largest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Largest request head (request line and headers), in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields of one HTTP/1 request. HTTP/2 has no bound of its own on them, and counts 32 bytes more for each
/// (RFC 9113 §10.5.1).
pub const HEAD_FIELDS_MAX: usize = 100;

/// Most requests at once on one HTTP/2 connection.
pub const HTTP2_STREAMS_MAX: u32 = 128;

/// Longest work on one request, in seconds; `Prefer: wait` comes on top. Where a body of any length
/// is taken in: longest without a piece of it.
pub const REQUEST_TIME_MAX_S: u64 = 30;

/// Longest that a body of bounded size may take to come in, in seconds: it is waited for in one of the places
/// of those that are worked on.
pub const BODY_TIME_MAX_S: u64 = 5;

/// Longest that a client may take to send a request's head, in seconds (slow-loris). An idle
/// kept-alive connection is closed after the same time.
pub const HEAD_TIME_MAX_S: u64 = 15;

/// Most requests that are worked on at once; above it they wait in line.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// Of those one in so many may wait for an outcome that its client prefers to wait for. One more isn't waited for,
/// and its answer says so by leaving `Preference-Applied` out; the places are left to the others.
const WAITS_ONE_IN: usize = 4;

/// Most requests that wait in line; above it 503 at once. As many as there are connections: whoever is told no
/// at once asks again at once, and a server under a flood would do little else than say no.
pub const REQUESTS_WAITING_MAX: usize = CONNECTIONS_MAX;

/// Longest wait in line, in milliseconds; behind it 503. It smooths a burst, and under a flood it keeps
/// clients from coming back at once: each refusal costs work that answers nobody.
pub const LINE_TIME_MAX_MS: u64 = 1_000;

/// Most open connections; above it new ones wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 8192;

/// Longest that a client may leave lying what it was sent, in seconds: a connection whose peer takes
/// nothing in is cut then.
pub const STALL_TIME_MAX_S: u64 = 30;

/// How long accepted requests may take to finish at shutdown, in seconds: whoever prefers to wait, at a gateway too,
/// is answered before. Containers are given ten more.
pub const DRAIN_TIME_MAX_S: u64 = WAIT_MAX_S + 5;

/// The bounds of one HTTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Limits {
    /// Largest request body, in bytes.
    #[arg(long, env = "MILLRACE_BODY_BYTES_MAX", default_value_t = BODY_BYTES_MAX)]
    pub body_bytes_max: usize,
    /// Largest request head, in bytes.
    #[arg(long, env = "MILLRACE_HEAD_BYTES_MAX", default_value_t = HEAD_BYTES_MAX)]
    pub head_bytes_max: usize,
    /// Longest time for a body of bounded size, in seconds.
    #[arg(long, env = "MILLRACE_BODY_TIME_MAX_S", default_value_t = BODY_TIME_MAX_S)]
    pub body_time_max_s: u64,
    /// Longest work on one request, in seconds; `Prefer: wait` comes on top.
    #[arg(long, env = "MILLRACE_REQUEST_TIME_MAX_S", default_value_t = REQUEST_TIME_MAX_S)]
    pub request_time_max_s: u64,
    /// Longest time for a request's head, in seconds.
    #[arg(long, env = "MILLRACE_HEAD_TIME_MAX_S", default_value_t = HEAD_TIME_MAX_S)]
    pub head_time_max_s: u64,
    /// Most requests at once; above it they wait in line.
    #[arg(long, env = "MILLRACE_REQUESTS_IN_FLIGHT_MAX", default_value_t = REQUESTS_IN_FLIGHT_MAX)]
    pub requests_in_flight_max: usize,
    /// Most requests that wait in line; above it 503.
    #[arg(long, env = "MILLRACE_REQUESTS_WAITING_MAX", default_value_t = REQUESTS_WAITING_MAX)]
    pub requests_waiting_max: usize,
    /// Longest wait in line, in milliseconds; behind it 503.
    #[arg(long, env = "MILLRACE_LINE_TIME_MAX_MS", default_value_t = LINE_TIME_MAX_MS)]
    pub line_time_max_ms: u64,
    /// Most open connections.
    #[arg(long, env = "MILLRACE_CONNECTIONS_MAX", default_value_t = CONNECTIONS_MAX)]
    pub connections_max: usize,
    /// Most requests at once on one HTTP/2 connection.
    #[arg(long, env = "MILLRACE_HTTP2_STREAMS_MAX", default_value_t = HTTP2_STREAMS_MAX)]
    pub http2_streams_max: u32,
    /// Longest time for a client to take in what it was sent, in seconds.
    #[arg(long, env = "MILLRACE_STALL_TIME_MAX_S", default_value_t = STALL_TIME_MAX_S)]
    pub stall_time_max_s: u64,
    /// Longest time to finish accepted requests at shutdown, in seconds.
    #[arg(long, env = "MILLRACE_DRAIN_TIME_MAX_S", default_value_t = DRAIN_TIME_MAX_S)]
    pub drain_time_max_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_MAX,
            head_bytes_max: HEAD_BYTES_MAX,
            body_time_max_s: BODY_TIME_MAX_S,
            request_time_max_s: REQUEST_TIME_MAX_S,
            head_time_max_s: HEAD_TIME_MAX_S,
            requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            requests_waiting_max: REQUESTS_WAITING_MAX,
            line_time_max_ms: LINE_TIME_MAX_MS,
            connections_max: CONNECTIONS_MAX,
            http2_streams_max: HTTP2_STREAMS_MAX,
            stall_time_max_s: STALL_TIME_MAX_S,
            drain_time_max_s: DRAIN_TIME_MAX_S,
        }
    }
}

impl Limits {
    /// Most requests at once that wait for an outcome.
    pub fn waits_max(&self) -> usize {
        (self.requests_in_flight_max / WAITS_ONE_IN).max(1)
    }

    pub(crate) fn request_time(&self) -> Duration {
        Duration::from_secs(self.request_time_max_s)
    }

    pub(crate) fn line_time(&self) -> Duration {
        Duration::from_millis(self.line_time_max_ms)
    }

    pub(crate) fn head_time(&self) -> Duration {
        Duration::from_secs(self.head_time_max_s)
    }

    pub(crate) fn stall_time(&self) -> Duration {
        Duration::from_secs(self.stall_time_max_s)
    }

    /// How long open requests may take at shutdown.
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_max_s)
    }
}
