//! Wraps every person's key anew, with the newest master key.
//!
//! ```text
//!   1. every role gets "new,old": it wraps with the new one, and reads what either has wrapped
//!   2. rotate: for each person  a record under the new key, that names the one it replaces
//!                               the replaced one is overwritten on disk
//!   3. every role gets "new"
//! ```
//!
//! A crash in between leaves a record that names what is to be overwritten; the next run does it,
//! and so does an erasure. Running it twice is running it once.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use kernel::UserId;

use super::error::KeysError;
use super::person::Keys;
use super::vault::Record;
use crate::connection::Connection;
use crate::topology::KEYS_STREAM;
use crate::verify::{ScanError, Scanned, ends, scan};

/// Persons under way at the same time.
const AT_ONCE: usize = 16;

/// Tries for one person, whose record somebody else changes each time.
const TRIES_MAX: u32 = 8;

/// What a rotation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Keys that were wrapped anew.
    pub rewrapped: u64,
    /// Keys that were under the newest master key already.
    pub current: u64,
    /// Persons who were erased: there is nothing to wrap.
    pub erased: u64,
}

/// What became of one person's key.
enum One {
    Rewrapped,
    Current,
    Erased,
}

impl Keys {
    /// Wraps every key in stream KEYS with the newest master key, and overwrites the old records.
    /// `progress` hears how many persons are done, of how many. Needs the right to read all of
    /// KEYS, which only `provision` has.
    ///
    /// # Errors
    /// The stream can't be read or written, or a key is under a master key that is not configured.
    /// What was done stays done.
    pub async fn rotate(
        &self,
        connection: &Connection,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Rotated, KeysError> {
        let persons = persons(connection).await?;
        let total = persons.len() as u64;
        let mut rotated = Rotated::default();
        let mut done = 0;
        progress(done, total);
        let mut ones = stream::iter(persons)
            .map(|person| self.rotate_one(person))
            .buffer_unordered(AT_ONCE);
        while let Some(one) = ones.try_next().await? {
            match one {
                One::Rewrapped => rotated.rewrapped += 1,
                One::Current => rotated.current += 1,
                One::Erased => rotated.erased += 1,
            }
            done += 1;
            progress(done, total);
        }
        Ok(rotated)
    }

    async fn rotate_one(&self, person: UserId) -> Result<One, KeysError> {
        for _ in 0..TRIES_MAX {
            let Some(stored) = self.vault.read(person).await? else {
                return Ok(One::Erased);
            };
            let Record::Key {
                master,
                wrapped,
                replaces,
            } = &stored.record
            else {
                return Ok(One::Erased);
            };
            // Also before another one is replaced: a record names one at most.
            if let Some(replaced) = replaces {
                self.vault.erase(*replaced).await?;
            }
            if self.master.is_newest(master) {
                return Ok(One::Current);
            }
            let key = self.unwrap(person, master, wrapped)?;
            let record = self.wrap(person, &key, Some(stored.sequence))?;
            let now = self.vault.write(person, &record, stored.sequence).await?;
            if now.record == record {
                self.vault.erase(stored.sequence).await?;
                return Ok(One::Rewrapped);
            }
        }
        Err(KeysError::Unavailable {
            source: format!("the key of {person} is changed again and again").into(),
        })
    }
}

/// Everybody who has or had a key.
async fn persons(connection: &Connection) -> Result<BTreeSet<UserId>, KeysError> {
    let unavailable = |source: ScanError| KeysError::Unavailable {
        source: source.into(),
    };
    let ends = ends(connection, KEYS_STREAM).await;
    let last = ends.map_err(unavailable)?.last;
    let mut persons = BTreeSet::new();
    let each = |record: Scanned| {
        let id = record.subject.rsplit('.').next().unwrap_or_default();
        persons.extend(id.parse::<UserId>());
    };
    scan(connection, KEYS_STREAM, last, each)
        .await
        .map_err(unavailable)?;
    Ok(persons)
}
