//! What `up` tells the roles that it runs: what the environment says, as if each ran on its own.

use std::process::{Output, Stdio};
use std::time::Duration;

use millrace::client::Shop;
use millrace::up::Endpoints;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::app::{PASSWORD, PATIENCE, becomes, folder, program};

/// How long a stack may take until it is ready.
const START_PATIENCE: Duration = Duration::from_mins(3);

/// `millrace up` on a folder of its own.
fn up(name: &str, args: &[&str]) -> Command {
    let data = folder(name);
    std::fs::create_dir_all(data.parent().unwrap()).unwrap();
    let mut command = Command::new(program());
    command.args(["up", "--json", "--free-ports", "--port", "0", "--data"]);
    command.arg(data).args(args).kill_on_drop(true);
    command
}

/// It is found before anything is started, whichever role it is about.
#[tokio::test]
async fn what_the_environment_says_to_a_role_and_can_not_be_ends_up_at_once() {
    for (variable, flag) in [
        ("MILLRACE_AGGREGATES_MAX", "--aggregates-max"),
        ("MILLRACE_READ_WAIT_MS", "--read-wait-ms"),
        ("MILLRACE_CACHE_BYTES_MAX", "--cache-bytes-max"),
        ("MILLRACE_PROJECTOR_BATCH_MAX", "--projector-batch-max"),
        ("MILLRACE_SAGA_LANES", "--saga-lanes"),
        ("MILLRACE_MAILS_PER_SECOND", "--mails-per-second"),
    ] {
        let mut command = up("told-wrong", &[]);
        let ended = timeout(PATIENCE, command.env(variable, "none").output()).await;
        let Output { status, stderr, .. } = ended.expect(variable).unwrap();
        let said = String::from_utf8_lossy(&stderr);
        assert!(
            !status.success() && said.contains(flag),
            "{variable}: {said}"
        );
    }
    assert!(!folder("told-wrong").exists(), "nothing was started");
}

async fn started(args: &[&str], name: &str) -> (Child, Endpoints) {
    let mut command = up(name, args);
    let told = command
        .env("MILLRACE_MAIL_FROM", "Another <another@shop.example>")
        .env("MILLRACE_BODY_BYTES_MAX", "300")
        .env("MILLRACE_LOG", "info")
        .env("MILLRACE_LOG_FORMAT", "json")
        // Its own business, and no file.
        .env("MILLRACE_TLS_CERT", "nowhere.pem")
        .env("MILLRACE_SMTP", "127.0.0.1:1");
    let mut child = told.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(START_PATIENCE, lines.next_line()).await.unwrap();
    (
        child,
        serde_json::from_str(&line.unwrap().unwrap()).unwrap(),
    )
}

async fn is_heeded(args: &[&str], name: &str) {
    let (mut child, endpoints) = started(args, name).await;
    let shop = Shop::new(&endpoints.entry).unwrap();
    let email = "ada@example.com";
    shop.register(email, "Ada", PASSWORD).await.unwrap();
    let long = json!({ "email": email, "name": "A".repeat(400), "password": PASSWORD });
    let refused = shop.post("/v1/users", &long).await.unwrap();
    assert_eq!(refused.body["code"], "body_too_large", "{}", refused.body);
    let from = async || {
        let url = format!("{}/messages", endpoints.mail);
        let mails: Vec<Value> = reqwest::get(url).await.unwrap().json().await.unwrap();
        mails.first().map(|mail| mail["from"].to_string())
    };
    becomes("a mail has come", async || from().await.is_some()).await;
    let from = from().await.unwrap();
    assert!(from.contains("another@shop.example"), "{from}");
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    child.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_environment_says_to_a_role_is_heeded_in_one_process_and_in_many() {
    is_heeded(&[], "told-together").await;
    is_heeded(&["--separate"], "told-separate").await;
    let log = folder("told-separate").join("logs/command-api.log");
    let log = std::fs::read_to_string(log).unwrap();
    let line = log.lines().next().unwrap();
    let line: Value = serde_json::from_str(line).expect(line);
    assert_eq!(line["level"], "INFO", "{line}");
}
