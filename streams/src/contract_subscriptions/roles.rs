//! What each role may do with its user in `nats.conf`, and what it may not.

use std::time::Duration;

use async_nats::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use kernel::{Position, UserId};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bench::{Bench, within};
use crate::bus::{Answer, Ask, Bus, Host, Hosts};
use crate::connection::Connection;
use crate::envelope::CommandMeta;
use crate::inbox::{Inbox, LetterId, Put};
use crate::jetstream::JetStreamLog;
use crate::keys::erasures::SUBJECTS;
use crate::keys::{Keys, MasterKey};
use crate::log::Log;
use crate::parking::{Lot, Parked, ParkedEvent, Reading, Wish, ask, parked};
use crate::store::Streams;
use crate::subscription::{DurableLimits, RawMessage};
use crate::timers::{Canceled, TimerId, Timers};
use crate::topology::{DurableSpec, INBOX_STREAM, OnFailure, TIMERS_STREAM};

/// Behind the end of every stream: the server answers that nothing is there.
const FAR: u64 = 1_000_000_000;

/// All but `provision`, which may do everything.
pub const ROLES: [&str; 7] = [
    "command-api",
    "query-api",
    "projector",
    "saga",
    "reactor",
    "operator",
    "gateway",
];

/// One connection per role, as its user.
#[derive(Debug, Clone)]
pub struct Roles {
    /// `command-api`.
    pub command_api: Connection,
    /// `query-api`.
    pub query_api: Connection,
    /// `projector`.
    pub projector: Connection,
    /// `saga`.
    pub saga: Connection,
    /// `reactor`.
    pub reactor: Connection,
    /// `operator`.
    pub operator: Connection,
    /// `gateway`.
    pub gateway: Connection,
    /// `provision`, which may do everything.
    pub provision: Connection,
}

/// Every role can do its work. The streams and durables must be there; `saga` and `reactor` are
/// the durables of those roles. Events and a checkout of the test's own stay in the streams.
pub async fn each_role_can_do_its_work(
    roles: &Roles,
    saga: &[DurableSpec],
    reactor: &[DurableSpec],
) {
    for role in ROLES {
        super::clock::it_is_told(roles.of(role).0).await;
    }
    append(&roles.command_api, "order").await;
    append(&roles.command_api, "user").await;
    append(&roles.command_api, "product").await;
    append(&roles.saga, "checkout").await;
    for reader in [
        &roles.command_api,
        &roles.query_api,
        &roles.projector,
        &roles.operator,
    ] {
        let mut orders = reader.ordered("ORDER", 0);
        within("read", orders.next()).await.unwrap();
    }
    let mut products = roles.gateway.ordered("PRODUCT", 0);
    within("read", products.next()).await.unwrap();
    let past = chrono::DateTime::UNIX_EPOCH;
    let command_api = &roles.command_api;
    let mut ends = command_api.ordered_since("ORDER", "event.order.*", past);
    within("follow since", ends.next()).await.unwrap();
    let sealed = keys(&roles.command_api)
        .seal(UserId(Uuid::new_v4()), "name", "Ada")
        .await;
    let sealed = sealed.unwrap();
    for reader in [&roles.query_api, &roles.reactor] {
        let opened = keys(reader).open(&sealed, "name").await.unwrap();
        assert_eq!(opened.as_deref(), Some("Ada"));
    }
    erasing(roles).await;
    telling(roles).await;
    snapshots(roles).await;
    bind(&roles.saga, saga).await;
    bind(&roles.reactor, reactor).await;
    parking(&roles.saga, saga, &roles.operator).await;
    parking(&roles.reactor, reactor, &roles.operator).await;
    timers(&roles.saga).await;
    letters(roles).await;
    the_bus(roles).await;
}

