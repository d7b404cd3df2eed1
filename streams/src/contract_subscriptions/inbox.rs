//! Letters of foreign systems.

use std::time::Duration;

use bytes::Bytes;
use kernel::AggregateId;
use uuid::Uuid;

use super::bench::{at_last, within};
use crate::connection::Connection;
use crate::inbox::{Inbox, InboxError, Letter, LetterId, Put};
use crate::subscription::{DurableLimits, DurableSubscription};
use crate::topology::{Acks, DurableSpec, INBOX_STREAM, OnFailure};

/// A letter of the test's own about `key`.
fn letter(key: &str) -> LetterId {
    LetterId {
        source: format!("contract{}", Uuid::new_v4().simple()),
        key: key.parse().unwrap(),
        id: "evt_1".parse().unwrap(),
    }
}

/// Sent twice, by two processes, even at once, it is stored once, byte for byte.
pub async fn a_letter_is_stored_once(connection: &Connection) {
    let letter = letter("pi_1");
    let body = Bytes::from_static(b"{ \"any\": \"bytes\" }\n\xff");
    let senders = (0..8).map(|_| async {
        let own = Inbox::new(connection);
        own.put(&letter, body.clone()).await.unwrap()
    });
    let put = futures::future::join_all(senders).await;
    let stored = put.iter().filter(|put| **put == Put::Stored).count();
    assert_eq!(stored, 1, "{put:?}");
    let inbox = Inbox::new(connection);
    let other = inbox.put(&letter, Bytes::from_static(b"other")).await;
    assert_eq!(other.unwrap(), Put::Duplicate);
    let found = inbox.read(&letter.source, &letter.id).await.unwrap();
    let found = found.unwrap();
    assert_eq!((&found.id, &found.body), (&letter, &body));
    inbox.remove(&found).await.unwrap();
}

/// What no try would store is refused at the first: a letter that is larger than the server
/// takes.
pub async fn what_is_refused_for_good_is_not_tried_again(connection: &Connection) {
    let (inbox, letter) = (Inbox::new(connection), letter("pi_6"));
    let most = connection.client().server_info().max_payload;
    let body = Bytes::from(vec![b'x'; most + 1]);
    let refused = inbox.put(&letter, body).await.unwrap_err();
    assert!(
        matches!(refused, InboxError::TooLarge { bytes } if bytes == most + 1),
        "{refused:?}"
    );
    let found = inbox.read(&letter.source, &letter.id).await.unwrap();
    assert_eq!(found, None);
    let put = inbox.put(&letter, Bytes::from_static(b"{}")).await;
    assert_eq!(put.unwrap(), Put::Stored);
    let found = inbox.read(&letter.source, &letter.id).await.unwrap();
    inbox.remove(&found.unwrap()).await.unwrap();
}

/// What waits is what is there; removed is gone, twice is once, and its id is still known.
pub async fn a_letter_waits_until_it_is_removed(connection: &Connection) {
    let (inbox, letter) = (Inbox::new(connection), letter("pi_2"));
    let put = inbox.put(&letter, Bytes::from_static(b"{}")).await;
    assert_eq!(put.unwrap(), Put::Stored);
    assert!(inbox.waiting().await.unwrap().contains(&letter));
    let found = inbox.read(&letter.source, &letter.id).await.unwrap();
    let found = found.unwrap();
    inbox.remove(&found).await.unwrap();
    inbox.remove(&found).await.unwrap();
    assert!(!inbox.waiting().await.unwrap().contains(&letter));
    assert_eq!(inbox.read(&letter.source, &letter.id).await.unwrap(), None);
    let again = inbox.put(&letter, Bytes::from_static(b"{}")).await;
    assert_eq!(again.unwrap(), Put::Duplicate);
    let never: AggregateId = "evt_never".parse().unwrap();
    assert_eq!(inbox.read(&letter.source, &never).await.unwrap(), None);
}

/// What was removed leaves the disk as soon as no letter is there; one that is there stays.
/// `is_on_disk` tells whether the server's files hold a text.
pub async fn a_removed_letter_leaves_the_disk(
    connection: &Connection,
    is_on_disk: impl Fn(&str) -> bool,
) {
    let inbox = Inbox::new(connection);
    let (worked, waits) = (letter("pi_4"), letter("pi_5"));
    for letter in [&worked, &waits] {
        let body = Bytes::from(letter.source.clone());
        assert_eq!(inbox.put(letter, body).await.unwrap(), Put::Stored);
        within("on disk", until(|| is_on_disk(&letter.source))).await;
    }
    for letter in [&worked, &waits] {
        assert!(!inbox.scrub().await.unwrap());
        let found = inbox.read(&letter.source, &letter.id).await.unwrap();
        inbox.remove(&found.unwrap()).await.unwrap();
    }
    assert!(inbox.scrub().await.unwrap());
    for letter in [&worked, &waits] {
        within("off the disk", until(|| !is_on_disk(&letter.source))).await;
        assert_eq!(
            inbox.put(letter, Bytes::new()).await.unwrap(),
            Put::Duplicate
        );
    }
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A durable hands letters out with what they are about as their lane.
pub async fn a_durable_hands_letters_out(connection: &Connection) {
    let name: &'static str = String::leak(format!("contract{}", Uuid::new_v4().simple()));
    let spec = DurableSpec {
        name,
        stream: INBOX_STREAM,
        kind: None,
        acks: Acks::Each,
        on_failure: OnFailure::Retry,
    };
    let (inbox, letter) = (Inbox::new(connection), letter("pi_3"));
    let js = connection.jetstream();
    at_last("made", async || {
        let made = js.create_consumer_on_stream(spec.config(), INBOX_STREAM);
        made.await
    })
    .await;
    inbox.put(&letter, Bytes::from_static(b"{}")).await.unwrap();
    let bound = DurableSubscription::<Letter>::bind(connection, &spec, DurableLimits::default());
    let mut letters = bound.await.unwrap();
    let delivery = within("a letter", letters.next()).await.unwrap();
    assert_eq!(delivery.event.id, letter);
    let lane = crate::subscription::Payload::lane_key(&delivery.event).to_owned();
    assert_eq!(lane, "pi_3");
    delivery.ack().await.unwrap();
    letters.release().await;
    inbox.remove(&delivery.event).await.unwrap();
    let stream = js.get_stream_no_info(INBOX_STREAM).await.unwrap();
    stream.delete_consumer(name).await.unwrap();
}
