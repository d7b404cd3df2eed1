//! One server as a child process: start it, wait until it is ready, stop, kill, start again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

use crate::launch::{Child, Exit, Launcher, Signal, Spawner, Spec};
use crate::{Error, Failure, Service};

/// How often readiness is probed.
const PROBE_STEP: Duration = Duration::from_millis(20);
/// How long one probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// How much of a log's end is shown.
const TAIL_BYTES: u64 = 4096;
/// How many of its lines.
const TAIL_LINES: usize = 20;

/// How a server shows that it is ready.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// It greets with `INFO`, as the NATS protocol has it.
    Nats(SocketAddr),
    /// It lets the superuser in.
    Postgres(Box<tokio_postgres::Config>, SocketAddr),
    /// It accepts connections on all of these.
    Accepts(Vec<SocketAddr>),
}

/// What it takes to run a server.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) service: Service,
    pub(crate) spec: Spec,
    pub(crate) probe: Probe,
    /// The signal that stops it in order.
    pub(crate) stop: Signal,
    /// How long it may take until it is ready; recovery after a crash included.
    pub(crate) ready_limit: Duration,
    /// How long it may take to stop before it is killed.
    pub(crate) stop_limit: Duration,
}

/// What every server of one stack shares.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) launcher: Launcher,
    pub(crate) spawner: Spawner,
    pub(crate) failures: mpsc::Sender<Failure>,
}

/// A server that the stack runs. Faults are injected here: kill it, restart it.
#[derive(Debug)]
pub struct Server {
    plan: Plan,
    host: Host,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Set before we end it, so that its end is not taken for a failure.
    expected: Arc<AtomicBool>,
}

impl Server {
    pub(crate) async fn start(plan: Plan, host: Host) -> Result<Self, Error> {
        let server = Self {
            plan,
            host,
            running: Mutex::new(None),
        };
        let running = server.launch().await?;
        *server.running.lock().await = Some(running);
        Ok(server)
    }

    /// Its process id, while it runs.
    pub async fn pid(&self) -> Option<u32> {
        let running = self.running.lock().await;
        running
            .as_ref()
            .filter(|running| running.child.exited().is_none())
            .map(|running| running.child.pid())
    }

    /// Its log.
    pub fn log(&self) -> Option<&Path> {
        self.plan.spec.log.as_deref()
    }

    /// Kills it (`kill -9`) and waits until it is gone; not reported as a failure.
    ///
    /// # Errors
    /// [`Error::Launch`] when the system refuses the signal.
    pub async fn kill(&self) -> Result<(), Error> {
        if let Some(running) = self.running.lock().await.take() {
            running.expected.store(true, Ordering::SeqCst);
            running.child.signaller().send(Signal::KILL)?;
            running.child.wait().await;
        }
        Ok(())
    }

    /// Stops it in order; not reported as a failure.
    ///
    /// # Errors
    /// [`Error::Killed`] when it did not stop in time; it is gone all the same.
    pub async fn stop(&self) -> Result<(), Error> {
        let Some(running) = self.running.lock().await.take() else {
            return Ok(());
        };
        running.expected.store(true, Ordering::SeqCst);
        if running
            .child
            .stop(self.plan.stop, self.plan.stop_limit)
            .await?
        {
            return Ok(());
        }
        Err(Error::Killed {
            service: self.plan.service,
            waited_s: self.plan.stop_limit.as_secs(),
        })
    }

