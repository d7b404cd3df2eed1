//! Tokens that count no longer: of who was suspended, has another password, lost a role, or was erased.
//!
//! An access token is good for 15 minutes, whatever happens meanwhile. Each API follows USER, and
//! knows within milliseconds whose it has to look at differently. One that starts reads first what was
//! withdrawn from tokens that may still be used: before, it is not ready, and answers whoever asks all the
//! same with a token that it can't tell yet.

use std::time::Duration;

use chrono::TimeDelta;
use edge::auth::{TOKEN_COUNTS_S, Verifier};
use futures::future::BoxFuture;
use streams::barrier::Reading;
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, RecordedEvent, clock};
use tokio_util::sync::CancellationToken;
use user::{User, UserEvent};

/// The stream that tells of people.
const STREAM: &str = "USER";

/// What is not read yet, as readiness tells it.
const WITHDRAWN_TOKENS: &str = "whose tokens count no longer";

/// How far the clock here and the one of the log may be apart, in seconds.
const CLOCKS_APART_S: i64 = 60;

/// Pause after a look at a log that is not what it was.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Tells `verifier` what it hears, until `shutdown`. `connection`'s barrier is up from now until all is read
/// that is there.
pub fn follow(
    connection: &Connection,
    verifier: Verifier,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    let connection = connection.clone();
    let reading = connection.barrier().raise(WITHDRAWN_TOKENS);
    verifier.reads();
    Box::pin(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = read_on(&connection, &verifier, reading) => {}
        }
    })
}

/// From the time on of the oldest token that may still be used.
fn begin(connection: &Connection) -> OrderedSubscription {
    let age = TimeDelta::seconds(TOKEN_COUNTS_S + CLOCKS_APART_S);
    connection.ordered_all_since(STREAM, clock::now() - age)
}

async fn read_on(connection: &Connection, verifier: &Verifier, reading: Reading) {
    let mut events = begin(connection);
    let mut reading = Some(reading);
    loop {
        match events.started_or_next().await {
            Ok(Some(event)) => take(verifier, &event),
            Ok(None) => {}
            // The next look goes on behind it: whoever is withdrawn later must still be heard of.
            Err(error @ SubscriptionError::Unreadable { .. }) => {
                tracing::error!(%error, "an event of USER can't be read");
            }
            Err(error @ (SubscriptionError::Gap { .. } | SubscriptionError::Ahead { .. })) => {
                tracing::error!(%error, "USER is not what it was: it is read anew");
                tokio::time::sleep(FAILURE_PAUSE).await;
                events = begin(connection);
            }
        }
        if events.caught_up()
            && let Some(reading) = reading.take()
        {
            verifier.knows();
            reading.done();
        }
    }
}

fn take(verifier: &Verifier, event: &RecordedEvent) {
    // Email claims and erasures are about no token.
    let Some(person) = event
        .kind
        .is_none()
        .then(|| event.aggregate_id.as_str().parse())
    else {
        return;
    };
    let (Ok(person), Ok(fact)) = (person, event.decode::<User>()) else {
        tracing::error!(position = %event.position, "an event of USER can't be read");
        return;
    };
    let (version, second) = (event.version, event.recorded_at.timestamp());
    match fact {
        // Somebody else may have known the password of before.
        UserEvent::UserSuspended { .. } | UserEvent::PasswordChanged { .. } => {
            verifier.bar(person, version, second);
        }
        // What is left to them is to read how their erasure went.
        UserEvent::RoleRevoked { .. } | UserEvent::UserErased { .. } => {
            verifier.strip(person, version, second);
        }
        UserEvent::UserRegistered { .. }
        | UserEvent::EmailVerified { .. }
        | UserEvent::EmailChanged { .. }
        | UserEvent::ProfileUpdated { .. }
        | UserEvent::AddressAdded { .. }
        | UserEvent::AddressRemoved { .. }
        | UserEvent::DefaultAddressSet { .. }
        | UserEvent::NotificationPreferenceSet { .. }
        | UserEvent::RoleGranted { .. }
        | UserEvent::UserReactivated {}
        | UserEvent::ErasureRequested { .. } => {}
    }
}
