//! deploy/kubernetes/nats-values.yaml makes of NATS's Helm chart the nodes that nats-cluster.conf makes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use devstack::fetch::{self, Sources};
use devstack::launch::{Child, Launcher, Spawner, Spec};
use devstack::nats::{CLUSTER_CONFIG, CONFIG, Settings, Sync, cluster_environment};
use devstack::{Reserved, Secrets};
use serde_json::{Map, Value, json};
use streams::{ConnectOptions, Connection};
use tokio::time::{Duration, Instant, sleep};

use crate::app::{PATIENCE, folder, program};
use crate::deploy::file;

/// How often a server that starts is asked.
const PAUSE: Duration = Duration::from_millis(50);

const CLUSTER_PASSWORD: &str = "nodes-of-a-test";

/// What a node says of itself and has from its configuration.
const CONFIGURED: [&str; 13] = [
    "/max_payload",
    "/max_connections",
    "/max_subscriptions",
    "/max_control_line",
    "/max_pending",
    "/write_deadline",
    "/ping_interval",
    "/ping_max",
    "/cluster/name",
    "/cluster/auth_timeout",
    "/jetstream/config/max_memory",
    "/jetstream/config/max_storage",
    "/jetstream/config/sync_always",
];

fn values() -> Value {
    serde_saphyr::from_str(&file("deploy/kubernetes/nats-values.yaml")).unwrap()
}

/// The users of nats.conf.
fn users() -> BTreeMap<&'static str, &'static str> {
    let users = CONFIG.split("user: ").skip(1).map(|rest| {
        let (user, rest) = rest.split_once(", password: $").unwrap();
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_');
        (user, &rest[..end.unwrap()])
    });
    users.collect()
}

/// As the chart merges what it is told into what it makes by itself.
fn merge(made: &mut Map<String, Value>, told: &Value) {
    for (name, value) in told.as_object().unwrap() {
        match (made.get_mut(name), value) {
            (Some(Value::Object(made)), Value::Object(_)) => merge(made, value),
            _ => drop(made.insert(name.clone(), value.clone())),
        }
    }
}

