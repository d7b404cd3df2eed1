//! As in production: TLS on every way, secrets from files, and none of them in a log.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devstack::launch::{Child, Signal, Spec};
use devstack::mail::{Login, Tls};
use millrace::client::Shop;
use millrace::http::HttpArgs;
use millrace::production::Mode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{ANYWHERE, Must, PATIENCE, becomes, program};
use crate::servers::Servers;

mod announced;
mod clients;
mod telling;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Somebody who vouches for servers, and the file that says so.
fn authority(folder: &Path, name: &str) -> (Authority, PathBuf) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = folder.join(format!("{name}.pem"));
    std::fs::write(&file, issuer.pem()).unwrap();
    (issuer, file)
}

/// The names of this machine.
const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// What a provider's key for real money looks like.
const LIVE_KEY: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";

/// Which of its settings says where customers come back to.
const RETURN_URL: &str = "MILLRACE_PAYMENT_RETURN_URL";

/// Who may send mails.
const MAIL_USER: &str = "shop@mill.example";
const MAIL_PASSWORD: &str = "grist-to-the-mill";

/// The name in the APIs' certificates.
const APIS: &str = "apis.shop.example";

/// A certificate for `names`, and its key.
fn certificate(authority: &Authority, names: &[&str]) -> [String; 2] {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    // Under the issuer's own name it would count as signed by itself.
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, names.concat());
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    [certificate.pem(), key.serialize_pem()]
}

