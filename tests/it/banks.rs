//! The examples of crate `streams` do what they show, on a server that is theirs.

use crate::documents::document;
use crate::server::Server;

#[expect(dead_code, reason = "`main`: each runs on a server of the test's own")]
#[path = "../../streams/examples/bank_account.rs"]
mod bank_account;
#[expect(dead_code, reason = "`main`: each runs on a server of the test's own")]
#[path = "../../streams/examples/bank_with_worker.rs"]
mod bank_with_worker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_account_keeps_what_it_is_given() {
    let server = Server::start("bank-account").await;
    bank_account::run(&server.options()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_with_a_worker_carries_out_what_is_ordered() {
    let server = Server::start("bank-with-worker").await;
    bank_with_worker::run(&server.options()).await.unwrap();
}

#[test]
fn the_readme_names_them_and_no_other() {
    let typed = "cargo run -p streams --example ";
    let readme = document("README.md");
    let named: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix(typed))
        .collect();
    assert_eq!(named, ["bank_account", "bank_with_worker"]);
}
