//! The command bus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use cqrs_es::DomainEvent;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kernel::{Decider, Fact};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bench::within;
use crate::bus::{
    Answer, Ask, Bus, BusError, CONCURRENCY_MAX, Host, Hosts, QUEUE_GROUP, QuestionError,
};
use crate::connection::Connection;
use crate::envelope::CommandMeta;
use crate::store::Streams;

/// Enough for an answer on loopback.
const SOON: Duration = Duration::from_secs(5);

/// Until a host is back: long enough that it was asked in vain meanwhile.
const BACK_SOON: Duration = Duration::from_millis(1_500);

/// As long as it takes, says whoever asks.
const EVER: Duration = Duration::MAX;

/// More than a host works on at once.
const CROWD: usize = CONCURRENCY_MAX + 72;

/// A lamp that can be on or off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lamp {
    on: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub(super) enum LampCommand {
    TurnOn {},
    Smash {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub(super) enum LampEvent {
    TurnedOn {},
}

#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(super) enum LampRefusal {
    #[error("it is armored")]
    LampArmored { thickness_mm: u32 },
}

impl DomainEvent for LampEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

impl Fact for LampEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::TurnedOn {} => "turned_on",
        }
    }
}

kernel::aggregate!(Lamp, "lamp", LampCommand, LampEvent, LampRefusal);

impl Decider for Lamp {
    const CONTEXT: &'static str = "lamp";

    fn decide(&self, command: &LampCommand) -> Result<Vec<LampEvent>, LampRefusal> {
        match command {
            LampCommand::TurnOn {} if self.on => Ok(vec![]),
            LampCommand::TurnOn {} => Ok(vec![LampEvent::TurnedOn {}]),
            LampCommand::Smash {} => Err(LampRefusal::LampArmored { thickness_mm: 9 }),
        }
    }

    fn evolve(&mut self, event: &LampEvent) {
        match event {
            LampEvent::TurnedOn {} => self.on = true,
        }
    }
}

/// A context name that only this test uses.
fn context() -> String {
    format!("lamp{}", Uuid::new_v4().simple())
}

fn ask(context: &str, command: &LampCommand) -> Ask {
    Ask {
        context: context.to_owned(),
        kind: None,
        id: "l-1".parse().unwrap(),
        command: serde_json::to_value(command).unwrap(),
        meta: CommandMeta::new(Uuid::new_v4(), Utc::now(), "saga:contract"),
    }
}

fn host(context: &str) -> Host {
    Host::new(context, Streams::in_memory())
        .aggregate::<Lamp>()
        .question("mood", |question: Value| async move {
            match question.get("of") {
                Some(of) => Ok(json!({ "mood": "bright", "of": of })),
                None => Err(QuestionError::bad_request("of whom,\r\nthen?")),
            }
        })
        .question("broken", |_| async { panic!("as it was told to") })
        .question("slow", |_| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(Value::Null)
        })
}

