//! One connection of one role to NATS.
//!
//! What the role's user must be allowed, where its account lets nobody do everything (as `nats.conf` doesn't);
//! `<STREAM>` is the context in upper case. What a server denies it does not answer: the client sees a
//! time-out, and the reason in its log.
//!
//! | who | publishes to |
//! |---|---|
//! | [`Connection::open`] | `$SYS.REQ.USER.INFO` (the time; without it, the machine's own) |
//! | [`check`](crate::topology::check) | `$JS.API.STREAM.INFO.<STREAM>`, `$JS.API.CONSUMER.INFO.<STREAM>.<durable>` |
//! | [`Connection::watch`] | the same |
//! | [`Streams::load`](crate::Streams::load) | `$JS.API.STREAM.INFO.<STREAM>`, `$JS.API.STREAM.MSG.GET.<STREAM>`, `$JS.API.DIRECT.GET.<STREAM>`, `$JS.API.DIRECT.GET.<STREAM>.>`, `$JS.API.DIRECT.GET.SNAPSHOTS.snapshot.<context>.>` |
//! | [`Streams::execute`](crate::Streams::execute) | the same, `event.<context>.>`, `snapshot.<context>.>` |
//! | [`Connection::ordered`] | `$JS.API.STREAM.INFO.<STREAM>`, `$JS.API.CONSUMER.CREATE.<STREAM>.*`, `$JS.API.CONSUMER.DELETE.<STREAM>.*`, `$JS.API.CONSUMER.MSG.NEXT.<STREAM>.*` |
//! | the same of a filter | `$JS.API.CONSUMER.CREATE.<STREAM>.*.<filter>` in the place of the second, and `$JS.API.STREAM.MSG.GET.<STREAM>` |
//! | [`Connection::durable`] | `$JS.API.STREAM.INFO.<STREAM>`, `$JS.API.CONSUMER.INFO.<STREAM>.<durable>`, `$JS.API.CONSUMER.MSG.NEXT.<STREAM>.<durable>`, `$JS.ACK.<STREAM>.<durable>.>`, `$JS.API.CONSUMER.RESET.<STREAM>.<durable>`, `$JS.API.CONSUMER.UNPIN.<STREAM>.<durable>` |
//! | a durable that parks | `parked.<durable>.*`, `$JS.API.STREAM.INFO.PARKED`, `$JS.API.CONSUMER.CREATE.PARKED.*.parked.<durable>.>`, `$JS.API.CONSUMER.MSG.NEXT.PARKED.*` |
//! | [`Timers`](crate::timers::Timers) | `timer.sched.<saga>.>`, `$JS.API.STREAM.MSG.GET.TIMERS` |
//! | [`Bus`](crate::bus::Bus) | `command.<context>`, `question.<context>.>` |
//! | [`Keys`](crate::keys::Keys) | `$JS.API.STREAM.MSG.GET.KEYS`, `$JS.API.DIRECT.GET.KEYS.key.*`; to make one `key.*`; to destroy one `$JS.API.STREAM.MSG.DELETE.KEYS` |
//! | [`provision`](crate::topology::provision) | everything |
//!
//! Each subscribes to `_INBOX_<user>.>`. Who watches hears at once of a change if it may subscribe to
//! `$JS.EVENT.ADVISORY.STREAM.*.*`. A [`Host`](crate::bus::Host) also to `command.<context>`,
//! `question.<context>.>` and `$SRV.>`; it may answer (`allow_responses`) and asks
//! `$JS.API.STREAM.INFO.KEYS` whether its subscriptions are there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::Client;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{ConnectErrorKind, Event, RequestErrorKind};
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::barrier::Barrier;
use crate::bus::Hosts;
use crate::topology::{self, KEYS_STREAM, Topology, Withheld};
use crate::{clock, parking};

/// How long [`Connection::open`] keeps trying while nobody answers.
pub const CONNECT_BUDGET: Duration = Duration::from_secs(30);

/// Pause between two tries to connect, and between two looks at a lost connection.
const CONNECT_PAUSE: Duration = Duration::from_millis(250);

/// Bound of one try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take: acknowledgements, JetStream's API, requests. After it, an append
/// is unknown, not failed.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the server is asked for a sign of life: two unanswered ones end the connection.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Longest pause between two tries to reconnect; the first come within milliseconds.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often it is looked whether a connection has ended, and how long that may take.
const CLOSE_LOOK: Duration = Duration::from_millis(10);
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Most of what the server says is wrong that who listens to it may be behind.
const COMPLAINTS_MAX: usize = 256;

/// The oldest server that does all that is asked of it: atomic batches, schedules, pinned consumers.
const SERVER_VERSION_MIN: [u64; 3] = [2, 14, 4];

