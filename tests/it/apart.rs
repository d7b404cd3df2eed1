//! One process a context: whoever is asked, the calls are done by who hosts them.

use std::process::Command;

use devstack::launch::Child;
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, PATIENCE, folder, program};

/// A stack whose entry hosts orders alone, and who hosts the rest.
async fn six_processes() -> (App, Vec<Child>) {
    let data = folder("apart");
    let app = App::start_with(&data, &["--contexts", "order"]).await;
    let mut others = Vec::new();
    for context in ["user", "product", "inventory", "payment", "notification"] {
        let (_, child) = app.command_api(&["--contexts", context]).await;
        others.push(child);
    }
    (app, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_tells_its_story_with_one_process_a_context() {
    let (app, others) = six_processes().await;
    let output = Command::new(program())
        .args(["demo", "--data"])
        .arg(&app.data)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{said}");
    assert!(
        told.contains("order_confirmed") && !told.contains('✗'),
        "{told}"
    );

    // Over the real bus too: the first answer again, and refusals as they are at home.
    let sku = format!("apart-{}", Uuid::new_v4().simple());
    let operator = millrace::token::operator(&app.data).unwrap();
    let shop = app.shop().with_token(&operator);
    let create = async || {
        let body = json!({
            "sku": sku, "title": "Tea", "description": "Green.", "category": "Drinks",
            "price": { "amount": 5, "currency": "EUR" },
        });
        shop.post("/v1/products", &body).await.unwrap()
    };
    let created = create().await;
    assert_eq!(created.status, 201, "{}", created.body);
    for header in ["Location", "ETag", "Consistency-Token"] {
        assert!(created.header(header).is_some(), "{header}");
    }
    assert_eq!(created.header("Idempotency-Replayed"), None);
    let refused = create().await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(refused.text("/code"), "product_already_exists");
    assert_eq!(refused.text("/errors/0/pointer"), "/sku");

    for child in others {
        child
            .signaller()
            .send(devstack::launch::Signal::TERM)
            .unwrap();
        child.wait().await;
    }
    // The command API that is left says it; the gateway, as long as it still asks those that went.
    let started = std::time::Instant::now();
    let gone = loop {
        let gone = create().await;
        assert_eq!(gone.status, 503, "{}", gone.body);
        if gone.text("/code") != "service_down" {
            break gone;
        }
        assert!(started.elapsed() < PATIENCE, "{}", gone.body);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(gone.text("/code"), "unavailable", "{}", gone.body);
    assert!(gone.header("Retry-After").is_some());
    app.stop().await;
}
