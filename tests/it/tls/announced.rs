//! APIs that announce themselves without TLS.

use devstack::launch::Child;
use millrace::client::Shop;

use super::listen;
use crate::app::{PATIENCE, becomes};
use crate::servers::Servers;

/// A query API that announces an address which is not this machine's alone, in the clear.
async fn announced(servers: &Servers) -> Child {
    let port = devstack::Reserved::choose(0).unwrap().address().port();
    let everywhere = format!("0.0.0.0:{port}");
    let address = format!("http://{everywhere}");
    let args = ["query-api", "--listen", &everywhere];
    let told = [("MILLRACE_ADVERTISE", address.as_str())];
    let child = servers.role_that_is_told(&args, &told).await;
    let shop = Shop::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let ready = shop.wait_for("the query API", "/readyz", PATIENCE, |_| true);
    ready.await.unwrap();
    child
}

/// A gateway in production, and where its log is.
async fn gateway(servers: &Servers, told: &[(&str, &str)]) -> (Shop, Child, std::path::PathBuf) {
    let listen = listen();
    let args = ["gateway", "--mode", "production", "--listen", &listen];
    let child = servers.role_that_is_told(&args, told).await;
    let log = servers.data.join(format!("{}.log", args.join("-")));
    let shop = Shop::new(&format!("http://{listen}")).unwrap();
    becomes("the gateway", async || shop.get("/livez").await.is_ok()).await;
    (shop, child, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_asks_no_api_that_announces_itself_in_the_clear() {
    let servers = Servers::start("announced").await;
    let (shop, _gateway, log) = gateway(&servers, &[]).await;
    let mut apis = Vec::new();
    for count in 1..=2 {
        apis.push(announced(&servers).await);
        becomes("the gateway says whom it does not ask", async || {
            let said = shop.get("/readyz").await.unwrap();
            let wanted = format!("no replica is ready; without TLS, and so not asked: {count}");
            said.text("/checks/query-api") == wanted
        })
        .await;
    }
    let asked = shop.get("/v1/products").await.unwrap();
    assert_eq!(asked.status, 503, "{}", asked.body);
    let metrics = shop.get("/metrics").await.unwrap().body;
    let counted = r#"gateway_refused_replicas{role="query-api"} 2"#;
    assert!(metrics.as_str().unwrap().contains(counted), "{metrics}");
    let log = std::fs::read_to_string(log).unwrap();
    let told = log.matches("announces itself without TLS").count();
    assert_eq!(told, 2, "each once: {log}");

    let trusting = [("MILLRACE_APIS_HTTP", "true")];
    let (shop, _trusting, _) = gateway(&servers, &trusting).await;
    let asked = shop.wait_for("the products", "/v1/products", PATIENCE, |_| true);
    asked.await.unwrap();
}
