//! What the gateway hears of the others: which replicas there are and are ready, how many gateways
//! share the limits, what changes in the catalogue.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::future::join_all;
use streams::{Connection, Headcount, Replica as Announced};
use tokio_util::sync::CancellationToken;

use crate::behind::Replicas;
use crate::cache::STREAM;
use crate::config::Member;
use crate::gate::Gate;
use crate::pool::{Pool, Replica};
use crate::run::ROLE;

/// How often replicas are looked for and asked whether they are ready.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Longest that a replica may take to say so. A slow one is still asked when there is no other.
const READY_TIME_MAX: Duration = Duration::from_millis(900);

/// Looks in a row that may find no replica of a role before its pool hears of it: discovery may be down while
/// the replicas are not. The pool keeps each for [`streams::MISSED_LOOKS_MAX`] looks more.
const EMPTY_LOOKS_MAX: u32 = 10;

/// Pause before changes are listened to again after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Keeps both pools and the number of gateways up to date, until `shutdown`.
pub(crate) async fn replicas(gate: Gate, nats: Option<Connection>, shutdown: CancellationToken) {
    let mut looks = Looks::default();
    while !shutdown.is_cancelled() {
        look(&gate, nats.as_ref(), &mut looks).await;
        tokio::select! {
            () = tokio::time::sleep(LOOK_PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// What earlier looks have found.
#[derive(Default)]
struct Looks {
    /// How many in a row have found nobody, of each role.
    empty: [u32; 2],
    gateways: Headcount,
}

async fn look(gate: &Gate, nats: Option<&Connection>, looks: &mut Looks) {
    let pools: [&Pool; 2] = [&gate.commands, &gate.queries];
    if let Some(nats) = nats.filter(|nats| nats.is_connected()) {
        let asked = pools.map(|pool| found(nats, pool.role));
        let (found_of, gateways) = tokio::join!(join_all(asked), found(nats, ROLE));
        for ((pool, found), empty) in pools.into_iter().zip(found_of).zip(&mut looks.empty) {
            let found = members(found.unwrap_or_default());
            *empty = if found.is_empty() { *empty + 1 } else { 0 };
            if !found.is_empty() || *empty > EMPTY_LOOKS_MAX {
                let may_ask = |member: &Member| gate.behind.may_ask(&member.address);
                let (asked, refused) = found.into_iter().partition(may_ask);
                pool.found(asked);
                pool.refuse(refused);
            }
        }
        if let Some(gateways) = gateways {
            gate.limiter.share(looks.gateways.found(gateways.len()));
        }
    }
    let all = pools.into_iter().flat_map(Pool::all);
    join_all(all.map(|replica| async move {
        replica.said(is_ready(&gate.replicas, &replica).await);
    }))
    .await;
    pools.into_iter().for_each(Pool::looked_at);
}

/// `None` = it could not be asked for.
async fn found(nats: &Connection, role: &str) -> Option<Vec<Announced>> {
    match nats.replicas(role).await {
        Ok(found) => Some(found.into_values().collect()),
        Err(error) => {
            tracing::warn!(%error, "replicas can't be looked for");
            None
        }
    }
}

/// Who can be asked, each address once.
fn members(found: Vec<Announced>) -> Vec<Member> {
    let reached = found.into_iter();
    let reached = reached.filter_map(|replica| Some((replica.address?, replica.contexts)));
    let by_address: BTreeMap<_, _> = reached.collect();
    let members = by_address.into_iter().filter_map(|(address, contexts)| {
        let address = address.parse().ok()?;
        Some(Member { address, contexts })
    });
    members.collect()
}

/// What it says itself; `None` = nothing. One that takes long to say how it is, because whatever it asks for
/// that is away, is there all the same.
async fn is_ready(replicas: &Replicas, replica: &Replica) -> Option<bool> {
    match says(replicas, replica, "/readyz").await {
        Some(ready) => Some(ready),
        None => says(replicas, replica, "/livez").await.map(|_alive| false),
    }
}

async fn says(replicas: &Replicas, replica: &Replica, path: &str) -> Option<bool> {
    let address = format!("{}{path}", replica.address);
    let request = Request::get(address).body(Body::empty()).ok()?;
    let answer = tokio::time::timeout(READY_TIME_MAX, replicas.request(request)).await;
    Some(answer.ok()?.ok()?.status().is_success())
}

/// Tells the cache what changes in the catalogue, until `shutdown`.
pub(crate) async fn catalogue(gate: Gate, nats: Connection, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let failed = tokio::select! {
            () = shutdown.cancelled() => return,
            failed = hear(&gate, &nats) => failed,
        };
        gate.cache.unheard();
        tracing::warn!(%failed, "changes of the catalogue are not heard: nothing is cached");
        tokio::time::sleep(FAILURE_PAUSE).await;
    }
}

/// Follows from now on; returns why it could not go on.
async fn hear(gate: &Gate, nats: &Connection) -> Box<dyn std::error::Error + Send + Sync> {
    let end = match streams::verify::ends(nats, STREAM).await {
        Ok(ends) => ends.last,
        Err(error) => return error.into(),
    };
    let mut events = nats.ordered(STREAM, end);
    if let Err(error) = events.start().await {
        return error.into();
    }
    gate.cache.changed(end);
    gate.cache.hears(events.current());
    loop {
        match events.next().await {
            Ok(event) => gate.cache.changed(event.position.sequence),
            Err(error) => return error.into(),
        }
    }
}
