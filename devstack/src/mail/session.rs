//! What the sink answers within one SMTP session: mailin keeps the state, this decides.

use super::Login;
use super::faults::{Effect, Fault, Faults, Stage};
use mailin::response::{AUTH_OK, OK};
use mailin::{Handler, Response};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The largest mail, in bytes.
pub(super) const MAX_MAIL_BYTES: usize = 10 * 1024 * 1024;
/// Recipients of one mail; more are refused with 452 (RFC 5321 §4.5.3.1.8 asks for at least 100).
const MAX_RECIPIENTS: usize = 100;

/// A mail as it came over the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// `MAIL FROM`.
    pub(super) from: String,
    /// Every accepted `RCPT TO`.
    pub(super) to: Vec<String>,
    /// Header and body, dots unstuffed.
    pub(super) raw: Vec<u8>,
}

/// What the connection does before or instead of mailin's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Answer after a pause.
    Delay(Duration),
    /// Close without an answer.
    Drop,
    /// A mail is complete: store it, then answer.
    Store(Envelope),
    /// A mail is complete and larger than allowed.
    TooLarge,
}

/// The shared slot through which the session tells its connection what comes next.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Next>>>);

impl Slot {
    fn put(&self, next: Next) {
        *self.lock() = Some(next);
    }

    /// What the last line asked for, once.
    pub(super) fn take(&self) -> Option<Next> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Next>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The decisions of one session.
#[derive(Debug)]
pub(super) struct Decisions {
    faults: Faults,
    slot: Slot,
    /// Nothing is taken yet: the connection has to be encrypted first.
    in_the_clear: bool,
    login: Option<Login>,
    mail: Envelope,
    too_large: bool,
}

impl Decisions {
    /// Decisions for a new connection, or for one that has just been encrypted.
    pub(super) fn new(faults: Faults, slot: Slot, in_the_clear: bool) -> Self {
        Self {
            faults,
            in_the_clear,
            login: None,
            slot,
            mail: Envelope::default(),
            too_large: false,
        }
    }

    /// The same, who let in `login` alone.
    pub(super) fn knowing(self, login: Option<Login>) -> Self {
        Self { login, ..self }
    }

    fn lets_in(&self, user: &str, password: &str) -> Response {
        let given = Login {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        if self.login == Some(given) {
            return AUTH_OK;
        }
        Response::custom(535, "5.7.8 Authentication credentials invalid".to_owned())
    }

    fn answer(&self, stage: Stage, recipients: &[String]) -> Response {
        let Some(fault) = self.faults.strike(stage, recipients) else {
            return OK;
        };
        match fault.effect {
            Effect::RejectForNow | Effect::RejectForGood => rejection(&fault),
            Effect::Drop => {
                self.slot.put(Next::Drop);
                OK
            }
            Effect::Delay => {
                self.slot.put(Next::Delay(fault.delay()));
                OK
            }
        }
    }
}

impl Handler for Decisions {
    fn auth_plain(&mut self, _as_whom: &str, user: &str, password: &str) -> Response {
        self.lets_in(user, password)
    }

    fn auth_login(&mut self, user: &str, password: &str) -> Response {
        self.lets_in(user, password)
    }

    fn mail(&mut self, _ip: IpAddr, _domain: &str, from: &str) -> Response {
        if self.in_the_clear {
            return Response::custom(530, "5.7.0 Must issue a STARTTLS command first".to_owned());
        }
        self.mail = Envelope {
            from: from.to_owned(),
            ..Envelope::default()
        };
        self.too_large = false;
        self.answer(Stage::MailFrom, &[])
    }

    fn rcpt(&mut self, to: &str) -> Response {
        if self.mail.to.len() >= MAX_RECIPIENTS {
            return Response::custom(452, "Too many recipients".to_owned());
        }
        let to = to.to_owned();
        let answer = self.answer(Stage::RcptTo, std::slice::from_ref(&to));
        if !answer.is_error {
            self.mail.to.push(to);
        }
        answer
    }

    fn data_start(&mut self, _domain: &str, _from: &str, _8bit: bool, to: &[String]) -> Response {
        self.answer(Stage::Data, to)
    }

    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        if self.mail.raw.len() + line.len() > MAX_MAIL_BYTES {
            // The rest is read and forgotten; the answer comes at the end, where the protocol has a place for it.
            self.too_large = true;
            self.mail.raw.clear();
            self.mail.raw.shrink_to_fit();
        }
        if !self.too_large {
            self.mail.raw.extend_from_slice(line);
        }
        Ok(())
    }

    /// Always OK towards mailin, which would stay in the DATA state on an error: the connection gives the answer.
    fn data_end(&mut self) -> Response {
        let mail = std::mem::take(&mut self.mail);
        self.slot.put(if self.too_large {
            Next::TooLarge
        } else {
            Next::Store(mail)
        });
        OK
    }
}

/// The words of a refusal that a fault asks for.
pub(super) fn rejection(fault: &Fault) -> Response {
    let for_now = fault.effect == Effect::RejectForNow;
    // As mail servers do that name whom they refuse.
    let about = fault.recipient.as_deref();
    let about = about.map(|to| format!("<{to}>: ")).unwrap_or_default();
    let (code, text) = match (fault.stage, for_now) {
        (Stage::RcptTo, true) => {
            let text = format!("4.2.1 {about}Mailbox unavailable, try again later");
            return Response::custom(450, text);
        }
        (Stage::RcptTo, false) => {
            return Response::custom(550, format!("5.1.1 {about}No such mailbox"));
        }
        (Stage::Connect, true) => (421, "4.3.2 Service not available, try again later"),
        (Stage::Connect, false) => (554, "5.3.2 No SMTP service here"),
        (Stage::MailFrom, true) => (451, "4.7.1 Greylisted, try again later"),
        (Stage::MailFrom, false) => (550, "5.7.1 Sender refused"),
        (Stage::Data | Stage::AfterData, true) => (451, "4.3.0 Local error, try again later"),
        (Stage::Data | Stage::AfterData, false) => (554, "5.6.0 Message refused"),
    };
    Response::custom(code, text.to_owned())
}
