//! Intents: the happy path, declines, authentication, unexpected states, bad parameters, lists, the ledger.

use crate::{Provider, assert_error, assert_unexpected_state};
use serde_json::{Value, json};

#[tokio::test]
async fn an_intent_is_created_confirmed_and_captured() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    let intent = provider.retrieve(&id).await;
    assert!(id.starts_with("pi_"));
    assert_eq!(intent["object"], "payment_intent");
    assert_eq!(intent["status"], "requires_payment_method");
    assert_eq!(intent["livemode"], false);
    assert_eq!(intent["metadata"], json!({ "order_id": "o1" }));
    assert!(intent["client_secret"].as_str().unwrap().starts_with(&id));
    assert_eq!(intent["latest_charge"], Value::Null);

    let (status, intent) = provider.confirm(&id, "pm_card_visa").await;
    assert_eq!(status, 200);
    assert_eq!(intent["status"], "requires_capture");
    assert_eq!(intent["amount_capturable"], 2000);
    assert_eq!(intent["amount_received"], 0);
    assert!(intent["latest_charge"].as_str().unwrap().starts_with("ch_"));

    let form = [("amount_to_capture", "2001")];
    let refused = provider.act(&id, "capture", &form).await;
    assert_error(&refused, 400, "invalid_request_error", "amount_too_large");
    let (status, intent) = provider.act(&id, "capture", &[]).await;
    assert_eq!(status, 200);
    assert_eq!(intent["status"], "succeeded");
    assert_eq!(intent["amount_capturable"], 0);
    assert_eq!(intent["amount_received"], 2000);
    assert_eq!(provider.retrieve(&id).await, intent);
    provider.stop().await;
}

#[tokio::test]
async fn a_part_can_be_captured_and_the_rest_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    provider.confirm(&id, "pm_card_visa").await;
    let form = [("amount_to_capture", "1500")];
    let (_, intent) = provider.act(&id, "capture", &form).await;
    assert_eq!(intent["amount_received"], 1500);
    assert_eq!(intent["amount_capturable"], 0);
    assert_unexpected_state(&provider.act(&id, "capture", &[]).await, "succeeded");
    provider.stop().await;
}

#[tokio::test]
async fn an_automatic_intent_is_taken_with_its_confirmation() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let form = [
        ("amount", "700"),
        ("currency", "EUR"),
        ("payment_method_types[]", "card"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
    ];
    let (status, intent) = provider.post("/v1/payment_intents", &form).await;
    assert_eq!(status, 200, "{intent}");
    assert_eq!(intent["status"], "succeeded");
    assert_eq!(intent["currency"], "eur");
    assert_eq!(intent["amount_received"], 700);
    let without = form.get(..4).unwrap();
    let (_, intent) = provider.post("/v1/payment_intents", without).await;
    assert_eq!(intent["status"], "requires_confirmation");
    let id = intent["id"].as_str().unwrap();
    let (_, intent) = provider.act(id, "confirm", &[]).await;
    assert_eq!(intent["status"], "succeeded");
    provider.stop().await;
}

#[tokio::test]
async fn every_declining_card_declines_with_its_code_and_another_card_can_follow() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    for (method, code, decline_code) in [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        (
            "pm_card_chargeDeclinedInsufficientFunds",
            "card_declined",
            "insufficient_funds",
        ),
        (
            "pm_card_chargeDeclinedExpiredCard",
            "expired_card",
            "expired_card",
        ),
    ] {
        let id = provider.create(method).await;
        let declined = provider.confirm(&id, method).await;
        assert_error(&declined, 402, "card_error", code);
        let error = &declined.1["error"];
        assert_eq!(error["decline_code"], decline_code);
        assert_eq!(error["payment_intent"]["id"], id.as_str());
        let intent = provider.retrieve(&id).await;
        assert_eq!(intent, error["payment_intent"]);
        assert_eq!(intent["status"], "requires_payment_method");
        assert_eq!(intent["payment_method"], Value::Null);
        let last = &intent["last_payment_error"];
        assert_eq!(last["decline_code"], decline_code);
        let (_, intent) = provider.confirm(&id, "pm_card_visa").await;
        assert_eq!(intent["status"], "requires_capture");
        assert_eq!(intent["last_payment_error"], Value::Null);
    }
    provider.stop().await;
}

