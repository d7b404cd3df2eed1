//! How far the views of one database have come, as their projectors announce it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use streams::chain;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client};

use super::connection::QUERY_TIMEOUT;
use super::{CHANNEL, Waited};
use crate::login::{Login, OpenError, in_time};

/// Pause after the first failure to connect, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Longest pause between tries to connect. There is no last try.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// How often it is asked where the views stand. A notice that is not given is made good for so, and whether
/// the connection still leads anywhere shows in nothing else: who listens says nothing by itself.
const LOOK_EVERY: Duration = Duration::from_secs(15);

type Senders = Arc<BTreeMap<&'static str, watch::Sender<u64>>>;

/// The positions of one database's views.
pub(super) struct Positions {
    senders: Senders,
    keeper: JoinHandle<()>,
}

impl Drop for Positions {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Positions {
    /// Begins to listen.
    pub(super) fn listen(context: &'static str, login: &Login) -> Self {
        let views = crate::views_of(context).into_iter();
        let senders: Senders = Arc::new(
            views
                .map(|view| (view.name, watch::Sender::new(0)))
                .collect(),
        );
        let keeper = tokio::spawn(keep(login.clone(), Arc::clone(&senders)));
        Self { senders, keeper }
    }

    /// Waits until `view` has come to `sequence`.
    pub(super) async fn reach(&self, view: &str, sequence: u64) -> Waited {
        let Some(sender) = self.senders.get(view) else {
            return Waited::Behind;
        };
        let mut position = sender.subscribe();
        let reached = position.wait_for(|position| *position >= sequence).await;
        // The sender is ours, so it can't be gone.
        reached.map_or(Waited::Behind, |_| Waited::Reached)
    }

    /// The last position that was heard of.
    pub(super) fn announced(&self, view: &str) -> u64 {
        self.senders.get(view).map_or(0, |sender| *sender.borrow())
    }
}

/// Listens, reads where the views stand, passes on what it hears; again after every loss.
async fn keep(login: Login, senders: Senders) {
    let mut pause = RETRY_FIRST;
    loop {
        let outcome = listen(&login, &senders, &mut pause).await;
        let cause = outcome
            .err()
            .map_or_else(String::new, |error| chain(&error));
        tracing::warn!(%login, cause, ?pause, "not listening for positions");
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(RETRY_MAX);
    }
}

async fn listen(login: &Login, senders: &Senders, pause: &mut Duration) -> Result<(), OpenError> {
    let config = login.config("millrace query-api positions");
    let (client, mut connection) = login.open(&config).await?;
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
    let begin = async {
        // First listen, then look: what is committed in between is heard of, what was committed
        // before is seen.
        in_time(Box::pin(async {
            client.batch_execute(&format!("listen {CHANNEL}")).await?;
            look(&client, senders).await
        }))
        .await?;
        *pause = RETRY_FIRST;
        tracing::debug!(%login, "listening for positions");
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let looked = timeout(QUERY_TIMEOUT, look(&client, senders)).await;
            looked.map_err(|_| OpenError::Silent(QUERY_TIMEOUT))??;
        }
    };
    let hear = async {
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(notice) = message? {
                hear_one(senders, notice.payload());
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = begin => ended,
        ended = hear => ended,
    }
}

async fn look(client: &Client, senders: &Senders) -> Result<(), OpenError> {
    let look = "select view, position from view_position";
    for row in client.query(look, &[]).await? {
        announce(senders, row.try_get(0)?, row.try_get(1)?);
    }
    Ok(())
}

/// Takes in `<view>:<position>`; what isn't that is not ours.
fn hear_one(senders: &Senders, payload: &str) {
    if let Some((view, position)) = payload.split_once(':')
        && let Ok(position) = position.parse()
    {
        announce(senders, view, position);
    }
}

fn announce(senders: &Senders, view: &str, position: i64) {
    let position = u64::try_from(position).unwrap_or_default();
    if let Some(sender) = senders.get(view) {
        // Looks and notices may cross: the later position is the true one.
        sender.send_if_modified(|known| {
            let later = position > *known;
            *known = position.max(*known);
            later
        });
    }
}
