//! Bulk imports: lines in, products and a report out, whatever happens on the way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use command_api::Local;
use futures::{StreamExt, stream};
use kernel::{ImportId, Money, Position};
use product::{Import, ImportStatus};
use serde_json::json;
use streams::log::{AppendError, Appended, Last, Log, NewEvent, Page, ReadError, StreamState};
use streams::memory::MemoryLog;
use streams::{BoxError, RecordedEvent, Settings, Streams};

use crate::app::{Answer, App, Call, Person, product};

const PATH: &str = "/v1/products/import";

fn line(sku: &str, cents: i64) -> String {
    format!("{}\n", product(sku, cents, "EUR"))
}

/// So many products, one a line.
fn lines(count: usize) -> String {
    (0..count).map(|n| line(&format!("tea-{n}"), 500)).collect()
}

fn import<'a>(app: &'a App, operator: &Person, key: &str) -> Call<'a> {
    app.post(PATH)
        .by(operator)
        .key(key)
        .header("content-type", "application/x-ndjson")
}

/// What happened to the import that `answer` is about.
async fn history(app: &App, answer: &Answer) -> Vec<RecordedEvent> {
    let id: ImportId = answer.id().parse().unwrap();
    app.streams.history::<Import>(&id.into()).await.unwrap()
}

fn types(events: &[RecordedEvent]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.event_type.as_str())
        .collect()
}

#[tokio::test]
async fn lines_become_products_and_the_report_says_what_did_not() {
    let (app, long) = (App::new(), "x".repeat(2 << 20));
    let operator = app.operator();
    let body = [
        line("tea-1", 500),
        "nonsense\n".to_owned(),
        "  \r\n".to_owned(),
        line("tea-2", 0),
        format!("\"{long}\"\n"),
        line("tea-2", 500).replace("\"price\"", "\"publish\":true,\"price\""),
        line("tea-1", 600).trim_end().to_owned(),
    ];
    let done = import(&app, &operator, "k").raw(body.concat()).await;
    let done = done.must(201);
    let error = |line: u64, code: &str, pointer: &str| json!({"line": line, "code": code, "pointer": pointer});
    let mut report = done.body.clone();
    for error in report["errors"].as_array_mut().unwrap() {
        error.as_object_mut().unwrap().remove("detail").unwrap();
    }
    assert_eq!(
        report,
        json!({
            "id": done.id(), "status": "completed", "lines": 7,
            "created": 2, "updated": 1, "unchanged": 0, "failed": 3,
            "errors": [
                error(2, "malformed_request", ""),
                error(4, "price_not_positive", "/price/amount"),
                error(5, "line_too_long", ""),
            ],
        })
    );
    let location = format!("/v1/products/imports/{}", done.id());
    assert_eq!(done.header("location"), location);
    let events = history(&app, &done).await;
    assert_eq!(types(&events), ["import_started", "import_completed"]);
    // Two created, one repriced, one published, and the import's own.
    assert_eq!(app.ends().await["PRODUCT"], 6);
}

#[tokio::test]
async fn the_same_lines_under_the_same_key_are_answered_again() {
    let app = App::new();
    let operator = app.operator();
    let first = import(&app, &operator, "k").raw(lines(100)).await.must(201);
    let before = app.ends().await;
    let again = import(&app, &operator, "k").raw(lines(100)).await;
    assert_eq!(again.essence(), first.essence());
    assert_eq!(again.header("idempotency-replayed"), "true");
    for other in [lines(99), lines(101), lines(100).replace("Tea", "Te")] {
        let refused = import(&app, &operator, "k").raw(other).await;
        refused.refused(422, "import_differs", "");
    }
    assert_eq!(app.ends().await, before, "nothing was done twice");
    let other_key = import(&app, &operator, "l").raw(lines(100)).await;
    assert_eq!(other_key.must(201).body["unchanged"], 100);
}

