//! Three nats-servers of a test's own, and what the store promises on them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use chrono::{DateTime, Utc};
use devstack::Reserved;
use devstack::fetch::{self, Sources};
use devstack::launch::{Child, Launcher, Signal, Spawner, Spec};
use devstack::nats::cluster_environment;
use kernel::AggregateId;
use millrace::client::{Answer, CartLine};
use rustix::process::{Pid, kill_process};
use streams::contract::account::{Account, AccountCommand};
use streams::contract::{self, OnServer, Rig, races};
use streams::contract_subscriptions as subscriptions;
use streams::topology::Topology;
use streams::{CommandMeta, ConnectOptions, Connection, ExecuteError, LoadError};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::app::{App, Customer, PATIENCE, becomes, folder, program};
use crate::server::{holds, until};
use crate::store::{self, Place};

/// The one user of every server, and its password.
const USER: &str = "contract";

/// How many servers, and replicas of each stream.
const NODES: usize = 3;

/// Clusters at once: three servers each that elect anew whenever the machine keeps them waiting.
static PLACES: Semaphore = Semaphore::const_new(2);

/// A place for one of them, until it is dropped.
async fn place() -> SemaphorePermit<'static> {
    PLACES.acquire().await.unwrap()
}

/// Three servers that replicate to each other, every write synced.
struct Cluster {
    nodes: Vec<Node>,
    // Ends the servers when the test ends.
    spawner: Spawner,
    _place: SemaphorePermit<'static>,
}

struct Node {
    name: String,
    port: u16,
    folder: PathBuf,
    spec: Spec,
    child: Mutex<Child>,
}

impl Node {
    /// Ends it the hard way.
    async fn kill(&self) {
        let child = self.child.lock().await;
        child.signaller().send(Signal::KILL).unwrap();
        child.wait().await;
    }
}

impl Cluster {
    async fn start(name: &str) -> Self {
        let (folder, place) = (folder(name), place().await);
        let reserved: Vec<Reserved> = (0..2 * NODES)
            .map(|_| Reserved::choose(0).unwrap())
            .collect();
        let ports: Vec<u16> = reserved.iter().map(|r| r.address().port()).collect();
        let (clients, routes) = ports.split_at(NODES);
        let nats = fetch::nats_server(&Sources::from_environment())
            .await
            .unwrap();
        let spawner = Spawner::start().unwrap();
        drop(reserved);
        let mut nodes = Vec::new();
        for (n, port) in clients.iter().copied().enumerate() {
            let folder = folder.join(format!("n{n}"));
            std::fs::create_dir_all(&folder).unwrap();
            let config = folder.join("nats.conf");
            std::fs::write(&config, configuration(n, port, routes, &folder)).unwrap();
            let mut spec = Spec::new(&nats).args(["-c"]).args([config]);
            spec.log = Some(folder.join("nats.log"));
            nodes.push(Node {
                name: node_name(n),
                port,
                folder,
                child: Mutex::new(
                    spawner
                        .spawn(&Launcher::new(program()), &spec)
                        .await
                        .unwrap(),
                ),
                spec,
            });
        }
        let cluster = Self {
            nodes,
            spawner,
            _place: place,
        };
        cluster.ready().await;
        cluster
    }

    fn options(&self) -> ConnectOptions {
        let urls = self.nodes.iter();
        let urls = urls.map(|node| format!("nats://127.0.0.1:{}", node.port));
        ConnectOptions {
            url: urls.collect::<Vec<_>>().join(","),
            user: USER.to_owned(),
            password: USER.to_owned(),
            name: "contract".to_owned(),
            ca: None,
            shown: None,
        }
    }

