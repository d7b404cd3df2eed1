//! What the documents say is true: every path exists, every command runs.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use millrace::cli::Cli;
use millrace::schema::{check_api, check_graph};

use crate::app::{App, folder, program, shared};

pub(crate) fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn readme() -> String {
    document("README.md")
}

/// The lines of all fenced `sh` blocks of the README.
fn commands() -> Vec<String> {
    commands_of(&readme())
}

fn commands_of(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .flat_map(str::lines)
        .map(str::to_owned)
        .collect()
}

/// The lines of the `sh` blocks below one heading.
pub(crate) fn typed_in(text: &str, heading: &str) -> Vec<String> {
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with(heading));
    let typed = commands_of(section.unwrap());
    assert!(!typed.is_empty(), "{heading}");
    typed
}

/// As a link names it: `## Changing a saga` is `changing-a-saga`.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let words = headings.map(|line| line.trim_matches(['#', ' ']).to_lowercase());
    words
        .map(|it| it.replace(' ', "-").replace(['?', ',', '.', '…'], ""))
        .collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let pages = ["README.md", "SECURITY.md"].map(|name| root.join(name));
    for page in pages.into_iter().chain(docs) {
        let text = std::fs::read_to_string(&page).unwrap();
        let name = page.display();
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let found = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            assert!(found.exists(), "{name} links to {target}");
            if !anchor.is_empty() {
                let there = anchors(&std::fs::read_to_string(found).unwrap());
                assert!(there.contains(&anchor.to_owned()), "{name}: {target}");
            }
        }
    }
    let links = readme().matches("](").count();
    assert!(links > 30, "{links}: is the README still Markdown?");
}

/// The demo and the tests are run by `.ci/run` itself, on a clean clone.
#[test]
fn the_two_commands_are_those_that_ci_runs() {
    let ci =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    for command in [
        "cargo run --release -- demo",
        "cargo test --release --workspace",
    ] {
        assert!(commands().iter().any(|line| line == command), "{command}");
        assert!(ci.contains(command), ".ci/run does not run {command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_tells_its_story_on_the_running_stack() {
    let app = shared().await;
    let output = Command::new(program())
        .args(["demo", "--data"])
        .arg(&app.data)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        told.contains("order_confirmed") && !told.contains('✗'),
        "{told}"
    );
}

/// What is acknowledged is on the disk: who starts it without a word about that has it so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_stack_that_is_told_nothing_waits_for_the_disk() {
    let log = shared().await.data.join("logs/nats.log");
    let log = std::fs::read_to_string(log).unwrap();
    let monitor = log.split("Starting http monitor on ").nth(1);
    let monitor = monitor.and_then(|rest| rest.lines().next()).unwrap();
    let told = reqwest::get(format!("http://{monitor}/varz"))
        .await
        .unwrap();
    let told: serde_json::Value = told.json().await.unwrap();
    let jetstream = &told["jetstream"]["config"];
    assert_eq!(jetstream["sync_always"], true, "{jetstream}");
}

/// The calls of the README, as they are typed there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_placed_with_curl() {
    let app = shared().await;
    let text = readme();
    let mut blocks = text
        .split("```sh\n")
        .filter_map(|it| it.split("```").next());
    let script = blocks.find(|block| block.contains("call()"));
    let path = std::env::var("PATH").unwrap();
    let program = Path::new(program()).parent().unwrap().display();
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script.unwrap()])
        .env("SHOP", &app.endpoints.entry)
        .env("MILLRACE_DATA", &app.data)
        .env("PATH", format!("{program}:{path}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{said}");
    let mut answers = told.lines().rev();
    let mut last = || -> serde_json::Value {
        let line = answers.find(|line| !line.is_empty());
        serde_json::from_str(line.unwrap()).unwrap()
    };
    let (checkout, order) = (last(), last());
    assert_eq!(order["status"], "confirmed", "{order}");
    assert_eq!(checkout["total"], order["total"], "{checkout}");
}

