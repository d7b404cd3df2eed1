//! What of a stream's and of a durable's configuration the guard looks at: every field that a real server
//! has, changed one at a time, is refused by its name or is an operator's business. A field of a later
//! server that nobody has thought about fails the test.

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures::future::join_all;
use serde_json::{Map, Value, json};
use streams::Connection;
use streams::topology::{self, Acks, DurableSpec, OnFailure, Topology, TopologyError};

use crate::server::Server;

/// What becomes of a change.
#[derive(Debug)]
enum Verdict {
    /// The guard names these fields, and no other.
    Refused(&'static [&'static str]),
    /// It is an operator's business.
    Ignored,
    /// The server itself takes no such thing.
    Impossible,
}

use Verdict::{Ignored, Impossible, Refused};

/// A field, what it is changed to (and what else must be for that), and what becomes of it.
type Case = (&'static str, Value, Verdict);

#[expect(clippy::too_many_lines, reason = "a table, one field after the other")]
fn of_streams() -> Vec<Case> {
    vec![
        ("description", json!({ "description": "mine" }), Ignored),
        // How much there may be: a full stream refuses, and loses nothing.
        ("max_bytes", json!({ "max_bytes": 1 << 20 }), Ignored),
        ("max_msgs", json!({ "max_msgs": 1_000 }), Ignored),
        ("max_msg_size", json!({ "max_msg_size": 100_000 }), Ignored),
        ("max_consumers", json!({ "max_consumers": 50 }), Ignored),
        (
            "consumer_limits",
            json!({ "consumer_limits": { "max_ack_pending": 5_000 } }),
            Ignored,
        ),
        // It only shortens a retry.
        (
            "duplicate_window",
            json!({ "duplicate_window": 1_000_000_000 }),
            Ignored,
        ),
        ("compression", json!({ "compression": "s2" }), Ignored),
        (
            "metadata",
            json!({ "metadata": { "owner": "shop" } }),
            Ignored,
        ),
        ("first_seq", json!({ "first_seq": 7 }), Ignored),
        (
            "republish",
            json!({ "republish": { "src": ">", "dest": "copy.>" } }),
            Ignored,
        ),
        // `provision` mends it: see the tests of a cluster.
        ("num_replicas", json!({ "num_replicas": 3 }), Impossible),
        (
            "placement",
            json!({ "placement": { "cluster": "other" } }),
            Ignored,
        ),
        (
            "subjects",
            json!({ "subjects": ["elsewhere.>"] }),
            Refused(&["subjects"]),
        ),
        (
            "retention",
            json!({ "retention": "interest" }),
            Refused(&["retention"]),
        ),
        (
            "discard",
            json!({ "discard": "old" }),
            Refused(&["discard"]),
        ),
        (
            "max_age",
            json!({ "max_age": 60_000_000_000_u64, "duplicate_window": 1_000_000_000 }),
            Refused(&["max_age"]),
        ),
        (
            "max_msgs_per_subject",
            json!({ "max_msgs_per_subject": 5 }),
            Refused(&["max_msgs_per_subject"]),
        ),
        (
            "storage",
            json!({ "storage": "memory" }),
            Refused(&["storage"]),
        ),
        ("no_ack", json!({ "no_ack": true }), Refused(&["no_ack"])),
        (
            "deny_delete",
            json!({ "deny_delete": false }),
            Refused(&["deny_delete"]),
        ),
        (
            "deny_purge",
            json!({ "deny_purge": false }),
            Refused(&["deny_purge"]),
        ),
        (
            "allow_rollup_hdrs",
            json!({ "allow_rollup_hdrs": true, "deny_purge": false }),
            Refused(&["deny_purge", "allow_rollup_hdrs"]),
        ),
        (
            "allow_direct",
            json!({ "allow_direct": false }),
            Refused(&["allow_direct"]),
        ),
        (
            "mirror_direct",
            json!({ "mirror_direct": true }),
            Impossible,
        ),
        (
            "allow_atomic",
            json!({ "allow_atomic": false }),
            Refused(&["allow_atomic"]),
        ),
        (
            "allow_msg_ttl",
            json!({ "allow_msg_ttl": true }),
            Refused(&["allow_msg_ttl"]),
        ),
        (
            "allow_msg_schedules",
            json!({ "allow_msg_schedules": true, "allow_rollup_hdrs": true, "deny_purge": false, "discard": "old" }),
            Refused(&[
                "discard",
                "deny_purge",
                "allow_rollup_hdrs",
                "allow_msg_schedules",
            ]),
        ),
        (
            "allow_msg_counter",
            json!({ "allow_msg_counter": true, "discard": "old" }),
            Refused(&["discard", "allow_msg_counter"]),
        ),
        (
            "allow_batched",
            json!({ "allow_batched": true }),
            Refused(&["allow_batched"]),
        ),
        (
            "persist_mode",
            json!({ "persist_mode": "async", "allow_atomic": false }),
            Refused(&["allow_atomic", "persist_mode"]),
        ),
        (
            "discard_new_per_subject",
            json!({ "discard_new_per_subject": true, "max_msgs_per_subject": 5 }),
            Refused(&["max_msgs_per_subject", "discard_new_per_subject"]),
        ),
        (
            "subject_delete_marker_ttl",
            json!({
                "subject_delete_marker_ttl": 1_000_000_000, "allow_msg_ttl": true,
                "allow_rollup_hdrs": true, "deny_purge": false,
            }),
            Refused(&["deny_purge", "allow_rollup_hdrs", "allow_msg_ttl"]),
        ),
        (
            "subject_transform",
            json!({ "subject_transform": { "src": ">", "dest": "moved.>" } }),
            Refused(&["subject_transform"]),
        ),
        (
            "sources",
            json!({ "sources": [{ "name": "ELSEWHERE" }] }),
            Refused(&["sources"]),
        ),
        (
            "mirror",
            json!({
                "mirror": { "name": "ELSEWHERE" }, "subjects": null, "allow_atomic": false,
            }),
            Refused(&["subjects", "allow_atomic", "mirror"]),
        ),
        ("sealed", json!({ "sealed": true }), Impossible),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table, one field after the other")]
fn of_durables() -> Vec<Case> {
    vec![
        ("description", json!({ "description": "mine" }), Ignored),
        (
            "metadata",
            json!({ "metadata": { "owner": "shop" } }),
            Ignored,
        ),
        ("num_replicas", json!({ "num_replicas": 1 }), Ignored),
        ("sample_freq", json!({ "sample_freq": "100" }), Ignored),
        ("max_waiting", json!({ "max_waiting": 64 }), Ignored),
        (
            "deliver_policy",
            json!({ "deliver_policy": "new" }),
            Refused(&["deliver_policy"]),
        ),
        (
            "opt_start_seq",
            json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": 7 }),
            Refused(&["deliver_policy"]),
        ),
        (
            "opt_start_time",
            json!({ "deliver_policy": "by_start_time", "opt_start_time": "2026-01-31T12:00:00Z" }),
            Refused(&["deliver_policy"]),
        ),
        (
            "ack_policy",
            json!({ "ack_policy": "all" }),
            Refused(&["ack_policy"]),
        ),
        (
            "ack_wait",
            json!({ "ack_wait": 1_000_000_000 }),
            Refused(&["ack_wait"]),
        ),
        (
            "max_deliver",
            json!({ "max_deliver": 5 }),
            Refused(&["max_deliver"]),
        ),
        (
            "backoff",
            json!({ "backoff": [1_000_000_000], "max_deliver": 5 }),
            Refused(&["ack_wait", "max_deliver", "backoff"]),
        ),
        (
            "max_ack_pending",
            json!({ "max_ack_pending": 7 }),
            Refused(&["max_ack_pending"]),
        ),
        (
            "filter_subject",
            json!({ "filter_subject": "event.%.one" }),
            Refused(&["filter_subject"]),
        ),
        (
            "filter_subjects",
            json!({ "filter_subjects": ["event.%.one", "event.%.two"] }),
            Refused(&["filter_subjects"]),
        ),
        (
            "replay_policy",
            json!({ "replay_policy": "original" }),
            Refused(&["replay_policy"]),
        ),
        (
            "headers_only",
            json!({ "headers_only": true }),
            Refused(&["headers_only"]),
        ),
        (
            "max_batch",
            json!({ "max_batch": 1 }),
            Refused(&["max_batch"]),
        ),
        (
            "max_expires",
            json!({ "max_expires": 1_000_000_000 }),
            Refused(&["max_expires"]),
        ),
        (
            "max_bytes",
            json!({ "max_bytes": 1_000 }),
            Refused(&["max_bytes"]),
        ),
        (
            "inactive_threshold",
            json!({ "inactive_threshold": 60_000_000_000_u64 }),
            Refused(&["inactive_threshold"]),
        ),
        (
            "mem_storage",
            json!({ "mem_storage": true }),
            Refused(&["memory_storage"]),
        ),
        (
            "priority_policy",
            json!({ "priority_policy": "overflow", "priority_timeout": null }),
            Refused(&["priority_policy", "priority_timeout"]),
        ),
        (
            "priority_groups",
            json!({ "priority_groups": ["mine"] }),
            Refused(&["priority_groups"]),
        ),
        (
            "priority_timeout",
            json!({ "priority_timeout": 60_000_000_000_u64 }),
            Refused(&["priority_timeout"]),
        ),
        (
            "pause_until",
            json!({ "pause_until": "2126-01-31T12:00:00Z" }),
            Refused(&["pause_until"]),
        ),
        // Only of one that pushes.
        (
            "rate_limit_bps",
            json!({ "rate_limit_bps": 1_000 }),
            Impossible,
        ),
        ("flow_control", json!({ "flow_control": true }), Impossible),
        (
            "idle_heartbeat",
            json!({ "idle_heartbeat": 1_000_000_000 }),
            Impossible,
        ),
        ("deliver_group", json!({ "deliver_group": "mine" }), Ignored),
    ]
}

/// The one durable of a case's stream.
fn durable(stream: &str) -> DurableSpec {
    DurableSpec {
        name: "worker",
        stream: String::leak(stream.to_owned()),
        kind: None,
        acks: Acks::Each,
        on_failure: OnFailure::Park {
            after_attempts: None,
        },
    }
}

/// A stream of events and its durable, as declared.
async fn declared(connection: &Connection, context: &str) -> Topology {
    let durable = durable(&context.to_uppercase());
    let topology = Topology::new(&[context], &[durable]).only(&[durable.stream]);
    topology::provision(connection, &topology, 1).await.unwrap();
    topology::check(connection, &topology).await.unwrap();
    topology
}

async fn ask(connection: &Connection, request: &str, body: &Value) -> Value {
    let answer = connection.jetstream().request(request.to_owned(), body);
    answer.await.unwrap()
}

/// Makes it again with a change; `false` = the server does not take that.
async fn changed(
    connection: &Connection,
    (kind, name): (&str, &str),
    change: &Value,
) -> Result<Value, Value> {
    let info = ask(connection, &format!("{kind}.INFO.{name}"), &json!({})).await;
    let mut config = info["config"].clone();
    let of_stream = name.split('.').next().unwrap();
    let change = change.to_string().replace('%', &of_stream.to_lowercase());
    let change: Map<String, Value> = serde_json::from_str(&change).unwrap();
    config.as_object_mut().unwrap().extend(change);
    ask(connection, &format!("{kind}.DELETE.{name}"), &json!({})).await;
    let (request, body) = match kind {
        "STREAM" => (format!("STREAM.CREATE.{name}"), config),
        _ => (
            format!("CONSUMER.CREATE.{name}"),
            json!({ "stream_name": of_stream, "config": config }),
        ),
    };
    let answer = ask(connection, &request, &body).await;
    match answer.get("error") {
        Some(error) => Err(error.clone()),
        None => Ok(answer["config"].clone()),
    }
}

/// What the guard says, by the names of the fields.
async fn refused(connection: &Connection, topology: &Topology) -> Vec<&'static str> {
    match topology::check(connection, topology).await {
        Ok(()) => Vec::new(),
        Err(TopologyError::Different(differences)) => differences
            .iter()
            .map(|difference| difference.field)
            .collect(),
        Err(other) => panic!("{other}"),
    }
}

/// Changes one field of a stream or durable of its own: the fields that the server has then, or what is wrong.
async fn judged(
    connection: &Connection,
    (kind, number): (&str, usize),
    (field, change, verdict): &Case,
) -> Result<BTreeSet<String>, String> {
    // Names of contexts have no digits.
    let letters = [number / 26, number % 26].map(|at| char::from(b'a' + u8::try_from(at).unwrap()));
    let context = format!("{}_{}{}", kind.to_lowercase(), letters[0], letters[1]);
    let topology = declared(connection, &context).await;
    let stream = context.to_uppercase();
    let (name, only) = match kind {
        // Its durable went with it.
        "STREAM" => (
            stream.clone(),
            Topology::new(&[&context], &[]).only(&[&stream]),
        ),
        _ => (format!("{stream}.worker"), topology),
    };
    let made = changed(connection, (kind, &name), change).await;
    let wrong = |what: &dyn Debug| Err(format!("{kind} {field} is to be {verdict:?}: {what:?}"));
    let (wanted, config) = match (verdict, made) {
        (Impossible, Err(_)) => return Ok(BTreeSet::new()),
        (Ignored, Ok(config)) => (&[][..], config),
        (Refused(fields), Ok(config)) => (*fields, config),
        (_, made) => return wrong(&made),
    };
    let named = refused(connection, &only).await;
    if named != wanted {
        return wrong(&named);
    }
    // Nor does `provision` change what is there.
    let provisioned = topology::provision(connection, &only, 1).await;
    if provisioned.is_ok() != wanted.is_empty() {
        return wrong(&provisioned);
    }
    Ok(config.as_object().unwrap().keys().cloned().collect())
}

/// What is wrong with the cases, and which fields of the server nobody has thought about.
async fn every_field(
    connection: &Connection,
    kind: &str,
    cases: &[Case],
    identity: &[&str],
) -> Vec<String> {
    let all = cases.iter().enumerate();
    let all = all.map(|(number, case)| judged(connection, (kind, number), case));
    let mut wrong = Vec::new();
    for judged in join_all(all).await {
        match judged {
            Ok(fields) => wrong.extend(fields.into_iter().filter_map(|field| {
                let thought_of = cases.iter().any(|(known, _, _)| *known == field);
                let known = thought_of || identity.contains(&field.as_str());
                (!known).then(|| format!("{kind}: nobody has thought about {field}"))
            })),
            Err(error) => wrong.push(error),
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_that_could_lose_events_is_refused_and_no_other() {
    let server = Server::start("every-field").await;
    let connection = server.connect().await;
    let elsewhere = json!({ "name": "ELSEWHERE", "subjects": ["other.>"] });
    ask(&connection, "STREAM.CREATE.ELSEWHERE", &elsewhere).await;
    let streams = every_field(&connection, "STREAM", &of_streams(), &["name"]).await;
    let identity = ["name", "durable_name"];
    let durables = every_field(&connection, "CONSUMER", &of_durables(), &identity).await;
    let wrong = [streams, durables].concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What is not there is made.
    let topology = declared(&connection, "missing").await;
    ask(&connection, "CONSUMER.DELETE.MISSING.worker", &json!({})).await;
    let missing = topology::check(&connection, &topology).await;
    assert!(
        matches!(missing, Err(TopologyError::Missing { .. })),
        "{missing:?}"
    );
    topology::provision(&connection, &topology, 1)
        .await
        .unwrap();
    topology::check(&connection, &topology).await.unwrap();
}