/// The stack's Postgres talks TLS, and with nobody otherwise; clients have to show a certificate of
/// `demanded`, if that is said.
async fn postgres(servers: &Servers, authority: &Authority, demanded: Option<&Path>) {
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
        .zip(certificate(authority, &HERE))
    {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let hba = shown("hba_file").await;
    let rules = std::fs::read_to_string(&hba).unwrap();
    let mut first = "hostnossl all all all reject\n".to_owned();
    if let Some(clients) = demanded {
        first.push_str("hostssl all all all scram-sha-256 clientcert=verify-ca\n");
        let file = folder.join("clients.crt");
        std::fs::copy(clients, &file).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        admin
            .execute("alter system set ssl_ca_file = 'clients.crt'", &[])
            .await
            .unwrap();
    }
    std::fs::write(&hba, first + &rules).unwrap();
    admin
        .execute("alter system set ssl = on", &[])
        .await
        .unwrap();
    admin.execute("select pg_reload_conf()", &[]).await.unwrap();
}

/// A nats-server with the repository's nats.conf that talks TLS, and demands what `postgres` does.
async fn nats(
    servers: &Servers,
    authority: &Authority,
    demanded: Option<&Path>,
) -> (Child, String) {
    let folder = servers.data.join("tls");
    let [certificate, key] = certificate(authority, &HERE);
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
    if let Some(clients) = demanded {
        let clients = clients.display().to_string();
        spec = spec.args(["--tlsverify", "--tlscacert", clients.as_str()]);
    }
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
    /// The certificate that every role shows to NATS and Postgres, and its key.
    shown: Option<[PathBuf; 2]>,
}

impl Production<'_> {
    fn environment(&self, ca: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        let servers = self.servers;
        let mut environment = vec![
            ("MILLRACE_MODE".to_owned(), "production".to_owned()),
            ("MILLRACE_LOG".to_owned(), "debug".to_owned()),
            ("MILLRACE_HEALTH_LISTEN".to_owned(), ANYWHERE.to_owned()),
            ("MILLRACE_NATS".to_owned(), self.nats.clone()),
            ("MILLRACE_NATS_CA".to_owned(), text(ca)),
            (
                "MILLRACE_POSTGRES".to_owned(),
                servers.stack.endpoints().postgres.to_string(),
            ),
            ("MILLRACE_POSTGRES_CA".to_owned(), text(ca)),
            (RETURN_URL.to_owned(), "https://shop.example".to_owned()),
            (
                "MILLRACE_JWT_KEYS".to_owned(),
                text(&servers.data.join("keys/jwt")),
            ),
        ];
        if let Some(shown) = &self.shown {
            for server in ["NATS", "POSTGRES"] {
                for (end, file) in ["CERT", "KEY"].iter().zip(shown) {
                    environment.push((format!("MILLRACE_{server}_{end}"), text(file)));
                }
            }
        }
        for (name, _) in servers.stack.secrets().iter() {
            let file = servers.data.join("tls").join(name);
            environment.push((format!("{name}_FILE"), text(&file)));
        }
        environment
    }

    /// `millrace provision`, to its end.
    fn provision(&self, ca: &Path, without: &[&str]) -> Output {
        self.provisioning(ca, without).output().unwrap()
    }

    fn provisioning(&self, ca: &Path, without: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("provision").env_clear();
        let environment = self.environment(ca).into_iter();
        command.envs(environment.filter(|(name, _)| !without.contains(&name.as_str())));
        command
    }

    /// A role that is told `more` besides, and logs under `name`.
    async fn role(&self, name: &str, args: &[&str], more: &[(&str, &str)]) -> Child {
        let mut spec = Spec::new(program()).args(args.iter().copied());
        for (name, value) in self.environment(&self.ca) {
            spec = spec.env(name, value);
        }
        for (name, value) in more {
            spec = spec.env(name, value);
        }
        spec.log = Some(self.log(name));
        self.servers.spawn(&spec).await
    }

    fn log(&self, name: &str) -> PathBuf {
        self.servers.data.join(format!("{name}-tls.log"))
    }

    /// An API, under a name that no machine here has; and where it listens.
    async fn api(&self, role: &str, authority: &Authority) -> (Child, String) {
        let listen = listen();
        let shown = self.shown(authority, role, &[APIS]);
        let args = [
            &[role, "--listen", &listen],
            &shown.each_ref().map(String::as_str)[..],
        ];
        let child = self.role(role, &args.concat(), &[]).await;
        (child, format!("https://{listen}"))
    }

    /// The flags that show a certificate for `names`.
    fn shown(&self, authority: &Authority, owner: &str, names: &[&str]) -> [String; 4] {
        let folder = self.servers.data.join("tls");
        let [shown, key] = ["crt", "key"].map(|end| folder.join(format!("{owner}.{end}")));
        for (file, text) in [&shown, &key]
            .into_iter()
            .zip(certificate(authority, names))
        {
            std::fs::write(file, text).unwrap();
        }
        let [shown, key] = [shown, key].map(|path| path.display().to_string());
        ["--tls-cert".to_owned(), shown, "--tls-key".to_owned(), key]
    }

    /// A gateway over TLS, which is told `more` of who is behind it.
    async fn entry(&self, name: &str, authority: &Authority, more: &[(&str, &str)]) -> Entry {
        let listen = listen();
        let shown = self.shown(authority, name, &HERE);
        let args = [
            &["gateway", "--listen", &listen],
            &shown.each_ref().map(String::as_str)[..],
        ];
        let process = self.role(name, &args.concat(), more).await;
        let url = format!("https://localhost:{}", listen.rsplit(':').next().unwrap());
        let http = HttpArgs {
            http_ca: Some(self.ca.clone()),
            ..HttpArgs::default()
        };
        let shop = http.shop(&url).await.unwrap();
        Entry {
            shop,
            listen,
            _process: process,
        }
    }

    /// Everything that a shop needs to take products in, once it has provisioned and answers.
    async fn open(&self, authority: &Authority) -> Open {
        let done = self.provision(&self.ca, &[]);
        assert!(done.status.success(), "{}", said(&done));
        let (command_api, _) = self.api("command-api", authority).await;
        let (query_api, queries) = self.api("query-api", authority).await;
        let projector = self.role("projector", &["projector"], &[]).await;
        let trusted = self.ca.display().to_string();
        let behind = [
            ("MILLRACE_APIS_CA", trusted.as_str()),
            ("MILLRACE_APIS_NAME", APIS),
        ];
        let entry = self.entry("entry", authority, &behind).await;
        let ready = entry
            .shop
            .wait_for("the entry", "/readyz", PATIENCE, |_| true);
        ready.await.unwrap();
        Open {
            entry,
            queries,
            _roles: [command_api, query_api, projector],
        }
    }
}

/// A shop that is open.
struct Open {
    entry: Entry,
    /// Where the query API listens.
    queries: String,
    /// They end with this.
    _roles: [Child; 3],
}

/// A gateway, as somebody sees it who believes in its authority.
struct Entry {
    shop: Shop,
    listen: String,
    /// It ends with this.
    _process: Child,
}

fn listen() -> String {
    let port = devstack::Reserved::choose(0).unwrap().address().port();
    format!("127.0.0.1:{port}")
}

