//! What is done to the servers' side of the shop: durables that are held back and begin anew, a NATS without
//! room; and lines that are cut again and again.

use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use serde_json::json;
use streams::Connection;
use streams::topology::DurableSpec;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::customers::{Desk, PATIENCE, SKUS};
use super::line::Trouble;
use super::promises::at_rest;
use super::schedule::Target;
use super::stage::Stage;
use crate::overload::memory_kib;

/// Held back in turn: what an order meets on its way comes from several streams, and then in another order.
const HELD_BACK: [&str; 4] = [
    "checkout-order",
    "checkout-inventory",
    "checkout-payment",
    "payment-reactor",
];

/// Between one durable that begins anew and the next.
const BETWEEN: Duration = Duration::from_millis(300);

/// Before what was refused is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// As `nats.conf` says it, and what is said instead: less than there is already.
const ROOM: [&str; 2] = ["max_file_store: 64GB", "max_file_store: 1KB"];

/// How often every line is cut at the end.
const CUTS: usize = 12;

/// How long each time, and how long not.
const CUT: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(600)];

/// So many more threads, or open files, no role has then than before: fewer than one for each cut.
const FEW: usize = 8;

/// By how much its memory may have grown meanwhile, in KiB.
const MEMORY_KIB_MAX: u64 = 32 * 1024;

impl Stage {
    /// Holds durables back, and has each tell everything once more.
    pub(super) async fn unsettle_durables(&self, pause: Duration) -> anyhow::Result<()> {
        let admin = self.servers.connect("provision").await;
        let of_sagas = sagas::DURABLES.map(|durable| (Target::Saga, durable));
        let of_reactors = reactors::DURABLES.map(|durable| (Target::Reactor, durable));
        for (role, durable) in of_sagas.into_iter().chain(of_reactors) {
            if HELD_BACK.contains(&durable.name) {
                let _alone = self.beginnings.write().await;
                let first = self.first(role).await;
                first.is_ready().await?;
                hold_back(&admin, &durable, pause).await?;
                sleep(pause).await;
            }
            begin_anew(&admin, &durable).await?;
            sleep(BETWEEN).await;
        }
        Ok(())
    }

    /// NATS has less room than it has taken already: writes are refused, and nothing else happens.
    pub(super) async fn fill_nats(&self, lasts: Duration) -> anyhow::Result<()> {
        let _alone = self.restarts.lock().await;
        let nats = self.servers.stack.nats().context("a nats-server")?;
        let file = self.data.join("nats/nats.conf");
        let roomy = std::fs::read_to_string(&file)?;
        let full = roomy.replace(ROOM[0], ROOM[1]);
        ensure!(full != roomy, "{} does not say {}", file.display(), ROOM[0]);
        std::fs::write(&file, full)?;
        nats.restart().await?;
        let refused = self.is_refused(lasts).await;
        std::fs::write(&file, roomy)?;
        nats.restart().await?;
        refused
    }

    /// Nobody's write is taken while it lasts, and whoever asks is told to come back.
    async fn is_refused(&self, lasts: Duration) -> anyhow::Result<()> {
        let (until, operator) = (Instant::now() + lasts, self.operator());
        let path = format!("/v1/inventory/{}/receive", SKUS[0]);
        let body = json!({ "quantity": 1 });
        let mut refused = false;
        while Instant::now() < until || !refused {
            ensure!(Instant::now() < until + PATIENCE, "nobody is refused");
            let key = Uuid::new_v4().to_string();
            let asked = operator.post_with_key(&path, &key, &body);
            // Also the gateway or a command API may be away just now.
            if let Ok(Ok(answer)) = timeout(PATIENCE, asked).await {
                let told = (answer.status.as_u16(), answer.text("/code"));
                ensure!(told.0 >= 502, "{told:?} without room: {}", answer.body);
                refused |= told == (503, "unavailable") && answer.header("Retry-After").is_some();
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn footprints(&self) -> impl Future<Output = Vec<Footprint>> {
        let roles = Target::ROLES.into_iter();
        let roles = roles.map(async |role| Footprint::of(role, self.first(role).await.pid()));
        futures::future::join_all(roles)
    }
}

async fn hold_back(
    admin: &Connection,
    durable: &DurableSpec,
    pause: Duration,
) -> anyhow::Result<()> {
    let js = admin.jetstream();
    insisting(durable, async || {
        let until = SystemTime::now() + pause;
        let stream = js.get_stream_no_info(durable.stream).await?;
        stream.pause_consumer(durable.name, until.into()).await?;
        Ok(())
    })
    .await
}

async fn begin_anew(admin: &Connection, durable: &DurableSpec) -> anyhow::Result<()> {
    let js = admin.jetstream();
    insisting(durable, async || {
        let stream = js.get_stream_no_info(durable.stream).await?;
        stream.reset_consumer(durable.name, Some(1)).await?;
        Ok(())
    })
    .await
}

/// Does something to a durable, also while NATS is away now and then: twice is as good as once.
async fn insisting(
    durable: &DurableSpec,
    what: impl AsyncFn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        match what().await {
            Err(error) if started.elapsed() > PATIENCE => {
                return Err(error).context(durable.name);
            }
            Err(_) => sleep(PAUSE).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// What a process takes of the machine.
#[derive(Debug)]
struct Footprint {
    role: Target,
    pid: u32,
    threads: usize,
    files: usize,
    memory_kib: u64,
}

impl Footprint {
    fn of(role: Target, pid: u32) -> Self {
        let count = |what| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/{what}"));
            entries.map_or(0, Iterator::count)
        };
        Self {
            role,
            pid,
            threads: count("task"),
            files: count("fd"),
            memory_kib: memory_kib(pid, "VmRSS"),
        }
    }

    /// The same process, and hardly more.
    fn is_as_small_as(&self, before: &Self) -> bool {
        self.pid == before.pid
            && self.threads < before.threads + FEW
            && self.files < before.files + FEW
            && self.memory_kib < before.memory_kib + MEMORY_KIB_MAX
    }
}

/// Every line is cut again and again: then everything works, and no role has more than before.
pub(super) async fn cuts_leave_nothing_behind(desk: Desk<'_>) -> anyhow::Result<()> {
    let stage = desk.stage;
    at_rest(stage).await?;
    let before = stage.footprints().await;
    for _ in 0..CUTS {
        for (trouble, lasts) in [Some(Trouble::Cut), None].into_iter().zip(CUT) {
            stage.lines.values().for_each(|line| line.set(trouble));
            sleep(lasts).await;
        }
    }
    let customer = desk.registers().await?;
    let order = desk.order(&customer, "pm_card_visa", "confirmed").await?;
    desk.comes(&order, "confirmed").await?;
    at_rest(stage).await?;
    let started = Instant::now();
    loop {
        let after = stage.footprints().await;
        let mut roles = before.iter().zip(&after);
        let Some((before, after)) = roles.find(|(before, after)| !after.is_as_small_as(before))
        else {
            return Ok(());
        };
        // Who was asked keeps connections for a while; what was left behind stays.
        ensure!(
            started.elapsed() < PATIENCE,
            "{CUTS} cuts have left something behind in {}: {before:?} is now {after:?}",
            before.role
        );
        sleep(PAUSE).await;
    }
}
