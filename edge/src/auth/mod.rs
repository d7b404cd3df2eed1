//! Who asks: Ed25519 keys, access tokens (RFC 7519, RFC 9068, RFC 8725), principals, ownership.
//!
//! ```text
//!   KeySet (files) ──► Signer::sign(principal) ──► token ──► Verifier::verify ──► Principal
//!          └────────► jwks: what others verify with
//! ```

mod crypto;
mod jwks;
mod keys;
mod principal;
mod scope;
mod token;

pub use jwks::jwks;
pub use keys::{KeySet, KeysError};
pub use principal::{Held, OPERATOR, Principal};
pub(crate) use scope::needed as scope_needed;
pub use token::{
    ACCESS_TOKEN_TIME_S, AUDIENCE, Clock, ISSUER, SignError, Signer, TOKEN_COUNTS_S, Token,
    TokenError, Verifier,
};