/// Reactor and command-api destroy keys; both follow the erasures, as query-api does.
async fn erasing(roles: &Roles) {
    for eraser in [&roles.reactor, &roles.command_api] {
        let person = UserId(Uuid::new_v4());
        let sealed = keys(&roles.command_api).seal(person, "name", "Ada").await;
        keys(eraser).destroy(person).await.unwrap();
        let opened = keys(&roles.query_api).open(&sealed.unwrap(), "name").await;
        assert_eq!(opened.unwrap(), None);
    }
    for follower in [&roles.command_api, &roles.query_api, &roles.reactor] {
        let mut erasures = follower.ordered_matching("USER", SUBJECTS, 0);
        within("follow", erasures.start()).await.unwrap();
    }
    for stream in ["USER", "ORDER", "PAYMENT", "NOTIFICATION", "CHECKOUT"] {
        let filter = format!("event.{}.>", stream.to_lowercase());
        let mut events = roles.reactor.ordered_matching(stream, filter, 0);
        within("look through", events.start()).await.unwrap();
    }
}

/// The reactor reads any event again, to tell others of it, and knows who wants to be told.
async fn telling(roles: &Roles) {
    let log = JetStreamLog::new(&roles.reactor);
    for stream in [
        "USER",
        "PRODUCT",
        "INVENTORY",
        "ORDER",
        "PAYMENT",
        "NOTIFICATION",
        "CHECKOUT",
    ] {
        log.event_at(&Position::new(stream, FAR)).await.unwrap();
    }
    let filter = "event.notification.webhook_endpoint.*";
    log.last("NOTIFICATION", filter).await.unwrap();
    for follower in [&roles.reactor, &roles.command_api] {
        let mut endpoints = follower.ordered_matching("NOTIFICATION", filter, 0);
        within("follow endpoints", endpoints.start()).await.unwrap();
    }
}

/// command-api takes letters in, the reactor works them and asks to be woken, people see which wait.
async fn letters(roles: &Roles) {
    let letter = LetterId {
        source: "roles".to_owned(),
        key: "pi_1".parse().unwrap(),
        id: Uuid::new_v4().to_string().parse().unwrap(),
    };
    let intake = Inbox::new(&roles.command_api);
    let put = intake.put(&letter, Bytes::from_static(b"{}")).await;
    assert_eq!(put.unwrap(), Put::Stored);
    let waiting = Inbox::new(&roles.operator).waiting().await.unwrap();
    assert!(waiting.contains(&letter));
    let reactor = Inbox::new(&roles.reactor);
    let found = reactor.read(&letter.source, &letter.id).await.unwrap();
    reactor.remove(&found.unwrap()).await.unwrap();
    reactor.scrub().await.unwrap();
    for saga in ["inbox", "payment", "reconciliation", "webhook"] {
        let timer = TimerId {
            saga: saga.to_owned(),
            id: letter.id.clone(),
        };
        let timers = Timers::new(&roles.reactor);
        let due = Utc::now() + TimeDelta::minutes(9);
        timers.set(&timer, due).await.unwrap();
        assert!(timers.is_pending(&timer).await.unwrap());
    }
}

/// Who writes a context writes its snapshots; who loads from it reads them.
async fn snapshots(roles: &Roles) {
    let state = Bytes::from_static(b"{}");
    for (writer, context, readers) in [
        (
            &roles.command_api,
            "payment",
            vec![&roles.command_api, &roles.reactor, &roles.query_api],
        ),
        (
            &roles.command_api,
            "user",
            vec![&roles.command_api, &roles.reactor, &roles.query_api],
        ),
        (
            &roles.saga,
            "checkout",
            vec![
                &roles.saga,
                &roles.command_api,
                &roles.query_api,
                &roles.reactor,
            ],
        ),
        (
            &roles.command_api,
            "order",
            vec![&roles.command_api, &roles.reactor, &roles.query_api],
        ),
    ] {
        let subject = format!("snapshot.{context}.{}", Uuid::new_v4());
        let kept = JetStreamLog::new(writer);
        kept.keep_snapshot(&subject, state.clone()).await.unwrap();
        for reader in readers {
            let found = JetStreamLog::new(reader).snapshot(&subject).await;
            assert_eq!(found.unwrap(), Some(state.clone()));
            let nothing = format!("snapshot.{context}.{}", Uuid::new_v4());
            let found = JetStreamLog::new(reader).snapshot(&nothing).await;
            assert_eq!(found.unwrap(), None);
        }
    }
}

fn keys(connection: &Connection) -> Keys {
    let master = MasterKey::parse(&URL_SAFE_NO_PAD.encode([1; 32])).unwrap();
    Keys::new(connection, master)
}