#[tokio::test]
async fn authentication_waits_for_the_customer() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    for (succeed, status) in [
        (true, "requires_capture"),
        (false, "requires_payment_method"),
    ] {
        let id = provider.create("o1").await;
        let (_, intent) = provider
            .confirm(&id, "pm_card_authenticationRequired")
            .await;
        assert_eq!(intent["status"], "requires_action");
        assert_eq!(intent["next_action"]["type"], "use_stripe_sdk");
        assert_unexpected_state(&provider.act(&id, "capture", &[]).await, "requires_action");
        let (_, intent) = provider.complete_action(&id, succeed).await;
        assert_eq!(intent["status"], status);
        assert_eq!(intent["next_action"], Value::Null);
        let failed = intent["last_payment_error"]["code"].as_str();
        let expected = (!succeed).then_some("payment_intent_authentication_failure");
        assert_eq!(failed, expected);
        assert_unexpected_state(&provider.complete_action(&id, true).await, status);
    }
    provider.stop().await;
}

/// An intent of 20.00 EUR that is created with more parameters, and confirmed with these.
async fn confirmed(
    provider: &Provider,
    created: &[(&str, &str)],
    asked: &[(&str, &str)],
) -> (u16, Value) {
    let mut form = vec![
        ("amount", "2000"),
        ("currency", "eur"),
        ("capture_method", "manual"),
    ];
    form.extend(created);
    let (_, intent) = provider.post("/v1/payment_intents", &form).await;
    let mut form = vec![("payment_method", "pm_card_authenticationRequired")];
    form.extend(asked);
    let id = intent["id"].as_str().unwrap();
    provider.act(id, "confirm", &form).await
}

#[tokio::test]
async fn who_accepts_whatever_the_dashboard_does_says_where_customers_come_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let to_the_shop = [("return_url", "https://shop.example/orders/1")];
    let anything = [("automatic_payment_methods[enabled]", "true")];
    for created in [&[][..], &anything] {
        let (status, refused) = confirmed(&provider, created, &[]).await;
        assert_eq!(status, 400, "{refused}");
        assert_eq!(refused["error"]["type"], "invalid_request_error");
        let said = refused["error"]["message"].as_str().unwrap();
        assert!(said.contains("return_url"), "{said}");
        let kept = &refused["error"]["payment_intent"]["status"];
        assert_eq!(kept, "requires_payment_method");
        let (status, _) = confirmed(&provider, created, &to_the_shop).await;
        assert_eq!(status, 200);
    }
    let stays = [
        anything[0],
        ("automatic_payment_methods[allow_redirects]", "never"),
    ];
    for created in [&stays[..], &[("payment_method_types[]", "card")]] {
        let (status, intent) = confirmed(&provider, created, &[]).await;
        assert_eq!(status, 200, "{intent}");
        assert_eq!(intent["next_action"]["type"], "use_stripe_sdk");
    }
    let nowhere = confirmed(&provider, &[], &[("return_url", "nowhere")]).await;
    assert_error(&nowhere, 400, "invalid_request_error", "url_invalid");
    let too_early = [("amount", "5"), ("currency", "eur"), to_the_shop[0]];
    let refused = provider.post("/v1/payment_intents", &too_early).await;
    assert_error(&refused, 400, "invalid_request_error", "parameter_unknown");
    provider.stop().await;
}