    /// Starts it again with the same ports and files, after stopping it if it runs, and waits
    /// until it is ready.
    ///
    /// # Errors
    /// [`Error::NotReady`] when it does not come up; those of [`stop`](Self::stop).
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        let running = self.launch().await?;
        *self.running.lock().await = Some(running);
        Ok(())
    }

    async fn launch(&self) -> Result<Running, Error> {
        let Plan { spec, .. } = &self.plan;
        let child = self.host.spawner.spawn(&self.host.launcher, spec).await?;
        self.until_ready(&child).await?;
        let expected = Arc::new(AtomicBool::new(false));
        self.report_end(&child, expected.clone());
        Ok(Running { child, expected })
    }

    async fn until_ready(&self, child: &Child) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + self.plan.ready_limit;
        loop {
            if let Some(exit) = child.exited() {
                return Err(self.not_ready(format!("it ended ({exit})")));
            }
            let why_not = match self.plan.probe.look().await {
                Ok(()) => return Ok(()),
                Err(Look::Never(error)) => return Err(*error),
                Err(Look::NotYet(why)) => why,
            };
            if tokio::time::Instant::now() > deadline {
                let limit_s = self.plan.ready_limit.as_secs();
                return Err(self.not_ready(format!("not ready after {limit_s} s ({why_not})")));
            }
            tokio::time::sleep(PROBE_STEP).await;
        }
    }

    fn not_ready(&self, what: String) -> Error {
        let (log, tail) = log_end(self.log());
        Error::NotReady {
            service: self.plan.service,
            what,
            log,
            tail,
        }
    }

    fn report_end(&self, child: &Child, expected: Arc<AtomicBool>) {
        let (end, failures) = (child.end(), self.host.failures.clone());
        let (service, log) = (self.plan.service, self.plan.spec.log.clone());
        tokio::spawn(async move {
            let exit: Exit = end.await;
            if expected.load(Ordering::SeqCst) {
                return;
            }
            let (log, tail) = log_end(log.as_deref());
            // Full means that nobody listens and earlier failures wait already.
            let _ = failures.try_send(Failure {
                service,
                exit,
                log,
                tail,
            });
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut().as_ref() {
            running.expected.store(true, Ordering::SeqCst);
        }
    }
}

/// Why a look did not find the server ready.
enum Look {
    NotYet(String),
    Never(Box<Error>),
}

impl Probe {
    async fn look(&self) -> Result<(), Look> {
        tokio::time::timeout(PROBE_LIMIT, async {
            match self {
                Self::Nats(address) => greets(*address).await.map_err(not_yet),
                Self::Postgres(config, address) => lets_in(config, *address).await,
                Self::Accepts(addresses) => {
                    for address in addresses {
                        TcpStream::connect(address).await.map_err(not_yet)?;
                    }
                    Ok(())
                }
            }
        })
        .await
        .unwrap_or_else(|_| Err(Look::NotYet("no answer".into())))
    }
}

fn not_yet(error: impl std::fmt::Display) -> Look {
    Look::NotYet(error.to_string())
}

/// <https://docs.nats.io/reference/reference-protocols/nats-protocol>: the server speaks first.
async fn greets(address: SocketAddr) -> std::io::Result<()> {
    let mut greeting = [0; 5];
    let mut stream = TcpStream::connect(address).await?;
    stream.read_exact(&mut greeting).await?;
    if &greeting == b"INFO " {
        return Ok(());
    }
    Err(std::io::Error::other("something else than nats-server"))
}

async fn lets_in(config: &tokio_postgres::Config, address: SocketAddr) -> Result<(), Look> {
    use tokio_postgres::error::SqlState;
    match config.connect(tokio_postgres::NoTls).await {
        Ok((_client, connection)) => {
            // The connection closes when both are dropped; its end interests nobody.
            drop(connection);
            Ok(())
        }
        Err(source) if source.code() == Some(&SqlState::INVALID_PASSWORD) => {
            Err(Look::Never(Box::new(Error::Password { address, source })))
        }
        Err(error) => Err(not_yet(error)),
    }
}

/// The path and the last lines of a log.
pub(crate) fn log_end(log: Option<&Path>) -> (PathBuf, String) {
    let Some(path) = log else {
        return (PathBuf::new(), String::new());
    };
    let tail = tail(path).unwrap_or_else(|error| format!("(unreadable: {error})"));
    (path.to_owned(), tail)
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines.get(from..).unwrap_or_default().join("\n"))
}