/// How an ask gets to its host.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// Over the network.
    Network(&'a Connection),
    /// Over a connection, to a host that the network knows nothing of.
    Beside(&'a Connection),
    /// Within the process.
    Here,
}

struct Running {
    bus: Bus,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(host: Host, way: Way<'_>) -> Self {
        let hosts = Hosts::from_iter([host]);
        let shutdown = CancellationToken::new();
        let (bus, task) = match way {
            Way::Here => (Bus::within(&hosts), tokio::spawn(async {})),
            Way::Beside(connection) => {
                let bus = Bus::new(&connection.clone().beside(&hosts));
                (bus, tokio::spawn(async {}))
            }
            Way::Network(connection) => {
                let serving = hosts.start(connection).await.unwrap();
                let task = tokio::spawn(serving.run(shutdown.clone()));
                (Bus::new(connection), task)
            }
        };
        Self {
            bus,
            shutdown,
            task,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        within("stopped", self.task).await.unwrap();
    }
}

/// What holds of every way.
pub async fn keeps_the_contract(way: Way<'_>) {
    answers_are_typed(way).await;
    questions_are_answered(way).await;
    what_is_old_or_reused_is_not_done(way).await;
    a_panic_is_an_answer(way).await;
    a_crowd_is_served_in_turn(way).await;
    an_ask_that_nobody_waits_for_is_finished(way).await;
}

/// Done, true already, done before, refused, unreadable, of another kind.
async fn answers_are_typed(way: Way<'_>) {
    let context = context();
    let running = Running::start(host(&context), way).await;
    let bus = &running.bus;
    let on = ask(&context, &LampCommand::TurnOn {});
    let Answer::Done {
        position,
        version,
        already,
    } = bus.ask(&on, SOON).await.unwrap()
    else {
        panic!("not done");
    };
    assert_eq!((position.sequence, version, already), (1, 1, false));
    let again = bus.ask(&on, EVER).await.unwrap();
    assert_eq!(
        again,
        Answer::Done {
            position: position.clone(),
            version: 1,
            already: true
        }
    );
    let other = bus
        .ask(&ask(&context, &LampCommand::TurnOn {}), SOON)
        .await
        .unwrap();
    assert_eq!(
        other,
        Answer::Done {
            position,
            version: 1,
            already: true
        }
    );
    let refused = bus
        .ask(&ask(&context, &LampCommand::Smash {}), SOON)
        .await
        .unwrap();
    assert_eq!(
        refused,
        Answer::Refused {
            code: "lamp_armored".to_owned(),
            message: "it is armored".to_owned(),
            refusal: json!({ "code": "lamp_armored", "thickness_mm": 9 }),
        }
    );
    let mut nonsense = ask(&context, &LampCommand::TurnOn {});
    nonsense.command = json!({ "type": "explode" });
    must_fail_for_good(bus, &nonsense).await;
    let mut foreign = ask(&context, &LampCommand::TurnOn {});
    foreign.kind = Some("torch".to_owned());
    must_fail_for_good(bus, &foreign).await;
    running.stop().await;
}

async fn must_fail_for_good(bus: &Bus, ask: &Ask) {
    let answer = bus.ask(ask, SOON).await.unwrap();
    assert!(
        matches!(
            answer,
            Answer::Failed {
                retryable: false,
                ..
            }
        ),
        "{answer:?}"
    );
}

/// A panic fails its own request for good.
async fn a_panic_is_an_answer(way: Way<'_>) {
    let context = context();
    let running = Running::start(host(&context), way).await;
    let question = json!({ "of": "Ada" });
    let broken = running.bus.question(&context, "broken", &question, SOON);
    assert!(!broken.await.unwrap_err().is_retryable());
    let mood = running.bus.question(&context, "mood", &question, SOON);
    mood.await.unwrap();
    running.stop().await;
}

/// More requests than a host works on at once are all answered, in turn; whose time is up before
/// learns that nothing was begun.
async fn a_crowd_is_served_in_turn(way: Way<'_>) {
    let context = context();
    let gate = Arc::new(Semaphore::new(0));
    let opens = Arc::clone(&gate);
    let (enters, mut entered) = tokio::sync::mpsc::channel(CROWD);
    let host = Host::new(&context, Streams::in_memory()).question("gate", move |_| {
        let (gate, enters) = (Arc::clone(&gate), enters.clone());
        async move {
            enters.send(()).await.map_err(QuestionError::unavailable)?;
            let _passed = gate.acquire().await.map_err(QuestionError::unavailable)?;
            Ok(Value::Null)
        }
    });
    let host = host.question("other", |_| async { Ok(Value::Null) });
    let running = Running::start(host, way).await;
    let ask = |within| {
        let bus = &running.bus;
        bus.question(&context, "gate", &Value::Null, within)
    };
    let asked: FuturesUnordered<_> = (0..CROWD).map(|_| ask(SOON)).collect();
    let crowd = asked.collect::<Vec<_>>();
    let late = async {
        for _ in 0..CONCURRENCY_MAX {
            within("all places taken", entered.recv()).await.unwrap();
        }
        let busy = ask(Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(busy, BusError::Busy { .. }), "{busy}");
        assert!(busy.is_retryable());
        let other = running.bus.question(&context, "other", &Value::Null, EVER);
        assert_eq!(
            other.await.unwrap(),
            Value::Null,
            "it has places of its own"
        );
        opens.add_permits(1);
    };
    let (crowd, ()) = tokio::join!(crowd, late);
    assert_eq!(crowd.iter().filter(|answer| answer.is_ok()).count(), CROWD);
    running.stop().await;
}

/// What is begun is finished, whether its asker waits or not.
async fn an_ask_that_nobody_waits_for_is_finished(way: Way<'_>) {
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let context = context();
    let host = Host::new(&context, Streams::in_memory()).question("later", move |_| {
        let told = told.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            told.send(()).await.map_err(QuestionError::unavailable)?;
            Ok(Value::Null)
        }
    });
    let running = Running::start(host, way).await;
    let (nothing, patience) = (Value::Null, Duration::from_millis(20));
    let asked = running.bus.question(&context, "later", &nothing, patience);
    assert!(matches!(asked.await, Err(BusError::Timeout { .. })));
    within("finished", heard.recv()).await.unwrap();
    running.stop().await;
}

/// What a host took along when it died another one answers, and nothing is done twice.
pub async fn what_a_host_took_along_is_asked_again(one: &Connection, other: &Connection) {
    let context = context();
    // A host that takes its share of the requests, and dies with them.
    let dying = one.client();
    let dying = dying.queue_subscribe(format!("command.{context}"), QUEUE_GROUP.into());
    let mut dying = dying.await.unwrap();
    let running = Running::start(host(&context), Way::Network(other)).await;
    one.settle().await.unwrap();
    let on = || ask(&context, &LampCommand::TurnOn {});
    let asks: Vec<_> = (0..20).map(|_| on()).collect();
    let asked = asks.iter().map(|on| running.bus.ask(on, SOON));
    let (answers, ()) = tokio::join!(futures::future::join_all(asked), async {
        within("a request for the dying", dying.next())
            .await
            .unwrap();
        drop(dying);
    });
    let fresh = |answer: &Answer| matches!(answer, Answer::Done { already: false, .. });
    let done = |answer: &Answer| matches!(answer, Answer::Done { .. });
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(done), "{answers:?}");
    assert_eq!(answers.iter().filter(|a| fresh(a)).count(), 1);
    running.stop().await;
}

