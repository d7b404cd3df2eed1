//! The tests of `tests/http` once more, with one process a context: calls come in where orders are
//! hosted, and are carried to who hosts the rest.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

const APART: bool = true;

#[path = "../http/accounts.rs"]
mod accounts;
#[path = "../http/app.rs"]
mod app;
#[path = "../http/catalog.rs"]
mod catalog;
#[path = "../http/conditions.rs"]
mod conditions;
#[path = "../http/documents.rs"]
mod documents;
#[path = "../http/endpoints.rs"]
mod endpoints;
#[path = "../http/notifications.rs"]
mod notifications;
#[path = "../http/orders.rs"]
mod orders;
#[path = "../http/placing.rs"]
mod placing;
#[path = "../http/returns.rs"]
mod returns;
#[path = "../http/users.rs"]
mod users;
#[path = "../http/webhooks.rs"]
mod webhooks;

mod carried {
    use serde_json::json;
    use uuid::Uuid;

    use crate::app::{App, product};

    /// Where the process that hosts it would refuse, so does the one that carries it there.
    #[tokio::test]
    async fn a_key_that_the_client_must_send_is_not_made_up_for_it() {
        let app = App::new();
        let path = format!("/v1/payments/{}/refunds", Uuid::new_v4());
        let body = json!({ "amount": { "amount": 1, "currency": "EUR" }, "reason": "a scratch" });
        let keyless = app.post(&path).by(&app.operator()).send(&body).await;
        keyless.refused(400, "idempotency_key_required", "");
    }

    /// Bodies of any length are not carried; everything else is, once, whatever the client sends.
    #[tokio::test]
    async fn what_cannot_be_carried_is_refused_and_the_rest_is_done_once() {
        let app = App::new();
        let operator = app.operator();
        let import = app.post("/v1/products/import").by(&operator).key("k");
        let import = import.header("content-type", "application/x-ndjson");
        import.raw("{}\n").await.refused(503, "unavailable", "");
        let create = || app.post("/v1/products").by(&operator);
        create().send(&product("tea", 5, "EUR")).await.must(201);
        let again = create().send(&product("tea", 5, "EUR")).await;
        again.refused(409, "product_already_exists", "/sku");
        assert_eq!(again.body["instance"], "/v1/products");
        let large = json!({ "reason": "x".repeat(800_000) });
        let large = app
            .post("/v1/products/tea/unpublish")
            .by(&operator)
            .send(&large)
            .await;
        large.refused(413, "body_too_large", "");
        let traced = app.post("/v1/products/tea/unpublish").by(&operator);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let traced = traced.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
        let refused = traced.send(&json!({})).await;
        refused.refused(409, "product_not_published", "");
        assert_eq!(refused.body["trace_id"], trace);
    }
}
