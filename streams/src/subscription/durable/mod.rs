//! A durable that `provision` made: one active process, everything acknowledged, no end.

mod left_overs;
mod rest;
mod turn;

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderValue;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::{self, MessagesErrorKind};
use async_nats::jetstream::stream::ConsumerError;
use async_nats::jetstream::{Context, Message};
use futures::StreamExt;
use tokio::time::Instant;

use super::delivery::{Received, Unreadable, raw};
use super::takeover::{Takeover, Verdict};
use super::unbroken::{Confirmed, Unbroken};
use super::{Backoff, Delivery, DurableLimits, Payload, SubscribeError, SubscriptionError};
use crate::connection::Connection;
use crate::envelope::RecordedEvent;
use crate::topology::{Acks, DurableSpec, OnFailure};

pub(crate) use turn::Turn;

/// Longest wait of one pull request. Pulling is also what keeps the pin, so it must be well below
/// the durable's priority time-out.
const PULL_EXPIRES_MAX: Duration = Duration::from_secs(3);
/// Pull requests within one priority time-out, at least.
const PULLS_PER_PIN: u32 = 2;
/// A heartbeat may take at most half of a pull request, says the server; a little less.
const HEARTBEAT_SHARE: f64 = 0.45;
/// Missing heartbeats in a row before it is rebuilt.
const MISSED_HEARTBEATS_MAX: u32 = 3;
/// Pause after the first failure, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// What can't be read comes again after this time: it is never skipped, and never acknowledged.
const UNREADABLE_RETRY_AFTER: Duration = Duration::from_mins(1);

/// The deliveries of one durable.
///
/// Of all processes that bind the same durable, the server pins one; the others wait. When the
/// pinned one is gone for the durable's priority time-out, the next is pinned and gets everything
/// again from the oldest on that was not acknowledged. This is for availability, not for exclusivity: a
/// stalled process may still be working on what another one has taken over.
pub struct DurableSubscription<T: Payload = RecordedEvent> {
    connection: Connection,
    jetstream: Context,
    stream: String,
    durable: String,
    on_failure: OnFailure,
    acks: Acks,
    limits: DurableLimits,
    group: Option<String>,
    live: Option<pull::Stream>,
    takeover: Takeover,
    unbroken: Unbroken,
    missed_heartbeats: u32,
    next_check: Instant,
    backoff: Backoff,
    payload: PhantomData<fn() -> T>,
}

impl Connection {
    /// Binds the durable of `spec`; it must be there.
    ///
    /// # Errors
    /// It isn't, or this role may not see it, or the server does not answer.
    pub async fn durable(
        &self,
        spec: &DurableSpec,
        limits: DurableLimits,
    ) -> Result<DurableSubscription, SubscribeError> {
        DurableSubscription::bind(self, spec, limits).await
    }
}

impl<T: Payload> DurableSubscription<T> {
    /// Binds the durable of `spec`; it must be there.
    ///
    /// # Errors
    /// As [`Connection::durable`].
    pub async fn bind(
        connection: &Connection,
        spec: &DurableSpec,
        limits: DurableLimits,
    ) -> Result<Self, SubscribeError> {
        let (stream, durable) = (spec.stream, spec.name);
        let mut subscription = Self {
            connection: connection.clone(),
            on_failure: spec.on_failure,
            acks: spec.acks,
            jetstream: connection.jetstream().clone(),
            stream: stream.to_owned(),
            durable: durable.to_owned(),
            limits,
            group: None,
            live: None,
            takeover: Takeover::default(),
            unbroken: Unbroken::default(),
            missed_heartbeats: 0,
            next_check: Instant::now() + left_overs::STANDBY_CHECK,
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            payload: PhantomData,
        };
        let consumer = subscription.info().await;
        let consumer = consumer.map_err(|source| SubscribeError {
            stream: stream.to_owned(),
            durable: durable.to_owned(),
            source,
        })?;
        // Pull at once: whoever pulls first is pinned. A failure here is mended by `next`.
        subscription.take_left_overs(consumer.cached_info()).await;
        subscription.live = subscription.pull(&consumer).await.ok();
        Ok(subscription)
    }

    /// The durable's name.
    pub fn name(&self) -> &str {
        &self.durable
    }

    /// The connection that it was bound over.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What its worker does about a delivery that can't be handled.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// How it is acknowledged.
    pub fn acks(&self) -> Acks {
        self.acks
    }