/// The node's configuration as the chart writes it, but for TLS: JSON with sorted names, in which
/// `<< … >>` stands without quotes and `$include` becomes a directive.
fn rendered(values: &Value, settings: &Settings, route: u16) -> String {
    let config = &values["config"];
    let unquoted = |value: &Value| json!(format!("<< {} >>", value.as_str().unwrap()));
    let mut jetstream = json!({
        "store_dir": settings.store,
        "max_file_store": unquoted(&config["jetstream"]["fileStore"]["maxSize"]),
        "max_memory_store": unquoted(&config["jetstream"]["memoryStore"]["maxSize"]),
    });
    let mut cluster = json!({ "name": "nats", "port": route, "no_advertise": true, "routes": [] });
    for (part, made) in [("jetstream", &mut jetstream), ("cluster", &mut cluster)] {
        assert_eq!(config[part]["enabled"], true);
        merge(made.as_object_mut().unwrap(), &config[part]["merge"]);
    }
    let mut all = json!({
        "server_name": "nats-0", "port": settings.port, "http_port": settings.http_port,
        "cluster": cluster, "jetstream": jetstream,
    });
    merge(all.as_object_mut().unwrap(), &config["merge"]);
    let text = serde_json::to_string_pretty(&all).unwrap();
    let lines = text
        .lines()
        .map(|line| match line.split_once("$include\": \"") {
            Some((_, file)) => format!("include {};", file.trim_end_matches(['"', ','])),
            None => line.replace("\"<< ", "").replace(" >>\"", ""),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// A node that was started with the configuration in `folder`.
struct Node {
    settings: Settings,
    _child: Child,
}

impl Node {
    /// Starts it with what `config` makes of its settings and its port for the other nodes.
    async fn start(
        (nats, spawner): (&Path, &Spawner),
        folder: PathBuf,
        secrets: &Secrets,
        config: impl FnOnce(&Settings, u16) -> String,
    ) -> Self {
        let reserved = [(); 3].map(|()| Reserved::choose(0).unwrap());
        let [port, http_port, route] = reserved.each_ref().map(|one| one.address().port());
        let store = folder.join("store");
        std::fs::create_dir_all(&store).unwrap();
        let settings = Settings {
            port,
            http_port,
            store,
            sync: Sync::Always,
        };
        for (name, text) in [("nats.conf", CONFIG), ("millrace.conf", CONFIG)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let path = folder.join("node.conf");
        std::fs::write(&path, config(&settings, route)).unwrap();
        let mut spec = Spec::new(nats).args(["-c"]).args([&path]);
        spec.log = Some(folder.join("nats.log"));
        let listen = reserved[2].address();
        let of_node = cluster_environment("nats-0", listen, &[listen], CLUSTER_PASSWORD);
        for (name, value) in settings.environment(secrets) {
            spec = spec.env(name, value);
        }
        for (name, value) in of_node {
            spec = spec.env(name, value);
        }
        drop(reserved);
        let child = spawner
            .spawn(&Launcher::new(program()), &spec)
            .await
            .unwrap();
        Self {
            settings,
            _child: child,
        }
    }

    /// What it says of itself, once it has started.
    async fn told(&self) -> Value {
        let url = format!("http://127.0.0.1:{}/varz", self.settings.http_port);
        // For the question to the monitor; whoever was first has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let started = Instant::now();
        loop {
            let told = match reqwest::get(&url).await {
                Ok(answer) => answer.json().await.unwrap(),
                Err(_) => Value::Null,
            };
            if told["jetstream"]["config"].is_object() {
                return told;
            }
            assert!(started.elapsed() < PATIENCE, "{url}: {told}");
            sleep(PAUSE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_the_chart_has_the_limits_the_users_and_the_sync_of_nats_cluster_conf() {
    let folder = folder("chart");
    std::fs::create_dir_all(&folder).unwrap();
    let secrets = Secrets::load_or_create(&folder).unwrap();
    let nats = fetch::nats_server(&Sources::from_environment())
        .await
        .unwrap();
    let spawner = Spawner::start().unwrap();
    let servers = (nats.as_path(), &spawner);
    let own = Node::start(servers, folder.join("own"), &secrets, |_, _| {
        CLUSTER_CONFIG.to_owned()
    })
    .await;
    let values = values();
    let chart = Node::start(
        servers,
        folder.join("chart"),
        &secrets,
        |settings, route| rendered(&values, settings, route),
    );
    let chart = chart.await;
    let (of_own, of_chart) = (own.told().await, chart.told().await);
    for name in CONFIGURED {
        let wanted = of_own.pointer(name);
        assert!(wanted.is_some(), "{name}: {of_own}");
        assert_eq!(of_chart.pointer(name), wanted, "{name}");
    }
    assert_eq!(of_chart["jetstream"]["config"]["sync_always"], true);
    assert_eq!(of_chart["host"], "0.0.0.0");
    for (user, variable) in users() {
        let options = ConnectOptions {
            url: format!("nats://127.0.0.1:{}", chart.settings.port),
            user: user.to_owned(),
            password: secrets.get(variable).unwrap().to_owned(),
            name: "chart".to_owned(),
            ca: None,
            shown: None,
        };
        Connection::open(&options).await.unwrap();
    }
}

#[test]
fn the_chart_is_told_every_variable_and_three_zones() {
    let values = values();
    let config = &values["config"];
    assert_eq!(config["merge"]["$include"], "millrace.conf");
    assert_eq!(config["cluster"]["replicas"], 3);
    // What nats.conf says of accounts and limits is not said again.
    let told: BTreeSet<&String> = config["merge"].as_object().unwrap().keys().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let env = values["container"]["env"].as_object().unwrap();
    let mut wanted: BTreeSet<&str> = users().into_values().collect();
    wanted.insert("MILLRACE_NATS_CLUSTER_PASSWORD");
    for name in wanted.iter().copied() {
        let from = &env[name]["valueFrom"]["secretKeyRef"];
        assert_eq!(
            (&from["name"], &from["key"]),
            (&json!("millrace-nats"), &json!(name))
        );
        assert!(
            file(".env.example").contains(&format!("\n{name}=")),
            "{name}"
        );
    }
    wanted.extend(["GOMEMLIMIT", "MILLRACE_NATS_ROUTES"]);
    wanted.extend(crate::deploy::NATS_VARIABLES);
    assert_eq!(
        env.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        wanted
    );
    assert_eq!(env["MILLRACE_NATS_SYNC"], "always");
    let routes = env["MILLRACE_NATS_ROUTES"].as_str().unwrap();
    let routes: Vec<String> = serde_json::from_str(routes).unwrap();
    let route =
        |n| format!("tls://node:$(MILLRACE_NATS_CLUSTER_PASSWORD)@nats-{n}.nats-headless:6222");
    assert_eq!(routes, [route(0), route(1), route(2)]);
    let compose = file("docker-compose.yml");
    let tag = values["container"]["image"]["tag"].as_str().unwrap();
    assert!(compose.contains(&format!("image: nats:{tag}\n")), "{tag}");
    let zones = &values["podTemplate"]["topologySpreadConstraints"]["topology.kubernetes.io/zone"];
    assert_eq!(
        (&zones["maxSkew"], &zones["minDomains"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(zones["whenUnsatisfiable"], "DoNotSchedule");
    // A stream that is full refuses; a disk that is full stops the node.
    let of = |text: &Value, unit| {
        text.as_str()
            .unwrap()
            .trim_end_matches(unit)
            .parse::<u64>()
            .unwrap()
    };
    let store = &config["jetstream"]["fileStore"];
    assert!(of(&store["pvc"]["size"], "Gi") > of(&store["maxSize"], "GB"));
}