/// An SMTP server that talks TLS and lets in one user, and where its mails are shown.
async fn mail_server(folder: PathBuf, tls: Tls) -> (String, String) {
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (smtp, http) = (bind().await, bind().await);
    let at = [&smtp, &http].map(|listener| listener.local_addr().unwrap());
    let options = devstack::mail::Options {
        smtp,
        tls,
        login: Some(Login {
            user: MAIL_USER.to_owned(),
            password: MAIL_PASSWORD.to_owned(),
        }),
        http,
        data: folder,
    };
    tokio::spawn(devstack::mail::run(options, CancellationToken::new()));
    (at[0].to_string(), format!("http://{}/messages", at[1]))
}

/// How often a reactor has found itself sent away by the mail server.
async fn sent_away(health: &str) -> u64 {
    let Ok(page) = reqwest::get(format!("http://{health}/metrics")).await else {
        return 0;
    };
    let page = page.text().await.unwrap();
    let mut counts = page
        .lines()
        .filter_map(|line| line.strip_prefix("mail_logins_refused_total "));
    counts.next().map_or(0, |count| count.parse().unwrap())
}

/// How many mails stand at `status`.
async fn standing(operator: &Shop, status: &str) -> usize {
    let path = format!("/v1/notifications?status={status}");
    let listed = operator.get(&path).await.unwrap();
    listed.body["items"].as_array().unwrap().len()
}

/// Each mail was tried more than once, and still waits; how many do.
async fn wait_to_be_let_in(operator: &Shop, health: &str) -> usize {
    becomes("a mail to send", async || {
        standing(operator, "requested").await > 0
    })
    .await;
    let waiting = standing(operator, "requested").await;
    becomes("a second try", async || {
        sent_away(health).await > waiting as u64
    })
    .await;
    assert_eq!(standing(operator, "requested").await, waiting);
    waiting
}

/// Nothing is said to a mail server for whom only a stranger vouches; to ours it is said over TLS, of
/// either kind. Who is not let in keeps the mails until it is.
async fn mails(
    production: &Production<'_>,
    authority: &Authority,
    stranger: &Path,
    (shop, operator): (&Shop, &Shop),
) {
    let folder = &production.servers.data;
    let shown = production.shown(authority, "mail", &HERE);
    let acceptor = edge::TlsArgs {
        tls_cert: Some(shown[1].clone().into()),
        tls_key: Some(shown[3].clone().into()),
        tls_clients_ca: None,
    };
    let acceptor = || acceptor.acceptor().unwrap().unwrap();
    let ca = production.ca.display().to_string();
    let stranger = stranger.display().to_string();
    let file = folder.join("tls/mail-password");
    std::fs::write(&file, format!("{MAIL_PASSWORD}\n")).unwrap();
    let file = file.display().to_string();
    for (kind, tls) in [
        ("starttls", Tls::Starttls(acceptor())),
        ("implicit", Tls::Implicit(acceptor())),
    ] {
        let (smtp, shown) = mail_server(folder.join(format!("mail-{kind}")), tls).await;
        let told = async || -> usize {
            let mails: Vec<serde_json::Value> =
                reqwest::get(&shown).await.unwrap().json().await.unwrap();
            mails.len()
        };
        let health = listen();
        let reactor = async |name: &str, ca: &str, password: (&str, &str)| {
            let settings = [
                ("MILLRACE_PAYMENT_SECRET_KEY", LIVE_KEY),
                ("MILLRACE_HEALTH_LISTEN", health.as_str()),
                ("MILLRACE_SMTP", smtp.as_str()),
                ("MILLRACE_SMTP_TLS", kind),
                ("MILLRACE_SMTP_CA", ca),
                ("MILLRACE_SMTP_USER", MAIL_USER),
                password,
                ("MILLRACE_MAIL_PAUSE_MAX_MS", "50"),
            ];
            production.role(name, &["reactor"], &settings).await
        };
        let right = ("MILLRACE_SMTP_PASSWORD_FILE", file.as_str());
        let misled = format!("reactor-{kind}-misled");
        let child = reactor(&misled, &stranger, right).await;
        let somebody = format!("{kind}@example.com");
        shop.register(&somebody, "Ada", "correct horse battery staple")
            .await
            .unwrap();
        becomes("the mail server is not believed", async || {
            let log = std::fs::read_to_string(production.log(&misled)).unwrap_or_default();
            log.contains("invalid peer certificate")
        })
        .await;
        assert_eq!(told().await, 0);
        child.stop(Signal::TERM, PATIENCE).await.unwrap();

        let sent = standing(operator, "sent").await;
        let wrong = ("MILLRACE_SMTP_PASSWORD", "wrong-as-can-be-here");
        let child = reactor(&format!("reactor-{kind}-unknown"), &ca, wrong).await;
        let waiting = wait_to_be_let_in(operator, &health).await;
        assert_eq!(told().await, 0);
        child.stop(Signal::TERM, PATIENCE).await.unwrap();

        let child = reactor(&format!("reactor-{kind}"), &ca, right).await;
        becomes("the mails", async || {
            standing(operator, "sent").await == sent + waiting
        })
        .await;
        assert_eq!(told().await, waiting);
        assert_eq!(sent_away(&health).await, 0);
        child.stop(Signal::TERM, PATIENCE).await.unwrap();
    }
}