/// A host that comes back soon after one died with a request gets it, also if nobody was there in between.
pub async fn a_host_that_comes_back_is_asked_again(one: &Connection, other: &Connection) {
    let context = context();
    let dying = one.client();
    let dying = dying.queue_subscribe(format!("command.{context}"), QUEUE_GROUP.into());
    let mut dying = dying.await.unwrap();
    one.settle().await.unwrap();
    let bus = Bus::new(other);
    let on = ask(&context, &LampCommand::TurnOn {});
    let since = Instant::now();
    let (answer, running) = tokio::join!(bus.ask(&on, BACK_SOON * 6), async {
        within("a request for the dying", dying.next())
            .await
            .unwrap();
        drop(dying);
        one.client().flush().await.unwrap();
        tokio::time::sleep(BACK_SOON).await;
        Running::start(host(&context), Way::Network(one)).await
    });
    let answer = answer.unwrap();
    assert!(
        matches!(answer, Answer::Done { already: false, .. }),
        "{answer:?}"
    );
    let took = since.elapsed();
    assert!(took < BACK_SOON * 3, "{took:?}");
    running.stop().await;
}

/// Nobody there is known at once, before and after somebody was.
pub async fn nobody_there_is_known_at_once(connection: &Connection) {
    let context = context();
    let bus = Bus::new(connection);
    let running = Running::start(host(&context), Way::Network(connection)).await;
    running.stop().await;
    connection.client().flush().await.unwrap();
    let since = Instant::now();
    let answer = bus.ask(&ask(&context, &LampCommand::TurnOn {}), SOON).await;
    assert!(
        matches!(answer, Err(BusError::Unavailable { .. })),
        "{answer:?}"
    );
    let answer = bus.question(&context, "mood", &json!({}), SOON).await;
    assert!(
        matches!(answer, Err(BusError::Unavailable { .. })),
        "{answer:?}"
    );
    assert!(since.elapsed() < SOON, "somebody was waited for");
}

/// Answered, failed for good, not in time.
async fn questions_are_answered(way: Way<'_>) {
    let context = context();
    let running = Running::start(host(&context), way).await;
    let bus = &running.bus;
    let answer = bus
        .question(&context, "mood", &json!({ "of": "Ada" }), SOON)
        .await;
    assert_eq!(answer.unwrap(), json!({ "mood": "bright", "of": "Ada" }));
    let failed = bus
        .question(&context, "mood", &json!({}), SOON)
        .await
        .unwrap_err();
    assert!(!failed.is_retryable(), "{failed}");
    assert!(failed.to_string().contains("of whom"), "{failed}");
    let late = bus
        .question(&context, "slow", &json!({}), Duration::from_millis(50))
        .await;
    assert!(matches!(late, Err(BusError::Timeout { .. })), "{late:?}");
    running.stop().await;
}

