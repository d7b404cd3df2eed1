//! Bugs on purpose: a simulator that finds none of these would find nothing else either.

use strum::{EnumIter, EnumString, IntoStaticStr, VariantNames};

/// A rule of the design that one run's model breaks. The code under test stays as it is: the bus,
/// the runner, the reactors and the timers are models here, and these are wrong ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Bug {
    /// The inventory leaves no tombstone when it releases what it doesn't know, and the saga takes
    /// what is reserved too late for a repeat. (Either defense alone is enough.)
    NoTombstone,
    /// The runner acknowledges a fact before its asks are answered.
    AcknowledgeFirst,
    /// A lost answer to a cancel is taken for "canceled".
    AssumeVoided,
    /// A refund whose answer was lost is sent again under another key.
    RefundUnderNewKey,
    /// An intent is made and confirmed in one go, under a new key each time.
    ChargeUnderNewKey,
    /// A success that comes after the end is dropped.
    DropLateSuccess,
    /// A timer that its stream lost is not set again.
    NoSweep,
    /// A timer that rang is set again to the deadline that has just passed.
    RingWithoutEnd,
    /// What a timer rings for is held against the role's own clock.
    TrustOwnClock,
    /// A mail is recorded as sent before it is.
    RecordMailFirst,
    /// Every try of a mail has another Message-ID.
    NewMessageId,
    /// What a webhook claims is taken for a fact.
    BelieveLetters,
    /// Half of what is asked for is taken.
    CaptureHalf,
    /// Half of what a return is worth goes back.
    RefundHalf,
    /// Of what comes back one unit is put on the shelf.
    RestockOne,
    /// That the bank has sent a refund back is told to nobody.
    DropComeBack,
}
