//! The SMTP connections: bounded in number, line length and idle time; mailin keeps each session's state.

use super::faults::{Effect, Faults, Stage};
use super::session::{Decisions, Envelope, MAX_MAIL_BYTES, Next, Slot, rejection};
use super::store::{Refusal, Store};
use super::{Login, Tls};
use crate::payments::tasks::Tasks;
use mailin::response::{INTERNAL_ERROR, NO_SERVICE, OK, OUT_OF_SPACE};
use mailin::{Action, AuthMechanism, Response, Session, SessionBuilder};
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

/// Connections at once; one more is told 421. Bounds memory, together with the size of a mail.
const MAX_CONNECTIONS: usize = 64;
/// The longest line, in bytes. RFC 5321 asks for 1,000; a sink is generous.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// A client that sends nothing, or takes nothing, for so long is disconnected.
const IDLE: Duration = Duration::from_mins(1);
/// The pause after an accept that failed, for instance because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How the server names itself.
const NAME: &str = "millrace-mail-sink";

/// What a command out of order is answered with (RFC 5321 §4.2.2).
const OUT_OF_ORDER: u16 = 503;
/// How a mail begins.
const MAIL: &[u8] = b"MAIL";

/// What every connection shares.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) tls: Tls,
    pub(super) login: Option<Login>,
}

