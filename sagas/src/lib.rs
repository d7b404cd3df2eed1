//! Runs the sagas: durable, idempotent, with timers.
//!
//! ```text
//!   ORDER ─────┐                                   ┌─► inventory
//!   INVENTORY ─┼─► fact ─► react ─► CHECKOUT        ├─► payment
//!   PAYMENT ───┤             │                      ├─► order
//!   TIMERS ────┘             └─► pending ─► bus ────┴─► notification
//! ```
//!
//! Three sagas, one runner: the checkout, and after it the return and the refund. They share streams and
//! durables, because an order's facts belong in one order whichever of them they concern. Whichever
//! [`Others`] there are hear the same streams through durables of their own: what one of them can't do
//! makes no checkout deaf.
//!
//! For every delivery: the fact is taken in (one saga event at the most), then everything that is
//! due is asked of its context, and only when each ask was answered is the delivery acknowledged.
//! So a crash at any point repeats asks, under the same ids, and loses none.

mod arming;
mod config;
mod intake;
mod late;
mod others;
mod runner;
mod settling;
mod sweep;
mod waking;

use std::sync::Arc;

use checkout::picture::{self, Picture};
use checkout::{Definitions, Shop};
use futures::future::BoxFuture;
use streams::bus::{Bus, HostError};
use streams::lanes::Handler;
use streams::subscription::DurableLimits;
use streams::timers::Timers;
use streams::topology::{Acks, DurableSpec, Later, OnFailure};
use streams::{Connection, Settings, Streams};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use intake::Sagas;
use runner::Runner;

pub use config::Config;
pub use others::Others;

/// A checkout holds money and stock: what may pass is tried for ever, because a context that is
/// down for a day must not leave its orders to be sorted by hand. What can't be handled as it is
/// (a fact that can't be read, an ask that its context can't read) is parked at once, so that the
/// later facts of that order don't overtake it and other orders go on.
const ON_FAILURE: OnFailure = OnFailure::Park {
    after_attempts: None,
};

/// Orders placed, confirmed, rejected, canceled, shipped; returns received; refunds noted.
pub const ORDER_DURABLE: DurableSpec = DurableSpec {
    name: "checkout-order",
    stream: "ORDER",
    kind: None,
    acks: Acks::Each,
    on_failure: ON_FAILURE,
};

/// Stock reserved, committed, released, shipped, restocked.
pub const INVENTORY_DURABLE: DurableSpec = DurableSpec {
    name: "checkout-inventory",
    stream: "INVENTORY",
    kind: None,
    acks: Acks::Each,
    on_failure: ON_FAILURE,
};

/// Payments authorized, captured, declined, voided, refunded.
pub const PAYMENT_DURABLE: DurableSpec = DurableSpec {
    name: "checkout-payment",
    stream: "PAYMENT",
    kind: None,
    acks: Acks::Each,
    on_failure: ON_FAILURE,
};

/// Deadlines that have come.
pub const TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "checkout-timers",
    stream: "TIMERS",
    kind: None,
    acks: Acks::Each,
    on_failure: ON_FAILURE,
};

/// The same streams once more, for the [`Others`]. Also while there are none: one that is added hears of what
/// happens from then on, and begins no saga of an order of years ago.
pub const OTHERS_DURABLES: [DurableSpec; 3] = [
    of_others("sagas-order", ORDER_DURABLE.stream),
    of_others("sagas-inventory", INVENTORY_DURABLE.stream),
    of_others("sagas-payment", PAYMENT_DURABLE.stream),
];

const fn of_others(name: &'static str, stream: &'static str) -> DurableSpec {
    DurableSpec {
        name,
        stream,
        kind: None,
        // Most shops have none of them. A fact that is repeated is taken in once.
        acks: Acks::InBulk,
        on_failure: ON_FAILURE,
    }
}

/// The durables that `millrace provision` makes for this role.
pub const DURABLES: [DurableSpec; 7] = [
    ORDER_DURABLE,
    INVENTORY_DURABLE,
    PAYMENT_DURABLE,
    TIMER_DURABLE,
    OTHERS_DURABLES[0],
    OTHERS_DURABLES[1],
    OTHERS_DURABLES[2],
];

