//! What a snapshot holds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use kernel::Decider;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Where fingerprints live.
const FINGERPRINTS: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_8000_8000_0000_0000_0002);

/// Version of the layout of [`Snapshot`] itself.
const LAYOUT: u32 = 1;

/// Bytes of one remembered command: half of its id, and where its first event stands.
const COMMAND_BYTES: usize = 16;

/// First token of a snapshot's subject.
const SNAPSHOT_TOKEN: &str = "snapshot";

/// A state and what proves it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Of the state's type: see [`fingerprint`].
    pub(crate) fingerprint: Uuid,
    /// How many events it is folded from.
    pub(crate) version: u64,
    /// Stream sequence of the last of them.
    pub(crate) position: u64,
    /// The id of that event: the proof that it is of this log.
    pub(crate) event_id: Uuid,
    /// The recent commands, as [`Snapshot::commands`] packs them.
    commands: String,
    /// The state as it serializes.
    state: Value,
    /// How long it was when it was read, in bytes, but for the commands.
    #[serde(skip)]
    pub(crate) bytes: usize,
}

/// What became of an attempt to read a snapshot.
#[derive(Debug)]
pub(crate) enum Reading<A> {
    /// Its state is one of ours.
    Fits(Box<Snapshot>, A),
    /// Made by code with another idea of the state.
    OtherSchema,
    /// Not to be read at all.
    Damaged,
}

impl Snapshot {
    /// A snapshot of `state`, if it can be written as JSON.
    pub(crate) fn new<A: Decider>(
        state: &A,
        (version, position, event_id): (u64, u64, Uuid),
        commands: impl Iterator<Item = (u64, u64)>,
    ) -> Option<Self> {
        let packed: Vec<u8> = commands
            .flat_map(|(tag, sequence)| [tag.to_be_bytes(), sequence.to_be_bytes()])
            .flatten()
            .collect();
        Some(Self {
            fingerprint: fingerprint::<A>(),
            version,
            position,
            event_id,
            commands: STANDARD_NO_PAD.encode(packed),
            state: serde_json::to_value(state).ok()?,
            bytes: 0,
        })
    }

    pub(crate) fn encode(&self) -> Option<Bytes> {
        serde_json::to_vec(self).ok().map(Bytes::from)
    }

    /// Reads what [`Snapshot::encode`] wrote.
    ///
    /// A state must come out of the JSON and go back into exactly the same: a field or variant that
    /// was added, removed or renamed shows, whether or not somebody thought of the revision.
    pub(crate) fn read<A: Decider>(bytes: &[u8]) -> Reading<A> {
        let Ok(mut snapshot) = serde_json::from_slice::<Self>(bytes) else {
            return Reading::Damaged;
        };
        if snapshot.fingerprint != fingerprint::<A>() {
            return Reading::OtherSchema;
        }
        snapshot.bytes = bytes.len().saturating_sub(snapshot.commands.len());
        let written = std::mem::take(&mut snapshot.state);
        let Ok(state) = A::deserialize(&written) else {
            return Reading::OtherSchema;
        };
        match serde_json::to_value(&state) {
            Ok(again) if again == written && snapshot.version > 0 => {
                Reading::Fits(Box::new(snapshot), state)
            }
            Ok(_) | Err(_) => Reading::OtherSchema,
        }
    }

    /// The remembered commands, oldest first: half of the id, and where the first event stands.
    pub(crate) fn commands(&self) -> Vec<(u64, u64)> {
        // What can't be read is forgotten: a repetition is then found by the message id or not at
        // all, as after a thousand other commands.
        let packed = STANDARD_NO_PAD.decode(&self.commands).unwrap_or_default();
        packed
            .chunks_exact(COMMAND_BYTES)
            .filter_map(|both| {
                let (tag, sequence) = both.split_at(COMMAND_BYTES / 2);
                let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
                Some((number(tag)?, number(sequence)?))
            })
            .collect()
    }
}

/// What must be the same for a snapshot to be used: the layout, the aggregate's type, its declared
/// [`Decider::STATE_REVISION`], and how its first state is written.
///
/// The shape of later states is not part of it, because no value stands for all of an enum's:
/// [`Snapshot::read`] compares that state by state. What neither can see is that the same events
/// now lead to another state of the same shape; that is what the revision is declared for, and
/// `millrace schema check` notices when it was forgotten.
pub(crate) fn fingerprint<A: Decider>() -> Uuid {
    // A state that can't be serialized has no snapshots either.
    let first = serde_json::to_string(&A::default()).unwrap_or_default();
    let text = format!("{LAYOUT}\n{}\n{}\n{first}", A::TYPE, A::STATE_REVISION);
    Uuid::new_v5(&FINGERPRINTS, text.as_bytes())
}

/// `snapshot.<context>[.<kind>].<id>` for the aggregate with events on `subject`.
pub(crate) fn subject_of_snapshot(subject: &str) -> String {
    let rest = subject.split_once('.').map_or(subject, |(_, rest)| rest);
    format!("{SNAPSHOT_TOKEN}.{rest}")
}
