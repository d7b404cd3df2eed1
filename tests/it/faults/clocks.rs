//! The clock of one role is an hour behind everybody else's, jumps to an hour ahead, and back: whichever
//! role it is, all goes on as if nothing were.
//!
//! The other clock is libfaketime's: loaded into that one process, it answers what the process asks for the
//! time of day, and leaves the monotonic clock alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use devstack::launch::Child;
use millrace::client::Shop;
use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::Purchase;
use crate::app::{App, Must, PATIENCE, becomes, folder};
use crate::separate::{process, says};

/// Each has a turn.
const ROLES: [&str; 6] = [
    "command-api",
    "saga",
    "reactor",
    "projector",
    "query-api",
    "gateway",
];

/// Waits for its customer to act at the provider's page.
const ASKS_BACK: &str = "pm_card_authenticationRequired";

/// What a jump leaves nobody in doubt about.
const ABOUT: TimeDelta = TimeDelta::minutes(10);

/// libfaketime for programs with threads.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.find(|library| library.exists());
    found.expect("no libfaketime under /usr/lib, which gives a process a clock of its own: apt-get install faketime")
}

/// A role whose clock can be set.
struct Skewed {
    clock: PathBuf,
    /// Where it answers anything at all.
    address: String,
    _child: Child,
}

impl Skewed {
    /// In the place of the one of `app`, behind or ahead `by`.
    async fn start(app: &App, role: &str, by: &str) -> Self {
        kill_process(process(app, role), Signal::TERM).unwrap();
        says(app, &format!("{role} was told to end")).await;
        let clock = app.data.join(format!("{role}.clock"));
        set(&clock, by);
        let port = devstack::Reserved::choose(0).unwrap().address().port();
        let apart = format!("127.0.0.1:{port}");
        let address = match role {
            "gateway" => &app.endpoints.entry,
            "command-api" => &app.endpoints.command_api,
            "query-api" => &app.endpoints.query_api,
            _ => &format!("http://{apart}"),
        };
        let listen = address.trim_start_matches("http://").to_owned();
        let mut args = vec![role];
        if listen != apart {
            args.extend(["--listen", &listen]);
        }
        let faketime = faketime();
        let env: [(&str, &OsStr); 5] = [
            ("LD_PRELOAD", faketime.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", clock.as_os_str()),
            ("FAKETIME_CACHE_DURATION", OsStr::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::new("1")),
            ("MILLRACE_HEALTH_LISTEN", OsStr::new(&apart)),
        ];
        let log = format!("{role}-skewed.log");
        let child = app.role_with(&args, &log, &env).await;
        let it = Shop::new(address).unwrap();
        let ready = it.wait_for(role, "/readyz", PATIENCE, |_| true);
        ready.await.unwrap();
        Self {
            clock,
            address: address.clone(),
            _child: child,
        }
    }

    /// Waits until its own clock, which it puts onto every answer, is so far from ours.
    async fn is_apart(&self, hours: i64) {
        becomes("another clock", async || {
            let answer = reqwest::get(format!("{}/livez", self.address)).await;
            let date = answer.ok().and_then(|answer| {
                let date = answer.headers().get("date")?.to_str().ok()?;
                DateTime::parse_from_rfc2822(date).ok()
            });
            let expected = Utc::now() + TimeDelta::hours(hours);
            date.is_some_and(|date| (date.to_utc() - expected).abs() < ABOUT)
        })
        .await;
    }

    /// Waits until it tells so itself: an alarm is set on that.
    async fn tells(&self, hours: i64) {
        becomes("clock_ahead_seconds", async || {
            let page = reqwest::get(format!("{}/metrics", self.address)).await;
            let page = page.unwrap().text().await.unwrap();
            let mut lines = page.lines();
            let ahead = lines.find_map(|line| line.strip_prefix("clock_ahead_seconds "));
            let ahead: Option<i64> = ahead.and_then(|ahead| ahead.split('.').next()?.parse().ok());
            let told = TimeDelta::seconds(ahead.unwrap_or_default());
            (told - TimeDelta::hours(hours)).abs() < ABOUT
        })
        .await;
    }
}

/// It is read again within a second. A file appears whole.
fn set(clock: &Path, by: &str) {
    let new = clock.with_extension("new");
    std::fs::write(&new, by).unwrap();
    std::fs::rename(new, clock).unwrap();
}

/// An order on its way, whose customer the provider asks back.
async fn under_way(app: &App) -> Purchase<'_> {
    let purchase = Purchase::prepare(app).await;
    purchase.place(ASKS_BACK).await;
    becomes("the provider asks back", async || {
        let ledger = app.ledger(&purchase.id).await;
        ledger
            .first()
            .is_some_and(|it| it["status"] == "requires_action")
    })
    .await;
    purchase
}

/// The customer acts at the provider's page.
async fn act(purchase: &Purchase<'_>) {
    let entry = purchase.one_charge().await;
    let intent = entry["id"].as_str().unwrap();
    let path = format!("/test/payment_intents/{intent}/complete_action");
    let provider = Shop::new(&purchase.app.endpoints.payments).unwrap();
    let done = provider.post(&path, &json!({ "succeed": true })).await;
    done.must();
}

/// What was under way goes on, and what is new, of a new customer, comes to its end.
async fn all_goes_on(app: &App, before: &Purchase<'_>) {
    act(before).await;
    let (bought, declined) = tokio::join!(Purchase::prepare(app), Purchase::prepare(app));
    bought.place("pm_card_visa").await;
    declined.place("pm_card_chargeDeclined").await;
    bought.comes_right().await;
    declined.comes_to_nothing("rejected", "card_declined").await;
    before.comes_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_behind_or_ahead_on_one_role_delays_nobody() {
    let app = App::start_with(&folder("clocks"), &["--separate"]).await;
    let mut skewed = Vec::new();
    for role in ROLES {
        let before = under_way(&app).await;
        let one = Skewed::start(&app, role, "-1h").await;
        one.is_apart(-1).await;
        // Each does it in the same way, up to half a minute later.
        if skewed.is_empty() {
            one.tells(-1).await;
        }
        eprintln!("{role} is an hour behind");
        all_goes_on(&app, &before).await;
        let before = under_way(&app).await;
        set(&one.clock, "+1h");
        one.is_apart(1).await;
        eprintln!("{role} is an hour ahead");
        all_goes_on(&app, &before).await;
        // Back as it should be, it serves the others' turns.
        set(&one.clock, "+0");
        skewed.push(one);
    }
    app.adds_up().await;
    app.stop().await;
}
