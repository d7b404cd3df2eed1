//! A line between a role and a server, which goes bad when it is told to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// As much as is passed on at once.
const PIECE: usize = 64 * 1024;

/// The same on a line that cuts messages up: less than any of them.
const SLICE: usize = 7;

/// How late a piece comes on a slow line.
const LATE: Duration = Duration::from_millis(100);

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Each piece comes late, and the next one behind it: little passes at all.
    Slow,
    /// Each message comes in many pieces.
    Sliced,
    /// Whoever was connected is told that it is over, and so is who tries again.
    Cut,
    /// Nothing is passed on, and nobody is told; later it goes on where it was.
    Silent,
    /// The same, but that it never goes on; who connects anew is served.
    Forgotten,
}

impl Trouble {
    pub(crate) const ALL: [Self; 5] = [
        Self::Slow,
        Self::Sliced,
        Self::Cut,
        Self::Silent,
        Self::Forgotten,
    ];
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Slow => "is slow",
            Self::Sliced => "cuts messages up",
            Self::Cut => "is cut",
            Self::Silent => "is silent",
            Self::Forgotten => "forgets its connections",
        };
        write!(f, "{text}")
    }
}

/// How a line is.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    trouble: Option<Trouble>,
    /// Connections of an earlier age are forgotten.
    age: u64,
}

/// The line.
pub(crate) struct Line {
    /// Where the server seems to be.
    pub(crate) address: String,
    taken: Arc<AtomicUsize>,
    state: watch::Sender<State>,
    task: AbortHandle,
}

impl Line {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = watch::Sender::new(State::default());
        let taken = Arc::default();
        let task = tokio::spawn(serve(
            (listener, Arc::clone(&taken)),
            server,
            state.subscribe(),
        ));
        Self {
            address,
            taken,
            state,
            task: task.abort_handle(),
        }
    }

    /// How many connections it has taken so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Is in trouble from now on; `None` = no longer.
    pub(crate) fn set(&self, trouble: Option<Trouble>) {
        self.state.send_modify(|state| {
            state.trouble = trouble;
            if trouble == Some(Trouble::Forgotten) {
                state.age += 1;
            }
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    (listener, taken): (TcpListener, Arc<AtomicUsize>),
    server: String,
    state: watch::Receiver<State>,
) {
    // They end with the line.
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        taken.fetch_add(1, Ordering::Relaxed);
        while connections.try_join_next().is_some() {}
        let now = *state.borrow();
        if now.trouble == Some(Trouble::Cut) {
            let _ = client.set_zero_linger();
            continue;
        }
        let (server, state) = (server.clone(), state.clone());
        connections.spawn(async move {
            // A server that is away takes nobody's connection.
            if let Ok(server) = TcpStream::connect(server).await {
                pass((client, server), state, now.age).await;
            }
        });
    }
}

/// Passes on what comes, both ways, until one side ends or the line is cut.
async fn pass(
    (mut client, mut server): (TcpStream, TcpStream),
    mut state: watch::Receiver<State>,
    age: u64,
) {
    for end in [&client, &server] {
        // Whether it waits is the line's own business.
        let _ = end.set_nodelay(true);
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (there, back) = (state.clone(), state.clone());
    tokio::select! {
        () = pump(from_client, to_server, (there, age)) => {}
        () = pump(from_server, to_client, (back, age)) => {}
        _ = state.wait_for(|state| state.trouble == Some(Trouble::Cut)) => {
            for end in [&client, &server] {
                // A reset: it is over at once, with what is on its way.
                let _ = end.set_zero_linger();
            }
        }
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    (mut state, age): (watch::Receiver<State>, u64),
) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passes = |state: &State| state.trouble != Some(Trouble::Silent) && state.age == age;
        let Ok(now) = state.wait_for(passes).await.map(|state| *state) else {
            // The line itself is gone.
            return;
        };
        if now.trouble == Some(Trouble::Slow) {
            sleep(LATE).await;
        }
        let size = match now.trouble {
            Some(Trouble::Sliced) => SLICE,
            _ => PIECE,
        };
        for piece in buffer[..length].chunks(size) {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}
