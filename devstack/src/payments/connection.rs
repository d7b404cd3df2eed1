//! Accepts HTTP connections, a bounded number at once, each with an idle limit and a way to cut it off
//! without an answer.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// Connections at once; the next one waits in the system's backlog.
const MAX_CONNECTIONS: usize = 512;
/// A connection without a byte in either direction for so long is closed. Longer than any held answer.
const IDLE: Duration = Duration::from_mins(3);
/// The pause after an accept that failed, for instance because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What running requests get to finish once the server is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Serves `routes` until `shutdown`, then lets running requests end for a moment.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: axum::Router,
    shutdown: CancellationToken,
) -> Result<()> {
    let service = routes.into_make_service_with_connect_info::<Cut>();
    let graceful = shutdown.clone().cancelled_owned();
    let serving = axum::serve(Bounded::new(listener), service).with_graceful_shutdown(graceful);
    tokio::select! {
        served = serving.into_future() => served,
        () = async { shutdown.cancelled().await; tokio::time::sleep(STOP_GRACE).await } => Ok(()),
    }
}

/// A listener that holds one slot per open connection.
struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Bounded {
    fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nothing closes the semaphore; were it closed, the connection would simply hold no slot.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (Connection::new(stream, slot), address),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The handle by which a request cuts its own connection: whatever is answered afterwards never leaves,
/// and the client sees a reset.
#[derive(Debug, Clone)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Cuts the connection off.
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().cut.clone()
    }
}

struct Connection {
    stream: TcpStream,
    cut: Cut,
    idle: Pin<Box<Sleep>>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, slot: Option<OwnedSemaphorePermit>) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers on this connection may be delayed");
        }
        Self {
            stream,
            cut: Cut(Arc::new(AtomicBool::new(false))),
            idle: Box::pin(tokio::time::sleep(IDLE)),
            _slot: slot,
        }
    }

    fn must_be_whole(&self) -> Result<()> {
        if self.cut.0.load(Ordering::Acquire) {
            // Without lingering the close is a reset. Where that fails the client sees a plain close.
            let _ = self.stream.set_zero_linger();
            return Err(Error::from(ErrorKind::ConnectionReset));
        }
        Ok(())
    }

    fn was_busy(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.must_be_whole()?;
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                self.was_busy();
                Poll::Ready(read)
            }
            Poll::Pending => match self.idle.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(Error::from(ErrorKind::TimedOut))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.must_be_whole()?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.was_busy();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.must_be_whole()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.must_be_whole()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
