//! An API that demands certificates of its clients: the gateway shows it one.

use std::path::PathBuf;

use devstack::launch::Child;
use millrace::client::Shop;

use super::{APIS, authority, client, listen};
use crate::app::{PATIENCE, becomes, program};
use crate::servers::Servers;

fn text(files: &[PathBuf; 2]) -> [String; 2] {
    files.each_ref().map(|file| file.display().to_string())
}

/// A gateway that knows where the API is and whom to believe, and is told `more`; and its log.
async fn gateway(
    servers: &Servers,
    (queries, ca): (&str, &str),
    more: &[(&str, &str)],
) -> (Shop, Child, PathBuf) {
    let listen = listen();
    let args = ["gateway", "--listen", &listen];
    let known = [
        ("MILLRACE_LOG", "debug"),
        ("MILLRACE_QUERY_APIS", queries),
        ("MILLRACE_APIS_CA", ca),
        ("MILLRACE_APIS_NAME", APIS),
    ];
    let told = [&known, more].concat();
    let child = servers.role_that_is_told(&args, &told).await;
    let log = servers.data.join(format!("{}.log", args.join("-")));
    let shop = Shop::new(&format!("http://{listen}")).unwrap();
    becomes("the gateway", async || shop.get("/livez").await.is_ok()).await;
    (shop, child, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_demands_a_certificate_serves_nobody_else() {
    let servers = Servers::start("clients").await;
    let folder = servers.data.join("tls");
    std::fs::create_dir_all(&folder).unwrap();
    let (ours, ca) = authority(&folder, "ours");
    let (clients, demanded) = authority(&folder, "clients");
    let [ca, demanded] = [&ca, &demanded].map(|file| file.display().to_string());
    let [certificate, key] = text(&client(&ours, &folder, APIS));
    let queries = listen();
    let told = [
        ("MILLRACE_TLS_CERT", certificate.as_str()),
        ("MILLRACE_TLS_KEY", &key),
        ("MILLRACE_TLS_CLIENTS_CA", &demanded),
    ];
    let args = ["query-api", "--listen", &queries];
    let _queries = servers.role_that_is_told(&args, &told).await;
    let queries = format!("https://{queries}");

    let [certificate, key] = text(&client(&clients, &folder, "gateway"));
    let right = [
        ("MILLRACE_APIS_CERT", certificate.as_str()),
        ("MILLRACE_APIS_KEY", &key),
    ];
    let (shop, _right, _) = gateway(&servers, (&queries, &ca), &right).await;
    let shown = shop.wait_for("the products", "/v1/products", PATIENCE, |_| true);
    shown.await.unwrap();

    let is_healthy = |shown: &[&str]| {
        let asked = ["health", &queries, "--http-ca", &ca, "--http-name", APIS];
        let mut command = std::process::Command::new(program());
        let output = command.args(asked).args(shown).output().unwrap();
        output.status.success()
    };
    assert!(is_healthy(&[
        "--http-cert",
        &certificate,
        "--http-key",
        &key
    ]));
    assert!(!is_healthy(&[]), "it shows nothing");

    // The authority of the servers vouches for no client.
    let [certificate, key] = text(&client(&ours, &folder, "foreign"));
    let foreign = [
        ("MILLRACE_APIS_CERT", certificate.as_str()),
        ("MILLRACE_APIS_KEY", &key),
    ];
    for (told, why) in [(&[][..], "CertificateRequired"), (&foreign, "UnknownCA")] {
        let (shop, _gateway, log) = gateway(&servers, (&queries, &ca), told).await;
        let asked = shop.get("/v1/products").await.unwrap();
        assert_eq!(asked.status, 502, "{why}: {}", asked.body);
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains(why), "{why}: {log}");
    }
}