/// One event on a subject of its own in the stream of `context`.
async fn append(connection: &Connection, context: &str) {
    let bench = Bench {
        connection: connection.clone(),
        context: context.to_owned(),
        stream: crate::subject::stream_name(context),
    };
    bench.append_one(&Uuid::new_v4().to_string(), 1).await;
}

async fn bind(connection: &Connection, durables: &[DurableSpec]) {
    for spec in durables {
        let bound = connection.durable(spec, DurableLimits::default());
        let mut bound = bound.await.unwrap();
        // An answer, or silence: what must not come is a refusal, which ends up as missing
        // heartbeats. What is there is given back at once.
        if [TIMERS_STREAM, INBOX_STREAM].contains(&spec.stream) {
            continue;
        }
        let waited = tokio::time::timeout(Duration::from_millis(300), bound.next()).await;
        if let Ok(delivery) = waited {
            delivery.unwrap().retry_after(Duration::ZERO).await.unwrap();
        }
        bound.release().await;
    }
}

/// The role sets aside, a person asks for another try, the role begins with it.
async fn parking(connection: &Connection, durables: &[DurableSpec], operator: &Connection) {
    let parks = |spec: &&DurableSpec| matches!(spec.on_failure, OnFailure::Park { .. });
    for spec in durables.iter().filter(parks) {
        let key = Uuid::new_v4().to_string();
        let lot = Lot::new(connection, spec.name);
        lot.catch_up().await.unwrap();
        let message = RawMessage {
            position: Position::new(spec.stream, 1),
            recorded_at: Utc::now(),
            subject: "none",
            headers: None,
            payload: Bytes::new(),
        };
        let event = ParkedEvent::of(&message, "a test", 1);
        let parked = lot.park(&key, &event, false).await.unwrap();
        assert_eq!(parked, Parked::Aside);
        let skip = Wish::Skip {
            reason: "a test".to_owned(),
        };
        ask(operator, spec.name, &key, "ada", skip).await.unwrap();
        lot.poll().await.unwrap();
        assert!(lot.claim(&key).await.unwrap());
        assert!(
            lot.next(&key, &mut Reading::default())
                .await
                .unwrap()
                .is_none()
        );
    }
    assert!(parked(operator).await.unwrap().is_empty());
}

async fn timers(connection: &Connection) {
    let timer = TimerId {
        saga: "checkout".to_owned(),
        id: Uuid::new_v4().to_string().parse().unwrap(),
    };
    let timers = Timers::new(connection);
    timers
        .set(&timer, Utc::now() + TimeDelta::minutes(9))
        .await
        .unwrap();
    assert_eq!(timers.cancel(&timer).await.unwrap(), Canceled::InTime);
}

/// command-api hosts; saga and reactor ask commands and questions, command-api asks questions.
async fn the_bus(roles: &Roles) {
    let context = format!("roles{}", Uuid::new_v4().simple());
    let host = Host::new(&context, Streams::in_memory())
        .aggregate::<super::bus::Lamp>()
        .question("echo", |value: Value| async move { Ok(value) });
    let shutdown = CancellationToken::new();
    let hosts = Hosts::from_iter([host]);
    let serving = hosts.start(&roles.command_api).await.unwrap();
    let serving = tokio::spawn(serving.run(shutdown.clone()));
    for asker in [&roles.saga, &roles.reactor] {
        let ask = Ask {
            context: context.clone(),
            kind: None,
            id: "l-1".parse().unwrap(),
            command: json!({ "type": "turn_on", "data": {} }),
            meta: CommandMeta::new(Uuid::new_v4(), Utc::now(), "system"),
        };
        let answer = Bus::new(asker)
            .ask(&ask, Duration::from_secs(5))
            .await
            .unwrap();
        assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    }
    for asker in [&roles.saga, &roles.reactor, &roles.command_api] {
        let bus = Bus::new(asker);
        let answer = bus
            .question(&context, "echo", &json!(7), Duration::from_secs(5))
            .await;
        assert_eq!(answer.unwrap(), json!(7));
    }
    shutdown.cancel();
    within("stopped", serving).await.unwrap();
}

