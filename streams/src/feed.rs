//! What happens now, for many listeners: one subscription for each stream, however many there are.
//!
//! ```text
//!   stream ──► one ordered subscription ──► ring    everybody who follows all of the stream
//!                                      └──► pokes   who follows one aggregate, and reads it from the log
//! ```
//!
//! A listener begins to listen first and reads the log afterwards, so nothing falls in between. Who
//! follows one aggregate is woken by its events alone: the idle cost nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::Position;
use thiserror::Error;
use tokio::sync::{OnceCell, broadcast, watch};
use tokio::task::JoinHandle;

use crate::connection::Connection;
use crate::envelope::RecordedEvent;
use crate::log::BoxError;
use crate::store::{LoadError, Settings, Streams};
use crate::subscription::{OrderedSubscription, SubscriptionError};

/// Events that are kept for those who follow all of a stream: who is farther behind is let go.
pub const RING_EVENTS: usize = 4_096;

/// Events that are read at once by who catches up.
const CATCH_UP_BATCH: usize = 200;

/// Pause before a subscription begins anew that could not go on.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// An event; none when the log is not what it was.
type Told = Option<Arc<RecordedEvent>>;

type Pokes = Mutex<HashMap<String, watch::Sender<u64>>>;

/// Why nothing more comes.
#[derive(Debug, Error)]
pub enum FeedEnd {
    /// The listener took the events slower than they came.
    #[error("events came faster than they were taken")]
    TooSlow,
    /// The log is not what it was: it was restored, or made anew.
    #[error("the log is not what it was")]
    LogChanged,
    /// The log can't be read.
    #[error("the log can't be read")]
    Unavailable(#[source] BoxError),
}

/// The feeds of all streams. Cheap to clone; their subscriptions begin with the first listener and end
/// with the last clone.
#[derive(Clone)]
pub struct Feeds {
    connection: Connection,
    streams: Streams,
    by_stream: Arc<BTreeMap<String, OnceCell<Feed>>>,
}

/// One stream.
struct Feed {
    ring: broadcast::Sender<Told>,
    pokes: Arc<Pokes>,
    /// True once it is certain that every later event is told.
    begun: watch::Receiver<bool>,
    reader: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Feeds {
    /// Feeds of `streams`. Nothing is asked of the server yet.
    pub fn new(connection: &Connection, streams: impl IntoIterator<Item = String>) -> Self {
        let feeds = streams.into_iter().map(|name| (name, OnceCell::new()));
        Self {
            connection: connection.clone(),
            streams: connection.streams(Settings::reading()),
            by_stream: Arc::new(feeds.collect()),
        }
    }

    /// Follows one aggregate by its subject: wakes whenever it has changed.
    ///
    /// # Errors
    /// There is no feed of the stream, or the log can't be reached.
    pub async fn poke(&self, stream: &str, subject: &str) -> Result<Poke, FeedEnd> {
        let feed = self.begun(stream).await?;
        let mut pokes = lock(&feed.pokes);
        let sender = pokes.entry(subject.to_owned());
        let last = sender.or_insert_with(|| watch::Sender::new(0)).subscribe();
        Ok(Poke {
            last,
            subject: subject.to_owned(),
            pokes: Arc::clone(&feed.pokes),
        })
    }

    /// Follows a whole stream: what comes behind `after`, or from now on.
    ///
    /// # Errors
    /// As [`Self::poke`].
    pub async fn follow(&self, stream: &str, after: Option<u64>) -> Result<Follower, FeedEnd> {
        let feed = self.begun(stream).await?;
        let live = feed.ring.subscribe();
        let end = self.end(stream).await?;
        let read = after.unwrap_or(end);
        if read > end {
            return Err(FeedEnd::LogChanged);
        }
        let log = (read < end).then(|| self.connection.ordered(stream, read));
        Ok(Follower {
            feeds: self.clone(),
            stream: stream.to_owned(),
            read,
            end,
            log,
            live,
            ready: Vec::new(),
        })
    }

    async fn end(&self, stream: &str) -> Result<u64, FeedEnd> {
        let state = self.streams.stream_state(stream).await;
        Ok(state.map_err(unavailable)?.last)
    }

    /// The feed of a stream, once it tells every later event.
    async fn begun(&self, stream: &str) -> Result<&Feed, FeedEnd> {
        let cell = self.by_stream.get(stream);
        let cell = cell.ok_or_else(|| FeedEnd::Unavailable("there is no such feed".into()))?;
        let new = || async { Feed::begin(&self.connection, &self.streams, stream) };
        let feed = cell.get_or_init(new).await;
        let mut begun = feed.begun.clone();
        let waited =
            tokio::time::timeout(crate::connection::ANSWER_TIMEOUT, begun.wait_for(|b| *b));
        match waited.await {
            Ok(Ok(_)) => Ok(feed),
            Ok(Err(_)) | Err(_) => Err(FeedEnd::Unavailable("the feed has not begun yet".into())),
        }
    }
}

impl Feed {
    fn begin(connection: &Connection, streams: &Streams, stream: &str) -> Self {
        let ring = broadcast::Sender::new(RING_EVENTS);
        let pokes = Arc::new(Pokes::default());
        let (tell, begun) = watch::channel(false);
        let reader = tokio::spawn(read(
            (connection.clone(), streams.clone(), stream.to_owned()),
            ring.clone(),
            Arc::clone(&pokes),
            tell,
        ));
        Self {
            ring,
            pokes,
            begun,
            reader,
        }
    }
}

/// Reads a stream from its end on, and tells everybody.
async fn read(
    (connection, streams, stream): (Connection, Streams, String),
    ring: broadcast::Sender<Told>,
    pokes: Arc<Pokes>,
    begun: watch::Sender<bool>,
) {
    loop {
        let Ok(state) = streams.stream_state(&stream).await else {
            tokio::time::sleep(RESTART_PAUSE).await;
            continue;
        };
        let mut subscription = connection.ordered(&stream, state.last);
        // What has happened since the last one was told to nobody.
        poke_all(&pokes);
        begun.send_replace(true);
        loop {
            match subscription.next().await {
                Ok(event) => {
                    poke(&pokes, &event.subject, event.position.sequence);
                    // Nobody listens now: the next listener reads the log.
                    let _ = ring.send(Some(Arc::new(event)));
                }
                Err(SubscriptionError::Unreadable { position, source }) => {
                    let cause = source.to_string();
                    tracing::error!(%position, cause, "an event that can't be read is not told");
                }
                Err(error @ (SubscriptionError::Gap { .. } | SubscriptionError::Ahead { .. })) => {
                    tracing::error!(stream, %error, "the feed begins anew");
                    // Who begins to listen waits until it is read again; who listens finds a log that is
                    // not what it was.
                    begun.send_replace(false);
                    // As above.
                    let _ = ring.send(None);
                    break;
                }
            }
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

fn poke(pokes: &Pokes, subject: &str, sequence: u64) {
    if let Some(sender) = lock(pokes).get(subject) {
        sender.send_replace(sequence);
    }
}

fn poke_all(pokes: &Pokes) {
    for sender in lock(pokes).values() {
        sender.send_modify(|_| {});
    }
}

fn lock(pokes: &Pokes) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<u64>>> {
    pokes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes whenever one aggregate has changed.
pub struct Poke {
    last: watch::Receiver<u64>,
    subject: String,
    pokes: Arc<Pokes>,
}

impl Poke {
    /// Waits for the next change since the last call. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.last.changed().await.is_err() {
            // The feed has ended, and nothing will change any more as far as it can tell.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Poke {
    fn drop(&mut self) {
        let mut pokes = lock(&self.pokes);
        // Our own receiver is the last one.
        if pokes
            .get(&self.subject)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            pokes.remove(&self.subject);
        }
    }
}

/// Follows a whole stream: first what the log holds, then what comes.
pub struct Follower {
    feeds: Feeds,
    stream: String,
    /// The last event that was handed out.
    read: u64,
    /// Where the log ended when we looked.
    end: u64,
    /// While it catches up.
    log: Option<OrderedSubscription>,
    live: broadcast::Receiver<Told>,
    /// Read while catching up, the next one last.
    ready: Vec<Arc<RecordedEvent>>,
}

impl Follower {
    /// Where it is: behind this event.
    pub fn position(&self) -> Position {
        Position::new(self.stream.as_str(), self.read)
    }

    /// The next event; waits for it as long as it takes. Cancel-safe.
    ///
    /// # Errors
    /// Nothing more comes.
    pub async fn next(&mut self) -> Result<Arc<RecordedEvent>, FeedEnd> {
        loop {
            if let Some(event) = self.ready.pop() {
                self.read = event.position.sequence;
                return Ok(event);
            }
            if let Some(log) = &mut self.log {
                if self.read < self.end {
                    self.ready = catch_up(log).await?;
                    continue;
                }
                self.caught_up().await?;
                continue;
            }
            match self.live.recv().await {
                Ok(Some(event)) if event.position.sequence <= self.read => {}
                Ok(Some(event)) => {
                    self.read = event.position.sequence;
                    return Ok(event);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return Err(FeedEnd::TooSlow),
                Ok(None) | Err(broadcast::error::RecvError::Closed) => {
                    return Err(FeedEnd::LogChanged);
                }
            }
        }
    }

    /// At the end that the log had. What came meanwhile may be more than the ring holds: listen anew,
    /// and then look where the log ends now.
    async fn caught_up(&mut self) -> Result<(), FeedEnd> {
        self.live = self.live.resubscribe();
        self.end = self.feeds.end(&self.stream).await?;
        if self.read >= self.end {
            self.log = None;
        }
        Ok(())
    }
}

async fn catch_up(log: &mut OrderedSubscription) -> Result<Vec<Arc<RecordedEvent>>, FeedEnd> {
    match log.next_batch(CATCH_UP_BATCH, Duration::ZERO).await {
        Ok(events) => Ok(events.into_iter().rev().map(Arc::new).collect()),
        Err(SubscriptionError::Unreadable { source, .. }) => Err(FeedEnd::Unavailable(source)),
        Err(SubscriptionError::Gap { .. } | SubscriptionError::Ahead { .. }) => {
            Err(FeedEnd::LogChanged)
        }
    }
}

fn unavailable(error: LoadError) -> FeedEnd {
    FeedEnd::Unavailable(error.into())
}