    /// What the server has confirmed, where it is acknowledged in bulk.
    pub(crate) fn confirmed(&self) -> Arc<Confirmed> {
        self.unbroken.confirmed()
    }

    /// Its bounds.
    pub fn limits(&self) -> DurableLimits {
        self.limits
    }

    /// Under which pin this process works; it changes when the process takes over.
    pub(crate) fn pin(&self) -> Option<&str> {
        self.takeover.pin()
    }

    /// The next delivery; waits for it as long as it takes, also as a standby. Cancel-safe: a
    /// delivery that is lost on the way is not acknowledged and comes again.
    ///
    /// # Errors
    /// A message can't be read. It stays, comes again after a minute, and the next call goes on
    /// with the others.
    pub async fn next(&mut self) -> Result<Delivery<T>, SubscriptionError> {
        match self.receive().await {
            Received::Readable(delivery) => Ok(delivery),
            Received::Unreadable(delivery) => Err(self.leave(delivery).await),
        }
    }

    /// Has what can't be read come again later, and says so.
    pub(crate) async fn leave(&self, delivery: Delivery<Unreadable>) -> SubscriptionError {
        if let Err(error) = delivery.retry_after(UNREADABLE_RETRY_AFTER).await {
            tracing::debug!(durable = self.durable, error = %error, "it comes again by itself");
        }
        SubscriptionError::Unreadable {
            position: delivery.position,
            source: Box::new(delivery.event.error),
        }
    }

    /// What comes next, also when it can't be read. Waits and is cancel-safe as [`Self::next`].
    pub(crate) async fn receive(&mut self) -> Received<T> {
        loop {
            // What is not everyday is boxed, so that a worker is not as large as the largest of it.
            let Some(live) = self.live.as_mut() else {
                Box::pin(self.connect()).await;
                continue;
            };
            let message = tokio::select! {
                biased;
                message = live.next() => message,
                () = tokio::time::sleep_until(self.next_check) => {
                    Box::pin(self.check_left_overs()).await;
                    continue;
                }
            };
            match message {
                Some(Ok(message)) => {
                    if let Some(received) = self.admit(message).await {
                        return received;
                    }
                }
                Some(Err(error)) => self.stumble(&error),
                None => self.rebuild("its messages ended"),
            }
        }
    }

    /// Goes on pulling until `ending` is done, which keeps the pin: what comes is left to the next worker,
    /// and what this one still works on isn't given to another meanwhile.
    pub(crate) async fn hold_while<O>(&mut self, ending: impl Future<Output = O>) -> O {
        let pulling = async {
            while let Some(live) = self.live.as_mut()
                && live.next().await.is_some()
            {}
            // Without one the pin runs out by itself.
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = ending => ended,
            never = pulling => match never {},
        }
    }

    /// Gives the pin back, so that a standby needn't wait for the time-out. What is not
    /// acknowledged comes again there.
    pub async fn release(mut self) {
        self.live = None;
        let (Some(pin), Some(group)) = (self.takeover.pin(), self.group.as_deref()) else {
            return;
        };
        let Ok(consumer) = self.info().await else {
            return;
        };
        let groups = &consumer.cached_info().priority_groups;
        let ours = groups
            .iter()
            .any(|state| state.group == group && state.pinned_client_id.as_deref() == Some(pin));
        if !ours {
            return;
        }
        if let Ok(stream) = self.jetstream.get_stream_no_info(&self.stream).await
            && let Err(error) = stream.unpin_consumer(&self.durable, group).await
        {
            tracing::debug!(durable = self.durable, error = %error, "the pin runs out by itself");
        }
    }