/// A product is made and shown.
async fn sells_tea(operator: &Shop) {
    let tea = json!({
        "sku": "TEA", "title": "Tea", "description": "Green.", "category": "Drinks",
        "price": { "amount": 5, "currency": "EUR" },
    });
    operator.post("/v1/products", &tea).await.must();
    let shown = operator
        .wait_for("the product", "/v1/products/TEA", PATIENCE, |_| true)
        .await
        .unwrap();
    assert_eq!(shown.body["title"], "Tea");
    let hsts = shown.header("Strict-Transport-Security");
    assert_eq!(hsts, Some("max-age=31536000"));
}

/// Somebody comes, and mistypes their password once; what no log may tell of it.
async fn signs_in(shop: &Shop) -> Vec<(String, String)> {
    let (address, password) = ("ada@example.com", "correct horse battery staple");
    let wrong = "wrong horse battery staple";
    shop.register(address, "Ada", password).await.unwrap();
    let ada = shop.sign_in(address, password).await.unwrap();
    assert!(shop.sign_in(address, wrong).await.is_err());
    let secrets = [
        ("a password", password),
        ("a wrong password", wrong),
        ("an address", address),
        ("a token", ada.token().unwrap()),
    ];
    secrets
        .map(|(name, secret)| (name.to_owned(), secret.to_owned()))
        .to_vec()
}

/// A gateway asks no API that shows its certificate under another authority or another name, or when it
/// knows nobody who could vouch for it.
async fn only_who_is_believed_is_asked(
    production: &Production<'_>,
    authority: &Authority,
    stranger: &Path,
    queries: &str,
) {
    let [ours, foreign] = [&production.ca, stranger].map(|ca| ca.display().to_string());
    let named = ("MILLRACE_APIS_NAME", APIS);
    for (name, behind) in [
        (
            "stranger",
            &[("MILLRACE_APIS_CA", foreign.as_str()), named][..],
        ),
        ("nameless", &[("MILLRACE_APIS_CA", ours.as_str())]),
        ("trustful", &[]),
    ] {
        let told = [behind, &[("MILLRACE_QUERY_APIS", queries)]].concat();
        let entry = production.entry(name, authority, &told).await;
        let shop = &entry.shop;
        becomes("the gateway", async || shop.get("/livez").await.is_ok()).await;
        let asked = shop.get("/v1/products/TEA").await.unwrap();
        assert_eq!(asked.status, 503, "{name}: {}", asked.body);
        let log = std::fs::read_to_string(production.log(name)).unwrap();
        assert!(log.contains("invalid peer certificate"), "{name}: {log}");
    }
}

