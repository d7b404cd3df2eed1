//! A bank that does something by itself: standing orders, carried out when they are due.
//!
//! ```text
//!   OrderTransfer ──► TransferOrdered ──► worker `bank-transfers` ──► timer, due in a second
//!                                                                       │ rings
//!   TransferPaid, MoneyDeposited ◄── both or none ◄── worker `bank-timers`
//! ```
//!
//! Read `bank_account` first. This one adds what most systems need next: two durable workers, a timer, several
//! aggregates in one step, snapshots, and an event of an older version. It is run as that one:
//!
//! ```text
//!   nats-server -js -sd bank &
//!   cargo run -p streams --example bank_with_worker
//! ```

use std::env;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use cqrs_es::DomainEvent;
use kernel::{AggregateId, Decider, Fact};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streams::lanes::{HandleError, Handler, run_lanes};
use streams::subscription::{Delivery, DurableLimits};
use streams::timers::{DueTimer, TimerId, Timers};
use streams::topology::{Acks, DurableSpec, OnFailure, Topology, check, provision};
use streams::{
    CommandMeta, ConnectOptions, Connection, Settings, Snapshots, Streams, clock, step, subject,
};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CONTEXT: &str = "bank";

/// Reads what happens to accounts. What it can't handle goes to stream PARKED, and other accounts go on.
const TRANSFERS: DurableSpec = DurableSpec {
    name: "bank-transfers",
    stream: "BANK",
    kind: None,
    acks: Acks::Each,
    on_failure: OnFailure::Park {
        after_attempts: None,
    },
};

/// Reads which timers ring: those of saga `bank`, as its name says.
const TIMERS: DurableSpec = DurableSpec {
    name: "bank-timers",
    stream: "TIMERS",
    ..TRANSFERS
};

/// Deliveries that are worked on at once. Those of one account come one after another.
const LANES: usize = 8;

// ── the domain ─────────────────────────────────────────────────────────────────────────────────

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    /// What is to go to whom; one at a time.
    ordered: Option<Transfer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Transfer {
    id: Uuid,
    to: AggregateId,
    amount: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Command {
    Deposit { amount: u64 },
    OrderTransfer(Transfer),
    PayTransfer { id: Uuid },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum Event {
    /// Version 1 called the amount `sum`.
    MoneyDeposited {
        amount: u64,
    },
    TransferOrdered {
        transfer: Transfer,
    },
    TransferPaid {
        transfer: Transfer,
    },
}

#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
enum Refusal {
    #[error("there is only {balance} on the account")]
    Overdrawn { balance: u64 },
    #[error("no account holds so much")]
    TooMuch,
    #[error("another transfer is ordered already")]
    TransferOrderedAlready,
    #[error("no such transfer is ordered")]
    NoSuchTransfer,
}

impl Decider for Account {
    const CONTEXT: &'static str = CONTEXT;

    fn decide(&self, command: &Command) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Deposit { amount } => {
                let sum = self.balance.checked_add(*amount);
                sum.ok_or(Refusal::TooMuch)?;
                Ok(vec![Event::MoneyDeposited { amount: *amount }])
            }
            Command::OrderTransfer(transfer) => match &self.ordered {
                // The same again: already true.
                Some(ordered) if ordered.id == transfer.id => Ok(vec![]),
                Some(_) => Err(Refusal::TransferOrderedAlready),
                None if transfer.amount > self.balance => Err(Refusal::Overdrawn {
                    balance: self.balance,
                }),
                None => Ok(vec![Event::TransferOrdered {
                    transfer: transfer.clone(),
                }]),
            },
            // Refused and not "already true": the deposit in the same step must not be made alone.
            Command::PayTransfer { id } => match &self.ordered {
                Some(transfer) if transfer.id == *id => Ok(vec![Event::TransferPaid {
                    transfer: transfer.clone(),
                }]),
                _ => Err(Refusal::NoSuchTransfer),
            },
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::MoneyDeposited { amount } => self.balance = self.balance.saturating_add(*amount),
            Event::TransferOrdered { transfer } => self.ordered = Some(transfer.clone()),
            Event::TransferPaid { transfer } => {
                self.ordered = None;
                self.balance = self.balance.saturating_sub(transfer.amount);
            }
        }
    }

    fn upcast(event_type: &str, version: u32, data: &Value) -> Option<(u32, Value)> {
        match (event_type, version) {
            ("money_deposited", 1) => Some((2, json!({ "amount": data.get("sum") }))),
            _ => None,
        }
    }
}

