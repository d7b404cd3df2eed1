//! A bank account on JetStream: what another program needs to use this crate, and no more.
//!
//! It starts nothing itself. On any nats-server with JetStream (2.14.4 or newer):
//!
//! ```text
//!   nats-server -js -sd bank &
//!   cargo run -p streams --example bank_account
//! ```
//!
//! Beside a running `millrace up`, as the user that may make streams:
//!
//! ```text
//!   export NATS_USER=provision
//!   export NATS_PASSWORD=$(sed -n 's/^MILLRACE_NATS_PROVISION_PASSWORD=//p' .millrace/secrets.env)
//!   cargo run -p streams --example bank_account -- nats://127.0.0.1:4222
//! ```
//!
//! Then look at what it wrote: `nats stream view BANK`.

use std::env;

use chrono::Utc;
use cqrs_es::DomainEvent;
use kernel::{AggregateId, Decider, Fact};
use serde::{Deserialize, Serialize};
use streams::topology::{Topology, check, provision};
use streams::{CommandMeta, ConnectOptions, Connection, ExecuteError, Outcome, Settings};
use thiserror::Error;
use uuid::Uuid;

/// The context: stream `BANK`, one subject `event.bank.<id>` for each account.
const CONTEXT: &str = "bank";

// ── the domain: pure, without a word about NATS ────────────────────────────────────────────────

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Command {
    Deposit { amount: u64 },
    Withdraw { amount: u64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum Event {
    MoneyDeposited { amount: u64 },
    MoneyWithdrawn { amount: u64 },
}

#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
enum Refusal {
    #[error("there is only {balance} on the account")]
    Overdrawn { balance: u64 },
    #[error("no account holds so much")]
    TooMuch,
}

impl Decider for Account {
    const CONTEXT: &'static str = CONTEXT;

    fn decide(&self, command: &Command) -> Result<Vec<Event>, Refusal> {
        let balance = self.balance;
        match *command {
            // Refused here, for `evolve` can't: what it is given has happened.
            Command::Deposit { amount } if balance.checked_add(amount).is_none() => {
                Err(Refusal::TooMuch)
            }
            Command::Deposit { amount } => Ok(vec![Event::MoneyDeposited { amount }]),
            Command::Withdraw { amount } if amount > balance => Err(Refusal::Overdrawn { balance }),
            Command::Withdraw { amount } => Ok(vec![Event::MoneyWithdrawn { amount }]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::MoneyDeposited { amount } => self.balance = self.balance.saturating_add(*amount),
            Event::MoneyWithdrawn { amount } => self.balance = self.balance.saturating_sub(*amount),
        }
    }
}

// ── what cqrs-es and the wire want to know about it ────────────────────────────────────────────

impl Fact for Event {
    fn name(&self) -> &'static str {
        match self {
            Self::MoneyDeposited { .. } => "money_deposited",
            Self::MoneyWithdrawn { .. } => "money_withdrawn",
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

kernel::aggregate!(Account, CONTEXT, Command, Event, Refusal);

// ── the program ────────────────────────────────────────────────────────────────────────────────

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&options()).await
}

/// Everything that the example shows, on the server of `options`.
pub(crate) async fn run(options: &ConnectOptions) -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::open(options).await?;
    let topology = Topology::new(&[CONTEXT], &[]);
    // Once, by whoever may make streams; every start checks that no field would lose an event.
    provision(&connection, &topology, 1).await?;
    check(&connection, &topology).await?;

    let streams = connection.streams(Settings::default());
    let alice: AggregateId = Uuid::new_v4().to_string().parse()?;
    let meta = || CommandMeta::new(Uuid::new_v4(), Utc::now(), "user:alice");

    let first = meta();
    let deposit = Command::Deposit { amount: 10 };
    let done = streams.execute::<Account>(&alice, deposit.clone(), &first);
    let done = done.await?;
    println!("deposited: {} at {}", done.state.balance, done.position);

    // The same command id, as a client sends it that lost the answer: done once.
    let again = streams.execute::<Account>(&alice, deposit, &first).await?;
    assert_eq!(again.outcome, Outcome::Replayed);
    println!("again:     {} at {}", again.state.balance, again.position);

    let withdraw = Command::Withdraw { amount: 11 };
    match streams.execute::<Account>(&alice, withdraw, &meta()).await {
        Err(ExecuteError::Refused(refusal)) => println!("refused:   {refusal}"),
        other => println!("that should have been refused: {other:?}"),
    }

    let deposit = Command::Deposit { amount: u64::MAX };
    match streams.execute::<Account>(&alice, deposit, &meta()).await {
        Err(ExecuteError::Refused(refusal)) => println!("refused:   {refusal}"),
        other => println!("that should have been refused: {other:?}"),
    }

    for event in streams.history::<Account>(&alice).await? {
        println!(
            "history:   v{} {:?}",
            event.version,
            event.decode::<Account>()?
        );
    }
    Ok(())
}

fn options() -> ConnectOptions {
    let or_empty = |name| env::var(name).unwrap_or_default();
    let url = env::args().nth(1);
    ConnectOptions {
        url: url.unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned()),
        user: or_empty("NATS_USER"),
        password: or_empty("NATS_PASSWORD"),
        name: "bank account".to_owned(),
        ca: None,
        shown: None,
    }
}