async fn only_who_is_believed_is_talked_to(entry: &Entry) {
    let port = entry.listen.rsplit(':').next().unwrap();
    let product = format!("https://localhost:{port}/v1/products/TEA");
    let strangers = reqwest::Client::new().get(&product).send().await;
    assert!(strangers.is_err(), "nobody vouches for it to a stranger");
    let plain = reqwest::get(format!("http://{}/livez", entry.listen)).await;
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
    postgres(&servers, &ours, None).await;
    let (_nats, nats) = nats(&servers, &ours, None).await;
    write_secrets(&servers, &folder);
    let production = Production {
        servers: &servers,
        nats,
        ca,
        shown: None,
    };

    let open = production.open(&ours).await;
    let entry = &open.entry;
    let token = millrace::token::operator(&servers.data).unwrap();
    let operator = entry.shop.clone().with_token(&token);
    sells_tea(&operator).await;
    let mut secrets = signs_in(&entry.shop).await;
    mails(&production, &ours, &stranger, (&entry.shop, &operator)).await;
    let login = format!("\0{MAIL_USER}\0{MAIL_PASSWORD}");
    secrets.extend([
        (
            "the mail server's password".to_owned(),
            MAIL_PASSWORD.to_owned(),
        ),
        ("how it is told".to_owned(), STANDARD.encode(login)),
        ("the provider's key".to_owned(), LIVE_KEY.to_owned()),
    ]);
    let of_stack = servers.stack.secrets().iter();
    secrets.extend(of_stack.map(|(name, value)| (name.to_owned(), value.to_owned())));
    no_log_tells(&[&servers.data, &servers.data.join("logs")], &secrets);

    only_who_is_believed_is_talked_to(entry).await;
    only_who_is_believed_is_asked(&production, &ours, &stranger, &open.queries).await;

    // Nobody vouches for the servers, or TLS is not even asked for.
    let foreign = production.provision(&stranger, &[]);
    assert!(!foreign.status.success());
    assert!(said(&foreign).contains("certificate"), "{}", said(&foreign));
    let clear = production.provision(&production.ca, &["MILLRACE_POSTGRES_CA"]);
    assert!(said(&clear).contains("no encryption"), "{}", said(&clear));
}

/// A file for each secret, as an editor leaves it.
fn write_secrets(servers: &Servers, folder: &Path) {
    for (name, value) in servers.stack.secrets().iter() {
        std::fs::write(folder.join(name), format!("{value}\n")).unwrap();
    }
}

