//! Runs the store's contract against a NATS server that lets this user do everything:
//! `cargo run -p streams --example store_contract -- nats://127.0.0.1:4222 1`
//! (the number is that of the replicas).

use std::time::Instant;

use streams::ConnectOptions;
use streams::contract::{self, OnServer};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next();
    let replicas = arguments.next().and_then(|text| text.parse().ok());
    let options = ConnectOptions {
        url: url.unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned()),
        user: "contract".to_owned(),
        password: String::new(),
        name: "store contract".to_owned(),
        ca: None,
        shown: None,
    };
    let rig = OnServer::open(options, replicas.unwrap_or(1)).await;
    let started = Instant::now();
    contract::all(&rig).await;
    rig.all().await;
    println!("the contract holds; {} ms", started.elapsed().as_millis());
}