/// What no role but `provision` may do.
const ADMIN_ONLY: [&str; 9] = [
    "$JS.API.STREAM.CREATE.MINE",
    "$JS.API.STREAM.UPDATE.ORDER",
    "$JS.API.STREAM.DELETE.ORDER",
    "$JS.API.STREAM.PURGE.ORDER",
    "$JS.API.STREAM.MSG.DELETE.ORDER",
    "$JS.API.STREAM.SNAPSHOT.ORDER",
    "$JS.API.CONSUMER.DURABLE.CREATE.ORDER.mine",
    "$JS.API.CONSUMER.CREATE.KEYS.mine",
    "$JS.API.CONSUMER.PAUSE.ORDER.checkout-order",
];

/// What changes something, and belongs to some roles only.
const WRITES: [&str; 22] = [
    "event.order.o-1",
    "event.checkout.o-1",
    "key.0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a",
    "timer.sched.checkout.o-1",
    "timer.due.checkout.o-1",
    "command.order",
    "$JS.API.CONSUMER.RESET.ORDER.checkout-order",
    "$JS.ACK.ORDER.checkout-order.1.1.1.1.0",
    "parked.checkout-order.o-1",
    "parked.mailer.n-1",
    "parked.mailer.n-1.asked",
    "parked.mailer.n-1.more",
    "snapshot.order.o-1",
    "snapshot.checkout.o-1",
    "$JS.API.STREAM.MSG.DELETE.KEYS",
    "inbox.payment.pi_1.evt_1",
    "timer.sched.inbox.evt_1",
    "timer.sched.reconciliation.daily",
    "$JS.API.STREAM.MSG.DELETE.INBOX",
    "$JS.API.STREAM.PURGE.INBOX",
    "timer.sched.webhook.d-1",
    "timer.sched.mailer.n-1",
];

/// Letters may hold personal data, and nothing seals them: only who works them reads them.
const READS_LETTERS: [&str; 4] = [
    "$JS.API.STREAM.MSG.GET.INBOX",
    "$JS.API.DIRECT.GET.INBOX",
    "$JS.API.DIRECT.GET.INBOX.inbox.payment.pi_1.evt_1",
    "$JS.API.CONSUMER.CREATE.INBOX.c-1",
];

/// Reading what another role has parked.
const READS_PARKED: [(&str, &str); 6] = [
    ("saga", "$JS.API.CONSUMER.CREATE.PARKED.c-1.parked.mailer.>"),
    ("saga", "$JS.API.CONSUMER.CREATE.PARKED.c-1"),
    (
        "reactor",
        "$JS.API.CONSUMER.CREATE.PARKED.c-1.parked.checkout-order.>",
    ),
    ("projector", "$JS.API.CONSUMER.CREATE.PARKED.c-1"),
    ("query-api", "$JS.API.CONSUMER.CREATE.PARKED.c-1"),
    ("gateway", "$JS.API.CONSUMER.CREATE.PARKED.c-1"),
];

const READS_KEYS: &str = "$JS.API.STREAM.MSG.GET.KEYS";

const READS_SNAPSHOTS: &str = "$JS.API.DIRECT.GET.SNAPSHOTS.snapshot.order.o-1";

/// The gateway follows the catalogue, and nothing else.
const READS_EVENTS: [&str; 4] = [
    "$JS.API.STREAM.INFO.ORDER",
    "$JS.API.STREAM.MSG.GET.ORDER",
    "$JS.API.DIRECT.GET.ORDER",
    "$JS.API.CONSUMER.CREATE.ORDER.c-1",
];

/// Who reads none of it.
const READS: [(&[&str], &[&str]); 4] = [
    (
        &[
            "command-api",
            "query-api",
            "projector",
            "saga",
            "operator",
            "gateway",
        ],
        &READS_LETTERS,
    ),
    (&["projector", "operator", "gateway"], &[READS_KEYS]),
    (&["saga", "operator", "gateway"], &[READS_SNAPSHOTS]),
    (&["gateway"], &READS_EVENTS),
];

