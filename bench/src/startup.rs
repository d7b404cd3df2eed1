//! `startup`: how long until all is ready, what each role holds in memory, how large the program is.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use devstack::launch::{Launcher, Signal, Spawner, Spec};
use millrace::client::{CartLine, Shop};
use millrace::up::{self, UpArgs};
use uuid::Uuid;

use crate::Args;
use crate::load::closed_loop;
use crate::report::{Row, Spread};
use crate::shop::{Flow, Stack, progress};
use crate::usage;

/// How many orders are under way at the same time while memory is looked at.
const BUYERS: usize = 64;

/// How often it is looked whether a role is ready; and how long it may take.
const LOOK: Duration = Duration::from_millis(2);
const READY_MAX: Duration = Duration::from_mins(1);

/// How long a role may take to end in order.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// Beside this program, as cargo builds both.
const PROGRAM: &str = "millrace";

pub(crate) async fn run(args: &Args) -> anyhow::Result<Vec<Row>> {
    let bar = progress("startup", args.rounds + 2);
    let mut empty = Vec::new();
    let mut full = Vec::new();
    for _ in 0..args.rounds {
        let data = tempfile::tempdir()?;
        empty.push(up_and_down(data.path(), &args.sync).await?);
        full.push(up_and_down(data.path(), &args.sync).await?);
        bar.inc(1);
    }
    let took = |what: &str, times: &[f64]| {
        Row::milliseconds("startup", what.to_owned(), 1, Spread::of(times))
    };
    let mut rows = vec![
        took("up, nothing there yet", &empty),
        took("up, everything there", &full),
    ];
    let stack = Stack::start(args, Flow::Apart).await?;
    bar.inc(1);
    for role in ["command-api", "query-api"] {
        let mut each = Vec::new();
        for _ in 0..args.rounds {
            each.push(one_more(&stack, role).await?);
        }
        rows.push(took(&format!("one more {role}"), &each));
    }
    rows.extend(memory(&stack, args).await?);
    stack.stop().await?;
    rows.extend(size()?);
    bar.finish_and_clear();
    Ok(rows)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// How long `up` takes until it is ready, in milliseconds, servers included.
async fn up_and_down(data: &Path, sync: &str) -> anyhow::Result<f64> {
    let mut args = UpArgs::quiet(data.to_owned()).on_free_ports();
    sync.clone_into(&mut args.sync);
    let began = Instant::now();
    let running = up::start(&args).await?;
    let entry = Shop::new(&running.endpoints().entry)?;
    ready(&entry).await?;
    let took = milliseconds(began);
    running.stop().await?;
    Ok(took)
}

/// How long one role takes until it is ready, beside the others, in milliseconds.
async fn one_more(stack: &Stack, role: &str) -> anyhow::Result<f64> {
    let address = devstack::Reserved::choose(0)?.address();
    let (launcher, spawner) = (Launcher::current()?, Spawner::start()?);
    let mut spec = Spec::new(launcher.program())
        .args([role, "--listen", &address.to_string()])
        .env("MILLRACE_LOG", "error");
    for (name, value) in stack.environment()? {
        spec = spec.env(&name, value);
    }
    let began = Instant::now();
    let child = spawner.spawn(&launcher, &spec).await?;
    ready(&Shop::new(&format!("http://{address}"))?).await?;
    let took = milliseconds(began);
    ensure!(
        child.stop(Signal::TERM, STOP_PATIENCE).await?,
        "{role} did not end in order"
    );
    Ok(took)
}

async fn ready(shop: &Shop) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let answer = shop.get("/readyz").await;
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.status.is_success())
        {
            return Ok(());
        }
        if began.elapsed() > READY_MAX {
            bail!("not ready: {answer:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What each role holds when nobody asks, and after so many seconds of orders.
async fn memory(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let look = |when: &str| {
        let of = |(role, process): (&String, &u32)| {
            let held = usage::resident_mib(*process);
            Row::resident("startup", format!("{role}, {when}"), Spread::of(&[held]))
        };
        stack.processes().iter().map(of).collect::<Vec<_>>()
    };
    let mut rows = look("idle");
    let sku = stack.product(u32::MAX / 2).await?;
    let buyer = Shop::new(stack.entry())?.with_token(&stack.customer().await?);
    let duration = Duration::from_secs(args.seconds);
    let orders = closed_loop(BUYERS, duration, move |_, _| {
        let (buyer, sku) = (buyer.clone(), sku.clone());
        async move {
            let lines = [CartLine { sku, quantity: 1 }];
            let key = Uuid::new_v4().to_string();
            let placed = buyer.place_order(&key, &lines, "pm_card_visa").await?;
            placed.success()?;
            Ok(())
        }
    });
    rows.push(Row::new(
        "startup",
        "orders meanwhile",
        BUYERS,
        &[orders.await?],
    ));
    rows.extend(look("busy"));
    Ok(rows)
}

/// Of the program, if it was built with this one.
fn size() -> anyhow::Result<Option<Row>> {
    let own = std::env::current_exe()?;
    let program = own.parent().context("no folder")?.join(PROGRAM);
    let Ok(found) = std::fs::metadata(&program) else {
        eprintln!(
            "bench: {} is not built: its size is left out",
            program.display()
        );
        return Ok(None);
    };
    #[allow(
        clippy::cast_precision_loss,
        reason = "sizes of files are exact in 53 bits"
    )]
    let kibibytes = found.len() as f64 / 1_024.0;
    Ok(Some(Row::kibibytes(
        "startup",
        "the program".to_owned(),
        Spread::of(&[kibibytes]),
    )))
}
