//! Bulk imports of any length: what is reported, what is done once, and what breaks off.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::process::{Command, Output};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use millrace::client::{Answer, Shop};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::read_after;
use crate::app::{App, Must, PATIENCE, folder, program, shared};
use crate::overload::memory_kib;
use crate::separate::process;

/// Lines of a large import.
const MANY: usize = 20_000;

/// Every so many lines one is bad.
const BAD_EVERY: usize = 500;

/// Lines of an import that is larger than the memory which it may take.
const LONG: usize = 200_000;

/// Of those, one in so many is good: a bad one costs nothing but its reading, and the rest is the same.
const GOOD_EVERY: usize = 100;

/// What a long line ends with, so that all of them are 120 MB.
const FILLING: usize = 600;

/// The most that so long an import may add to a process.
const MEMORY_KIB_MAX: u64 = 48 * 1024;

static BUSY: OnceCell<App> = OnceCell::const_new();

/// A stack for imports so large that its read models stay behind for a while: no other test waits
/// for them.
async fn busy() -> &'static App {
    BUSY.get_or_init(async || App::start(&folder("imports")).await)
        .await
}

/// A file of products that no other test has.
struct Catalogue {
    key: String,
    category: String,
}

impl Catalogue {
    fn new() -> Self {
        let name = Uuid::new_v4().simple().to_string();
        Self {
            key: format!("import-{name}"),
            category: format!("Shelf {name}"),
        }
    }

    fn sku(&self, number: usize) -> String {
        format!("{}-{number}", self.key)
    }

    /// The `number`-th line.
    fn line(&self, number: usize, cents: i64) -> String {
        let product = json!({
            "sku": self.sku(number),
            "title": format!("Mug {number}"),
            "description": "Holds tea.",
            "category": self.category,
            "price": { "amount": cents, "currency": "EUR" },
        });
        format!("{product}\n")
    }

    fn lines(&self, count: usize, cents: i64) -> String {
        (1..=count).map(|number| self.line(number, cents)).collect()
    }

    async fn import(&self, shop: &Shop, lines: impl Into<reqwest::Body>) -> Answer {
        shop.import(&self.key, lines).await.unwrap()
    }

    /// The import as its read model tells it, once it is as `wanted`.
    async fn told(&self, shop: &Shop, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/v1/products/imports?key={}", self.key);
        let known = |list: &Value| list["items"].get(0).is_some_and(&wanted);
        let told = shop.wait_for("the import", &path, PATIENCE, known).await;
        told.unwrap().body["items"][0].clone()
    }

    /// How many events each of the products has that `answer` has made readable.
    async fn versions(&self, shop: &Shop, answer: &Answer) -> Vec<u64> {
        let token = answer.header("consistency-token").unwrap();
        let category = self.category.replace(' ', "%20");
        let first = format!("/v1/products?limit=200&category={category}");
        let mut versions = Vec::new();
        let mut path = first.clone();
        loop {
            let page = read_after(shop, &path, token).await;
            let page = page.success().unwrap().body;
            let items = page["items"].as_array().unwrap();
            versions.extend(items.iter().map(|item| item["version"].as_u64().unwrap()));
            let Some(next) = page["next"].as_str() else {
                return versions;
            };
            path = format!("{first}&cursor={next}");
        }
    }
}

