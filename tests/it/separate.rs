//! `up --separate`: a whole order through a process for each role, one of which dies.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::app::{App, PATIENCE, folder};

/// Between two looks at a level.
const LOOK: Duration = Duration::from_millis(50);

const CHARGED: &str = "pm_card_visa";

/// The process of a role, as `up --json` says.
pub(crate) fn process(app: &App, role: &str) -> Pid {
    let printed = std::fs::read_to_string(app.data.with_extension("log")).unwrap();
    let mut lines = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let process = lines
        .find_map(|line| line["processes"][role].as_i64())
        .unwrap();
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

/// Waits until `up` said something.
pub(crate) async fn says(app: &App, what: &str) {
    let started = Instant::now();
    loop {
        let said = std::fs::read_to_string(app.data.with_extension("log")).unwrap();
        if said.contains(what) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: {said}");
        sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_through_a_process_for_each_role_also_when_one_dies() {
    let app = App::start_with(&folder("separate"), &["--separate"]).await;
    let (customer, sku) = (app.customer().await, app.product(9).await);
    let first = customer.orders(&sku, 1, CHARGED).await;
    app.order_is(&first, "confirmed").await;
    app.told(&first, 1).await;
    let saga = process(&app, "saga");
    kill_process(saga, Signal::KILL).unwrap();
    let second = customer.orders(&sku, 1, CHARGED).await;
    app.order_is(&second, "confirmed").await;
    says(
        &app,
        "saga ended (signal: 9 (SIGKILL)) and is started again",
    )
    .await;
    app.stock_is(&sku, [9, 0, 2]).await;
    app.adds_up().await;
    // No role outlives the whole.
    let reactor = process(&app, "reactor").as_raw_nonzero();
    app.kill().await;
    let started = Instant::now();
    // Ended, and perhaps not yet buried by whoever does that here.
    let state = || std::fs::read_to_string(format!("/proc/{reactor}/stat"));
    while state().is_ok_and(|state| !state.contains(") Z ")) {
        assert!(started.elapsed() < PATIENCE, "the reactor is still there");
        sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_can_not_begin_ends_the_whole_with_the_reason() {
    let app = App::start_with(&folder("hopeless"), &["--separate"]).await;
    std::fs::remove_dir_all(app.data.join(millrace::up::JWT_KEYS)).unwrap();
    kill_process(process(&app, "command-api"), Signal::KILL).unwrap();
    says(&app, "command-api ended 5 times in a row").await;
    let exit = app.ends().await;
    assert!(!exit.success(), "{exit}");
    let log = std::fs::read_to_string(app.data.join("logs/command-api.log")).unwrap();
    assert!(log.contains("keys/jwt"), "{log}");
}