/// A certificate for a client, and its key, in files.
fn client(authority: &Authority, folder: &Path, name: &str) -> [PathBuf; 2] {
    let files = ["crt", "key"].map(|end| folder.join(format!("{name}-client.{end}")));
    for (file, text) in files.iter().zip(certificate(authority, &[name])) {
        std::fs::write(file, text).unwrap();
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_demand_a_certificate_are_shown_one() {
    let servers = Servers::bare("client-certificates", [devstack::Service::Postgres]).await;
    let folder = servers.data.join("tls");
    std::fs::create_dir_all(folder.join("store")).unwrap();
    let (ours, ca) = authority(&folder, "ours");
    let (clients, demanded) = authority(&folder, "clients");
    postgres(&servers, &ours, Some(&demanded)).await;
    let (_nats, nats) = nats(&servers, &ours, Some(&demanded)).await;
    write_secrets(&servers, &folder);
    // The authority of the servers vouches for no client.
    let foreign = client(&ours, &folder, "foreign");
    let mut production = Production {
        servers: &servers,
        nats,
        ca,
        shown: Some(foreign),
    };
    let refused = production.provision(&production.ca, &[]);
    assert!(!refused.status.success());
    production.shown = Some(client(&clients, &folder, "roles"));
    let without = |server: &str| ["CERT", "KEY"].map(|end| format!("MILLRACE_{server}_{end}"));
    let without_one = |server: &str| {
        let names = without(server);
        let names = names.each_ref().map(String::as_str);
        let mut command = production.provisioning(&production.ca, &names);
        // Nobody would empty a pipe meanwhile.
        let told = File::create(production.log(&format!("nobody-{server}"))).unwrap();
        command.stderr(told).stdout(Stdio::null()).spawn().unwrap()
    };
    let told = |server: &str| {
        let log = production.log(&format!("nobody-{server}"));
        std::fs::read_to_string(log).unwrap()
    };
    let mut nobody_to_nats = without_one("NATS");
    assert!(!without_one("POSTGRES").wait().unwrap().success());
    let refused = told("POSTGRES");
    assert!(refused.contains("valid client certificate"), "{refused}");

    let open = production.open(&ours).await;
    let token = millrace::token::operator(&servers.data).unwrap();
    sells_tea(&open.entry.shop.clone().with_token(&token)).await;
    people_show_one_too(&production, &open.entry, &token);

    assert!(!nobody_to_nats.wait().unwrap().success());
    let refused = told("NATS");
    assert!(refused.contains("NATS at"), "{refused}");
}

/// `millrace parked` shows NATS a certificate, and `millrace import` believes whom it is told to.
fn people_show_one_too(production: &Production<'_>, entry: &Entry, token: &str) {
    let parked = |without: &[&str]| {
        let mut command = Command::new(program());
        command.args(["parked", "list"]).env_clear();
        let environment = production.environment(&production.ca).into_iter();
        command.envs(environment.filter(|(name, _)| !without.contains(&name.as_str())));
        command.output().unwrap()
    };
    let listed = parked(&[]);
    assert!(listed.status.success(), "{}", said(&listed));
    let nobody = parked(&[
        "MILLRACE_NATS_CA",
        "MILLRACE_NATS_CERT",
        "MILLRACE_NATS_KEY",
    ]);
    assert!(!nobody.status.success());

    let products = production.servers.data.join("products.ndjson");
    let product = json!({
        "sku": "RYE", "title": "Rye", "description": "Dark.", "category": "Bread",
        "price": { "amount": 5, "currency": "EUR" },
    });
    std::fs::write(&products, product.to_string()).unwrap();
    let port = entry.listen.rsplit(':').next().unwrap();
    let mut import = Command::new(program());
    import.arg("import").arg(&products).env_clear();
    import.args([
        "--entry",
        &format!("https://localhost:{port}"),
        "--token",
        token,
    ]);
    import.arg("--http-ca").arg(&production.ca);
    let imported = import.output().unwrap();
    assert!(imported.status.success(), "{}", said(&imported));
}

/// What production says to `args` in this environment, before it ends.
fn refusal(args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(program());
    command
        .args(args)
        .env_clear()
        .env("MILLRACE_MODE", "production");
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(!output.status.success(), "{args:?}");
    said(&output)
}

#[test]
fn production_refuses_what_is_for_a_laptop() {
    assert_eq!(Mode::default(), Mode::Development);
    for alone in [
        &["up"][..],
        &["demo"],
        &["token", "--role", "operator"],
        &["mail-sink"],
    ] {
        assert!(
            refusal(alone, &[]).contains("only for a laptop"),
            "{alone:?}"
        );
    }
    let example = [("MILLRACE_NATS_SAGA_PASSWORD", "change-me")];
    assert!(
        refusal(&["saga"], &example).contains("MILLRACE_NATS_SAGA_PASSWORD: it is the placeholder")
    );
    assert!(refusal(&["saga"], &[]).contains("MILLRACE_NATS_SAGA_PASSWORD_FILE"));
    assert!(refusal(&["gateway"], &[]).contains("MILLRACE_JWT_KEYS"));
    let missing = [("MILLRACE_NATS_SAGA_PASSWORD_FILE", "/nowhere/saga")];
    assert!(refusal(&["saga"], &missing).contains("/nowhere/saga"));
    let both = [missing[0], ("MILLRACE_NATS_SAGA_PASSWORD", "x")];
    assert!(refusal(&["saga"], &both).contains("which one counts"));
    let test_key = [(
        "MILLRACE_PAYMENT_SECRET_KEY",
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    )];
    assert!(refusal(&["reactor"], &test_key).contains("test key"));
    let mut real = [("MILLRACE_PAYMENT_SECRET_KEY", LIVE_KEY), (RETURN_URL, "")];
    assert!(refusal(&["reactor"], &real[..1]).contains("set MILLRACE_PAYMENT_RETURN_URL"));
    real[1].1 = "https://shop.example/orders/{order_id}";
    assert!(!refusal(&["reactor"], &real).contains("RETURN_URL"));
    let user = [
        ("MILLRACE_PAYMENT_SECRET_KEY", LIVE_KEY),
        ("MILLRACE_SMTP_USER", MAIL_USER),
    ];
    assert!(refusal(&["reactor"], &user).contains("MILLRACE_SMTP_PASSWORD_FILE"));
    let elsewhere = [("MILLRACE_NATS", "nats://192.0.2.1:4222")];
    for tool in [
        &["parked", "list"][..],
        &["stuck"],
        &["inbox"],
        &["verify"],
        &["rebuild", "order_summary"],
        &["keys", "rotate"],
        &["schema", "census"],
        &["reconcile"],
    ] {
        let said = refusal(tool, &elsewhere);
        assert!(said.contains("192.0.2.1 without TLS"), "{tool:?}: {said}");
    }
    let entry = "http://192.0.2.1";
    let import = [
        "import",
        "--entry",
        entry,
        "--token",
        "x",
        "products.ndjson",
    ];
    assert!(refusal(&import, &[]).contains("without TLS"));
    let short = [user[0], user[1], ("MILLRACE_SMTP_PASSWORD", "short")];
    assert!(refusal(&["reactor"], &short).contains("MILLRACE_SMTP_PASSWORD: it can be guessed"));
}

#[test]
fn production_refuses_a_page_that_the_provider_would_refuse() {
    for no_page in [
        "",
        "shop.example/orders/{order_id}",
        "localhost:8080/orders",
        "http://shop.example/orders/{order_id}",
    ] {
        let given = [
            ("MILLRACE_PAYMENT_SECRET_KEY", LIVE_KEY),
            (RETURN_URL, no_page),
        ];
        let said = refusal(&["reactor"], &given);
        assert!(said.contains("RETURN_URL"), "{no_page}: {said}");
    }
}

#[test]
fn production_refuses_a_mail_server_in_the_clear() {
    let mails = |server: &str, tls: &[(&'static str, &'static str)]| {
        let mut environment = vec![
            ("MILLRACE_PAYMENT_SECRET_KEY", LIVE_KEY),
            ("MILLRACE_SMTP", server),
        ];
        environment.extend(tls);
        refusal(&["reactor"], &environment).contains("without TLS")
    };
    assert!(mails("relay.example:25", &[]));
    assert!(mails("10.0.0.25:25", &[]));
    assert!(
        !mails("relay.example:25", &[("MILLRACE_SMTP_TLS", "none")]),
        "as somebody has said"
    );
    assert!(!mails(
        "relay.example:587",
        &[("MILLRACE_SMTP_TLS", "starttls")]
    ));
    assert!(!mails("[::1]:25", &[]) && !mails("localhost:25", &[]));
}

#[test]
fn production_refuses_servers_in_the_clear() {
    let ways = [
        (
            "saga",
            "MILLRACE_NATS",
            "nats://127.0.0.1:4222,nats://nats.example:4222",
        ),
        ("gateway", "MILLRACE_NATS", "nats.example:4222"),
        ("projector", "MILLRACE_POSTGRES", "db.example:5432"),
        ("query-api", "MILLRACE_POSTGRES", "db.example:5432"),
        ("provision", "MILLRACE_POSTGRES", "10.0.0.5:5432"),
        (
            "gateway",
            "MILLRACE_COMMAND_APIS",
            "http://api.example:8081",
        ),
        (
            "gateway",
            "MILLRACE_QUERY_APIS",
            "order=http://10.0.0.7:8082",
        ),
        ("reactor", "MILLRACE_PAYMENTS", "http://api.example"),
        ("reactor", "MILLRACE_PAYMENTS", "http://10.0.0.8:8090"),
    ];
    for (role, name, there) in ways {
        let told = refusal(&[role], &[(name, there)]);
        assert!(told.contains("without TLS: set "), "{role} {name}: {told}");
        assert!(
            told.contains(&format!("set {name}")),
            "{role} {name}: {told}"
        );
    }
    let ways = [
        (
            "saga",
            "MILLRACE_NATS",
            "nats://127.0.0.1:4222,nats://[::1]:4222",
        ),
        ("saga", "MILLRACE_NATS", "tls://nats.example:4222"),
        ("projector", "MILLRACE_POSTGRES", "localhost:5432"),
        (
            "gateway",
            "MILLRACE_COMMAND_APIS",
            "https://api.example:8081",
        ),
        ("gateway", "MILLRACE_QUERY_APIS", "http://127.0.0.1:8082"),
        ("reactor", "MILLRACE_PAYMENTS", "https://api.example"),
        ("reactor", "MILLRACE_PAYMENTS", "http://[::1]:8090"),
    ];
    for (role, name, there) in ways {
        let told = refusal(&[role], &[(name, there)]);
        assert!(!told.contains("without TLS"), "{role} {name}: {told}");
    }
    let trusted = [
        ("MILLRACE_NATS", "nats.example:4222"),
        ("MILLRACE_NATS_CA", "ca.crt"),
    ];
    assert!(!refusal(&["saga"], &trusted).contains("without TLS"));
    let allowed = [
        ("MILLRACE_QUERY_APIS", "http://10.0.0.7:8082"),
        ("MILLRACE_APIS_HTTP", "true"),
    ];
    assert!(!refusal(&["gateway"], &allowed).contains("without TLS"));
}
