//! Keys of persons.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::UserId;
use serde_json::Value;
use uuid::Uuid;

use super::bench::at_last;
use crate::connection::Connection;
use crate::keys::{Keys, KeysError, MasterKey, MasterKeys};

fn keys(connection: &Connection, byte: u8) -> Keys {
    let master = MasterKey::parse(&URL_SAFE_NO_PAD.encode([byte; 32])).unwrap();
    Keys::new(connection, master)
}

fn person() -> UserId {
    UserId(Uuid::new_v4())
}

/// Sealed by one process, opened by another; only for the same purpose; many at once in order.
pub async fn seals_and_opens(connection: &Connection) {
    let (one, other) = (keys(connection, 1), keys(connection, 1));
    let (ada, bob) = (person(), person());
    // The stream was made just now: in a cluster not every node may know yet who answers for it.
    let name = at_last("sealed", async || one.seal(ada, "name", "Ada").await).await;
    let email = one.seal(ada, "email", "ada@example.org").await.unwrap();
    let bobs = one.seal(bob, "name", "Bob").await.unwrap();
    assert!(!name.as_str().contains("Ada"));
    assert_eq!(
        other.open(&name, "name").await.unwrap().as_deref(),
        Some("Ada")
    );
    let moved = other.open(&name, "email").await.unwrap_err();
    assert!(matches!(moved, KeysError::Broken { .. }), "{moved}");
    let many = [(&bobs, "name"), (&email, "email"), (&name, "name")];
    let many = keys(connection, 1).open_many(&many).await.unwrap();
    let many: Vec<_> = many.iter().map(Option::as_deref).collect();
    assert_eq!(many, [Some("Bob"), Some("ada@example.org"), Some("Ada")]);
}

/// Many processes seal for a new person at once: one key wins, and all can be opened with it.
pub async fn racing_creators_share_one_key(connection: &Connection) {
    let ada = person();
    let sealing = (0..16).map(|number| async move {
        let own = keys(connection, 1);
        own.seal(ada, "name", &format!("Ada {number}"))
            .await
            .unwrap()
    });
    let sealed = futures::future::join_all(sealing).await;
    let reader = keys(connection, 1);
    for (number, sealed) in sealed.iter().enumerate() {
        let opened = reader.open(sealed, "name").await.unwrap();
        assert_eq!(opened, Some(format!("Ada {number}")));
    }
}

/// A destroyed key opens nothing, anywhere; the person gets no new one; twice is once.
pub async fn a_destroyed_key_is_gone(connection: &Connection) {
    let one = keys(connection, 1);
    let ada = person();
    let sealed = one.seal(ada, "name", "Ada").await.unwrap();
    one.destroy(ada).await.unwrap();
    one.destroy(ada).await.unwrap();
    for reader in [&one, &keys(connection, 1)] {
        assert_eq!(reader.open(&sealed, "name").await.unwrap(), None);
        let again = reader.seal(ada, "name", "Ada").await.unwrap_err();
        assert!(matches!(again, KeysError::Erased { .. }), "{again}");
    }
    assert_eq!(
        records(connection, ada).await,
        1,
        "only the tombstone is left"
    );
    // Somebody who never had a key can be destroyed too, and whatever stands in a key's place.
    let nobody = person();
    one.destroy(nobody).await.unwrap();
    assert!(one.seal(nobody, "name", "x").await.is_err());
    let bob = person();
    let garbage = connection
        .jetstream()
        .publish(format!("key.{bob}"), "?".into());
    garbage.await.unwrap().await.unwrap();
    let broken = one.seal(bob, "name", "Bob").await.unwrap_err();
    assert!(matches!(broken, KeysError::Broken { .. }), "{broken}");
    one.destroy(bob).await.unwrap();
    assert_eq!(records(connection, bob).await, 1);
    assert!(matches!(
        one.seal(bob, "name", "Bob").await,
        Err(KeysError::Erased { .. })
    ));
}

