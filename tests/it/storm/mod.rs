//! The storm: every role and server dies in turn at random moments, lines between them go bad, the outside
//! world fails, and customers go on. Afterwards everything that was promised must be so.
//!
//! ```text
//!   seed ─► schedule ─► strikes ──────────────┐ how long until it works again
//!                        │                     ▼
//!   customers ──────► the shop ─► at rest ─► promises ─► report
//! ```
//!
//! `MILLRACE_STORM_SEED` names another seed and `MILLRACE_STORM=long` the long profile. The same seed is
//! the same schedule of faults; what they meet is a matter of the machine.

mod customers;
mod disturb;
pub(crate) mod line;
pub(crate) mod promises;
pub(crate) mod schedule;
pub(crate) mod stage;

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use futures::future::{try_join_all, try_join3};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::customers::{Desk, Notes, PATIENCE};
use self::schedule::{Fault, Strike, Target};
use self::stage::Stage;

/// The seed when nobody names one.
const SEED: u64 = 1;

/// Who buys at the same time.
const CUSTOMERS: u64 = 4;

/// What lines are called among those that were killed.
const LINES: &str = "a line";

/// Above the times of recovery.
const HEAD: &str = "
from its start until      a write was read             an order was confirmed
               times        p50     p99     max        p50     p99     max
";

/// How much goes wrong, and how fast.
pub(crate) struct Profile {
    /// In each, every role and server is killed once.
    rounds: usize,
    /// Between two faults.
    gap_ms: RangeInclusive<u64>,
}

impl Profile {
    /// For every change: about 80 s of faults.
    const SHORT: Self = Self {
        rounds: 1,
        gap_ms: 1_500..=5_000,
    };

    /// On demand: a quarter of an hour, with more than 100 kills.
    const LONG: Self = Self {
        rounds: 13,
        gap_ms: 1_000..=4_500,
    };
}

/// How long it took after a kill, or after a line went bad, until everything worked again.
struct Recovery {
    of: String,
    /// A write was acknowledged and read.
    served: Duration,
    /// An order was confirmed.
    carried: Duration,
}

