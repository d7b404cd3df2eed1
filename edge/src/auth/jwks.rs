//! `/.well-known/jwks.json`: the public keys (RFC 7517, RFC 8037).

use axum::Json;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Serialize;

use super::KeySet;
use crate::openapi::{self, Answer, Calls, about};

/// How long a verifier may keep the keys: well under a token's life, so that a rotation is seen.
const CACHE: &str = "public, max-age=300";

/// The call.
pub fn jwks<S>() -> Calls<S>
where
    S: Clone + Send + Sync + 'static,
    KeySet: FromRef<S>,
{
    Calls::default().get(
        "/.well-known/jwks.json",
        about("Read the keys that tokens are checked with"),
        published,
    )
}

/// The public halves of all keys (RFC 7517).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Keys")]
struct Published {
    keys: Vec<Key>,
}

/// The public half of an Ed25519 key (RFC 8037).
#[derive(Serialize, JsonSchema)]
struct Key {
    kty: &'static str,
    crv: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    /// What a token names it by.
    kid: String,
    /// The key itself, in base64url.
    x: String,
}

impl IntoResponse for Published {
    fn into_response(self) -> Response {
        ([(CACHE_CONTROL, CACHE)], Json(self)).into_response()
    }
}

impl Answer for Published {
    fn describe(call: &mut openapi::Call<'_>) {
        call.answer::<Self>(StatusCode::OK, "The keys, the newest of which signs");
        call.tells(
            StatusCode::OK,
            "Cache-Control",
            true,
            "How long to keep them.",
        );
    }
}

async fn published(State(keys): State<KeySet>) -> Published {
    let keys = keys.all();
    let keys = keys.iter().map(|key| Key {
        kty: "OKP",
        crv: "Ed25519",
        usage: "sig",
        alg: "EdDSA",
        kid: key.kid.clone(),
        x: URL_SAFE_NO_PAD.encode(&key.public),
    });
    Published {
        keys: keys.collect(),
    }
}