/// The nats CLI commands of the README and of the demo, as the operator, read only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nats_cli_replays_what_happened() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(1).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let nats = devstack::fetch::nats_cli(&devstack::fetch::Sources::from_environment())
        .await
        .unwrap();
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let run = |args: Vec<String>| {
        let output = Command::new(&nats)
            .args([
                "--server",
                &app.endpoints.nats,
                "--user",
                "operator",
                "--password",
            ])
            .arg(secrets.get("MILLRACE_NATS_OPERATOR_PASSWORD").unwrap())
            .args(&args)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let words = |line: &str| {
        line.split_whitespace()
            .map(|w| w.trim_matches('\'').to_owned())
            .collect()
    };
    let replay = format!("sub 'event.order.{order}' --stream ORDER --all -T");
    let (done, said) = run(words(&replay));
    assert!(
        done && said.contains("millrace.order_confirmed.v1"),
        "{said}"
    );
    for line in commands()
        .iter()
        .filter_map(|line| line.strip_prefix("nats "))
    {
        let mut args: Vec<String> = words(line);
        if args.first().is_some_and(|first| first == "sub") {
            // Without an end it would go on for ever.
            args.push("-T".to_owned());
        }
        let (done, said) = run(args);
        assert!(done, "nats {line}: {said}");
    }
    // Read only: the operator can't publish an event.
    let (_, said) = run(words(&format!(
        "request event.order.{order} {{}} --timeout 1s"
    )));
    assert!(said.contains("Permissions Violation"), "{said}");
}

/// The copy shows in a diff what a change of the code means for clients.
#[test]
fn the_committed_document_is_what_the_code_says() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let differs = check_api(&copy, false).unwrap();
    assert!(differs.is_none(), "{}", differs.unwrap().detail);
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("openapi.json");
    let missing = check_api(&other, false).unwrap();
    assert!(missing.unwrap().detail.contains("schema check --accept"));
    let text = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&other, text.replace("Place an order", "Put an order")).unwrap();
    let differs = check_api(&other, false).unwrap().unwrap().detail;
    assert!(differs.contains("/paths/~1v1~1orders/post/"), "{differs}");
    assert_eq!(check_api(&other, true).unwrap(), None);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), text);
}

#[test]
fn the_committed_graph_is_what_the_code_says() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.graphql");
    assert_eq!(check_graph(&copy, false).unwrap(), None);
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("schema.graphql");
    let missing = check_graph(&other, false).unwrap().unwrap().detail;
    assert!(missing.contains("first at line 1:"), "{missing}");
    let text = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&other, text.replace("confirmed", "agreed")).unwrap();
    let differs = check_graph(&other, false).unwrap().unwrap().detail;
    let line = text.lines().position(|line| line.contains("confirmed"));
    let place = format!("first at line {}:", line.unwrap() + 1);
    assert!(differs.contains(&place), "{differs}");
    assert_eq!(check_graph(&other, true).unwrap(), None);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), text);
}

/// They are no flags, so nothing else lists them.
#[test]
fn what_finds_the_servers_of_a_local_stack_is_told() {
    let readers = ["devstack/src/fetch/mod.rs", "devstack/src/postgres/user.rs"];
    let text = readers.map(document).concat();
    let read = text.split("\"MILLRACE_").skip(1);
    let read: Vec<&str> = read.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(read.len(), 6, "{read:?}");
    let cli = Cli::command();
    let up = cli.find_subcommand("up").unwrap();
    let help = up.get_long_about().unwrap().to_string();
    for name in read {
        let told = format!("`MILLRACE_{name}`");
        assert!(help.contains(&told), "`up --help` lacks {told}");
        assert!(readme().contains(&told), "the README lacks {told}");
    }
}

/// Every Rust file below `folder`, such as that of the workspace.
pub(crate) fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands in for the provider and others, and what measures: a test of theirs shows nothing of Millrace.
const STAND_INS: [&str; 2] = ["devstack", "bench"];

/// The last column of SECURITY.md names tests.
#[test]
fn every_test_that_the_threat_model_names_is_one_of_millrace() {
    let text = document("SECURITY.md");
    let mut all = String::new();
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours =
            name != "target" && !name.starts_with('.') && !STAND_INS.contains(&name.as_str());
        if entry.path().is_dir() && is_ours {
            sources(&entry.path(), &mut all);
        }
    }
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let names: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    for name in &names {
        let is_there = all.contains(&format!("fn {name}("));
        assert!(
            is_there,
            "SECURITY.md names {name}, which is no test of Millrace"
        );
    }
    assert!(names.len() > 30, "only {} tests are named", names.len());
}

/// An alarm is about a metric that exists.
#[test]
fn every_metric_that_rings_exists() {
    let mut all = String::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut all);
    let text = document("docs/operate.md");
    let alarms = text.split("| alarm |").nth(1).unwrap();
    let rows = alarms.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.iter().filter(|name| !name.starts_with('/')) {
        assert!(all.contains(&format!("\"{name}\"")), "no metric {name}");
    }
}