/// What the storm did so far.
#[derive(Default)]
struct Diary {
    strikes: Mutex<Vec<String>>,
    recoveries: Mutex<Vec<Recovery>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_promised_is_lost_in_a_storm() {
    let seed = std::env::var("MILLRACE_STORM_SEED");
    let seed = seed.map_or(SEED, |seed| {
        seed.parse().expect("MILLRACE_STORM_SEED is no number")
    });
    let (name, profile) = match std::env::var("MILLRACE_STORM").as_deref() {
        Ok("long") => ("long", Profile::LONG),
        Ok("short") | Err(_) => ("short", Profile::SHORT),
        Ok(other) => panic!("MILLRACE_STORM is short or long, not {other}"),
    };
    let repeat = format!(
        "MILLRACE_STORM={name} MILLRACE_STORM_SEED={seed} cargo test -p millrace --test it -- storm:: --nocapture"
    );
    println!("storm: seed {seed}; again with {repeat}");
    let (stage, notes, diary) = (
        Stage::start_behind_lines("storm").await,
        Notes::default(),
        Diary::default(),
    );
    let desk = Desk {
        stage: &stage,
        notes: &notes,
    };
    let schedule = schedule::draw(seed, &profile);
    let outcome = run(desk, &diary, (seed, &schedule)).await;
    print!("{}", diary.report(&notes));
    if let Err(broken) = outcome {
        let strikes = diary.strikes.lock().unwrap().join("\n");
        let logs = stage.data.display();
        panic!("{broken:#}\n\nfaults so far:\n{strikes}\n\nagain with {repeat}\nlogs in {logs}");
    }
    stage.servers.stop().await;
}

/// The storm, and what must be so afterwards.
async fn run(
    desk: Desk<'_>,
    diary: &Diary,
    (seed, schedule): (u64, &[Strike]),
) -> anyhow::Result<()> {
    desk.opens().await?;
    let enough = CancellationToken::new();
    let began = Instant::now();
    let strikes = async {
        let strikes = schedule
            .iter()
            .map(|strike| diary.witness(desk, began, strike));
        try_join_all(strikes).await?;
        enough.cancel();
        Ok(())
    };
    let customers = (1..=CUSTOMERS).map(|n| desk.buys(seed.wrapping_add(n), &enough));
    let counting = desk.counts(seed, &enough);
    try_join3(strikes, try_join_all(customers), counting).await?;
    desk.stage.heal().await;
    let calm = Instant::now();
    promises::at_rest(desk.stage).await?;
    let calm = calm.elapsed().as_secs_f64();
    println!("storm: at rest {calm:.1} s after the last fault and the last customer");
    promises::are_kept(desk).await?;
    disturb::cuts_leave_nothing_behind(desk).await
}

impl Diary {
    /// One fault at its time, and how long it took afterwards until everything worked.
    async fn witness(&self, desk: Desk<'_>, began: Instant, strike: &Strike) -> anyhow::Result<()> {
        sleep_until(began + strike.at).await;
        self.strikes.lock().unwrap().push(strike.to_string());
        println!("storm: {strike}");
        desk.stage
            .suffer(strike)
            .await
            .with_context(|| strike.to_string())?;
        let of = match &strike.fault {
            Fault::Kill(of) => of.to_string(),
            Fault::Line(..) => LINES.to_owned(),
            Fault::Freeze(_)
            | Fault::Double(_)
            | Fault::Outlive(_)
            | Fault::Durables
            | Fault::Full
            | Fault::Provider(_)
            | Fault::Mail(_) => return Ok(()),
        };
        let since = Instant::now();
        let recovering = async {
            let served = async {
                let (path, token) = desk.adjusts(customers::SKUS[0], 1).await?;
                desk.reads(&path, &token).await?;
                anyhow::Ok(since.elapsed())
            };
            let carried = async {
                let customer = desk.registers().await?;
                let order = desk.order(&customer, "pm_card_visa", "confirmed").await?;
                desk.comes(&order, "confirmed").await?;
                anyhow::Ok(since.elapsed())
            };
            tokio::try_join!(served, carried)
        };
        let recovered = timeout(PATIENCE, recovering).await;
        let recovered = recovered.map_err(anyhow::Error::from).and_then(|done| done);
        let (served, carried) = recovered.with_context(|| format!("no recovery after {strike}"))?;
        let recovery = Recovery {
            of,
            served,
            carried,
        };
        self.recoveries.lock().unwrap().push(recovery);
        Ok(())
    }

    /// Kills, what was promised, and how long recovery took.
    fn report(&self, notes: &Notes) -> String {
        let recoveries = self.recoveries.lock().unwrap();
        let mut report = format!(
            "storm: {} faults, {} kills and bad lines recovered from, {} acknowledged writes, {} orders{HEAD}",
            self.strikes.lock().unwrap().len(),
            recoveries.len(),
            notes.promises.lock().unwrap().len(),
            notes.orders.lock().unwrap().len(),
        );
        let mut line = |name: &str, of: &[&Recovery]| {
            let served = spread(of.iter().map(|recovery| recovery.served));
            let carried = spread(of.iter().map(|recovery| recovery.carried));
            let times = of.len();
            // Writing to a string can't fail.
            let _ = writeln!(report, "{name:<14} {times:>5}    {served}    {carried}");
        };
        let targets = Target::ALL.iter().map(ToString::to_string);
        for name in targets.chain([LINES.to_owned()]) {
            let of = recoveries.iter().filter(|recovery| recovery.of == name);
            line(&name, &of.collect::<Vec<_>>());
        }
        line("all", &recoveries.iter().collect::<Vec<_>>());
        report
    }
}

/// Half of them, 99 of 100 and all of them took no longer.
fn spread(times: impl Iterator<Item = Duration>) -> String {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    let percentile =
        |percent: usize| times.get((times.len() * percent).div_ceil(100).wrapping_sub(1));
    let shown = [50, 99, 100].map(|percent| match percentile(percent) {
        Some(time) => format!("{:>5.2} s", time.as_secs_f64()),
        None => "      -".to_owned(),
    });
    shown.join(" ")
}