/// The counts of a report: lines, created, updated, unchanged, failed.
fn counts(report: &Value) -> [u64; 5] {
    ["lines", "created", "updated", "unchanged", "failed"]
        .map(|name| report[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lines_are_imported_and_each_bad_one_is_told() {
    let (app, catalogue) = (busy().await, Catalogue::new());
    let operator = app.operator();
    let mut lines = String::new();
    for number in 1..=MANY {
        match number % (4 * BAD_EVERY) {
            0 => lines.push_str("nonsense\n"),
            BAD_EVERY => lines.push_str(&catalogue.line(number, 0)),
            // Longer than a line may be, and than the body of any other call.
            1_000 => writeln!(lines, "{{\"sku\":\"{}\"}}", "x".repeat(1 << 21)).unwrap(),
            1_500 => lines.push_str(&catalogue.line(number, 500).replace("title", "titel")),
            _ => lines.push_str(&catalogue.line(number, 500)),
        }
    }
    let failed = MANY / BAD_EVERY;
    let done = catalogue.import(&operator, lines.clone()).await;
    assert_eq!(done.status.as_u16(), 201, "{}", done.body);
    let (all, bad) = (MANY as u64, failed as u64);
    assert_eq!(counts(&done.body), [all, all - bad, 0, 0, bad]);
    let errors = done.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), failed, "{errors:?}");
    let told: Vec<_> = errors[..4]
        .iter()
        .map(|error| {
            (
                error["line"].as_u64(),
                error["code"].as_str(),
                error["pointer"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some(500), Some("price_not_positive"), Some("/price/amount")),
            (Some(1_000), Some("line_too_long"), Some("")),
            (Some(1_500), Some("invalid_request"), Some("/titel")),
            (Some(2_000), Some("malformed_request"), Some("")),
        ]
    );

    let location = done.header("location").unwrap();
    let token = done.header("consistency-token").unwrap();
    let report = read_after(&operator, location, token).await.body;
    assert_eq!(report["status"], "completed", "{report}");
    assert_eq!(counts(&report), counts(&done.body));
    let versions = catalogue.versions(&operator, &done).await;
    assert_eq!(versions, vec![1; MANY - failed]);

    let again = catalogue.import(&operator, lines).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.status, done.status);
    assert_eq!(again.body, done.body);
    assert_eq!(again.header("etag"), done.header("etag"));
    let versions = catalogue.versions(&operator, &again).await;
    assert_eq!(versions, vec![1; MANY - failed], "nothing was done twice");
}

#[tokio::test]
async fn one_key_stands_for_the_same_lines() {
    let (app, catalogue) = (shared().await, Catalogue::new());
    let operator = app.operator();
    let done = catalogue.import(&operator, catalogue.lines(3, 500)).await;
    let done = done.success().unwrap();
    for other in [
        catalogue.lines(3, 600),
        catalogue.lines(2, 500),
        catalogue.lines(4, 500),
        String::new(),
    ] {
        let refused = catalogue.import(&operator, other).await;
        assert_eq!(refused.status.as_u16(), 422, "{}", refused.body);
        assert_eq!(refused.body["code"], "import_differs");
    }
    let path = format!("/v1/products/{}", catalogue.sku(1));
    let token = done.header("consistency-token").unwrap();
    let product = read_after(&operator, &path, token).await.body;
    assert_eq!(product["price"]["amount"], 500, "{product}");
    assert_eq!(product["version"], 1, "{product}");
}

#[tokio::test]
async fn a_line_changes_what_differs_and_puts_on_sale_what_it_says() {
    let (app, catalogue) = (shared().await, Catalogue::new());
    let operator = app.operator();
    let first = catalogue.import(&operator, catalogue.lines(3, 500)).await;
    first.success().unwrap();
    let gone = catalogue.sku(4);
    operator.stock_product(&gone, "Mug", 500, 0).await.unwrap();
    let discontinue = format!("/v1/products/{gone}/discontinue");
    operator.post(&discontinue, &json!({})).await.must();

    let publish = |line: String| line.replace("\"price\"", "\"publish\":true,\"price\"");
    let lines = [
        catalogue.line(1, 500),
        // Two of one product: the later one wins.
        catalogue.line(2, 700),
        catalogue.line(2, 650),
        "\n".to_owned(),
        publish(catalogue.line(3, 500)),
        catalogue.line(4, 500),
        publish(catalogue.line(5, 500)).trim_end().to_owned(),
    ];
    let key = format!("{}-second", catalogue.key);
    let done = operator.import(&key, lines.concat()).await.must();
    assert_eq!(counts(&done.body), [7, 1, 3, 1, 1], "{}", done.body);
    assert_eq!(done.body["errors"][0]["line"], 6);
    assert_eq!(done.body["errors"][0]["code"], "product_discontinued");
    let token = done.header("consistency-token").unwrap();
    for (number, cents, status, version) in [
        (1, 500, "draft", 1),
        (2, 650, "draft", 3),
        (3, 500, "published", 2),
        (4, 500, "discontinued", 3),
        (5, 500, "published", 2),
    ] {
        let path = format!("/v1/products/{}", catalogue.sku(number));
        let product = read_after(&operator, &path, token).await.body;
        assert_eq!(product["price"]["amount"], cents, "{product}");
        assert_eq!(product["status"], status, "{product}");
        assert_eq!(product["version"], version, "{product}");
    }
}

/// The lines of a long import, a hundred at a time.
fn long(catalogue: Catalogue) -> impl Iterator<Item = Bytes> + Send + 'static {
    let filling = "x".repeat(FILLING);
    (0..LONG).step_by(GOOD_EVERY).map(move |from| {
        let bad = format!("{{\"sku\":\"{from}\",\"titel\":\"{filling}\"}}\n");
        let lines = bad.repeat(GOOD_EVERY - 1) + &catalogue.line(from, 500);
        Bytes::from(lines)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_import_takes_little_memory_where_it_passes() {
    let app = App::start_with(&folder("long-import"), &["--separate"]).await;
    let operator = app.operator();
    // What is new is in memory once.
    let short = Catalogue::new();
    short.import(&operator, short.lines(2_000, 500)).await;
    let roles = ["gateway", "command-api"].map(|role| {
        let process = process(&app, role).as_raw_nonzero().get().unsigned_abs();
        (role, process, memory_kib(process, "VmRSS"))
    });
    let catalogue = Catalogue::new();
    let key = catalogue.key.clone();
    let pieces = stream::iter(long(catalogue).map(Ok::<_, Infallible>));
    let done = operator.import(&key, reqwest::Body::wrap_stream(pieces));
    let done = done.await.unwrap().success().unwrap();
    let (all, good) = (LONG as u64, (LONG / GOOD_EVERY) as u64);
    assert_eq!(counts(&done.body), [all, good, 0, 0, all - good]);
    for (role, process, before) in roles {
        let most = memory_kib(process, "VmHWM");
        println!("{role}: {before} to {most} KiB");
        let grown = most.saturating_sub(before);
        assert!(grown < MEMORY_KIB_MAX, "{role}: {before} to {most} KiB");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_in_the_middle_goes_on_under_the_same_key() {
    let (app, catalogue) = (busy().await, Catalogue::new());
    let operator = app.operator();
    let lines = catalogue.lines(3_000, 500);
    // Half a line more than what is whole.
    let sent = lines.len() / 2 + 7;
    let cut = Bytes::copy_from_slice(&lines.as_bytes()[..sent]);
    let (goes, gone) = tokio::sync::oneshot::channel();
    let pieces = stream::iter([Ok(cut)]).chain(stream::once(async {
        gone.await.unwrap();
        Err(io::Error::other("the client goes away"))
    }));
    let sending = operator.import(&catalogue.key, reqwest::Body::wrap_stream(pieces));
    let leaving = async {
        // What was sent is read before the connection ends.
        catalogue
            .told(&operator, |import| import["lines"].as_u64() >= Some(1_000))
            .await;
        goes.send(()).unwrap();
    };
    let (sent, ()) = tokio::join!(sending, leaving);
    assert!(sent.is_err());
    let broken = catalogue
        .told(&operator, |import| import["status"] == "interrupted")
        .await;
    let [done, created, ..] = counts(&broken);
    assert!((1_000..1_500).contains(&done), "{broken}");
    assert_eq!(done, created, "{broken}");

    let whole = catalogue.import(&operator, lines).await;
    let whole = whole.success().unwrap();
    assert_eq!(counts(&whole.body), [3_000, 3_000, 0, 0, 0]);
    assert_eq!(whole.header("idempotency-replayed"), None);
    let versions = catalogue.versions(&operator, &whole).await;
    assert_eq!(versions, vec![1; 3_000], "nothing was done twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_survives_a_kill_of_the_server() {
    let mut app = App::start(&folder("import")).await;
    let catalogue = Catalogue::new();
    let operator = app.operator();
    let lines = catalogue.lines(4_000, 500);
    // The rest never comes: the server dies while it waits for it.
    let first = Bytes::copy_from_slice(&lines.as_bytes()[..lines.len() * 3 / 4]);
    let pieces = stream::iter([Ok::<_, Infallible>(first)]).chain(stream::pending());
    let sending = operator.import(&catalogue.key, reqwest::Body::wrap_stream(pieces));
    let killed = async {
        catalogue
            .told(&operator, |import| import["lines"].as_u64() >= Some(2_000))
            .await;
        app.kill().await;
    };
    let (sent, ()) = tokio::join!(sending, killed);
    assert!(sent.is_err());
    app.restart().await;
    let operator = app.operator();
    let whole = catalogue.import(&operator, lines).await.success().unwrap();
    assert_eq!(counts(&whole.body), [4_000, 4_000, 0, 0, 0]);
    let versions = catalogue.versions(&operator, &whole).await;
    assert_eq!(versions, vec![1; 4_000], "nothing was done twice");
    app.stop().await;
}

#[tokio::test]
async fn only_operators_import_and_only_lines_of_json() {
    let (app, catalogue) = (shared().await, Catalogue::new());
    let customer = app.customer().await;
    let lines = || catalogue.lines(1, 500);
    let refused = catalogue.import(&customer.shop, lines()).await;
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
    let refused = catalogue.import(&app.shop(), lines()).await;
    assert_eq!(refused.status.as_u16(), 401, "{}", refused.body);
    let imports = customer.shop.get("/v1/products/imports").await.unwrap();
    assert_eq!(imports.status.as_u16(), 403, "{}", imports.body);
    let body = json!({ "sku": catalogue.sku(1) });
    let json = app.operator().post("/v1/products/import", &body).await;
    let json = json.unwrap();
    assert_eq!(json.status.as_u16(), 415, "{}", json.body);
    let reserved = json!({
        "sku": "imports", "title": "Mug", "description": "Holds tea.", "category": "Mugs",
        "price": { "amount": 500, "currency": "EUR" },
    });
    let reserved = app
        .operator()
        .post("/v1/products", &reserved)
        .await
        .unwrap();
    assert_eq!(reserved.body["code"], "sku_reserved", "{}", reserved.body);
}

/// Runs `millrace import` on the shared stack.
fn import_file(app: &App, file: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg("import").arg(file).arg("--data").arg(&app.data);
    command.args(args).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_imported_from_the_command_line() {
    let (app, catalogue) = (shared().await, Catalogue::new());
    let mut lines = catalogue.lines(300, 500);
    lines.push_str("nonsense");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autumn mugs.ndjson");
    std::fs::write(&file, lines).unwrap();
    let output = import_file(app, &file, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "a line failed: {output:?}");
    assert_eq!(
        said,
        "301 lines: 300 products created, 0 updated, 0 unchanged, 1 lines failed\n  \
         line 301: malformed_request : the line is no JSON\n"
    );
    let again = import_file(app, &file, &["--json"]);
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(counts(&report), [301, 300, 0, 0, 1], "the same import");

    std::fs::write(&file, catalogue.lines(300, 600)).unwrap();
    let changed = import_file(app, &file, &["--json"]);
    assert!(changed.status.success(), "{changed:?}");
    let report: Value = serde_json::from_slice(&changed.stdout).unwrap();
    assert_eq!(counts(&report), [300, 0, 300, 0, 0], "another import");
}
