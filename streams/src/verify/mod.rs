//! Is the log what it should be? Reads whole streams, changes nothing.
//!
//! ```text
//!   scan    every message of a stream as it stands, whether it can be read or not
//!   audit   versions without gaps, ids once, subjects and bodies that the code knows
//!   floors  how far durables say that they have come, beside where the log ends
//! ```
//!
//! What an event's body must be, only the domain knows: an [`Audit`] is given a function for it.

mod audit;
mod floors;
mod scan;

pub use audit::{Audit, Finding, Kind, Known};
pub use floors::{Floor, floors};
pub use scan::{Ends, ScanError, Scanned, ends, scan};
