//! One try to append, and a look at what followed.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{JetStreamLog, answer, batch, load};
use crate::connection::ANSWER_TIMEOUT;
use crate::log::{BoxError, NewEvent};
use crate::resolve::{Next, Reply, Wire};

/// How long a try waits for a lost connection before it gives up with nothing sent: what is
/// published while disconnected is queued, and sent when nobody waits for it any more.
const RECONNECT_WAIT: Duration = Duration::from_secs(1);

/// How often a lost connection is looked at.
const RECONNECT_LOOK: Duration = Duration::from_millis(20);

impl Wire for JetStreamLog {
    async fn publish(&self, events: &[NewEvent]) -> Reply {
        // What is not the everyday path is boxed, so that no append is as large as the largest.
        if !self.connected() && !Box::pin(self.reconnected()).await {
            return Reply::Busy("not connected to NATS".into());
        }
        match events {
            [] => Reply::Refused("nothing to append".into()),
            [one] => match batch::single(one) {
                Ok(headers) => self.commit(one, headers, 1).await,
                Err(error) => Reply::Unwritable(error),
            },
            several => Box::pin(self.publish_batch(several)).await,
        }
    }

    async fn next(&self, event: &NewEvent) -> Result<Option<Next>, BoxError> {
        load::next(self, event).await
    }
}

impl JetStreamLog {
    /// The publish that is answered: an event alone, or the last one of a batch.
    async fn commit(&self, new: &NewEvent, headers: HeaderMap, count: usize) -> Reply {
        let subject = new.event.subject.clone();
        let message = (headers, new.event.data.clone());
        answer::published(&self.client, subject, message, count).await
    }

    /// All but the last are not answered: if one of them is refused, so is the commit.
    async fn publish_batch(&self, events: &[NewEvent]) -> Reply {
        // A batch's id names one try; what stays the same over all tries are the messages.
        let id = Uuid::new_v4().simple().to_string();
        let headers = match batch::several(events, &id) {
            Ok(headers) => headers,
            Err(error) => return Reply::Unwritable(error),
        };
        let mut messages = events.iter().zip(headers);
        let Some((last, commit)) = messages.next_back() else {
            return Reply::Refused("nothing to append".into());
        };
        for (new, headers) in messages {
            if let Err(reply) = self.send(new, headers, new.event.data.clone()).await {
                return reply;
            }
        }
        self.commit(last, commit, events.len()).await
    }

    /// Without its commit a batch is nothing, so a failure here leaves nothing behind.
    async fn send(&self, new: &NewEvent, headers: HeaderMap, data: Bytes) -> Result<(), Reply> {
        let subject = new.event.subject.clone();
        let sent = self.client.publish_with_headers(subject, headers, data);
        match timeout(ANSWER_TIMEOUT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                Err(Reply::TooLarge)
            }
            Ok(Err(error)) => Err(Reply::Busy(error.into())),
            Err(elapsed) => Err(Reply::Busy(elapsed.into())),
        }
    }

    async fn reconnected(&self) -> bool {
        let deadline = Instant::now() + RECONNECT_WAIT;
        while Instant::now() < deadline {
            if self.connected() {
                return true;
            }
            sleep(RECONNECT_LOOK).await;
        }
        false
    }
}
