//! The API's document: whole in itself, and true of every read of the running system.

use std::collections::BTreeSet;

use millrace::client::Shop;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, Customer, PATIENCE, shared};

/// What stands for a time that has been.
const LONG_AGO: &str = "2026-01-31T12:00:00Z";

/// All operations of the document: method, path, and what is said.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, calls)| {
        let calls = calls.as_object().unwrap().iter();
        calls.map(move |(method, call)| (method.as_str(), path.as_str(), call))
    })
}

fn collect_refs(value: &Value, refs: &mut Vec<String>) {
    if let Some(target) = value.get("$ref").and_then(Value::as_str) {
        refs.push(target.to_owned());
    }
    let members = value.as_object().into_iter().flat_map(|it| it.values());
    let items = value.as_array().into_iter().flatten();
    members.chain(items).for_each(|it| collect_refs(it, refs));
}

#[test]
fn the_document_is_whole() {
    let document = millrace::entry::document();
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document.get("x-named-twice"), None, "two things, one name");
    let mut names = BTreeSet::new();
    for (method, path, call) in operations(document) {
        let at = format!("{method} {path}");
        assert!(names.insert(call["operationId"].as_str().unwrap()), "{at}");
        let content = &call["requestBody"]["content"];
        assert!(content.is_object() == (method == "post"), "{at}: its body");
        for media in content.as_object().into_iter().flat_map(|it| it.values()) {
            assert!(media.get("example").is_some(), "{at} has no example");
        }
        let in_braces = path.matches('{').count();
        let parameters = call["parameters"].as_array().into_iter().flatten();
        let in_path = parameters.clone().filter(|it| it["in"] == "path").count();
        assert_eq!(in_path, in_braces, "{at}");
        let answers = call["responses"].as_object().unwrap();
        let asked = parameters.clone().any(|it| it["name"] == "If-None-Match");
        assert_eq!(asked, answers.contains_key("304"), "{at}");
        let good = answers.iter().find(|(status, _)| status.starts_with('2'));
        assert!(
            good.is_some_and(|(_, it)| it["content"].is_object()),
            "{at}"
        );
    }
    assert!(names.len() > 100, "only {} calls", names.len());
    let mut refs = Vec::new();
    collect_refs(document, &mut refs);
    for target in refs {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} is missing");
    }
}

/// A code without a page explains nothing; a page without a call is never led to.
#[test]
fn every_problem_of_a_call_has_its_page_and_every_page_its_call() {
    let document = millrace::entry::document();
    let mut codes = BTreeSet::new();
    for answer in document.json()["components"]["responses"]
        .as_object()
        .unwrap()
        .values()
    {
        let schema = &answer["content"]["application/problem+json"]["schema"];
        let listed = schema["allOf"][1]["properties"]["code"]["enum"].as_array();
        codes.extend(listed.unwrap().iter().map(|code| code.as_str().unwrap()));
    }
    let own = [command_api::PAGES, query_api::PAGES, gateway::PAGES].concat();
    let own: BTreeSet<_> = own.iter().map(|page| page.code).collect();
    let common = edge::problem::COMMON.iter().map(|page| page.code);
    let explained: BTreeSet<_> = own.iter().copied().chain(common).collect();
    let silent: Vec<_> = codes.difference(&explained).collect();
    assert!(silent.is_empty(), "nothing explains {silent:?}");
    // What can be wrong with one line of an import stands in the import's answer.
    codes.insert("line_too_long");
    let never: Vec<_> = own.difference(&codes).collect();
    assert!(never.is_empty(), "no call answers {never:?}");
}

/// What there is to be read.
struct Things {
    customer: Customer,
    order: String,
    payment: String,
    notification: String,
    back: String,
    sku: String,
    import: String,
    suppression: String,
    endpoint: String,
    delivery: String,
    /// Somebody who wants to be forgotten.
    leaving: String,
}

impl Things {
    /// Of each kind one: an order that has arrived, of which something came back.
    async fn made(app: &App) -> Self {
        let operator = app.operator();
        let (customer, sku) = (app.customer().await, app.product(2).await);
        let order = customer.orders(&sku, 2, "pm_card_visa").await;
        app.delivers(&order).await;
        let back = came_back(app, &customer, (&order, &sku)).await;
        app.told(&order, 3).await;
        let import = imported(&operator, &sku).await;
        let nobody = format!("{}@example.com", Uuid::new_v4());
        let nobody = json!({ "email": nobody, "reason": "asked to" });
        let suppression = post(&operator, "/v1/suppressions", &nobody).await;
        let path = format!("/v1/suppressions/{suppression}");
        is(&operator, &path, "suppressed").await;
        let (endpoint, delivery) = told_in_vain(&customer).await;
        let leaver = app.customer().await;
        let path = format!("/v1/users/{}/erasure", leaver.id);
        post(&leaver.shop, &path, &json!({})).await;
        Self {
            payment: first(&operator, &format!("/v1/payments?order_id={order}")).await,
            notification: first(&operator, &format!("/v1/notifications?order_id={order}")).await,
            leaving: leaver.id,
            customer,
            order,
            back,
            sku,
            import,
            suppression,
            endpoint,
            delivery,
        }
    }