impl Server {
    /// Takes connections until `shutdown`; sessions end with it.
    pub(super) async fn run(&self, listener: TcpListener, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let sessions = Tasks::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return sessions.stop().await,
            };
            match accepted {
                Ok((stream, address)) => {
                    let slot = Arc::clone(&slots).try_acquire_owned().ok();
                    sessions.spawn(self.clone().converse(stream, address, slot));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(
        self,
        stream: TcpStream,
        address: SocketAddr,
        slot: Option<OwnedSemaphorePermit>,
    ) {
        let ended = async {
            let mut wire = Wire::new(Either::Left(stream));
            if let Tls::Implicit(tls) = &self.tls {
                wire = wire.encrypted(tls).await?;
            }
            if slot.is_some() {
                self.session(wire, address).await
            } else {
                wire.send(&NO_SERVICE).await
            }
        };
        if let Err(error) = ended.await {
            tracing::debug!(%error, %address, "an SMTP session broke off");
        }
    }

    async fn session(&self, mut wire: Wire, address: SocketAddr) -> Result<(), Error> {
        let slot = Slot::default();
        let begin = |in_the_clear: bool| {
            let decisions = Decisions::new(self.faults.clone(), slot.clone(), in_the_clear);
            let mut builder = SessionBuilder::new(NAME);
            if in_the_clear {
                builder.enable_start_tls();
            } else if self.login.is_some() {
                builder.enable_auth(AuthMechanism::Plain);
                builder.enable_auth(AuthMechanism::Login);
                // What is encrypted here, mailin doesn't see.
                builder.insecure_enable_plaintext_auth();
            }
            let decisions = decisions.knowing(self.login.clone());
            builder.build(address.ip(), decisions)
        };
        let mut session = begin(matches!(self.tls, Tls::Starttls(_)));
        if self.greet(&mut wire, &session).await?.is_break() {
            return Ok(());
        }
        while let Some(line) = wire.line().await? {
            let answer = self.told(&line, session.process(&line));
            if answer.action == Action::NoReply {
                continue;
            }
            let Some(answer) = self.settle(answer, slot.take()).await else {
                return Ok(());
            };
            wire.send(&answer).await?;
            if answer.action == Action::Close {
                return Ok(());
            }
            if let (Action::UpgradeTls, Tls::Starttls(tls)) = (&answer.action, &self.tls) {
                wire = wire.encrypted(tls).await?;
                // What was said before counts no longer.
                session = begin(false);
            }
        }
        Ok(())
    }

    /// Where a login is wanted first, mailin takes a mail for a command out of order.
    fn told(&self, line: &[u8], answer: Response) -> Response {
        let verb = line.get(..MAIL.len()).unwrap_or_default();
        let is_early = answer.code == OUT_OF_ORDER;
        if self.login.is_some() && is_early && verb.eq_ignore_ascii_case(MAIL) {
            return Response::custom(530, "5.7.0 Authentication required".to_owned());
        }
        answer
    }

    async fn greet(
        &self,
        wire: &mut Wire,
        session: &Session<Decisions>,
    ) -> Result<ControlFlow<()>, Error> {
        if let Some(fault) = self.faults.strike(Stage::Connect, &[]) {
            match fault.effect {
                Effect::Drop => return Ok(ControlFlow::Break(())),
                Effect::Delay => tokio::time::sleep(fault.delay()).await,
                Effect::RejectForNow | Effect::RejectForGood => {
                    wire.send(&rejection(&fault)).await?;
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        wire.send(&session.greeting()).await?;
        Ok(ControlFlow::Continue(()))
    }

    /// The answer to give, `None` to give none and close.
    async fn settle(&self, answer: Response, next: Option<Next>) -> Option<Response> {
        match next {
            None => Some(answer),
            Some(Next::Drop) => None,
            Some(Next::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                Some(answer)
            }
            Some(Next::TooLarge) => Some(Response::custom(
                552,
                format!("5.3.4 Message larger than {MAX_MAIL_BYTES} bytes"),
            )),
            Some(Next::Store(mail)) => self.accept(mail).await,
        }
    }

    /// Stores a complete mail, then answers, unless a fault says otherwise.
    async fn accept(&self, mail: Envelope) -> Option<Response> {
        let fault = self.faults.strike(Stage::AfterData, &mail.to);
        let effect = fault.as_ref().map(|fault| fault.effect);
        if let (Some(fault), Some(Effect::RejectForNow | Effect::RejectForGood)) = (&fault, effect)
        {
            return Some(rejection(fault));
        }
        let answer = match self.store.keep(mail).await {
            Ok(()) => OK,
            Err(Refusal::Full) => OUT_OF_SPACE,
            Err(Refusal::Journal(error)) => {
                tracing::error!(%error, "a mail was not stored");
                INTERNAL_ERROR
            }
        };
        if effect == Some(Effect::Drop) {
            return None;
        }
        if let Some(fault) = fault {
            tokio::time::sleep(fault.delay()).await;
        }
        Some(answer)
    }
}

/// One connection, read by lines.
struct Wire(BufStream<Either<TcpStream, Box<TlsStream<TcpStream>>>>);

impl Wire {
    fn new(stream: Either<TcpStream, Box<TlsStream<TcpStream>>>) -> Self {
        Self(BufStream::new(stream))
    }

    /// Shakes hands. What the client had sent before is forgotten: somebody else may have put it there.
    async fn encrypted(self, tls: &TlsAcceptor) -> Result<Self, Error> {
        let Either::Left(plain) = self.0.into_inner() else {
            return Err(Error::from(ErrorKind::InvalidInput));
        };
        let shaken = tokio::time::timeout(IDLE, tls.accept(plain)).await??;
        Ok(Self::new(Either::Right(Box::new(shaken))))
    }

    /// The next line with its end, `None` when the client has closed.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut line = Vec::new();
        let mut limited = (&mut self.0).take(MAX_LINE_BYTES);
        tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await??;
        if line.last() == Some(&b'\n') {
            return Ok(Some(line));
        }
        if line.len() as u64 == MAX_LINE_BYTES {
            let answer = Response::custom(500, "5.5.2 Line too long".to_owned());
            self.send(&answer).await?;
            return Err(Error::from(ErrorKind::InvalidData));
        }
        Ok(None)
    }

    async fn send(&mut self, answer: &Response) -> Result<(), Error> {
        let bytes = answer.buffer()?;
        let sending = async {
            self.0.write_all(&bytes).await?;
            self.0.flush().await
        };
        tokio::time::timeout(IDLE, sending).await?
    }
}