#[tokio::test]
async fn an_import_is_done_only_to_the_version_that_is_asked_for() {
    let app = App::new();
    let operator = app.operator();
    let before = app.ends().await;
    let version = |tag: &str| import(&app, &operator, "k").header("if-match", tag);
    for tag in ["\"1\"", "*"] {
        let stale = version(tag).raw(lines(1)).await;
        stale.refused(412, "version_is_stale", "");
    }
    assert_eq!(app.ends().await, before);
    let first = import(&app, &operator, "k").raw(lines(1)).await.must(201);
    let again = version(first.header("etag")).raw(lines(1)).await;
    assert_eq!(again.essence(), first.essence());
    let stale = version("\"1\"").raw(lines(1)).await;
    stale.refused(412, "version_is_stale", "");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_on_record_and_goes_on() {
    let app = App::new();
    let operator = app.operator();
    let whole = lines(2_500);
    let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]);
    let broken = || {
        let pieces = [Ok(half.clone()), Err(std::io::Error::other("gone"))];
        Body::from_stream(stream::iter(pieces))
    };
    for _ in 0..2 {
        let answer = import(&app, &operator, "k").raw(broken()).await;
        answer.refused(400, "malformed_request", "");
    }
    let done = import(&app, &operator, "k").raw(whole).await.must(201);
    assert_eq!(done.body["created"], 2_500, "{}", done.body);
    assert_eq!(done.header("idempotency-replayed"), "");
    let events = history(&app, &done).await;
    let resumed = ["import_resumed", "import_interrupted", "import_resumed"];
    assert_eq!(
        types(&events),
        [
            &["import_started", "import_progressed", "import_interrupted"],
            resumed.as_slice(),
            &["import_progressed", "import_completed"],
        ]
        .concat()
    );
    let all = app.ends().await["PRODUCT"];
    assert_eq!(all, 2_500 + events.len() as u64, "nothing was done twice");
    let id: ImportId = done.id().parse().unwrap();
    let import = app.streams.load::<Import>(&id.into()).await.unwrap().state;
    assert_eq!(import.status(), Some(ImportStatus::Completed));
}

/// Where it was killed nothing is on record, and the ids of lines that had nothing to do are nowhere.
#[tokio::test]
async fn of_two_lines_of_a_product_the_later_one_wins_wherever_the_import_was_killed() {
    let app = App::new();
    let operator = app.operator();
    import(&app, &operator, "before")
        .raw(line("tea", 500))
        .await
        .must(201);
    let filler = lines(63);
    // Each of the two in a batch of its own.
    let first = [line("tea", 500), filler.clone()].concat();
    let whole = [&*first, &*line("tea", 2_000), &*filler].concat();
    let tea = || async {
        let tea = "tea".parse().unwrap();
        let loaded = app.streams.load::<product::Product>(&tea);
        loaded.await.unwrap()
    };
    // It has read so far when the process ends, or for all that the next one can tell.
    for (read, reached) in [(whole.clone(), 2), (first, 3)] {
        let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from(read))]);
        let stands = Body::from_stream(pieces.chain(stream::pending()));
        let done = async {
            while tea().await.version < reached {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = import(&app, &operator, "k").raw(stands) => panic!("{answer:?}"),
            () = done => {}
        }
    }
    let ended = import(&app, &operator, "k").raw(whole).await;
    ended.must(201);
    let price = tea().await.state.listing().unwrap().price;
    assert_eq!(price, Money::new(2_000, "EUR".parse().unwrap()));
}

/// A line that has nothing to do is not behind what somebody did by hand, and the later one is not either.
#[tokio::test]
async fn what_was_set_by_hand_meanwhile_stays_when_an_import_goes_on() {
    let app = App::new();
    let operator = app.operator();
    let file = |key: &'static str| import(&app, &operator, key);
    file("before").raw(line("tea", 1_000)).await.must(201);
    let whole = [line("tea", 1_000), lines(63), line("tea", 1_200), lines(63)].concat();
    let tea = || async {
        let tea = "tea".parse().unwrap();
        let loaded = app.streams.load::<product::Product>(&tea);
        loaded.await.unwrap()
    };
    let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from(whole.clone()))]);
    let stands = Body::from_stream(pieces.chain(stream::pending()));
    let repriced = async {
        while tea().await.version < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = file("k").raw(stands) => panic!("{answer:?}"),
        () = repriced => {}
    }
    let price = json!({"price": {"amount": 1_000, "currency": "EUR"}});
    let by_hand = app.post("/v1/products/tea/price").by(&operator).key("hand");
    by_hand.send(&price).await.must(200);
    file("k").raw(whole).await.must(201);
    let price = tea().await.state.listing().unwrap().price;
    assert_eq!(price, Money::new(1_000, "EUR".parse().unwrap()));
}

/// A log in memory whose disk is slow.
struct Slow(MemoryLog, Duration);

/// An API whose log takes so long for each append.
fn slow(append_time: Duration) -> App {
    let log = Slow(MemoryLog::default(), append_time);
    let streams = Streams::new(Arc::new(log), Settings::default());
    App::asking(streams.clone(), Arc::new(Local(streams)))
}

#[async_trait]
impl Log for Slow {
    async fn append(&self, events: &[NewEvent]) -> Result<Appended, AppendError> {
        tokio::time::sleep(self.1).await;
        self.0.append(events).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: &str,
        after: u64,
        max: usize,
    ) -> Result<Page, ReadError> {
        self.0.read(stream, subject, after, max).await
    }

