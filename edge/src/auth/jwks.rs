//! `/.well-known/jwks.json`: the public keys (RFC 7517, RFC 8037).

use axum::Json;
use axum::Router;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::KeySet;

/// How long a verifier may keep the keys: well under a token's life, so that a rotation is seen.
const CACHE: &str = "public, max-age=300";

/// The route.
pub fn jwks<S: Clone + Send + Sync + 'static>(keys: &KeySet) -> Router<S> {
    let body = document(keys);
    Router::new().route(
        "/.well-known/jwks.json",
        get(move || async move { ([(CACHE_CONTROL, CACHE)], Json(body)).into_response() }),
    )
}

fn document(keys: &KeySet) -> Value {
    let keys: Vec<_> = keys
        .all()
        .iter()
        .map(|key| {
            json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "use": "sig",
                "alg": "EdDSA",
                "kid": key.kid,
                "x": URL_SAFE_NO_PAD.encode(&key.public),
            })
        })
        .collect();
    json!({ "keys": keys })
}