impl Roles {
    /// A role's connection, and what of [`WRITES`] it may do.
    fn of(&self, role: &str) -> (&Connection, Vec<&'static str>) {
        let (connection, allowed): (_, &[usize]) = match role {
            "command-api" => (&self.command_api, &[0, 2, 12, 14, 15]),
            "query-api" => (&self.query_api, &[]),
            "projector" => (&self.projector, &[]),
            "gateway" => (&self.gateway, &[]),
            "saga" => (&self.saga, &[1, 3, 5, 6, 7, 8, 13]),
            "reactor" => (&self.reactor, &[2, 5, 9, 14, 16, 17, 18, 19, 20, 21]),
            _ => (&self.operator, &[10]),
        };
        let allowed = allowed.iter().map(|index| WRITES[*index]);
        (connection, allowed.collect())
    }
}

/// No role can do more than its work. Every request here is one that the server would answer.
pub async fn no_role_can_do_more(roles: &Roles) {
    for role in ROLES {
        let (connection, allowed) = roles.of(role);
        let forbidden = ADMIN_ONLY.iter().chain(&WRITES);
        let forbidden: Vec<_> = forbidden
            .filter(|subject| !allowed.contains(subject))
            .collect();
        let tried = forbidden
            .iter()
            .map(|subject| is_denied(connection, subject));
        for (subject, denied) in forbidden.iter().zip(join_all(tried).await) {
            assert!(denied, "{role} may {subject}");
        }
    }
    for (role, subject) in READS_PARKED {
        let denied = is_denied(roles.of(role).0, subject).await;
        assert!(denied, "{role} may {subject}");
    }
    for (strangers, subjects) in READS {
        for role in strangers {
            let (connection, _) = roles.of(role);
            let tried = subjects.iter().map(|it| is_denied(connection, it));
            for (subject, denied) in subjects.iter().zip(join_all(tried).await) {
                assert!(denied, "{role} may {subject}");
            }
        }
    }
    only_who_sends_webhooks_asks_for_their_secrets(roles).await;
    nobody_hears_anothers_answers(roles).await;
    who_may_do_everything_is_denied_nothing(&roles.provision).await;
}

/// The same requests, of one who may. What this changes stays in the streams.
async fn who_may_do_everything_is_denied_nothing(provision: &Connection) {
    let parked = READS_PARKED.map(|(_, subject)| subject);
    let reads = READS.iter().flat_map(|(_, subjects)| *subjects);
    for subject in WRITES.iter().chain(&parked).chain(reads) {
        assert!(!is_denied(provision, subject).await, "denied: {subject}");
    }
}

async fn only_who_sends_webhooks_asks_for_their_secrets(roles: &Roles) {
    let subject = "question.notification.webhook-secrets";
    for (role, connection) in [
        ("query-api", &roles.query_api),
        ("projector", &roles.projector),
        ("saga", &roles.saga),
        ("operator", &roles.operator),
        ("gateway", &roles.gateway),
    ] {
        assert!(is_denied(connection, subject).await, "{role} may ask it");
    }
}

/// Either the server answers, if only with "nobody listens", or it says that it denies the subject.
async fn is_denied(connection: &Connection, subject: &str) -> bool {
    let mut complaints = connection.complaints();
    let request = Request::new()
        .payload(Bytes::from_static(b"{}"))
        .timeout(None);
    let client = connection.client();
    let answer = client.send_request(subject.to_owned(), request);
    within("answered or denied", async {
        tokio::select! {
            _answer = answer => false,
            () = denies(&mut complaints, "Publish", subject) => true,
        }
    })
    .await
}

/// Waits until the server says that it denies that on `subject`.
async fn denies(complaints: &mut broadcast::Receiver<String>, what: &str, subject: &str) {
    let denied = format!("Permissions Violation for {what} to \"{subject}\"").to_lowercase();
    while !complaints
        .recv()
        .await
        .unwrap()
        .to_lowercase()
        .contains(&denied)
    {}
}

async fn nobody_hears_anothers_answers(roles: &Roles) {
    let mut complaints = roles.projector.complaints();
    let client = roles.projector.client();
    let others = "_INBOX_saga.>";
    let _ears = client.subscribe(others).await.unwrap();
    let denied = denies(&mut complaints, "Subscription", others);
    within("denied", denied).await;
}
