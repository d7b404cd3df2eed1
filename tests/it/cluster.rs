//! Three nats-servers of a test's own, and what the store promises on them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use devstack::Reserved;
use devstack::fetch::{self, Sources};
use devstack::launch::{Child, Launcher, Signal, Spawner, Spec};
use streams::contract::{self, OnServer, races};
use streams::{ConnectOptions, Connection};

use crate::app::{PATIENCE, folder, program};

/// The one user of every server, and its password.
const USER: &str = "contract";

/// How many servers, and replicas of each stream.
const NODES: usize = 3;

/// Three servers that replicate to each other, every write synced.
struct Cluster {
    nodes: Vec<Node>,
    // Ends the servers when the test ends.
    _spawner: Spawner,
}

struct Node {
    name: String,
    port: u16,
    child: Child,
}

impl Cluster {
    async fn start(name: &str) -> Self {
        let folder = folder(name);
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
                child: spawner
                    .spawn(&Launcher::new(program()), &spec)
                    .await
                    .unwrap(),
            });
        }
        let cluster = Self {
            nodes,
            _spawner: spawner,
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

    /// Ends the leader of `stream` the hard way.
    async fn kill_leader(&self, stream: &str) {
        let connection = Connection::open(&self.options()).await.unwrap();
        let info = connection.jetstream().get_stream(stream).await.unwrap();
        let cluster = info.cached_info().cluster.as_ref().unwrap();
        let leader = cluster.leader.as_ref().unwrap();
        let node = self.nodes.iter().find(|node| node.name == *leader).unwrap();
        node.child.signaller().send(Signal::KILL).unwrap();
        node.child.wait().await;
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
    contract::on_replicas(&rig).await;
    races::writers_lose_nothing_during(&rig, async || cluster.kill_leader("ACCOUNT").await).await;
}
