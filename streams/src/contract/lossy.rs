//! Answers and requests get lost on the way to a real server: one event, and the right answer.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use kernel::AggregateId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::account::{Account, AccountCommand};
use super::{case, fresh_id, fresh_meta, run};
use crate::{ConnectOptions, Connection, ExecuteError, Executed, Outcome, Settings, Streams};

/// How long a line stays bad: shorter than an acknowledgement is waited for.
const BAD_FOR: Duration = Duration::from_secs(1);

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Everything arrives.
    Good,
    /// What the client sends vanishes, after so many more that arrive.
    LosesRequests(usize),
    /// What the server answers vanishes, after so many more that arrive.
    LosesAnswers(usize),
    /// Everything arrives, what the server answers only after `SLOW`.
    SlowAnswers,
    /// Everything arrives, but no consumer says that anything waits for it: as one does whose node is behind
    /// the stream's leader.
    HidesPending,
    /// Everything arrives, but messages of the client with this text only once the line is another.
    HoldsBack(&'static str),
    /// There is none, and no new one either.
    Cut,
}

/// What a consumer says of what waits for it, before the number.
const PENDING: &[u8] = b"\"num_pending\":";

/// How late answers are on a slow line: later than whatever a worker does every second.
const SLOW: Duration = Duration::from_millis(1_200);

/// What a command sends and gets at most when nothing goes wrong: to load the aggregate, to append,
/// to ask the leader.
const POINTS: usize = 5;

/// Everything that a command sends or gets lost in turn, for one event and for a batch, all at once.
pub async fn all(options: &ConnectOptions) {
    let lost = (0..POINTS).flat_map(|n| [Line::LosesRequests(n), Line::LosesAnswers(n)]);
    let cases = lost.chain([Line::Cut]).flat_map(|line| {
        [vec![5], vec![2, 3]].map(|amounts| one_event_and_the_right_answer(options, line, amounts))
    });
    join_all(cases).await;
}

/// The line turns bad, a command is given, and the line comes back before the command gives up.
pub async fn one_event_and_the_right_answer(
    options: &ConnectOptions,
    line: Line,
    amounts: Vec<u64>,
) {
    case(&format!("{line:?} with {} events", amounts.len()));
    let proxy = Proxy::start(options).await;
    let connection = Connection::open(&proxy.options).await.unwrap();
    let id = fresh_id();
    let first = connection.streams(Settings::default());
    run(&first, &id, AccountCommand::Open).await.unwrap();
    // Another cache, that has nothing yet.
    let streams = connection.streams(Settings::default());
    proxy.set(line);
    let command = AccountCommand::Deposit(amounts.clone());
    let (paid, ()) = tokio::join!(until_done(&streams, &id, command), async {
        sleep(BAD_FOR).await;
        // A stream of bytes with a hole in it is no NATS connection any more.
        proxy.set(Line::Cut);
        sleep(BAD_FOR).await;
        proxy.set(Line::Good);
    });
    let version = 1 + amounts.len() as u64;
    assert_eq!((paid.outcome, paid.version), (Outcome::Appended, version));
    assert_eq!(
        (paid.state.balance(), paid.events.len()),
        (5, amounts.len())
    );
    // Whatever waited in the client's queue has arrived before this.
    run(&streams, &id, AccountCommand::Withdraw(5))
        .await
        .unwrap();
    let history = streams.history::<Account>(&id).await.unwrap();
    let versions: Vec<_> = history.iter().map(|e| e.version).collect();
    assert_eq!(versions, (1..=version + 1).collect::<Vec<_>>());
}

/// "Unavailable" promises that nothing was appended: the same again must not be a repetition.
async fn until_done(
    streams: &Streams,
    id: &AggregateId,
    command: AccountCommand,
) -> Executed<Account> {
    let meta = fresh_meta();
    loop {
        match streams.execute(id, command.clone(), &meta).await {
            Err(ExecuteError::Unavailable { .. }) => {}
            done => return done.unwrap(),
        }
    }
}

/// A line to a server that can turn bad.
pub(crate) struct Proxy {
    /// How to connect through it.
    pub(crate) options: ConnectOptions,
    line: watch::Sender<Line>,
    holds: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What a line does now, and whom it tells that it holds something back.
#[derive(Clone)]
struct Watched {
    line: watch::Receiver<Line>,
    holds: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn start(options: &ConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let first = options.url.split(',').next().unwrap();
        let server = first.trim_start_matches("nats://").parse().unwrap();
        let (line, watching) = watch::channel(Line::Good);
        let holds = watch::Sender::new(false);
        let watched = Watched {
            line: watching,
            holds: holds.clone(),
        };
        Self {
            options: ConnectOptions {
                url,
                ..options.clone()
            },
            line,
            holds,
            task: tokio::spawn(serve(listener, server, watched)),
        }
    }

    pub(crate) fn set(&self, line: Line) {
        self.holds.send_replace(false);
        self.line.send_replace(line);
    }