#[tokio::test]
async fn a_customer_answers_on_a_page_and_is_sent_back_to_the_shop() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let browser = browser.build().unwrap();
    for (says, status) in [
        ("true", "requires_capture"),
        ("false", "requires_payment_method"),
    ] {
        let card = [("payment_method_types[]", "card")];
        let back = [("return_url", "https://shop.example/o?a=1")];
        let (_, intent) = confirmed(&provider, &card, &back).await;
        let action = &intent["next_action"];
        assert_eq!(action["type"], "redirect_to_url");
        assert_eq!(action["redirect_to_url"]["return_url"], back[0].1);
        let page = action["redirect_to_url"]["url"].as_str().unwrap();
        let shown = browser
            .get(page)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(shown.contains("2000 EUR"), "{shown}");
        let id = intent["id"].as_str().unwrap();
        let shop = format!(
            "https://shop.example/o?a=1&payment_intent={id}&payment_intent_client_secret={}",
            intent["client_secret"].as_str().unwrap()
        );
        // Whoever answers twice, or comes again, is sent on; the first answer counts.
        for asked in [
            browser.post(page).form(&[("succeed", says)]),
            browser.post(page).form(&[("succeed", "true")]),
            browser.get(page),
        ] {
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status(), 303);
            assert_eq!(answer.headers()["location"], shop.as_str());
            assert_eq!(provider.retrieve(id).await["status"], status);
        }
    }
    let nobody = format!("{}/authenticate/pi_none", provider.http);
    assert_eq!(browser.get(nobody).send().await.unwrap().status(), 404);
    provider.stop().await;
}

#[tokio::test]
async fn calls_in_the_wrong_state_are_refused_with_the_intent() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    let state = "requires_payment_method";
    assert_unexpected_state(&provider.act(&id, "capture", &[]).await, state);
    assert_unexpected_state(&provider.act(&id, "confirm", &[]).await, state);
    provider.confirm(&id, "pm_card_visa").await;
    let again = provider.confirm(&id, "pm_card_visa").await;
    assert_unexpected_state(&again, "requires_capture");
    provider.act(&id, "capture", &[]).await;
    assert_unexpected_state(&provider.act(&id, "capture", &[]).await, "succeeded");
    assert_unexpected_state(&provider.act(&id, "cancel", &[]).await, "succeeded");
    let again = provider.confirm(&id, "pm_card_visa").await;
    assert_unexpected_state(&again, "succeeded");
    provider.stop().await;
}

#[tokio::test]
async fn an_open_intent_is_canceled_once_and_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    provider.confirm(&id, "pm_card_visa").await;
    let form = [("cancellation_reason", "requested_by_customer")];
    let (status, intent) = provider.act(&id, "cancel", &form).await;
    assert_eq!(status, 200);
    assert_eq!(intent["status"], "canceled");
    assert_eq!(intent["cancellation_reason"], "requested_by_customer");
    assert_eq!(intent["amount_capturable"], 0);
    assert!(intent["canceled_at"].is_i64());
    assert_unexpected_state(&provider.act(&id, "cancel", &[]).await, "canceled");
    let late = provider.confirm(&id, "pm_card_visa").await;
    assert_unexpected_state(&late, "canceled");
    assert_unexpected_state(&provider.act(&id, "capture", &[]).await, "canceled");
    provider.stop().await;
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let long = "x".repeat(501);
    for (form, code, param) in [
        (vec![("currency", "eur")], "parameter_missing", "amount"),
        (vec![("amount", "5")], "parameter_missing", "currency"),
        (
            vec![("amount", "0"), ("currency", "eur")],
            "parameter_invalid_integer",
            "amount",
        ),
        (
            vec![("amount", "1.5"), ("currency", "eur")],
            "parameter_invalid_integer",
            "amount",
        ),
        (
            vec![("amount", "-5"), ("currency", "eur")],
            "parameter_invalid_integer",
            "amount",
        ),
        (
            vec![("amount", "100000000"), ("currency", "eur")],
            "amount_too_large",
            "amount",
        ),
        (
            vec![("amount", "5"), ("currency", "euro")],
            "parameter_invalid_string",
            "currency",
        ),
        (
            vec![("amount", "5"), ("currency", "eur"), ("ammount", "5")],
            "parameter_unknown",
            "ammount",
        ),
        (
            vec![
                ("amount", "5"),
                ("currency", "eur"),
                ("payment_method", "pm_none"),
            ],
            "resource_missing",
            "payment_method",
        ),
        (
            vec![("amount", "5"), ("currency", "eur"), ("metadata[a]", &long)],
            "parameter_invalid_string",
            "metadata",
        ),
        (
            vec![("amount", "5"), ("currency", "eur"), ("confirm", "yes")],
            "parameter_invalid_boolean",
            "confirm",
        ),
    ] {
        let refused = provider.post("/v1/payment_intents", &form).await;
        assert_error(&refused, 400, "invalid_request_error", code);
        assert_eq!(refused.1["error"]["param"], param);
    }
    assert_eq!(provider.ledger().await, Vec::<Value>::new());
    provider.stop().await;
}