/// Two hosts share the requests; when one stops, the other answers, and every ask is done.
pub async fn two_hosts_share_the_work(one: &Connection, other: &Connection) {
    let context = context();
    let first = Running::start(host(&context), Way::Network(one)).await;
    let second = Running::start(host(&context), Way::Network(other)).await;
    let bus = Bus::new(one);
    must_be_done(&bus, &context, 40).await;
    let both = discovered(one, &context).await;
    assert_eq!(both.len(), 2, "both are discovered");
    assert!(both.iter().all(|requests| *requests > 0), "{both:?}");
    tokio::join!(must_be_done(&bus, &context, 200), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        first.stop().await;
    });
    second.stop().await;
}

async fn must_be_done(bus: &Bus, context: &str, count: usize) {
    for _ in 0..count {
        let on = ask(context, &LampCommand::TurnOn {});
        let answer = bus.ask(&on, SOON).await;
        assert!(matches!(answer, Ok(Answer::Done { .. })), "{answer:?}");
    }
}

/// Requests that each host of `context` has answered on its command endpoint, as the statistics
/// of NATS services say (`nats micro stats`).
async fn discovered(connection: &Connection, context: &str) -> Vec<u64> {
    let client = connection.client();
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    let subject = format!("$SRV.STATS.millrace-{context}");
    client
        .publish_with_reply(subject, inbox, "".into())
        .await
        .unwrap();
    let mut found = Vec::new();
    let patience = Duration::from_millis(500);
    while let Ok(Some(reply)) = tokio::time::timeout(patience, replies.next()).await {
        let stats: Value = serde_json::from_slice(&reply.payload).unwrap();
        let endpoints = stats["endpoints"].as_array().unwrap();
        let command = endpoints.iter().find(|e| e["name"] == "command").unwrap();
        found.push(command["num_requests"].as_u64().unwrap());
    }
    found
}

/// A request whose deadline has passed is not begun.
pub async fn nothing_is_begun_after_its_deadline(connection: &Connection) {
    let context = context();
    let running = Running::start(host(&context), Way::Network(connection)).await;
    let on = ask(&context, &LampCommand::TurnOn {});
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Millrace-Deadline", "2020-01-01T00:00:00Z");
    let body = serde_json::to_vec(&on).unwrap().into();
    let client = connection.client();
    let subject = format!("command.{context}");
    let reply = client
        .request_with_headers(subject, headers, body)
        .await
        .unwrap();
    let code = reply
        .headers
        .as_ref()
        .and_then(|h| h.get("Nats-Service-Error-Code"));
    assert_eq!(code.map(ToString::to_string).as_deref(), Some("429"));
    let answer = Bus::new(connection).ask(&on, SOON).await.unwrap();
    assert!(
        matches!(answer, Answer::Done { already: false, .. }),
        "{answer:?}"
    );
    running.stop().await;
}

/// An ask that was sent long ago is not done, and may be sent anew; a command id that stands for
/// another request is not worth another try.
async fn what_is_old_or_reused_is_not_done(way: Way<'_>) {
    let context = context();
    let running = Running::start(host(&context), way).await;
    let bus = &running.bus;
    let mut on = ask(&context, &LampCommand::TurnOn {});
    on.meta.time = Utc::now() - TimeDelta::minutes(21);
    let old = bus.ask(&on, SOON).await.unwrap();
    assert!(
        matches!(
            old,
            Answer::Failed {
                retryable: true,
                ..
            }
        ),
        "{old:?}"
    );
    on.meta.time = Utc::now();
    on.meta.request_digest = Some("one".to_owned());
    let done = bus.ask(&on, SOON).await.unwrap();
    assert!(
        matches!(done, Answer::Done { already: false, .. }),
        "{done:?}"
    );
    on.meta.request_digest = Some("another".to_owned());
    let reused = bus.ask(&on, SOON).await.unwrap();
    assert!(
        matches!(
            reused,
            Answer::Failed {
                retryable: false,
                ..
            }
        ),
        "{reused:?}"
    );
    running.stop().await;
}