/// Where those begin that an earlier version did not have: it told the others what it told the checkout.
pub const LATER: [Later; 3] = [
    Later::with(OTHERS_DURABLES[0], ORDER_DURABLE),
    Later::with(OTHERS_DURABLES[1], INVENTORY_DURABLE),
    Later::with(OTHERS_DURABLES[2], PAYMENT_DURABLE),
];

/// What it has not read, as readiness tells it, until it is bound to all its streams.
const BEGUN: &str = "its streams";

/// Why the role ended.
#[derive(Debug, Error)]
pub enum Error {
    /// A subscription can't go on.
    #[error("a subscription of the saga ended")]
    Subscription(#[from] streams::lanes::Stopped),
    /// A durable is missing or not as declared.
    #[error("can't subscribe: has `millrace provision` run?")]
    Subscribe(#[from] streams::subscription::SubscribeError),
    /// It would get the timers and events of another saga.
    #[error("two sagas are called {0}")]
    NameTaken(&'static str),
    /// The sagas can't be hosted on the bus.
    #[error("the bus can't be served")]
    Host(#[from] HostError),
    /// A worker panicked or was aborted.
    #[error("a task of the saga ended abnormally")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs the sagas until `shutdown`.
///
/// # Errors
/// A durable is missing, or a subscription can't go on.
pub fn run(
    config: Config,
    connection: Connection,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    run_by::<Shop>(config, others(), connection, shutdown)
}

/// Every saga beside the checkout, the return and the refund: `.with::<Stepwise<checkout::Mine>>()` adds
/// one.
fn others() -> Others {
    Others::default()
}

/// Every saga as it is drawn; of one with several definitions the newest first.
pub fn pictures() -> Vec<Picture> {
    [picture::pictures(), others().pictures()].concat()
}

/// `docs/sagas.md`: every saga as a table and drawn.
pub fn page() -> String {
    picture::page(&pictures())
}

/// As [`run`], with checkouts that follow the definitions of `D`, and with other sagas beside them.
///
/// # Errors
/// As those of [`run`], or two sagas have one name.
pub fn run_by<D: Definitions>(
    config: Config,
    others: Others,
    connection: Connection,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    let begun = connection.barrier().raise(BEGUN);
    Box::pin(async move {
        if let Some(name) = others.taken() {
            return Err(Error::NameTaken(name));
        }
        let timers = Timers::new(&connection);
        let streams = connection.streams(Settings::default());
        let sagas = sagas::<D>(&config, &others, &connection, (&streams, &timers));
        let hosts = settling::hosts(&streams, &sagas);
        let serving = hosts.start(&connection).await?;
        let limits = DurableLimits::default();
        let mut tasks = JoinSet::new();
        for (durables, source) in intake::SOURCES {
            let handlers: [Arc<dyn Handler>; 2] = [
                Arc::new(intake::Intake::new(source, Arc::clone(&sagas))),
                Arc::new(others::Intake::new(source, sagas.others.clone())),
            ];
            for (durable, handler) in durables.into_iter().zip(handlers) {
                tasks.spawn(streams::lanes::run_lanes(
                    connection.durable(&durable, limits).await?,
                    config.lanes,
                    handler,
                    shutdown.clone(),
                ));
            }
        }
        let timers = timers.subscribe(&TIMER_DURABLE, limits).await?;
        let rung = Arc::new(intake::TimerHandler::new(Arc::clone(&sagas)));
        let sweep = sweep::run(connection, sagas, config.sweep(), shutdown.clone());
        tasks.spawn(streams::lanes::run_lanes(
            timers,
            config.lanes,
            rung,
            shutdown.clone(),
        ));
        tasks.spawn(async move {
            tokio::join!(sweep, serving.run(shutdown));
            Ok(())
        });
        begun.done();
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    })
}

/// Every saga with its runner, over one event store.
fn sagas<D: Definitions>(
    config: &Config,
    others: &Others,
    connection: &Connection,
    (streams, timers): (&Streams, &Timers),
) -> Arc<Sagas<D>> {
    let bus = Bus::new(connection);
    Arc::new(Sagas {
        checkout: Runner::new(streams, &bus, timers, config),
        returning: Runner::new(streams, &bus, timers, config),
        refunding: Runner::new(streams, &bus, timers, config),
        others: others.start(streams, &bus, timers, config),
        patience: config.patience(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_of_the_sagas_is_what_follows_from_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sagas.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == super::page(),
            "docs/sagas.md is stale: millrace sagas > docs/sagas.md"
        );
    }
}