/// Where to connect, and as whom.
#[derive(Clone)]
pub struct ConnectOptions {
    /// One or more `nats://host:port`, separated by commas.
    pub url: String,
    /// The NATS user: the role in kebab case.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// How the connection is called in the server's lists.
    pub name: String,
    /// File with the certificates (PEM) of those who vouch for the server; `None` = no TLS.
    pub ca: Option<PathBuf>,
    /// Files (PEM) with the certificate that is shown to the server, and its key; `None` = none is.
    pub shown: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for ConnectOptions {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A connection could not be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The server knows no such user, or another password.
    #[error("NATS at {url} refuses user {user}: is the password the one of this data folder?")]
    Refused {
        /// Where.
        url: String,
        /// Who.
        user: String,
        /// What async-nats says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The address can't be read.
    #[error("{url:?} is no NATS address: nats://host:port is wanted")]
    Address {
        /// What was given.
        url: String,
        /// What async-nats says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// It would fail later, at what it can't do.
    #[error(
        "nats-server at {url} is {version}; {} or newer is needed",
        dotted(SERVER_VERSION_MIN)
    )]
    TooOld {
        /// Where.
        url: String,
        /// What it says that it is.
        version: String,
    },
    /// Nobody answered in time.
    #[error("NATS at {url} can't be reached after {} s", CONNECT_BUDGET.as_secs())]
    Unreachable {
        /// Where.
        url: String,
        /// The last try.
        #[source]
        source: async_nats::ConnectError,
    },
}

/// A connection that reconnects for ever once it was made. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    jetstream: Context,
    barrier: Barrier,
    parked_end: Arc<parking::End>,
    here: Hosts,
    withheld: Withheld,
    complaints: broadcast::Sender<String>,
    closed: CancellationToken,
    /// With the last of it the asking for the time ends, and the looking at streams.
    _open: Arc<DropGuard>,
}

impl Connection {
    /// Connects, trying again for [`CONNECT_BUDGET`] while the server is not up yet. From then on this
    /// process goes by the server's [`clock`].
    ///
    /// Answers come to a private inbox, `_INBOX_<user>` with `_` for `-`, so that no other role
    /// can listen to them (its permissions name the same prefix).
    ///
    /// # Errors
    /// The address is none, the server refuses the user, or nobody answered.
    pub fn open(options: &ConnectOptions) -> BoxFuture<'_, Result<Self, ConnectError>> {
        Box::pin(async move {
            let deadline = Instant::now() + CONNECT_BUDGET;
            let mut told = false;
            loop {
                let (complaints, _) = broadcast::channel(COMPLAINTS_MAX);
                match connect(options, complaints.clone()).await {
                    Ok(client) => {
                        let version = client.server_info().version;
                        if is_too_old(&version) {
                            let url = options.url.clone();
                            return Err(ConnectError::TooOld { url, version });
                        }
                        clock::begin(&client).await;
                        return Ok(Self::from_client(client, complaints));
                    }
                    Err(source) => {
                        if !std::mem::replace(&mut told, true) {
                            let url = &options.url;
                            tracing::warn!(url, %source, budget = ?CONNECT_BUDGET, "NATS can't be reached yet");
                        }
                        if let Some(error) = final_error(options, source, deadline) {
                            return Err(error);
                        }
                    }
                }
                sleep(CONNECT_PAUSE).await;
            }
        })
    }

    fn from_client(client: Client, complaints: broadcast::Sender<String>) -> Self {
        let jetstream = ContextBuilder::new()
            .timeout(ANSWER_TIMEOUT)
            .build(client.clone());
        let closed = CancellationToken::new();
        tokio::spawn(clock::follow(client.clone(), closed.clone()));
        Self {
            client,
            jetstream,
            barrier: Barrier::default(),
            parked_end: Arc::default(),
            here: Hosts::default(),
            withheld: Withheld::default(),
            complaints,
            closed: closed.clone(),
            _open: Arc::new(closed.drop_guard()),
        }
    }

    /// The same, beside `hosts` that live in this process: whatever asks over it (each
    /// [`crate::bus::Bus`] that is made of it) asks them directly.
    #[must_use]
    pub fn beside(self, hosts: &Hosts) -> Self {
        Self {
            here: hosts.clone(),
            ..self
        }
    }

    /// The hosts that live in this process.
    pub(crate) fn here(&self) -> &Hosts {
        &self.here
    }

    /// What the server says is wrong from here on, in its words. What it denies is told here alone: nothing
    /// answers such a publish.
    pub fn complaints(&self) -> broadcast::Receiver<String> {
        self.complaints.subscribe()
    }

    /// The plain connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream over this connection; answers within [`ANSWER_TIMEOUT`].
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Waits until the server has worked on everything that was sent before, so that a new
    /// subscription is there for other connections (flushing only empties our own buffer).
    ///
    /// # Errors
    /// No answer within [`ANSWER_TIMEOUT`].
    pub(crate) async fn settle(&self) -> Result<(), async_nats::Error> {
        // Every role may ask this. Any answer will do, also that there is no such stream.
        let question = format!("$JS.API.STREAM.INFO.{KEYS_STREAM}");
        match self.client.request(question, "".into()).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the role that has this connection must have read before it answers.
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// From now on looks every half minute, and at the streams as soon as the server says that one was changed, whether
    /// they are as `topology` declares, and tells which durables are not, or which nobody answers for
    /// (`streams_durable_differs`). As long as a stream could lose what it keeps, nothing is put into it over this connection: no event, key, letter or timer, and nothing
    /// is parked. Snapshots, which are made again, are.
    pub fn watch(&self, topology: Topology) {
        let own = Self {
            // Not what holds the connection open for itself.
            _open: Arc::new(CancellationToken::new().drop_guard()),
            ..self.clone()
        };
        let following = topology::follow(own, topology);
        let closed = self.closed.clone();
        tokio::spawn(closed.run_until_cancelled_owned(following));
    }

    /// What [`Self::watch`] has found.
    pub fn withheld(&self) -> &Withheld {
        &self.withheld
    }

    /// Ends it, for every clone, once what was sent is on its way. So a server that ends next is not taken
    /// for a lost one.
    pub async fn close(&self) {
        // Whoever is closed already has nothing to send.
        let _ = self.client.drain().await;
        let closed = async {
            while self.client.flush().await.is_ok() {
                sleep(CLOSE_LOOK).await;
            }
        };
        // A server that is away can't be told; that is no reason to stay.
        let _ = timeout(CLOSE_TIME_MAX, closed).await;
    }

    /// Where stream PARKED ends.
    pub(crate) fn parked_end(&self) -> &parking::End {
        &self.parked_end
    }

    /// Is the server there right now?
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

async fn connect(
    options: &ConnectOptions,
    complaints: broadcast::Sender<String>,
) -> Result<Client, async_nats::ConnectError> {
    let addresses: Vec<&str> = options.url.split(',').map(str::trim).collect();
    let mut connecting = async_nats::ConnectOptions::new();
    if let Some(ca) = &options.ca {
        connecting = connecting
            .require_tls(true)
            .add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &options.shown {
        connecting = connecting.add_client_certificate(certificate.clone(), key.clone());
    }
    connecting
        .name(&options.name)
        .user_and_password(options.user.clone(), options.password.clone())
        .custom_inbox_prefix(inbox_prefix(&options.user))
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            report(&event);
            if let Event::ServerError(error) = event {
                // Err = nobody listens, as mostly.
                let _unheard = complaints.send(error.to_string());
            }
            std::future::ready(())
        })
        .connect(addresses.as_slice())
        .await
}