/// The commands of docs/operate.md, in their order, on a stack of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_are_told_to_type_works() {
    let app = App::start(&folder("operate")).await;
    let (customer, sku) = (app.customer().await, app.product(1).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let sources = devstack::fetch::Sources::from_environment();
    let nats = devstack::fetch::nats_cli(&sources).await.unwrap();
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let password = secrets.get("MILLRACE_NATS_PROVISION_PASSWORD").unwrap();
    let text = document("docs/operate.md");
    let mut typed = commands_of(&text);
    // Into an empty server, by another test.
    let elsewhere = typed_in(&text, "Restore");
    typed.retain(|line| !elsewhere.contains(line));
    assert!(typed.len() > 15, "{typed:?}");
    for line in typed {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word {
                ".millrace" => app.data.display().to_string(),
                word => match word.strip_prefix(".millrace/") {
                    Some(within) => app.data.join(within).display().to_string(),
                    None => word.to_owned(),
                },
            })
            .collect();
        let mut command = match words[0].as_str() {
            "millrace" => Command::new(program()),
            "nats" => {
                let mut nats = Command::new(&nats);
                nats.args([
                    "--server",
                    &app.endpoints.nats,
                    "--user",
                    "provision",
                    "--password",
                    password,
                ]);
                nats
            }
            other => panic!("{other} can't be run here"),
        };
        let output = command
            .args(&words[1..])
            .current_dir(&app.data)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&said)
        );
    }
    app.stop().await;
}

/// Behind the one entry both sides are one API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_entry_says_what_both_sides_are() {
    let app = shared().await;
    let read = async |path: &str| {
        let url = format!("{}{path}", app.endpoints.entry);
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    };
    let document: serde_json::Value = serde_json::from_str(&read("/openapi.json").await).unwrap();
    assert_eq!(document, *millrace::entry::document().json());
    assert!(read("/reference").await.contains("Place an order"));
    for code in ["order_already_shipped", "cursor_invalid", "unavailable"] {
        assert!(read(&format!("/problems/{code}")).await.contains(code));
    }
}

/// A row of the table, a role that does this, and what stands for its places there.
type Needs<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// What `streams` says that each of its parts needs, held against what a role that uses it has.
#[test]
fn the_rights_that_a_library_needs_are_those_that_roles_have() {
    let (table, conf) = (document("streams/src/connection.rs"), document("nats.conf"));
    let saga = [
        ("<STREAM>", "ORDER"),
        ("<durable>", "checkout-order"),
        ("<context>", "checkout"),
        ("<saga>", "checkout"),
    ];
    let own = [("<STREAM>", "CHECKOUT"), ("<context>", "checkout")];
    let catalog = [("<STREAM>", "PRODUCT")];
    let rows: [Needs; 11] = [
        ("[`Connection::open`]", "gateway", &[]),
        ("[`check`]", "saga", &saga),
        ("[`Streams::load`]", "saga", &own),
        ("[`Streams::execute`]", "saga", &own),
        ("[`Connection::ordered`]", "gateway", &catalog),
        ("the same of a filter", "command-api", &own),
        ("[`Connection::durable`]", "saga", &saga),
        ("a durable that parks", "saga", &saga),
        ("[`Timers`]", "saga", &saga),
        ("[`Bus`]", "saga", &saga),
        ("[`Keys`]", "reactor", &[]),
    ];
    for (who, role, places) in rows {
        let start = format!("//! | {who}");
        let row = table.lines().find(|line| line.starts_with(&start)).unwrap();
        let user = conf.split(&format!("user: {role},")).nth(1).unwrap();
        let user = user.split("user: ").next().unwrap();
        let allowed: Vec<&str> = user.split('"').skip(1).step_by(2).collect();
        let rights = row.rsplit(" | ").next().unwrap().split('`');
        let rights: Vec<&str> = rights.skip(1).step_by(2).collect();
        assert!(!rights.is_empty(), "{row}");
        for right in rights.iter().filter(|right| !right.contains("<filter>")) {
            let fill = |right: String, (name, value): &(&str, &str)| right.replace(name, value);
            let right = places.iter().fold((*right).to_owned(), fill);
            let covered = allowed.iter().any(|allowed| covers(allowed, &right));
            assert!(covered, "{role} may not {right}, says nats.conf");
        }
    }
}

/// Is every subject of `narrow` one of `wide`?
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}
