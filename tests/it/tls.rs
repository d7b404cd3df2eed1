//! As in production: TLS to NATS and Postgres, secrets from files, and none of them in a log.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use devstack::launch::{Child, Spec};
use millrace::client::Shop;
use millrace::production::Mode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::json;

use crate::app::{PATIENCE, program};
use crate::servers::Servers;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Somebody who vouches for servers, and the file that says so.
fn authority(folder: &Path, name: &str) -> (Authority, PathBuf) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = folder.join(format!("{name}.pem"));
    std::fs::write(&file, issuer.pem()).unwrap();
    (issuer, file)
}

/// A certificate and its key for this machine.
fn certificate(authority: &Authority) -> [String; 2] {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    params.subject_alt_names.push(SanType::IpAddress(here));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    [certificate.pem(), key.serialize_pem()]
}

/// The stack's Postgres talks TLS, and with nobody otherwise.
async fn postgres(servers: &Servers, authority: &Authority) {
    let admin = servers.sql("postgres").await;
    let shown = async |setting: &str| {
        let row = admin
            .query_one(&format!("show {setting}"), &[])
            .await
            .unwrap();
        PathBuf::from(row.get::<_, String>(0))
    };
    let folder = shown("data_directory").await;
    let owner = std::fs::metadata(&folder).unwrap();
    for (name, text) in ["server.crt", "server.key"]
        .iter()
        .zip(certificate(authority))
    {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let hba = shown("hba_file").await;
    let rules = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("hostnossl all all all reject\n{rules}")).unwrap();
    admin
        .execute("alter system set ssl = on", &[])
        .await
        .unwrap();
    admin.execute("select pg_reload_conf()", &[]).await.unwrap();
}

/// A nats-server with the repository's nats.conf that talks TLS.
async fn nats(servers: &Servers, authority: &Authority) -> (Child, String) {
    let folder = servers.data.join("tls");
    let [certificate, key] = certificate(authority);
    std::fs::write(folder.join("nats.crt"), certificate).unwrap();
    std::fs::write(folder.join("nats.key"), key).unwrap();
    std::fs::write(folder.join("nats.conf"), devstack::nats::CONFIG).unwrap();
    let port = || devstack::Reserved::choose(0).unwrap().address().port();
    let settings = devstack::nats::Settings {
        port: port(),
        http_port: port(),
        store: folder.join("store"),
        sync: devstack::Sync::Always,
    };
    let sources = devstack::fetch::Sources::from_environment();
    let server = devstack::fetch::nats_server(&sources).await.unwrap();
    let mut spec = Spec::new(server).args(["-c", "nats.conf", "--tls"]);
    spec = spec.args(["--tlscert", "nats.crt", "--tlskey", "nats.key"]);
    for (name, value) in settings.environment(servers.stack.secrets()) {
        spec = spec.env(name, value);
    }
    spec.folder.clone_from(&folder);
    spec.log = Some(servers.data.join("nats-tls.log"));
    let child = servers.spawn(&spec).await;
    (child, format!("tls://127.0.0.1:{}", settings.port))
}

/// What every role is told.
struct Production<'a> {
    servers: &'a Servers,
    nats: String,
    ca: PathBuf,
}

impl Production<'_> {
    fn environment(&self, ca: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        let servers = self.servers;
        let mut environment = vec![
            ("MILLRACE_MODE".to_owned(), "production".to_owned()),
            ("MILLRACE_LOG".to_owned(), "debug".to_owned()),
            ("MILLRACE_NATS".to_owned(), self.nats.clone()),
            ("MILLRACE_NATS_CA".to_owned(), text(ca)),
            (
                "MILLRACE_POSTGRES".to_owned(),
                servers.stack.endpoints().postgres.to_string(),
            ),
            ("MILLRACE_POSTGRES_CA".to_owned(), text(ca)),
            (
                "MILLRACE_JWT_KEYS".to_owned(),
                text(&servers.data.join("keys/jwt")),
            ),
        ];
        for (name, value) in servers.stack.secrets().iter() {
            let file = servers.data.join("tls").join(name);
            // As an editor leaves it.
            std::fs::write(&file, format!("{value}\n")).unwrap();
            environment.push((format!("{name}_FILE"), text(&file)));
        }
        environment
    }

    /// `millrace provision`, to its end.
    fn provision(&self, ca: &Path, without: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.arg("provision").env_clear();
        let environment = self.environment(ca).into_iter();
        command.envs(environment.filter(|(name, _)| !without.contains(&name.as_str())));
        command.output().unwrap()
    }

    async fn role(&self, args: &[&str]) -> Child {
        let mut spec = Spec::new(program()).args(args.iter().copied());
        for (name, value) in self.environment(&self.ca) {
            spec = spec.env(name, value);
        }
        spec.log = Some(self.servers.data.join(format!("{}-tls.log", args[0])));
        self.servers.spawn(&spec).await
    }

    async fn api(&self, role: &str) -> (Shop, Child) {
        let port = devstack::Reserved::choose(0).unwrap().address().port();
        let listen = format!("127.0.0.1:{port}");
        let child = self.role(&[role, "--listen", &listen]).await;
        let shop = Shop::new(&format!("http://{listen}")).unwrap();
        shop.wait_for(role, "/readyz", PATIENCE, |_| true)
            .await
            .unwrap();
        let token = millrace::token::operator(&self.servers.data).unwrap();
        (shop.with_token(&token), child)
    }
}

