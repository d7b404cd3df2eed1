//! A key for each person, in a stream that may delete.
//!
//! ```text
//!   personal data ──► seal with the person's key ──► Sealed, in events and views
//!   person's key  ──► wrapped with the master key ──► stream KEYS, subject key.<person>
//!   destroy       ──► a tombstone is last, the key's message is overwritten: unreadable for ever
//! ```
//!
//! A key is created with expectation 0, so of two creators one wins and the other uses the
//! winner's. A tombstone is a message too, so an erased person never gets a second key; and should
//! the stream be restored from before, the log of erasures is replayed against it.

mod aead;
mod digest;
pub mod erasures;
mod error;
mod master;
mod person;
mod rotation;
mod vault;

pub use digest::DigestKey;
pub use erasures::Erasures;
pub use error::{KeysError, SecretError};
pub use master::{MASTER_KEYS_MAX, MasterKey, MasterKeys};
pub use person::Keys;
pub use rotation::Rotated;
