//! The API's own description, OpenAPI 3.1, from the code that answers.
//!
//! ```text
//!   Calls::post("/v1/orders/{id}/cancel", about("Cancel an order").refuses(…), cancel)
//!      │                                                                        │
//!      │   each extractor and the answer of `cancel` say what they stand for ◄──┘   Part, Answer
//!      ▼
//!   Router (as without)   +   Document ──► /openapi.json, /reference
//! ```
//!
//! Nothing is written down twice: parameters, bodies with their bounds, headers and the problems of
//! an extractor come from its type, the status and the code of a refusal from the refusal. Only
//! which refusals a call has is listed at its route; the tests hold every answer that they get
//! against the document.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON that is made here: a key that is missing reads as null, and objects take new ones"
)]

mod call;
mod calls;
mod document;
mod parts;
mod reference;
mod schemas;

pub use call::{Answer, Call, Part};
pub use calls::{About, Calls, Described, about, paths_of};
pub use document::{Document, Unlike};
pub(crate) use reference::render;
pub use reference::routes;
pub use schemas::Schemas;