/// Is a server of this version too old, or none that is known? What comes after a `-` does not count.
fn is_too_old(version: &str) -> bool {
    let numbers = version.split('-').next().unwrap_or_default().split('.');
    let numbers: Result<Vec<u64>, _> = numbers.map(str::parse).collect();
    !numbers.is_ok_and(|numbers| numbers.as_slice() >= SERVER_VERSION_MIN.as_slice())
}

fn dotted(numbers: [u64; 3]) -> String {
    numbers.map(|number| number.to_string()).join(".")
}

/// What a failed try means: `None` = try again.
fn final_error(
    options: &ConnectOptions,
    source: async_nats::ConnectError,
    deadline: Instant,
) -> Option<ConnectError> {
    let url = options.url.clone();
    let user = options.user.clone();
    match source.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Some(ConnectError::Refused { url, user, source })
        }
        ConnectErrorKind::ServerParse => Some(ConnectError::Address { url, source }),
        ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => {
            (Instant::now() >= deadline).then_some(ConnectError::Unreachable { url, source })
        }
    }
}

fn reconnect_pause(tries: usize) -> Duration {
    let exponent = u32::try_from(tries).unwrap_or(u32::MAX).min(16);
    Duration::from_millis(1 << exponent).min(RECONNECT_PAUSE_MAX)
}

fn inbox_prefix(user: &str) -> String {
    format!("_INBOX_{}", user.replace('-', "_"))
}

/// A denied publish gets no answer: the reason comes only here.
fn report(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("connection to NATS lost"),
        Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::info!(%event, "connection to NATS");
        }
        Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(%event, "connection to NATS");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_known_by_its_numbers() {
        for fine in ["2.14.4", "2.14.10", "2.15.0-RC.1", "2.20.0", "3.0.0"] {
            assert!(!is_too_old(fine), "{fine}");
        }
        for old in ["2.14.3", "2.9.99", "1.99.99", "2.14", "", "two"] {
            assert!(is_too_old(old), "{old}");
        }
        let told = ConnectError::TooOld {
            url: "nats://shop:4222".to_owned(),
            version: "2.10.7".to_owned(),
        };
        let told = told.to_string();
        assert!(told.contains("is 2.10.7; 2.14.4 or newer"), "{told}");
    }
}