/// The entry shows a certificate, and what is behind it.
async fn entry(production: &Production<'_>, authority: &Authority) {
    let folder = production.servers.data.join("tls");
    let (shown, key) = (folder.join("entry.crt"), folder.join("entry.key"));
    for (file, text) in [&shown, &key].into_iter().zip(certificate(authority)) {
        std::fs::write(file, text).unwrap();
    }
    let [shown, key] = [shown, key].map(|path| path.display().to_string());
    let port = devstack::Reserved::choose(0).unwrap().address().port();
    let listen = format!("127.0.0.1:{port}");
    let args = [
        "gateway",
        "--listen",
        &listen,
        "--tls-cert",
        &shown,
        "--tls-key",
        &key,
    ];
    let _gateway = production.role(&args).await;
    let ours = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let knowing = reqwest::Client::builder()
        .tls_certs_only([ours])
        .build()
        .unwrap();
    let product = format!("https://localhost:{port}/v1/products/TEA");
    let token = millrace::token::operator(&production.servers.data).unwrap();
    let started = std::time::Instant::now();
    let answer = loop {
        match knowing.get(&product).bearer_auth(&token).send().await {
            Ok(answer) if answer.status() == 200 => break answer,
            other => assert!(started.elapsed() < PATIENCE, "{other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["title"], "Tea");
    let strangers = reqwest::Client::new().get(&product).send().await;
    assert!(strangers.is_err(), "nobody vouches for it to a stranger");
    let plain = reqwest::get(format!("http://{listen}/livez")).await;
    assert!(plain.is_err(), "it is not talked to without TLS");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// No log in one of `folders` has one of `secrets`.
fn no_log_tells(folders: &[&Path], secrets: &[(String, String)]) {
    let mut read = 0;
    let entries = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            read += log.len();
            for (name, secret) in secrets {
                assert!(
                    !log.contains(secret.as_str()),
                    "{} tells {name}",
                    path.display()
                );
            }
        }
    }
    assert!(
        read > 10_000,
        "only {read} bytes of logs: is anything logged?"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_in_production_talks_tls_and_reads_its_secrets_from_files() {
    let servers = Servers::bare("tls", [devstack::Service::Postgres]).await;
    let folder = servers.data.join("tls");
    std::fs::create_dir_all(folder.join("store")).unwrap();
    let (ours, ca) = authority(&folder, "ours");
    let (_, stranger) = authority(&folder, "stranger");
    postgres(&servers, &ours).await;
    let (_nats, nats) = nats(&servers, &ours).await;
    let production = Production {
        servers: &servers,
        nats,
        ca,
    };

    let done = production.provision(&production.ca, &[]);
    assert!(done.status.success(), "{}", said(&done));
    let (commands, _command_api) = production.api("command-api").await;
    let (queries, _query_api) = production.api("query-api").await;
    let _projector = production.role(&["projector"]).await;
    let tea = json!({
        "sku": "TEA", "title": "Tea", "description": "Green.", "category": "Drinks",
        "price": { "amount": 5, "currency": "EUR" },
    });
    commands
        .post("/v1/products", &tea)
        .await
        .unwrap()
        .success()
        .unwrap();
    let shown = queries
        .wait_for("the product", "/v1/products/TEA", PATIENCE, |_| true)
        .await;
    assert_eq!(shown.unwrap().body["title"], "Tea");

    let tested = "correct horse battery staple";
    commands
        .register("ada@example.com", "Ada", tested)
        .await
        .unwrap();
    let ada = commands.sign_in("ada@example.com", tested).await.unwrap();
    let refused = commands
        .sign_in("ada@example.com", "wrong horse battery staple")
        .await;
    assert!(refused.is_err());
    let mut secrets: Vec<(String, String)> = servers
        .stack
        .secrets()
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    secrets.extend([
        ("a password".to_owned(), tested.to_owned()),
        (
            "a wrong password".to_owned(),
            "wrong horse battery staple".to_owned(),
        ),
        ("an address".to_owned(), "ada@example.com".to_owned()),
        ("a token".to_owned(), ada.token().unwrap().to_owned()),
    ]);
    no_log_tells(&[&servers.data, &servers.data.join("logs")], &secrets);

    entry(&production, &ours).await;

    // Nobody vouches for the servers, or TLS is not even asked for.
    let foreign = production.provision(&stranger, &[]);
    assert!(!foreign.status.success());
    assert!(said(&foreign).contains("certificate"), "{}", said(&foreign));
    let open = production.provision(&production.ca, &["MILLRACE_POSTGRES_CA"]);
    assert!(said(&open).contains("no encryption"), "{}", said(&open));
}

#[test]
fn production_refuses_what_is_for_a_laptop() {
    let run = |args: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(program());
        command
            .args(args)
            .env_clear()
            .env("MILLRACE_MODE", "production");
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        said(&output)
    };
    assert_eq!(Mode::default(), Mode::Development);
    for alone in [
        &["up"][..],
        &["demo"],
        &["token", "--role", "operator"],
        &["mail-sink"],
    ] {
        assert!(run(alone, &[]).contains("only for a laptop"), "{alone:?}");
    }
    let example = [("MILLRACE_NATS_SAGA_PASSWORD", "change-me")];
    assert!(
        run(&["saga"], &example).contains("MILLRACE_NATS_SAGA_PASSWORD: it is the placeholder")
    );
    assert!(run(&["saga"], &[]).contains("MILLRACE_NATS_SAGA_PASSWORD_FILE"));
    assert!(run(&["gateway"], &[]).contains("MILLRACE_JWT_KEYS"));
    let missing = [("MILLRACE_NATS_SAGA_PASSWORD_FILE", "/nowhere/saga")];
    assert!(run(&["saga"], &missing).contains("/nowhere/saga"));
    let both = [missing[0], ("MILLRACE_NATS_SAGA_PASSWORD", "x")];
    assert!(run(&["saga"], &both).contains("which one counts"));
    let test_key = [(
        "MILLRACE_PAYMENT_SECRET_KEY",
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    )];
    assert!(run(&["reactor"], &test_key).contains("test key"));
}
