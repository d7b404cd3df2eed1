//! SQL in whatever the query API is asked for: a value, which nobody carries out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{StreamExt, stream};
use millrace::client::Shop;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Must, shared};

/// What ends a text in SQL and then says yes to everything, reads elsewhere or does something; and what no text
/// of Postgres holds.
const INJECTIONS: [&str; 4] = [
    "zz' or '1'='1",
    "zz') union select view_id, 1, payload from order_summary --",
    "zz'; drop table order_summary; --",
    "zz\0",
];

/// Words of a product: whatever is typed there finds what has some of them.
const WORDS: &str = "q";

/// Questions at once.
const AT_ONCE: usize = 8;

/// Every byte as `%XX`.
fn encoded(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

/// One question, with SQL in one place of it.
struct Question {
    path: String,
    header: Option<(String, &'static str)>,
    /// Whoever takes the value for what it is finds nothing.
    finds_nothing: bool,
}

impl Question {
    async fn put_to(self, api: &Shop) {
        let headers = self.header.as_ref();
        let headers: Vec<(&str, &str)> = headers
            .map(|(name, value)| (name.as_str(), *value))
            .into_iter()
            .collect();
        let answer = api.call(Method::GET, &self.path, &headers, None).await;
        let answer = answer.unwrap();
        let told = format!(
            "{} {:?}: {} {}",
            self.path, self.header, answer.status, answer.body
        );
        match answer.status.as_u16() {
            200 if self.finds_nothing => assert_eq!(answer.body["items"], json!([]), "{told}"),
            200 | 400 | 404 | 422 => {}
            _ => panic!("{told}"),
        }
    }
}

/// A path of the document with `sql` in the place of one parameter, and something sound in those of the others.
fn filled(path: &str, name: &str, sql: &str) -> String {
    let steps = path.split('/').map(|step| match step.strip_prefix('{') {
        Some(place) if place.trim_end_matches('}') == name => encoded(sql),
        Some(_) => Uuid::new_v4().to_string(),
        None => step.to_owned(),
    });
    steps.collect::<Vec<_>>().join("/")
}

/// Every place of every question that the API's own document tells of, with each injection.
fn questions(document: &Value) -> Vec<Question> {
    let mut questions = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let places = item["get"]["parameters"].as_array();
        for place in places.into_iter().flatten() {
            let name = place["name"].as_str().unwrap();
            for sql in INJECTIONS {
                let path = filled(path, name, sql);
                let (path, header) = match place["in"].as_str().unwrap() {
                    "path" => (path, None),
                    "query" => (format!("{path}?{name}={}", encoded(sql)), None),
                    // No header holds a NUL.
                    "header" if sql.contains('\0') => continue,
                    "header" => (path, Some((name.to_owned(), sql))),
                    other => panic!("{name} stands in {other}"),
                };
                questions.push(Question {
                    finds_nothing: header.is_none() && name != WORDS,
                    path,
                    header,
                });
            }
        }
    }
    questions
}

/// The cursor of the list at `path`, with each injection in the place of the row that it names; none where the
/// list has no second page.
async fn cursors(api: &Shop, path: &str) -> Vec<Question> {
    let page = api.get(&format!("{path}?limit=1")).await.must();
    let Some(cursor) = page.body["next"].as_str() else {
        return Vec::new();
    };
    let said: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).unwrap()).unwrap();
    let mut questions = Vec::new();
    for sql in INJECTIONS {
        // The row's id, and its place in the order.
        for part in ["i", "s"]
            .into_iter()
            .filter(|part| said[*part].is_string())
        {
            let mut forged = said.clone();
            forged[part] = json!(sql);
            let forged = URL_SAFE_NO_PAD.encode(forged.to_string());
            questions.push(Question {
                path: format!("{path}?limit=1&cursor={forged}"),
                header: None,
                finds_nothing: false,
            });
        }
    }
    questions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_in_a_filter_a_cursor_or_an_id_is_a_value_like_any_other() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(2).await);
    for _ in 0..2 {
        let order = customer.orders(&sku, 1, "pm_card_visa").await;
        app.order_is(&order, "confirmed").await;
    }
    // Past the entry, which lets little of this through.
    let operator = millrace::token::operator(&app.data).unwrap();
    let api = app.queries().with_token(&operator);
    let document = api.get("/openapi.json").await.must().body;
    let mut asked = questions(&document);
    let of_documents = asked.len();
    assert!(of_documents > 500, "{of_documents}");
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut places = item["get"]["parameters"].as_array().into_iter().flatten();
        if !path.contains('{') && places.any(|place| place["name"] == "cursor") {
            asked.extend(cursors(&api, path).await);
        }
    }
    assert!(asked.len() > of_documents + 20, "{}", asked.len());
    let api = &api;
    let asking = asked.into_iter().map(|question| question.put_to(api));
    stream::iter(asking)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    // Everything is where it was, and of others' orders a customer is told nothing.
    let own = format!("/v1/orders?user_id={}", customer.id);
    let found = customer.shop.get(&own).await.must().body;
    assert_eq!(found["items"].as_array().unwrap().len(), 2, "{found}");
}
