//! Tokens that count no longer: of who was suspended, has another password, lost a role, or was erased.
//!
//! An access token is good for 15 minutes, whatever happens meanwhile. Each API follows USER, and
//! knows within milliseconds whose it has to look at differently. One that starts knows nothing of
//! before: what was withdrawn in the 15 minutes before its start, it still takes.

use std::time::Duration;

use edge::auth::Verifier;
use futures::future::BoxFuture;
use streams::{Connection, RecordedEvent, Settings, Streams};
use tokio_util::sync::CancellationToken;
use user::{User, UserEvent};

/// Pause after a failure: trying at once would spin.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Tells `verifier` what it hears, until `shutdown`.
pub fn follow(
    connection: &Connection,
    verifier: Verifier,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    let connection = connection.clone();
    let streams = connection.streams(Settings::reading());
    Box::pin(async move {
        let mut after = None;
        while !shutdown.is_cancelled() {
            let failed = tokio::select! {
                () = shutdown.cancelled() => return,
                failed = hear(&connection, &streams, &verifier, &mut after) => failed,
            };
            tracing::warn!(%failed, "it is not heard whose tokens count no longer");
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
    })
}

/// Goes on behind `after`, or where the stream ends now; returns why it could not go on.
async fn hear(
    connection: &Connection,
    streams: &Streams,
    verifier: &Verifier,
    after: &mut Option<u64>,
) -> Box<dyn std::error::Error + Send + Sync> {
    let begin = match after {
        Some(after) => *after,
        None => match streams.stream_state("USER").await {
            Ok(state) => state.last,
            Err(error) => return error.into(),
        },
    };
    *after = Some(begin);
    let mut events = connection.ordered("USER", begin);
    loop {
        match events.next().await {
            Ok(event) => {
                take(verifier, &event);
                *after = Some(event.position.sequence);
            }
            Err(error) => return error.into(),
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