    /// The path with the id of something in the place of its names.
    fn at(&self, path: &str) -> String {
        let ids = [
            ("/v1/users/{id}/erasure", &self.leaving),
            ("/v1/users/", &self.customer.id),
            ("/v1/products/imports/", &self.import),
            ("/v1/products/", &self.sku),
            ("/v1/inventory/", &self.sku),
            ("/v1/orders/", &self.order),
            ("/v1/payments/", &self.payment),
            ("/v1/notifications/", &self.notification),
            ("/v1/suppressions/", &self.suppression),
            ("/v1/webhook-endpoints/", &self.endpoint),
            ("/v1/checkouts/returns/", &self.back),
            ("/v1/checkouts/refunds/", &self.back),
            ("/v1/checkouts/", &self.order),
        ];
        let found = ids.iter().find(|(begin, _)| path.starts_with(begin));
        let id = found.map_or("", |(_, id)| id);
        path.replace("{id}", id)
            .replace("{sku}", id)
            .replace("{return_id}", &self.back)
            .replace("{delivery_id}", &self.delivery)
    }

    /// Something that a parameter may be: its schema's example, or one of these things.
    fn value(&self, parameter: &Value, position: &str) -> Option<String> {
        let schema = &parameter["schema"];
        let said = [
            &schema["examples"][0],
            &schema["enum"][0],
            &schema["default"],
        ];
        if let Some(said) = said.into_iter().find(|said| !said.is_null()) {
            return Some(
                said.as_str()
                    .map_or_else(|| said.to_string(), str::to_owned),
            );
        }
        Some(match parameter["name"].as_str().unwrap() {
            "user_id" => self.customer.id.clone(),
            "order_id" => self.order.clone(),
            "sku" => self.sku.clone(),
            "from" | "before" if schema["format"] == "date-time" => LONG_AGO.to_owned(),
            "from" | "to" if schema["format"] == "date" => LONG_AGO[..10].to_owned(),
            "as_of" | "to" => position.to_owned(),
            "from" | "limit" => "1".to_owned(),
            "after" => "0".to_owned(),
            "low_stock" | "in_trouble" => "true".to_owned(),
            // Only a page leads to another one.
            "cursor" => return None,
            other => panic!("nothing to say for {other}"),
        })
    }
}

async fn post(shop: &Shop, path: &str, body: &Value) -> String {
    let answer = shop.post(path, body).await.unwrap();
    answer.success().unwrap().text("/id").to_owned()
}