/// Another master key, a key that is not there, and a changed text are three different errors.
pub async fn what_does_not_fit_is_told_apart(connection: &Connection) {
    let ada = person();
    let one = keys(connection, 1);
    let sealed = one.seal(ada, "name", "Ada").await.unwrap();
    let other = keys(connection, 2).open(&sealed, "name").await.unwrap_err();
    assert!(matches!(other, KeysError::OtherMasterKey { .. }), "{other}");
    let text = sealed.ciphertext().unwrap();
    let nobodys = kernel::Sealed::new(person(), text);
    let missing = one.open(&nobodys, "name").await.unwrap_err();
    assert!(matches!(missing, KeysError::Missing { .. }), "{missing}");
    let mut changed = text.to_owned();
    let last = changed.pop().unwrap();
    changed.push(if last == 'A' { 'Q' } else { 'A' });
    let broken = one.open(&kernel::Sealed::new(ada, &changed), "name").await;
    assert!(matches!(broken, Err(KeysError::Broken { .. })));
}

/// Every key comes under the newest master key, what it replaces is overwritten, and what was
/// sealed is still read; twice is once.
pub async fn the_master_key_is_rotated(connection: &Connection) {
    let old = keys(connection, 1);
    let (ada, bob) = (person(), person());
    let sealed = old.seal(ada, "name", "Ada").await.unwrap();
    old.seal(bob, "name", "Bob").await.unwrap();
    old.destroy(bob).await.unwrap();

    let rotating = rotating(connection);
    let opened = rotating.open(&sealed, "name").await.unwrap();
    assert_eq!(opened.as_deref(), Some("Ada"), "before, with both keys");
    let mut heard = Vec::new();
    let first = rotating.rotate(connection, |done, of| heard.push((done, of)));
    let first = first.await.unwrap();
    assert!(first.rewrapped >= 1 && first.erased >= 1, "{first:?}");
    let all = first.rewrapped + first.current + first.erased;
    assert_eq!(heard.last(), Some(&(all, all)));
    let second = rotating.rotate(connection, |_, _| {}).await.unwrap();
    assert_eq!((second.rewrapped, second.erased), (0, first.erased));

    let opened = keys(connection, NEW).open(&sealed, "name").await.unwrap();
    assert_eq!(
        opened.as_deref(),
        Some("Ada"),
        "afterwards, with the new one"
    );
    let left = keys(connection, 1).open(&sealed, "name").await.unwrap_err();
    assert!(matches!(left, KeysError::OtherMasterKey { .. }), "{left}");
    assert_eq!(records(connection, ada).await, 1, "nothing of the old one");
}

/// A rotation that died before it overwrote the old record: the next one does it, and so does an
/// erasure.
pub async fn half_a_rotation_is_ended(connection: &Connection) {
    let old = keys(connection, 1);
    for erased in [false, true] {
        let ada = person();
        old.seal(ada, "name", "Ada").await.unwrap();
        let stream = connection.jetstream().get_stream("KEYS").await.unwrap();
        let subject = format!("key.{ada}");
        let last = stream.get_last_raw_message_by_subject(&subject).await;
        let last = last.unwrap();
        let mut record: Value = serde_json::from_slice(&last.payload).unwrap();
        record["replaces"] = last.sequence.into();
        let publish = connection
            .jetstream()
            .publish(subject, record.to_string().into());
        publish.await.unwrap().await.unwrap();
        assert_eq!(records(connection, ada).await, 2);
        if erased {
            old.destroy(ada).await.unwrap();
        } else {
            rotating(connection)
                .rotate(connection, |_, _| {})
                .await
                .unwrap();
        }
        assert_eq!(records(connection, ada).await, 1);
    }
}

/// The master key that others are rotated to.
const NEW: u8 = 9;

/// Wraps with [`NEW`], and reads what the suite's other master keys have wrapped.
fn rotating(connection: &Connection) -> Keys {
    let text = [NEW, 1, 2].map(|byte| URL_SAFE_NO_PAD.encode([byte; 32]));
    Keys::new(connection, MasterKeys::parse(&text.join(",")).unwrap())
}

/// Messages that are left of a person.
async fn records(connection: &Connection, person: UserId) -> usize {
    let stream = connection.jetstream().get_stream("KEYS").await.unwrap();
    let subject = format!("key.{person}");
    let mut left = stream.info_with_subjects(subject).await.unwrap();
    futures::TryStreamExt::try_next(&mut left)
        .await
        .unwrap()
        .map_or(0, |(_, count)| count)
}
