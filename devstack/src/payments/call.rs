//! The way of one call: claimed, struck by faults, run, settled, told.

use super::command::{Command, Operation};
use super::connection::Cut;
use super::faults::{Effect, Fault, Faults, When};
use super::form::Form;
use super::journal;
use super::keys::{Claim, MAX_KEY};
use super::ledger::{Ledger, Order, Running};
use super::refusal::{Answer, Refusal};
use super::tasks::Tasks;
use super::webhook::Sender;
use chrono::Utc;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Calls that run at once, also those whose client is gone.
const MAX_RUNNING: usize = 4_096;
/// How long a `timeout` fault holds a connection before it is reset.
const HOLD: Duration = Duration::from_mins(2);

/// What every call shares.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    pub(super) ledger: Arc<Ledger>,
    pub(super) faults: Arc<Faults>,
    events: Option<Sender>,
    running: Arc<Semaphore>,
    pub(super) pages: Arc<str>,
    tasks: Tasks,
}

/// A call as it arrived.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) operation: Operation,
    /// Method and path, part of what an idempotency key stands for.
    pub(super) path: String,
    /// The intent in the path or the parameters.
    pub(super) intent: Option<String>,
    pub(super) form: Form,
    /// `Idempotency-Key`.
    pub(super) key: Option<String>,
}

/// How a call ends.
#[derive(Debug)]
pub(super) enum End {
    /// With this answer; whether it is the answer of an earlier request.
    Answer(Answer, bool),
    /// With a reset, at once or after the connection was held.
    Reset,
    Hold,
}

impl End {
    fn refused(refusal: Refusal) -> Self {
        Self::Answer(refusal.answer(), false)
    }

    /// Carries the end out on the connection; what is answered after a cut never leaves.
    pub(super) async fn on(self, cut: &Cut) -> (Answer, bool) {
        match self {
            Self::Answer(answer, replayed) => return (answer, replayed),
            Self::Hold => tokio::time::sleep(HOLD).await,
            Self::Reset => {}
        }
        cut.now();
        (Refusal::internal("cut off").answer(), false)
    }
}

