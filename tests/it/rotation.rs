//! The master key of a shop is changed, step by step as docs/operate.md says, and everybody is still known; and so
//! are the keys that sign tokens.

use std::process::Command;

use millrace::client::Shop;
use serde_json::Value;

use crate::app::{App, Customer, PASSWORD, PATIENCE, becomes, folder, program};

const VARIABLE: &str = "MILLRACE_MASTER_KEY=";

/// 32 bytes in base64url.
const NEW: &str = "QmVpbmcgdGhlIG5ldyBtYXN0ZXIga2V5LCAzMiBieXQ";

/// Gives every role other master keys, as it follows from the present ones.
async fn configure(app: &mut App, keys: impl Fn(&str) -> String) {
    app.kill().await;
    let file = app.data.join("secrets.env");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix(VARIABLE) {
        Some(now) => format!("{VARIABLE}{}\n", keys(now)),
        None => format!("{line}\n"),
    });
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    app.restart().await;
}

/// `millrace keys rotate`: how many keys it wrapped anew, and how many it found so.
fn rotate(app: &App) -> (u64, u64) {
    let mut command = Command::new(program());
    command.args(["keys", "rotate", "--json", "--data"]);
    let output = command.arg(&app.data).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |name: &str| counts[name].as_u64().unwrap();
    (count("rewrapped"), count("current"))
}

/// Is the customer still who they were?
async fn is_known(app: &App, customer: &Customer) {
    let shop = app.shop().sign_in(&customer.email, PASSWORD).await.unwrap();
    let path = format!("/v1/users/{}", customer.id);
    let known = shop.wait_for("the account", &path, PATIENCE, |user| {
        user["email"] == customer.email.as_str() && user["name"] == "Grace Hopper"
    });
    known.await.unwrap();
}

#[tokio::test]
async fn the_master_key_is_changed_and_everybody_is_still_known() {
    let mut app = App::start(&folder("rotation")).await;
    let customers = [app.customer().await, app.customer().await];
    configure(&mut app, |old| format!("{NEW},{old}")).await;
    is_known(&app, &customers[0]).await;
    assert_eq!(rotate(&app), (2, 0));
    assert_eq!(rotate(&app), (0, 2), "twice is once");
    configure(&mut app, |_| NEW.to_owned()).await;
    for customer in &customers {
        is_known(&app, customer).await;
    }
    app.stop().await;
}

/// Whom the entry takes for the customer, as each of the roles behind it does.
async fn takes(customer: &Customer, shop: &Shop) -> u16 {
    let person = format!("/v1/users/{}", customer.id);
    let read = shop.get(&person).await.unwrap().status.as_u16();
    let path = format!("/v1/users/{}/notification-preferences", customer.id);
    let body = serde_json::json!({ "topic": "marketing", "allowed": true });
    let written = shop.post(&path, &body).await.unwrap();
    assert_eq!(read, written.status.as_u16(), "{}", written.body);
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_signs_tokens_is_added_and_another_withdrawn_while_they_are_used() {
    let app = App::start(&folder("token-keys")).await;
    let customer = app.customer().await;
    let signs = async || {
        let shop = app.shop().sign_in(&customer.email, PASSWORD).await.unwrap();
        assert_eq!(takes(&customer, &shop).await, 200);
        let token = shop.token().unwrap().to_owned();
        let header = token.split('.').next().unwrap().to_owned();
        (header, shop)
    };
    let (old, _) = signs().await;
    let keys = app.data.join("keys/jwt");
    // Long enough for every role to read it before.
    let mut command = Command::new(program());
    command.args([
        "keys",
        "add-token-key",
        "--signs-after-s",
        "15",
        "--jwt-keys",
    ]);
    assert!(command.arg(&keys).status().unwrap().success());
    becomes("the new key signs", async || {
        assert_eq!(takes(&customer, &customer.shop).await, 200);
        signs().await.0 != old
    })
    .await;

    std::fs::remove_file(keys.join("0001.json")).unwrap();
    let (_, new) = signs().await;
    becomes("the old key counts no longer", async || {
        assert_eq!(takes(&customer, &new).await, 200);
        let read = customer.shop.get("/v1/orders").await.unwrap();
        let refused = read.status.as_u16() == 401;
        assert!(refused || read.status.is_success(), "{}", read.body);
        refused
    })
    .await;
    app.stop().await;
}
