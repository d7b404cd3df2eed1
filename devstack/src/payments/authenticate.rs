//! The page on which a customer authenticates, as an issuer's does: it sends them on to the shop's `return_url`.

use super::call::Calls;
use super::control::complete;
use super::form::Form;
use super::intent::{Intent, Status};
use super::page::escape;
use super::refusal::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;

/// The paths.
pub(super) fn routes() -> Router<Calls> {
    Router::new().route("/authenticate/{id}", get(ask).post(answer))
}

/// Asks the customer; who has answered before is sent on.
async fn ask(State(calls): State<Calls>, Path(id): Path<String>) -> Response {
    match find(&calls, &id).await {
        Err(refusal) => refusal.answer().into_response(),
        Ok(intent) if intent.status == Status::RequiresAction => {
            Html(page(&intent)).into_response()
        }
        Ok(intent) => back(&intent),
    }
}

/// The customer's answer, `succeed=true` or `false`: a form of a browser.
async fn answer(State(calls): State<Calls>, Path(id): Path<String>, body: Bytes) -> Response {
    let succeed = match Form::parse(&body).flag("succeed") {
        Ok(succeed) => succeed,
        Err(refusal) => return refusal.answer().into_response(),
    };
    // Refused where they have answered before: then as before.
    complete(&calls, id.clone(), succeed).await;
    match find(&calls, &id).await {
        Err(refusal) => refusal.answer().into_response(),
        Ok(intent) => back(&intent),
    }
}

async fn find(calls: &Calls, id: &str) -> Result<Intent, Refusal> {
    let found = calls
        .ledger
        .read(|books| Some(books.rows.get(id)?.intent.clone()));
    let found = found
        .await
        .map_err(|error| Refusal::internal(&error.to_string()))?;
    found.ok_or_else(|| Refusal::missing("payment_intent", id, "intent"))
}

/// To the shop, which is told of which payment this is, as Stripe does.
fn back(intent: &Intent) -> Response {
    let shop = intent.return_url.as_deref().map(url::Url::parse);
    let Some(Ok(mut shop)) = shop else {
        return Html("<!doctype html><title>Done</title><p>You can close this page.")
            .into_response();
    };
    shop.query_pairs_mut()
        .append_pair("payment_intent", &intent.id)
        .append_pair("payment_intent_client_secret", &intent.client_secret);
    Redirect::to(shop.as_str()).into_response()
}

fn page(intent: &Intent) -> String {
    let (amount, currency) = (intent.amount, escape(&intent.currency).to_uppercase());
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Is it you?</title></head><body><h1>Is it you?</h1>\
         <p>Somebody pays {amount} {currency} (in minor units) with your card.</p><form method=\"post\">\
         <button name=\"succeed\" value=\"true\">Yes, pay</button> \
         <button name=\"succeed\" value=\"false\">No, decline</button></form></body></html>\n"
    )
}