    /// Waits until it holds something back ([`Line::HoldsBack`]).
    pub(crate) async fn holds_back(&self) {
        let mut holds = self.holds.subscribe();
        holds.wait_for(|holds| *holds).await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, watched: Watched) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        // While the line is cut, a new connection is closed at once.
        if *watched.line.borrow() == Line::Good {
            let watched = watched.clone();
            connections.spawn(async move {
                if let Ok(server) = TcpStream::connect(server).await {
                    forward(client, server, watched).await;
                }
            });
        }
    }
}

async fn forward(client: TcpStream, server: TcpStream, mut watched: Watched) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (requests, answers) = (watched.clone(), watched.clone());
    tokio::select! {
        () = pump(from_client, to_server, requests, Line::requests) => {}
        () = pump(from_server, to_client, answers, Line::answers) => {}
        _ = watched.line.wait_for(|line| *line == Line::Cut) => {}
    }
}

/// Pieces of a stream of bytes stand for messages: a client that waits for each answer sends one
/// after another.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    Watched { mut line, holds }: Watched,
    way: fn(Line) -> (Option<usize>, Duration),
) {
    let (pieces, mut coming) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let write = async move {
        while let Some((due, piece)) = coming.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let mut buffer = vec![0; 64 * 1024];
    let mut passed = 0;
    let read = async move {
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if line.has_changed().unwrap_or(false) {
                line.mark_unchanged();
                passed = 0;
            }
            let now = *line.borrow();
            let (held, mut piece) = now.held_back(&buffer[..length]);
            if !held.is_empty() {
                let (mut line, pieces) = (line.clone(), pieces.clone());
                holds.send_replace(true);
                tokio::spawn(async move {
                    // Without a line there is nobody to get it.
                    let _ = line.wait_for(|line| *line != now).await;
                    let _ = pieces.send((Instant::now(), held));
                });
            }
            let (lost_after, late) = way(now);
            let lost = lost_after.is_some_and(|after| passed >= after);
            passed += 1;
            if !lost {
                if now == Line::HidesPending {
                    hide_pending(&mut piece);
                }
                let due = Instant::now() + late;
                if pieces.send((due, piece)).is_err() {
                    return;
                }
            }
        }
    };
    // The one that writes ends after the other.
    tokio::join!(read, write);
}

/// Writes 0 over each number that waits, as long as that was.
fn hide_pending(piece: &mut [u8]) {
    for start in PENDING.len()..piece.len() {
        if piece[..start].ends_with(PENDING) {
            let digits = piece[start..].iter_mut();
            let digits = digits.take_while(|byte| byte.is_ascii_digit());
            for (place, digit) in digits.enumerate() {
                *digit = if place == 0 { b'0' } else { b' ' };
            }
        }
    }
}

/// How long the first message of a client in a piece is: a line, and behind that of a publish its body.
fn message_length(piece: &[u8]) -> usize {
    const END: &[u8] = b"\r\n";
    let mut ends = piece.windows(END.len());
    let Some(line) = ends.position(|end| end == END) else {
        return piece.len();
    };
    let text = String::from_utf8_lossy(&piece[..line]);
    let is_publish = text.starts_with("PUB ") || text.starts_with("HPUB ");
    let size = text.rsplit(' ').next().filter(|_| is_publish);
    let body = size.map_or(0, |size| size.parse::<usize>().unwrap() + END.len());
    piece.len().min(line + END.len() + body)
}

impl Line {
    /// What of a piece is held back, and what is not.
    fn held_back(self, piece: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut held, mut rest) = (Vec::new(), Vec::new());
        let Self::HoldsBack(text) = self else {
            return (held, piece.to_vec());
        };
        let mut left = piece;
        while !left.is_empty() {
            let (message, behind) = left.split_at(message_length(left));
            let mut parts = message.windows(text.len());
            let is_held = parts.any(|part| part == text.as_bytes());
            if is_held { &mut held } else { &mut rest }.extend_from_slice(message);
            left = behind;
        }
        (held, rest)
    }

    /// After how much the rest of what the client sends is lost, and how late what isn't.
    fn requests(self) -> (Option<usize>, Duration) {
        match self {
            Self::LosesRequests(after) => (Some(after), Duration::ZERO),
            Self::Good
            | Self::LosesAnswers(_)
            | Self::SlowAnswers
            | Self::HidesPending
            | Self::HoldsBack(_)
            | Self::Cut => (None, Duration::ZERO),
        }
    }

    /// The same of what the server answers.
    fn answers(self) -> (Option<usize>, Duration) {
        match self {
            Self::LosesAnswers(after) => (Some(after), Duration::ZERO),
            Self::SlowAnswers => (None, SLOW),
            Self::Good
            | Self::LosesRequests(_)
            | Self::HidesPending
            | Self::HoldsBack(_)
            | Self::Cut => (None, Duration::ZERO),
        }
    }
}