impl Fact for Event {
    fn name(&self) -> &'static str {
        match self {
            Self::MoneyDeposited { .. } => "money_deposited",
            Self::TransferOrdered { .. } => "transfer_ordered",
            Self::TransferPaid { .. } => "transfer_paid",
        }
    }

    fn schema_version(&self) -> u32 {
        match self {
            Self::MoneyDeposited { .. } => 2,
            Self::TransferOrdered { .. } | Self::TransferPaid { .. } => 1,
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

// ── the workers: any delivery may come twice, so each does the same again and no harm ──────────

/// Sets a timer for each transfer that is ordered.
struct SetsTimers {
    timers: Timers,
}

#[async_trait]
impl Handler for SetsTimers {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        let decoded = event.decode::<Account>().map_err(HandleError::permanent)?;
        let Event::TransferOrdered { .. } = decoded else {
            return Ok(());
        };
        let id = event.aggregate_id.clone();
        let saga = CONTEXT.to_owned();
        let due = event.time + TimeDelta::seconds(1);
        // Of one account the later one takes the place of the earlier.
        let set = self.timers.set(&TimerId { saga, id }, due).await;
        set.map_err(HandleError::retryable)
    }
}

/// Carries out what is ordered, when its timer rings. The timer is a hint: the state says what is to be done.
struct Pays {
    streams: Streams,
}

#[async_trait]
impl Handler<DueTimer> for Pays {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        let from = &delivery.event.id.id;
        let account = self.streams.load_current::<Account>(from).await?;
        let Some(Transfer { id, to, amount }) = account.state.ordered.clone() else {
            return Ok(());
        };
        let steps = vec![
            step::<Account>(from.clone(), Command::PayTransfer { id }),
            step::<Account>(to, Command::Deposit { amount }),
        ];
        // The transfer's own id: whoever carries it out again does the same command.
        let meta = CommandMeta::new(id, clock::now(), "worker:bank");
        self.streams.execute_together(steps, &meta).await?;
        Ok(())
    }
}

// ── the program ────────────────────────────────────────────────────────────────────────────────

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let or_empty = |name| env::var(name).unwrap_or_default();
    let url = env::args().nth(1);
    let options = ConnectOptions {
        url: url.unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned()),
        user: or_empty("NATS_USER"),
        password: or_empty("NATS_PASSWORD"),
        name: "bank with a worker".to_owned(),
        ca: None,
        shown: None,
    };
    run(&options).await
}

/// Everything that the example shows, on the server of `options`.
pub(crate) async fn run(options: &ConnectOptions) -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::open(options).await?;
    let topology = Topology::new(&[CONTEXT], &[TRANSFERS, TIMERS]);
    provision(&connection, &topology, 1).await?;
    check(&connection, &topology).await?;
    let streams = connection.streams(Settings {
        // A snapshot every 20 events of an account: loading one reads at most so many.
        snapshots: Snapshots::Every(20),
        ..Settings::default()
    });

    let stop = CancellationToken::new();
    let timers = Timers::new(&connection);
    let transfers = connection.durable(&TRANSFERS, DurableLimits::default());
    let transfers = run_lanes(
        transfers.await?,
        LANES,
        Arc::new(SetsTimers {
            timers: timers.clone(),
        }),
        stop.clone(),
    );
    let due = timers.subscribe(&TIMERS, DurableLimits::default()).await?;
    let streams_of_worker = streams.clone();
    let due = run_lanes(
        due,
        LANES,
        Arc::new(Pays {
            streams: streams_of_worker,
        }),
        stop.clone(),
    );
    let workers = [tokio::spawn(transfers), tokio::spawn(due)];

    pay_by_standing_order(&connection, &streams).await?;

    stop.cancel();
    for worker in workers {
        worker.await??;
    }
    // What version 1 wrote is read as if it were written today.
    let old = kernel::wire::decode::<Account>("money_deposited", 1, br#"{"sum":5}"#)?;
    assert_eq!(old, Event::MoneyDeposited { amount: 5 });
    Ok(())
}

async fn pay_by_standing_order(
    connection: &Connection,
    streams: &Streams,
) -> Result<(), Box<dyn std::error::Error>> {
    let [alice, bob] = [Uuid::new_v4(), Uuid::new_v4()].map(|id| id.to_string().parse());
    let (alice, bob): (AggregateId, AggregateId) = (alice?, bob?);
    let meta = || CommandMeta::new(Uuid::new_v4(), clock::now(), "user:alice");
    let deposit = Command::Deposit { amount: 10 };
    streams.execute::<Account>(&alice, deposit, &meta()).await?;
    let transfer = Command::OrderTransfer(Transfer {
        id: Uuid::new_v4(),
        to: bob.clone(),
        amount: 4,
    });
    let ordered = streams
        .execute::<Account>(&alice, transfer, &meta())
        .await?;
    println!("ordered:  at {}", ordered.position);

    let of_bob = subject::subject_of::<Account>(&bob);
    let mut events = connection.ordered_matching("BANK", of_bob, 0);
    let arrived = events.next().await?;
    println!("arrived:  at {}, {}", arrived.position, Utc::now());
    for (name, id, expected) in [("alice", &alice, 6), ("bob", &bob, 4)] {
        let account = streams.load_current::<Account>(id).await?;
        println!("{name}: {}", account.state.balance);
        assert_eq!(account.state.balance, expected);
    }
    Ok(())
}