    /// Waits until a stream of three replicas can be made.
    async fn ready(&self) {
        let connection = Connection::open(&self.options()).await.unwrap();
        let probe = Config {
            name: "PROBE".to_owned(),
            num_replicas: NODES,
            ..Config::default()
        };
        let started = Instant::now();
        while let Err(error) = connection.jetstream().create_stream(probe.clone()).await {
            assert!(started.elapsed() < PATIENCE, "no cluster: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        connection.jetstream().delete_stream("PROBE").await.unwrap();
    }

    /// Ends the leader of `stream` the hard way, and tells which it was.
    async fn kill_leader(&self, stream: &str) -> &Node {
        let connection = Connection::open(&self.options()).await.unwrap();
        let info = connection.jetstream().get_stream(stream).await.unwrap();
        let cluster = info.cached_info().cluster.as_ref().unwrap();
        let leader = cluster.leader.as_ref().unwrap();
        let node = self.nodes.iter().find(|node| node.name == *leader).unwrap();
        node.kill().await;
        node
    }

    /// Starts a node again, after it was killed.
    async fn start_again(&self, node: &Node) {
        let launcher = Launcher::new(program());
        let started = self.spawner.spawn(&launcher, &node.spec).await;
        *node.child.lock().await = started.unwrap();
    }
}

impl Place for Cluster {
    async fn connect(&self) -> Connection {
        Connection::open(&self.options()).await.unwrap()
    }

    async fn down_until(&self, stream: &str, time: DateTime<Utc>) -> DateTime<Utc> {
        let node = self.kill_leader(stream).await;
        let dead = Utc::now();
        until(time).await;
        self.start_again(node).await;
        dead
    }

    /// In the streams themselves: what the nodes have agreed on stands in a log of theirs too, until they
    /// compact it.
    fn is_on_disk(&self, text: &str) -> bool {
        let stores = self.nodes.iter().map(|node| node.folder.join("store"));
        let mut streams = stores.map(|store| store.join("jetstream/A/streams"));
        streams.any(|streams| holds(&streams, text))
    }
}

fn node_name(n: usize) -> String {
    format!("n{n}")
}

fn configuration(n: usize, port: u16, routes: &[u16], folder: &std::path::Path) -> String {
    let others = routes
        .iter()
        .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
        .collect::<Vec<_>>()
        .join(", ");
    let store: PathBuf = folder.join("store");
    format!(
        "host: 127.0.0.1\nport: {port}\nserver_name: {}\n\
         jetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
         cluster {{ name: contract, listen: \"127.0.0.1:{}\", routes: [ {others} ] }}\n\
         accounts {{ A {{ jetstream: enabled, users: [ {{ user: {USER}, password: {USER} }} ] }} }}\n",
        node_name(n),
        store.display(),
        routes[n],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_three_replicas_keeps_the_contract() {
    let cluster = Cluster::start("cluster").await;
    let rig = OnServer::open(cluster.options(), NODES).await;
    contract::all(&rig).await;
    rig.all().await;
    races::writers_lose_nothing_during(&rig, async || {
        cluster.kill_leader("ACCOUNT").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_reads_and_asks_keeps_its_contract_on_three_replicas() {
    let cluster = Cluster::start("cluster-readers").await;
    subscriptions::prepare(&cluster.connect().await).await;
    // Each waits most of the time.
    tokio::join!(
        store::command_bus(&cluster),
        store::letters(&cluster),
        store::timers_and_keys(&cluster),
        store::ordered_subscriptions(&cluster),
        store::durable_subscriptions(&cluster),
        store::bulk_subscriptions(&cluster),
        store::resting_subscriptions(&cluster),
        store::parked_keys(&cluster),
    );
    store::restarts(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_promised_and_with_one_nothing_is_lost() {
    let cluster = Cluster::start("majority").await;
    let rig = OnServer::open(cluster.options(), NODES).await;
    let streams = rig.process().await;
    let id: AggregateId = Uuid::new_v4().to_string().parse().unwrap();
    let meta = || CommandMeta::new(Uuid::new_v4(), chrono::Utc::now(), "system");
    for command in [AccountCommand::Open, AccountCommand::Deposit(vec![1, 1])] {
        let done = streams.execute::<Account>(&id, command, &meta()).await;
        done.unwrap();
    }
    for node in &cluster.nodes[1..] {
        node.kill().await;
    }
    let (command, meta) = (AccountCommand::Deposit(vec![1]), meta());
    let alone = streams.execute::<Account>(&id, command.clone(), &meta);
    let refused = alone.await.unwrap_err();
    let is_open = |error: &ExecuteError<_>| {
        let unavailable = matches!(error, ExecuteError::Unavailable { .. });
        unavailable || matches!(error, ExecuteError::Unknown { .. })
    };
    assert!(is_open(&refused), "{refused:?}");
    // One of them has lost everything.
    std::fs::remove_dir_all(cluster.nodes[2].folder.join("store")).unwrap();
    for n in 1..NODES {
        cluster.start_again(&cluster.nodes[n]).await;
    }
    let again = async || {
        streams
            .execute::<Account>(&id, command.clone(), &meta)
            .await
    };
    let done = answered(again, is_open).await;
    assert_eq!((done.version, done.state.balance()), (4, 3));
    // The leaders may change once more while the third catches up.
    let other = rig.process().await;
    let read = async || other.history::<Account>(&id).await;
    let away = |error: &LoadError| matches!(error, LoadError::Unavailable { .. });
    let history = answered(read, away).await;
    let versions: Vec<_> = history.iter().map(|event| event.version).collect();
    assert_eq!(versions, [1, 2, 3, 4]);
}

/// Asks until there is an answer, as long as what comes instead `passes`.
async fn answered<T, E: std::fmt::Debug>(
    mut ask: impl AsyncFnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if passes(&error) && started.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// nats-cluster.conf, on servers that docker-compose.yml would start in the same way.
struct FromFile {
    folder: PathBuf,
    nats: PathBuf,
    secrets: devstack::Secrets,
    /// Of each node: for clients, for monitors, for the other nodes.
    ports: Vec<[u16; 3]>,
    spawner: Spawner,
    _place: SemaphorePermit<'static>,
}

impl FromFile {
    async fn prepare(name: &str) -> Self {
        let (folder, place) = (folder(name), place().await);
        std::fs::create_dir_all(&folder).unwrap();
        // For the questions to the monitors.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reserve = |_| [0; 3].map(|_| Reserved::choose(0).unwrap());
        let reserved: Vec<_> = (0..NODES).map(reserve).collect();
        let port = |reserved: &Reserved| reserved.address().port();
        Self {
            nats: fetch::nats_server(&Sources::from_environment())
                .await
                .unwrap(),
            secrets: devstack::Secrets::load_or_create(&folder).unwrap(),
            ports: reserved
                .iter()
                .map(|ports| ports.each_ref().map(port))
                .collect(),
            spawner: Spawner::start().unwrap(),
            folder,
            _place: place,
        }
    }

    /// The `n`th node, which takes `password` for that of the cluster.
    async fn node(&self, n: usize, password: &str) -> Child {
        let [port, http_port, listens] = self.ports[n];
        let settings = devstack::nats::Settings {
            port,
            http_port,
            store: self.folder.join(node_name(n)),
            sync: devstack::Sync::Always,
        };
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let nodes: Vec<_> = self
            .ports
            .iter()
            .map(|[_, _, port]| address(*port))
            .collect();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut spec = Spec::new(&self.nats)
            .args(["-c"])
            .args([root.join("nats-cluster.conf")]);
        let name = node_name(n);
        for (name, value) in cluster_environment(&name, address(listens), &nodes, password) {
            spec = spec.env(name, value);
        }
        for (name, value) in settings.environment(&self.secrets) {
            spec = spec.env(name, value);
        }
        spec.log = Some(self.log(n));
        let launcher = Launcher::new(program());
        self.spawner.spawn(&launcher, &spec).await.unwrap()
    }

    fn log(&self, n: usize) -> PathBuf {
        self.folder.join(format!("{}.log", node_name(n)))
    }

    fn said(&self, n: usize) -> String {
        std::fs::read_to_string(self.log(n)).unwrap_or_default()
    }

    /// The nodes that the `n`th lets in; `None` = it does not answer yet.
    async fn let_in(&self, n: usize) -> Option<Vec<String>> {
        let [_, monitor, _] = self.ports[n];
        let answer = reqwest::get(format!("http://127.0.0.1:{monitor}/routez")).await;
        let routes: serde_json::Value = answer.ok()?.json().await.ok()?;
        let routes = routes["routes"].as_array().cloned().unwrap_or_default();
        let name = |route: &serde_json::Value| route["remote_name"].as_str().map(str::to_owned);
        Some(routes.iter().filter_map(name).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_file_of_the_repository_keeps_three_copies_of_every_stream() {
    let cluster = FromFile::prepare("cluster-file").await;
    let mut nodes = Vec::new();
    for n in 0..NODES {
        nodes.push(cluster.node(n, "letmein").await);
    }
    let urls = cluster.ports.iter();
    let urls: Vec<String> = urls
        .map(|[port, _, _]| format!("nats://127.0.0.1:{port}"))
        .collect();
    let source = millrace::settings::Source::Stack(&cluster.secrets);
    let admin = source.connect(&urls.join(","), "provision").await.unwrap();
    let topology = millrace::provision::topology();
    // As after a backup of one server was restored.
    becomes("the streams", async || {
        streams::topology::provision(&admin, &topology, 1)
            .await
            .is_ok()
    })
    .await;
    let of = |topology: &Topology| -> Vec<String> {
        let names = topology.streams.iter().map(|spec| spec.name.clone());
        names.collect()
    };
    let once = streams::topology::kept_once(&admin, &topology);
    assert_eq!(once.await.unwrap(), of(&topology));
    becomes("three of one", async || {
        let order = topology.only(&["ORDER"]);
        let raised = streams::topology::provision(&admin, &order, NODES);
        raised.await.is_ok()
    })
    .await;
    let mut others = of(&topology);
    others.retain(|name| name != "ORDER");
    let once = streams::topology::kept_once(&admin, &topology);
    assert_eq!(once.await.unwrap(), others);
    let report = millrace::verify::examine(&admin, Vec::new()).await.unwrap();
    let named = report.findings.iter().map(|finding| finding.stream.clone());
    let expected = others.iter().map(|name| format!("stream {name}"));
    assert!(named.eq(expected), "{}", report.words());
    becomes("three of each", async || {
        streams::topology::provision(&admin, &topology, NODES)
            .await
            .is_ok()
    })
    .await;
    let once = streams::topology::kept_once(&admin, &topology);
    assert_eq!(once.await.unwrap(), Vec::<String>::new());
    becomes("two more servers with ORDER", async || {
        let mut order = admin.jetstream().get_stream("ORDER").await.unwrap();
        let info = order.info().await.unwrap();
        assert_eq!(info.config.num_replicas, NODES);
        info.cluster.as_ref().unwrap().replicas.len() == NODES - 1
    })
    .await;
    assert!(!cluster.said(0).contains("letmein"), "{}", cluster.said(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_know_the_password_is_not_let_in() {
    let cluster = FromFile::prepare("cluster-stranger").await;
    let _member = cluster.node(0, "letmein").await;
    becomes("the first node", async || cluster.let_in(0).await.is_some()).await;
    let _stranger = cluster.node(1, "guessed").await;
    becomes("the refusal", async || {
        cluster.said(0).contains("authentication error")
    })
    .await;
    let _friend = cluster.node(2, "letmein").await;
    becomes("the other one's way in", async || {
        let let_in = cluster.let_in(0).await.unwrap_or_default();
        assert!(!let_in.contains(&node_name(1)), "{let_in:?}");
        let_in.contains(&node_name(2))
    })
    .await;
}

/// Do all nodes have all that there is?
async fn is_whole(admin: &Connection) -> bool {
    for stream in [
        "USER",
        "INVENTORY",
        "ORDER",
        "PAYMENT",
        "CHECKOUT",
        "TIMERS",
    ] {
        let Ok(mut stream) = admin.jetstream().get_stream(stream).await else {
            return false;
        };
        let cluster = stream
            .info()
            .await
            .ok()
            .and_then(|info| info.cluster.clone());
        let others = cluster.map_or_else(Vec::new, |cluster| cluster.replicas);
        if others.len() < NODES - 1
            || others
                .iter()
                .any(|replica| replica.offline || !replica.current)
        {
            return false;
        }
    }
    true
}

/// The process of a node, also after it was started again.
fn node(app: &App, n: usize) -> Pid {
    let store = app.data.join("nats").join(node_name(n));
    let store = format!("MILLRACE_NATS_STORE=\"{}\"", store.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut of_node = processes.filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == store.as_bytes())
    });
    let process = of_node.next().expect("a node").file_name();
    Pid::from_raw(process.to_str().unwrap().parse().unwrap()).unwrap()
}

/// Asks for one order, under a key.
async fn orders(customer: &Customer, sku: &str, key: &str) -> Answer {
    let lines = [CartLine {
        sku: sku.to_owned(),
        quantity: 1,
    }];
    let placed = customer.shop.place_order(key, &lines, "pm_card_visa");
    placed.await.unwrap()
}

/// One order, asked for under one key until it is taken.
async fn orders_at_last(customer: &Customer, sku: &str, key: &str) -> String {
    let mut placed = None;
    becomes("the order", async || {
        let answer = orders(customer, sku, key).await;
        if answer.status == 503 {
            return false;
        }
        assert_eq!(answer.status, 201, "{}", answer.body);
        placed = Some(answer.text("/id").to_owned());
        true
    })
    .await;
    placed.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_shop_goes_on_while_nodes_of_nats_are_killed_one_after_another_and_two_at_once() {
    let _place = place().await;
    let app = App::start_with(&folder("cluster-shop"), &["--nats-nodes", "3"]).await;
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints)
        .await
        .unwrap();
    becomes("a whole cluster", async || is_whole(&admin).await).await;
    let (customer, sku) = (app.customer().await, app.product(100).await);
    let mut placed = Vec::new();
    let key = || Uuid::new_v4().to_string();
    for n in 1..=NODES {
        becomes("a whole cluster", async || is_whole(&admin).await).await;
        placed.push(orders_at_last(&customer, &sku, &key()).await);
        kill_process(node(&app, n), rustix::process::Signal::KILL).unwrap();
        // While nobody leads, and in the middle of the first one's checkout.
        placed.push(orders_at_last(&customer, &sku, &key()).await);
    }
    becomes("a whole cluster", async || is_whole(&admin).await).await;
    let (lost, key) = ([1, 2].map(|n| node(&app, n)), key());
    for node in lost {
        kill_process(node, rustix::process::Signal::STOP).unwrap();
    }
    // Nobody has a majority.
    let refused = orders(&customer, &sku, &key).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.header("Retry-After").is_some());
    for node in lost {
        kill_process(node, rustix::process::Signal::KILL).unwrap();
    }
    // One of the two has lost everything before it is started again.
    let disk = app.data.join("nats").join(node_name(2));
    std::fs::remove_dir_all(disk.join("jetstream")).unwrap();
    placed.push(orders_at_last(&customer, &sku, &key).await);
    for order in &placed {
        app.order_is(order, "confirmed").await;
        // A mail that nobody could be asked for while a leader was missing is asked for a minute later.
        app.told_within(2 * PATIENCE, order, 1).await;
        let captured = app.ledger(order).await;
        let captured: Vec<_> = captured.iter().map(|entry| &entry["captured"]).collect();
        assert_eq!(captured, [1_299], "{order}");
    }
    let sold = placed.len() as u64;
    app.stock_is(&sku, [100, 0, sold]).await;
    becomes("a whole cluster", async || is_whole(&admin).await).await;
    app.adds_up().await;
    app.stop().await;
}