impl Calls {
    /// The shared part.
    pub(super) fn new(
        (ledger, faults): (&Arc<Ledger>, &Arc<Faults>),
        events: Option<Sender>,
        tasks: &Tasks,
        pages: String,
    ) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            faults: Arc::clone(faults),
            events,
            pages: pages.into(),
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
            tasks: tasks.clone(),
        }
    }

    /// Runs a call that changes something. It goes on when the client hangs up: a provider doesn't notice.
    pub(super) async fn run(&self, call: Call) -> End {
        let Ok(slot) = Arc::clone(&self.running).try_acquire_owned() else {
            return End::refused(Refusal::rate_limited());
        };
        let calls = self.clone();
        let running = self.tasks.spawn(async move {
            let end = calls.steps(call).await;
            drop(slot);
            end
        });
        match running.await {
            Ok(Some(Ok(end))) => end,
            Ok(None) => End::Reset,
            Ok(Some(Err(error))) => End::refused(Refusal::internal(&error.to_string())),
            Err(error) => End::refused(Refusal::internal(&error.to_string())),
        }
    }

    async fn steps(&self, call: Call) -> Result<End, journal::Error> {
        let now = Utc::now().timestamp();
        if let Some(id) = &call.intent {
            self.ledger.count(id, call.operation, now)?;
        }
        let metadata = self.metadata(&call);
        let before = self.faults.strike(call.operation, When::Before, &metadata);
        let end = match self.claim(&call, now) {
            Err(refusal) => return Ok(self.refuse(before, refusal).await),
            Ok((command, claim)) => match strike(before).await {
                Some(end) => return Ok(end),
                None => self.finish(command, claim, &call).await?,
            },
        };
        let after = self.faults.strike(call.operation, When::After, &metadata);
        let forgets = |fault: &Fault| fault.effect == Effect::ForgetKey;
        if let Some(key) = call.key.filter(|_| after.as_ref().is_some_and(forgets)) {
            self.ledger.forget(&key);
        }
        Ok(strike(after).await.unwrap_or(end))
    }

    /// Checks the parameters, which no key remembers, then claims the key.
    fn claim(&self, call: &Call, now: i64) -> Result<(Command, Option<Claimed>), Refusal> {
        let command = Command::parse(call.operation, &call.form)?;
        let Some(key) = &call.key else {
            return Ok((command, None));
        };
        if key.chars().count() > MAX_KEY {
            return Err(Refusal::key_too_long(MAX_KEY));
        }
        let fingerprint = call.form.fingerprint(&call.path);
        let claimed = self.ledger.claim(key, &fingerprint, now)?;
        Ok((command, Some(claimed)))
    }

    async fn refuse(&self, before: Option<Fault>, refusal: Refusal) -> End {
        strike(before)
            .await
            .unwrap_or_else(|| End::refused(refusal))
    }

    async fn finish(
        &self,
        command: Command,
        claim: Option<Claimed>,
        call: &Call,
    ) -> Result<End, journal::Error> {
        let running = match claim {
            Some((Claim::Replay(place), _)) => {
                let (answer, created) = self.ledger.replay(place).await?;
                if let Some(id) = created {
                    self.ledger
                        .count(&id, call.operation, Utc::now().timestamp())?;
                }
                return Ok(End::Answer(answer, true));
            }
            Some((Claim::Run, running)) => Some(running),
            None => None,
        };
        let order = Order {
            command,
            intent: call.intent.clone(),
            pages: Arc::clone(&self.pages),
            now: Utc::now().timestamp(),
        };
        let answer = self.execute(&order, running).await?;
        Ok(End::Answer(answer, false))
    }

    /// Runs a command, waits for the disk, tells the shop.
    pub(super) async fn execute(
        &self,
        order: &Order,
        running: Option<Running>,
    ) -> Result<Answer, journal::Error> {
        let done = self.ledger.execute(order, running)?;
        self.ledger.settled(done.position).await?;
        if let (Some(events), Some(event)) = (&self.events, done.event) {
            events.send(event);
        }
        Ok(done.answer)
    }

    /// Strikes a call that changes nothing; `None` lets it go on.
    pub(super) async fn strike_read(
        &self,
        operation: Operation,
        when: When,
        id: &str,
    ) -> Option<End> {
        let metadata = self.metadata_of(id);
        strike(self.faults.strike(operation, when, &metadata)).await
    }

    /// What faults choose by: the request's own metadata over the intent's.
    fn metadata(&self, call: &Call) -> BTreeMap<String, String> {
        let mut metadata = self.metadata_of(call.intent.as_deref().unwrap_or_default());
        metadata.extend(call.form.metadata().unwrap_or_default());
        metadata
    }

    fn metadata_of(&self, id: &str) -> BTreeMap<String, String> {
        let of = |books: &super::ledger::Books| Some(books.rows.get(id)?.intent.metadata.clone());
        self.ledger.peek(of).unwrap_or_default()
    }
}

type Claimed = (Claim, Running);

/// Carries out a fault; `None` lets the call go on.
async fn strike(fault: Option<Fault>) -> Option<End> {
    let fault = fault?;
    match fault.effect {
        Effect::Timeout => Some(End::Hold),
        Effect::Reset | Effect::ForgetKey => Some(End::Reset),
        Effect::Error400 => Some(End::refused(Refusal::unknown_parameter("ordered"))),
        Effect::Error401 => Some(End::refused(Refusal::unauthorized(true))),
        Effect::Error500 => Some(End::refused(Refusal::internal(
            "An error occurred on our side, as a test has ordered.",
        ))),
        Effect::Error429 => Some(End::refused(Refusal::rate_limited())),
        Effect::Delay => {
            tokio::time::sleep(fault.delay()).await;
            None
        }
        Effect::Duplicate | Effect::Drop | Effect::OutOfOrder | Effect::Forged => None,
    }
}
