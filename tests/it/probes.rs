//! Roles without an API of their own say how they are, too.

use std::process::Command;
use std::time::Duration;

use devstack::launch::{Child, Signal};
use millrace::client::Shop;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::app::{Must, PATIENCE, becomes, program};
use crate::servers::Servers;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A worker, and where it says how it is.
struct Worker {
    role: &'static str,
    health: String,
    _process: Child,
}

impl Worker {
    async fn start(servers: &Servers, role: &'static str) -> Self {
        let port = devstack::Reserved::choose(0).unwrap().address().port();
        let listen = format!("127.0.0.1:{port}");
        let process = servers.role(&[role, "--health-listen", &listen]).await;
        Self {
            role,
            health: format!("http://{listen}"),
            _process: process,
        }
    }

    /// Waits until `/readyz` answers `status`, and what its checks say is as told.
    async fn becomes(&self, status: u16, says: impl Fn(&Value) -> bool) {
        let (shop, started) = (Shop::new(&self.health).unwrap(), Instant::now());
        loop {
            let last = shop.get("/readyz").await;
            if let Ok(answer) = &last
                && answer.status == status
                && says(&answer.body["checks"])
            {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{}: {last:?}", self.role);
            sleep(LOOK).await;
        }
    }

    /// Waits until a view of it has stopped.
    async fn has_stopped(&self) {
        let (url, started) = (format!("{}/metrics", self.health), Instant::now());
        loop {
            // It may not listen yet.
            let metrics = match reqwest::get(&url).await {
                Ok(answer) => answer.text().await.unwrap(),
                Err(error) => error.to_string(),
            };
            if metrics.contains("projector_stopped_total{") {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{metrics}");
            sleep(LOOK).await;
        }
    }

    /// What a container's health check says, which knows the role's environment.
    fn is_healthy(&self) -> bool {
        let listens = self.health.strip_prefix("http://").unwrap();
        let mut command = Command::new(program());
        command.env("MILLRACE_HEALTH_LISTEN", listens).arg("health");
        // No proxy of the environment is asked for what is on this machine.
        command.env("HTTP_PROXY", "http://127.0.0.1:1");
        let output = command.output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(said["checks"]["nats"].is_string(), "{said}");
        output.status.success()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_ready_as_long_as_it_reaches_what_it_needs_and_alive_all_along() {
    let servers = Servers::start("probes").await;
    let mut workers = Vec::new();
    for role in ["projector", "saga", "reactor"] {
        workers.push(Worker::start(&servers, role).await);
    }
    for worker in &workers {
        worker
            .becomes(200, |checks| checks["start-up"] == "ok")
            .await;
        assert!(worker.is_healthy(), "{}", worker.role);
        let metrics = reqwest::get(format!("{}/metrics", worker.health)).await;
        assert_eq!(metrics.unwrap().status(), 200);
    }

    let nats = servers.stack.nats().unwrap();
    nats.kill().await.unwrap();
    for worker in &workers {
        worker.becomes(503, |checks| checks["nats"] != "ok").await;
        assert!(!worker.is_healthy(), "{}", worker.role);
        let alive = reqwest::get(format!("{}/livez", worker.health)).await;
        assert_eq!(alive.unwrap().status(), 200, "it is not at fault");
    }
    nats.restart().await.unwrap();
    for worker in &workers {
        worker.becomes(200, |_| true).await;
    }

    let (projector, postgres) = (&workers[0], servers.stack.postgres().unwrap());
    let (commands, _command_api) = servers.api("command-api").await;
    postgres.kill().await.unwrap();
    let tea = json!({
        "sku": "TEA", "title": "Tea", "description": "Green.", "category": "Drinks",
        "price": { "amount": 5, "currency": "EUR" },
    });
    commands.post("/v1/products", &tea).await.must();
    let waits = |checks: &Value| {
        checks["views"]
            .as_str()
            .is_some_and(|says| says.starts_with("product: "))
    };
    projector.becomes(503, waits).await;
    postgres.restart().await.unwrap();
    projector.becomes(200, |_| true).await;

    // A view that has stopped waits for a person, and keeps nobody from starting.
    let admin = servers.connect("provision").await;
    let garbage = admin
        .jetstream()
        .publish("event.product.BAD", "no event".into());
    garbage.await.unwrap().await.unwrap();
    projector.has_stopped().await;
    projector.becomes(200, |_| true).await;
    let another = Worker::start(&servers, "projector").await;
    another.has_stopped().await;
    another.becomes(200, |_| true).await;
}

#[tokio::test]
async fn a_role_that_waits_for_a_server_ends_when_it_is_told() {
    let servers = Servers::bare("waiting", []).await;
    let nowhere = [("MILLRACE_NATS", "nats://127.0.0.1:9")];
    let role = servers.role_that_is_told(&["saga"], &nowhere).await;
    let log = servers.data.join("saga.log");
    let said = |words: &str| std::fs::read_to_string(&log).unwrap().contains(words);
    becomes("it waits", async || said("NATS can't be reached yet")).await;
    role.signaller().send(Signal::TERM).unwrap();
    assert!(!role.wait().await.success());
    assert!(said("told to stop before it had begun"));
}