#[tokio::test]
async fn unknown_things_and_wrong_keys_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let missing = provider.get("/v1/payment_intents/pi_none").await;
    assert_error(&missing, 404, "invalid_request_error", "resource_missing");
    let missing = provider.act("pi_none", "capture", &[]).await;
    assert_error(&missing, 404, "invalid_request_error", "resource_missing");
    for (path, method) in [
        ("/v1/charges", reqwest::Method::GET),
        ("/v1/payment_intents", reqwest::Method::DELETE),
    ] {
        let url = format!("{}{path}", provider.http);
        let request = provider.client.request(method, url);
        let answer = request.bearer_auth(crate::SECRET_KEY).send().await.unwrap();
        let (status, body) = crate::parts(answer).await;
        assert_eq!(status, 404, "{body}");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
    let url = format!("{}/v1/payment_intents", provider.http);
    for request in [
        provider.client.get(&url),
        provider.client.get(&url).bearer_auth("sk_test_other"),
    ] {
        let (status, body) = crate::parts(request.send().await.unwrap()).await;
        assert_eq!(status, 401);
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
    let json = provider.client.post(&url).bearer_auth(crate::SECRET_KEY);
    let answer = json.json(&json!({ "amount": 5 })).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    provider.stop().await;
}

#[tokio::test]
async fn intents_are_listed_newest_first_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.insert(0, provider.create(&number.to_string()).await);
    }
    let page = |answer: Value| -> (Vec<String>, bool) {
        let data = answer["data"].as_array().unwrap();
        let ids = data
            .iter()
            .map(|intent| intent["id"].as_str().unwrap().to_owned());
        (ids.collect(), answer["has_more"].as_bool().unwrap())
    };
    let (_, first) = provider.get("/v1/payment_intents?limit=3").await;
    assert_eq!(first["object"], "list");
    assert_eq!(page(first), (ids[..3].to_vec(), true));
    let path = format!("/v1/payment_intents?limit=3&starting_after={}", ids[2]);
    assert_eq!(
        page(provider.get(&path).await.1),
        (ids[3..].to_vec(), false)
    );
    let created = provider.retrieve(&ids[0]).await["created"]
        .as_i64()
        .unwrap();
    let path = |from: i64| format!("/v1/payment_intents?created[gte]={from}");
    assert_eq!(page(provider.get(&path(created - 60)).await.1).0, ids);
    assert_eq!(page(provider.get(&path(created + 60)).await.1).0, [""; 0]);
    let refused = provider.get("/v1/payment_intents?limit=101").await;
    assert_error(
        &refused,
        400,
        "invalid_request_error",
        "parameter_invalid_integer",
    );
    provider.stop().await;
}

#[tokio::test]
async fn the_ledger_counts_money_and_calls() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.captured("o1").await;
    provider.act(&id, "capture", &[]).await;
    provider.retrieve(&id).await;
    let form = [("payment_intent", id.as_str()), ("amount", "500")];
    provider.post("/v1/refunds", &form).await;
    let expected = json!([{
        "id": id, "amount": 2000, "captured": 2000, "refunded": 500, "currency": "eur",
        "status": "succeeded", "metadata": { "order_id": "o1" },
        "calls": { "create": 1, "confirm": 1, "capture": 2, "refund": 1, "retrieve": 1 },
    }]);
    assert_eq!(json!(provider.ledger().await), expected);
    let page = provider.client.get(&provider.http).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(
        page.contains(&id) && page.contains("order_id = o1"),
        "{page}"
    );
    provider.stop().await;
}