/// An endpoint that is nowhere, and a delivery that was tried once.
async fn told_in_vain(customer: &Customer) -> (String, String) {
    let (shop, path) = (&customer.shop, "/v1/webhook-endpoints");
    let nowhere = json!({
        "url": "https://hooks.millrace.invalid/", "event_types": ["order.*"],
    });
    let endpoint = post(shop, path, &nowhere).await;
    let path = format!("{path}/{endpoint}");
    let delivery = post(shop, &format!("{path}/test"), &json!({})).await;
    let path = format!("{path}/deliveries/{delivery}");
    let tried = shop.wait_for("an attempt", &path, PATIENCE, |row| {
        row["attempts"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    tried.await.unwrap();
    (endpoint, delivery)
}

/// Waits until something has this status.
async fn is(operator: &Shop, path: &str, status: &str) {
    let found = operator.wait_for(status, path, PATIENCE, |row| row["status"] == status);
    found.await.unwrap();
}

/// The id of the first row of a list.
async fn first(operator: &Shop, path: &str) -> String {
    let list = operator.get(path).await.unwrap();
    list.text("/items/0/id").to_owned()
}

/// One piece of an order, with its money.
async fn came_back(app: &App, customer: &Customer, (order, sku): (&str, &str)) -> String {
    let lines = json!({ "lines": [{ "sku": sku, "quantity": 1 }], "reason": "it leaks" });
    let returns = format!("/v1/orders/{order}/returns");
    let back = post(&customer.shop, &returns, &lines).await;
    for act in ["approve", "receive"] {
        let path = format!("{returns}/{back}/{act}");
        post(&app.operator(), &path, &json!({})).await;
    }
    for saga in ["returns", "refunds"] {
        let path = format!("/v1/checkouts/{saga}/{back}");
        is(&app.operator(), &path, "ended").await;
    }
    back
}

/// An import of one product.
async fn imported(operator: &Shop, sku: &str) -> String {
    let line = json!({
        "sku": format!("{sku}-2"), "title": "Cup", "description": "Small.", "category": "Kitchen",
        "price": { "amount": 500, "currency": "EUR" },
    });
    let key = Uuid::new_v4().to_string();
    let answer = operator.import(&key, format!("{line}\n")).await.unwrap();
    let import = answer.success().unwrap().text("/id").to_owned();
    let path = format!("/v1/products/imports/{import}");
    is(operator, &path, "completed").await;
    import
}

/// Does the value look as the schema says? It may say no more either.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(target) = schema["$ref"].as_str() {
        let named = document.pointer(target.trim_start_matches('#')).unwrap();
        // What stands beside the reference is about the same object.
        let mut whole = named.clone();
        for (name, more) in schema["properties"].as_object().into_iter().flatten() {
            whole["properties"][name] = more.clone();
        }
        return fits(document, &whole, value);
    }
    for choices in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[choices].as_array() {
            return choices.iter().any(|choice| fits(document, choice, value));
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    if let Some(only) = schema.get("const") {
        return only == value;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::String(_) => "string",
        Value::Array(items) => {
            return says(schema, "array")
                && items.iter().all(|it| fits(document, &schema["items"], it));
        }
        Value::Object(_) => return says(schema, "object") && members_fit(document, schema, value),
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => return says(schema, "integer") || says(schema, "number"),
    };
    says(schema, kind)
}

fn says(schema: &Value, kind: &str) -> bool {
    let said = &schema["type"];
    match said.as_array() {
        Some(kinds) => kinds.iter().any(|it| it == kind),
        None => said.is_null() || said == kind,
    }
}

fn members_fit(document: &Value, schema: &Value, value: &Value) -> bool {
    let required = schema["required"].as_array().into_iter().flatten();
    let mut required = required.filter_map(Value::as_str);
    let known = &schema["properties"];
    let free = known.is_null();
    let mut members = value.as_object().unwrap().iter();
    required.all(|name| value.get(name).is_some())
        && members.all(|(name, member)| {
            free || known.get(name).is_some_and(|it| fits(document, it, member))
        })
}

/// The answer is one of those that the call has, with the headers and the body that it says.
async fn must_be_described(document: &Value, call: &Value, answer: Response) -> Value {
    let (status, url) = (answer.status(), answer.url().clone());
    let headers = answer.headers().clone();
    let mut said = &call["responses"][status.as_str()];
    if let Some(target) = said["$ref"].as_str() {
        said = document.pointer(target.trim_start_matches('#')).unwrap();
    }
    assert!(said.is_object(), "{url}: {status} is not described");
    for (name, header) in said["headers"].as_object().into_iter().flatten() {
        let needed = header["required"] == true;
        assert!(
            !needed || headers.contains_key(name),
            "{url} {status}: {name} is missing"
        );
    }
    let media = headers["content-type"].to_str().unwrap();
    let content = &said["content"][media];
    assert!(
        content.is_object(),
        "{url} {status}: {media} is not described"
    );
    if media == "text/event-stream" {
        return Value::Null;
    }
    let body: Value = answer.json().await.unwrap();
    if let Some(code) = body["code"].as_str() {
        let codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"].as_array();
        assert!(codes.unwrap().contains(&json!(code)), "{url}: {body}");
    } else {
        assert!(
            fits(document, &content["schema"], &body),
            "{url} is described otherwise: {body}"
        );
    }
    body
}

/// What a token must be good for where one is taken.
fn scope(call: &Value) -> Option<&str> {
    let ways = call["security"].as_array().unwrap();
    ways.last()?["token"][0].as_str()
}

fn needs_token(call: &Value) -> bool {
    scope(call).is_some() && call["security"].as_array().unwrap().len() == 1
}

/// Asks whoever answers it, not by way of the gateway.
async fn asks(app: &App, (method, path): (&str, &str), scope: &str) -> Response {
    let api = match (method, path) {
        (_, path) if path.ends_with("/overview") => &app.endpoints.entry,
        ("get", _) | (_, "/graphql") => &app.endpoints.query_api,
        _ => &app.endpoints.command_api,
    };
    let id = Uuid::now_v7().to_string();
    let parts = path.split('/');
    let parts = parts.map(|part| if part.starts_with('{') { &id } else { part });
    let url = format!("{api}{}", parts.collect::<Vec<_>>().join("/"));
    let token = millrace::token::operator_for(&app.data, scope).unwrap();
    let client = reqwest::Client::new();
    let asked = match method {
        "get" => client.get(url),
        _ => client.post(url).body("{}"),
    };
    let asked = asked.header("Content-Type", "application/json");
    asked.bearer_auth(token).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_a_scope_is_good_for_the_calls_of_that_scope_alone() {
    let app = shared().await;
    let document = millrace::entry::document();
    let mut scopes = BTreeSet::new();
    for (method, path, call) in operations(document.json()) {
        let Some(scope) = scope(call) else { continue };
        scopes.insert(scope);
        let others = "nonsense:read orders orders:";
        let refused = asks(app, (method, path), others).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {path}");
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(refused.headers()["www-authenticate"], challenge.as_str());
        let body = must_be_described(document.json(), call, refused).await;
        assert_eq!(body["code"], "insufficient_scope");
        // Whatever else may be wrong with it.
        let taken = asks(app, (method, path), &format!("{others} {scope}")).await;
        if taken.status() == StatusCode::FORBIDDEN {
            let body = must_be_described(document.json(), call, taken).await;
            assert_eq!(body["code"], "forbidden", "{method} {path}");
        }
    }
    assert!(
        scopes.contains("orders:write") && scopes.len() > 15,
        "{scopes:?}"
    );
}

/// What somebody is told who is no operator and owns nothing, where that follows from the description.
fn of_others(path: &str, call: &Value) -> Option<StatusCode> {
    if !needs_token(call) {
        return None;
    }
    let refusals = call["responses"]["403"]["$ref"].as_str();
    if refusals.is_some_and(|codes| codes.contains("forbidden")) {
        return Some(StatusCode::FORBIDDEN);
    }
    path.contains('{').then_some(StatusCode::NOT_FOUND)
}

/// Every read that the document has, with every parameter that it has, as whom it is for; and as whom
/// it isn't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_answers_as_it_is_described() {
    let app = shared().await;
    let document = millrace::entry::document();
    let document = document.json();
    let things = Things::made(app).await;
    let operator = app.operator();
    let somebody = app.customer().await.shop;
    let mut reads = 0;
    for (method, path, call) in operations(document).filter(|(method, ..)| *method == "get") {
        let at = things.at(path);
        let parameters: Vec<_> = call["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        let (needed, others): (Vec<_>, Vec<_>) = parameters
            .into_iter()
            .filter(|parameter| parameter["in"] == "query")
            .partition(|parameter| parameter["required"] == true);
        let mut query = Vec::new();
        for parameter in needed {
            let name = parameter["name"].as_str().unwrap();
            query.push(format!("{name}={}", things.value(parameter, "1").unwrap()));
        }
        let plain = format!("{at}?{}", query.join("&"));
        let answer = operator.open(&plain, &[]).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{method} {plain}");
        let position = answer.headers().get("projection-position").cloned();
        let position = position.map(|it| it.to_str().unwrap().to_owned());
        must_be_described(document, call, answer).await;
        for parameter in others {
            let name = parameter["name"].as_str().unwrap();
            let Some(value) = things.value(parameter, position.as_deref().unwrap_or("1")) else {
                continue;
            };
            let narrowed = format!("{plain}&{name}={}", value.replace(' ', "+"));
            let answer = operator.open(&narrowed, &[]).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{narrowed}");
            must_be_described(document, call, answer).await;
        }
        let wrong = format!("{plain}&nonsense=1");
        let unknown = path.starts_with("/v1/").then_some(StatusCode::BAD_REQUEST);
        let unsigned = needs_token(call).then_some(StatusCode::UNAUTHORIZED);
        for (shop, path, expected) in [
            (&operator, &wrong, unknown),
            (&app.shop(), &plain, unsigned),
            (&somebody, &plain, of_others(path, call)),
        ] {
            let answer = shop.open(path, &[]).await.unwrap();
            let status = answer.status();
            assert!(expected.is_none_or(|it| it == status), "{path}: {status}");
            must_be_described(document, call, answer).await;
        }
        reads += 1;
    }
    assert!(reads > 50, "only {reads} reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_graphql_is_answered_as_it_is_described() {
    let app = shared().await;
    let document = millrace::entry::document();
    let call = &document.json()["paths"]["/graphql"]["post"];
    app.product(1).await;
    let asked = &call["requestBody"]["content"]["application/json"]["example"];
    let url = format!("{}/graphql", app.endpoints.entry);
    let answer = reqwest::Client::new()
        .post(url)
        .json(asked)
        .send()
        .await
        .unwrap();
    let body = must_be_described(document.json(), call, answer).await;
    assert!(
        body["data"]["products"]["items"][0]["sku"].is_string(),
        "{body}"
    );
    assert_eq!(body.get("errors"), None, "{body}");
}