    /// Takes a message in: hands it out, or makes the durable begin again at its floor.
    async fn admit(&mut self, message: Message) -> Option<Received<T>> {
        let Some((raw, info)) = raw(&message) else {
            self.rebuild("a message without delivery information");
            return None;
        };
        self.missed_heartbeats = 0;
        self.check_later();
        self.backoff.worked();
        let headers = message.headers.as_ref();
        let pin = headers.and_then(|h| h.get_last(async_nats::header::NATS_PIN_ID));
        let pin = pin
            .filter(|_| self.group.is_some())
            .map(HeaderValue::as_str);
        match self.takeover.judge(pin, info.consumer_sequence) {
            Verdict::Deliver if self.fits(info.consumer_sequence) => {}
            Verdict::Drop => return None,
            Verdict::Deliver | Verdict::Reset => {
                if Box::pin(self.begin(pin.unwrap_or_default())).await {
                    return None;
                }
                if self.acks == Acks::InBulk {
                    self.rebuild("it could not begin at its floor");
                    return None;
                }
            }
        }
        let delivered = u64::try_from(info.delivered).unwrap_or(1);
        let position = raw.position.clone();
        match T::read(&raw) {
            Ok(event) => {
                let delivered = (delivered, self.acks);
                let delivery = Delivery::new(event, position, delivered, message)?;
                Some(Received::Readable(delivery))
            }
            Err(error) => {
                metrics::counter!("streams_unreadable_total", "durable" => self.durable.clone())
                    .increment(1);
                let key = T::lane_key_of(&raw);
                let unreadable = Unreadable { key, error };
                let delivered = (delivered, self.acks);
                let delivery = Delivery::new(unreadable, position, delivered, message)?;
                Some(Received::Unreadable(delivery))
            }
        }
    }

    /// Is nothing missing between this delivery and the one before? Acknowledged one by one, what got
    /// lost comes again by itself after [`ACK_WAIT`](crate::topology::ACK_WAIT), behind later ones of its key (to
    /// begin at the floor instead would repeat all that was handled behind a key that waits); in bulk
    /// it would be acknowledged with the next.
    fn fits(&mut self, consumer_sequence: u64) -> bool {
        match self.acks {
            Acks::Each => true,
            Acks::InBulk => self.unbroken.goes_on(consumer_sequence),
        }
    }

    fn stumble(&mut self, error: &pull::MessagesError) {
        if error.kind() == MessagesErrorKind::MissingHeartbeat {
            self.missed_heartbeats += 1;
            if self.missed_heartbeats < MISSED_HEARTBEATS_MAX {
                tracing::debug!(durable = self.durable, "missed a heartbeat");
                return;
            }
        }
        self.rebuild(&error.to_string());
    }

    fn rebuild(&mut self, why: &str) {
        metrics::counter!("streams_subscription_rebuilds_total", "stream" => self.stream.clone())
            .increment(1);
        let pause = self.backoff.failed();
        tracing::warn!(
            durable = self.durable,
            stream = self.stream,
            ?pause,
            why,
            "durable subscription starts anew"
        );
        self.missed_heartbeats = 0;
        self.live = None;
    }

    /// Binds again. A failure is logged and waited for.
    async fn connect(&mut self) {
        self.backoff.wait().await;
        let pulled = match self.info().await {
            Ok(consumer) => {
                self.take_left_overs(consumer.cached_info()).await;
                self.pull(&consumer).await
            }
            Err(error) => Err(error.into()),
        };
        match pulled {
            Ok(live) => self.live = Some(live),
            Err(error) => {
                let pause = self.backoff.failed();
                tracing::warn!(durable = self.durable, stream = self.stream, ?pause, error = %error, "durable can't be bound yet");
            }
        }
    }

    async fn info(&self) -> Result<PullConsumer, ConsumerError> {
        self.jetstream
            .get_consumer_from_stream(&self.durable, &self.stream)
            .await
    }

    async fn pull(&mut self, consumer: &PullConsumer) -> Result<pull::Stream, async_nats::Error> {
        let config = &consumer.cached_info().config;
        let group = config.priority_groups.first().cloned();
        let expires = pull_expires(config.priority_timeout);
        let builder = consumer
            .stream()
            .max_messages_per_batch(self.limits.prefetch.max(1))
            .expires(expires)
            .heartbeat(expires.mul_f64(HEARTBEAT_SHARE));
        let builder = match group.clone() {
            Some(group) => builder.group(group),
            None => builder,
        };
        self.group = group;
        Ok(builder.messages().await?)
    }
}

/// How long one pull waits, so that several fit into the time after which a silent process loses
/// its pin (zero: the durable has none).
fn pull_expires(priority_timeout: Duration) -> Duration {
    if priority_timeout.is_zero() {
        return PULL_EXPIRES_MAX;
    }
    (priority_timeout / PULLS_PER_PIN).min(PULL_EXPIRES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_pulls_often_enough_to_keep_its_pin() {
        for seconds in [2, 5, 20, 120] {
            let timeout = Duration::from_secs(seconds);
            assert!(pull_expires(timeout) * PULLS_PER_PIN <= timeout);
        }
        assert_eq!(pull_expires(Duration::ZERO), PULL_EXPIRES_MAX);
    }
}
