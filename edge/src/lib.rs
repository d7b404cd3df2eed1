//! What every HTTP role shares, from the socket up to the handler.
//!
//! ```text
//!   socket ──► serve ──► guard ─────────────────────────────► handler
//!             headers    trace · shedding · panic · time       Principal   auth
//!             bounded    every error as problem+json,          Body<T>     json
//!                        read by who is still sending          IdempotencyKey, Prefer, IfMatch,
//!                                                              ConsistencyHeader, Id
//! ```
//!
//! - [`problem`]: the one shape of an error (RFC 9457)
//! - [`json`]: a body that names the field which is wrong
//! - [`auth`]: keys, tokens, principals, ownership
//! - [`idempotency`]: the `Idempotency-Key` header and what is derived from it
//! - [`consistency`], [`etag`], [`prefer`]: the other conventions of requests and answers
//! - [`Client`]: from where a request comes
//! - [`Id`]: an id in a path
//! - [`Deadline`]: more time for a body that is still coming in
//! - [`is_here`]: which host is this machine
//! - [`targets`]: where something may be sent that somebody else has named
//! - [`openapi`]: what the API says about itself
//! - [`limits`], [`trace`], [`health`], [`serve`](serve()): what a server needs around them
//!
//! Nothing here knows NATS, Postgres or a bounded context.

pub mod auth;
mod client;
pub mod consistency;
mod deadline;
pub mod etag;
mod guard;
pub mod health;
mod here;
mod id;
pub mod idempotency;
pub mod json;
pub mod limits;
mod linger;
mod named;
pub mod openapi;
mod places;
pub mod prefer;
pub mod problem;
mod serve;
pub mod targets;
mod timing;
mod tls;
pub mod trace;
mod whole;

pub use auth::{Held, Principal};
pub use client::{Client, Network, Peer, counted_as};
pub use consistency::ConsistencyHeader;
pub use deadline::Deadline;
pub use etag::{IfMatch, IfNoneMatch};
pub use guard::{as_it_is, guarded, method_refused};
pub use here::is_here;
pub use id::{Id, Ids};
pub use idempotency::IdempotencyKey;
pub use json::Body;
pub use limits::Limits;
pub use places::Share;
pub use prefer::Prefer;
pub use problem::{FieldError, Problem};
pub use serve::{serve, serve_tls};
pub use targets::Targets;
pub use tls::{Shown, TlsArgs, TlsError, server_name, trusting};
pub use trace::Trace;
pub use whole::whole;