    async fn last_event(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        self.0.last_event(stream, subject).await
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Last, ReadError> {
        self.0.last(stream, subject).await
    }

    async fn event_at(&self, position: &Position) -> Result<Option<RecordedEvent>, ReadError> {
        self.0.event_at(position).await
    }

    async fn snapshot(&self, subject: &str) -> Result<Option<Bytes>, BoxError> {
        self.0.snapshot(subject).await
    }

    async fn keep_snapshot(&self, subject: &str, bytes: Bytes) -> Result<(), BoxError> {
        self.0.keep_snapshot(subject, bytes).await
    }

    async fn state(&self, stream: &str) -> Result<StreamState, ReadError> {
        self.0.state(stream).await
    }
}

#[tokio::test(start_paused = true)]
async fn each_line_of_a_product_has_its_time() {
    // A third of what a request may take without a sign of life.
    let app = slow(Duration::from_secs(10));
    let operator = app.operator();
    // They come at once, and each is done behind the one before.
    let body: String = (1..=8).map(|cents| line("tea", cents)).collect();
    let done = import(&app, &operator, "k").raw(body).await.must(201);
    assert_eq!(
        (&done.body["created"], &done.body["updated"]),
        (&json!(1), &json!(7))
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_still_under_way_is_waited_for_but_not_for_ever() {
    let app = slow(Duration::from_secs(12));
    let operator = app.operator();
    let tea = product("tea", 500, "EUR");
    let create = |key: &'static str| {
        let call = app.post("/v1/products").by(&operator).key(key);
        call.send(&tea)
    };
    let (first, again) = tokio::join!(create("k"), create("k"));
    assert_eq!(again.must(201).header("idempotency-replayed"), "true");
    first.must(201);
    let price = |cents: i64, key: &'static str| {
        let price = json!({"price": {"amount": cents, "currency": "EUR"}});
        let call = app.post("/v1/products/tea/price").by(&operator).key(key);
        async move { call.send(&price).await }
    };
    let (one, two, three) = tokio::join!(price(1, "one"), price(2, "two"), price(3, "three"));
    one.must(200);
    two.must(200);
    let three = three.must(409);
    assert_eq!(
        (&three.body["code"], three.header("retry-after")),
        (&json!("conflict"), "1")
    );
    price(3, "three").await.must(200);
}

#[tokio::test]
async fn what_goes_on_goes_on_with_the_same_lines() {
    let app = App::new();
    let operator = app.operator();
    let half = Bytes::from(lines(200));
    let pieces = [Ok(half), Err(std::io::Error::other("gone"))];
    let broken = Body::from_stream(stream::iter(pieces));
    let answer = import(&app, &operator, "k").raw(broken).await;
    answer.refused(400, "malformed_request", "");
    let products = || async {
        let tea = "tea-0".parse().unwrap();
        let loaded = app.streams.load::<product::Product>(&tea).await;
        loaded.unwrap().version
    };
    let other = lines(300).replace("500", "600");
    let refused = import(&app, &operator, "k").raw(other).await;
    refused.refused(422, "import_differs", "");
    assert_eq!(products().await, 1, "nothing of the other lines was done");
    let done = import(&app, &operator, "k").raw(lines(300)).await.must(201);
    assert_eq!(done.body["created"], 300);
}

#[tokio::test]
async fn who_may_not_or_says_too_little_imports_nothing() {
    let app = App::new();
    let (operator, customer) = (app.operator(), app.customer("ann@example.com").await);
    let before = app.ends().await;
    let refused = import(&app, &customer, "k").raw(lines(1)).await;
    refused.refused(403, "forbidden", "");
    let typed = |content: &'static str| {
        app.post(PATH)
            .by(&operator)
            .key("k")
            .header("content-type", content)
    };
    let json = typed("application/json").raw(lines(1)).await;
    json.refused(415, "unsupported_media_type", "");
    let packed = import(&app, &operator, "k").header("content-encoding", "gzip");
    let packed = packed.raw(lines(1)).await;
    packed.refused(415, "content_encoding_refused", "");
    assert_eq!(packed.header("accept-encoding"), "identity");
    let keyless = app.post(PATH).by(&operator);
    let keyless = keyless.header("content-type", "application/x-ndjson");
    let keyless = keyless.raw(lines(1)).await;
    keyless.refused(400, "idempotency_key_required", "");
    assert_eq!(app.ends().await, before);
    let empty = typed("application/x-ndjson; charset=utf-8").raw("").await;
    assert_eq!(empty.must(201).body["lines"], 0);
}
