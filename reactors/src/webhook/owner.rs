//! Whose an event is.

use domains::checkout::Checkout;
use kernel::{Decider, UserId};
use notification::Notification;
use order::Order;
use payment::Payment;
use streams::lanes::HandleError;
use streams::{RecordedEvent, Streams};

/// The person whose order, payment, mail, checkout or account the event is about; `None` = nobody's.
pub(super) async fn owner_of(
    streams: &Streams,
    event: &RecordedEvent,
) -> Result<Option<UserId>, HandleError> {
    if event.kind.is_some() {
        return Ok(None);
    }
    match event.context.as_str() {
        "user" => {
            let id = event.aggregate_id.as_str().parse();
            id.map(Some).map_err(HandleError::permanent)
        }
        "order" => loaded(streams, event, Order::owner).await,
        "payment" => loaded(streams, event, payer).await,
        "notification" => loaded(streams, event, recipient).await,
        "checkout" => loaded(streams, event, Checkout::user_id).await,
        _ => Ok(None),
    }
}

fn payer(payment: &Payment) -> Option<UserId> {
    payment.charge().map(|charge| charge.user_id)
}

fn recipient(notification: &Notification) -> Option<UserId> {
    notification.message().map(|message| message.user_id)
}

async fn loaded<A: Decider>(
    streams: &Streams,
    event: &RecordedEvent,
    owner: fn(&A) -> Option<UserId>,
) -> Result<Option<UserId>, HandleError> {
    let loaded = streams.load_with::<A>(event).await?;
    Ok(owner(&loaded.state))
}
