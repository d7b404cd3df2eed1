//! Whose it is to do more for a durable than to handle what comes.

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{self, PullConsumer};

use super::{DurableSubscription, Payload};

/// Whether this process is the one that works on a durable, as the server says.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    jetstream: Context,
    stream: String,
    durable: String,
}

impl<T: Payload> DurableSubscription<T> {
    pub(crate) fn turn(&self) -> Turn {
        Turn {
            jetstream: self.jetstream.clone(),
            stream: self.stream.clone(),
            durable: self.durable.clone(),
        }
    }
}

impl Turn {
    /// May a process that works under `pin`, or under none yet, be sure that no other has something in hand? One that
    /// can't ask may not.
    pub(crate) async fn is_ours(&self, pin: Option<&str>) -> bool {
        let (stream, durable) = (&self.stream, &self.durable);
        let asked = self.jetstream.get_consumer_from_stream(durable, stream);
        let consumer: Result<PullConsumer, _> = asked.await;
        consumer.is_ok_and(|consumer| is_ours(consumer.cached_info(), pin))
    }
}

fn is_ours(info: &consumer::Info, pin: Option<&str>) -> bool {
    let Some(group) = info.priority_groups.first() else {
        // Nobody is pinned ever: all work.
        return true;
    };
    match (group.pinned_client_id.as_deref(), pin) {
        (Some(pinned), pin) => pin == Some(pinned),
        // What is out is this one's.
        (None, Some(_)) => true,
        (None, None) => info.num_ack_pending == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::left_overs::tests::info;
    use super::*;

    #[test]
    fn it_is_who_is_pinned_or_anybodys_where_nothing_is_out() {
        assert!(is_ours(&info(Some("mine"), 1), Some("mine")));
        assert!(!is_ours(&info(Some("other"), 0), Some("mine")));
        assert!(!is_ours(&info(Some("other"), 0), None));
        assert!(is_ours(&info(None, 1), Some("mine")), "the server forgot");
        assert!(is_ours(&info(None, 0), None));
        assert!(!is_ours(&info(None, 1), None), "somebody may have it");
    }
}
