//! The whole shop, each role a process of its own, under the test's control.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use anyhow::{bail, ensure};
use devstack::Server;
use devstack::launch::{Child, Signal};
use millrace::client::Shop;
use millrace::up::Endpoints;
use rustix::process::{Pid, kill_process};
use tokio::sync::{Mutex, MutexGuard, RwLock};
use tokio::time::sleep;

use super::line::Line;
use super::schedule::{Fault, Strike, Target};
use crate::app::{Front, PATIENCE};
use crate::faults::{heal, order_fault};
use crate::servers::Servers;

/// How a role is told where the others are, in its environment.
pub(crate) type Settings = Vec<(&'static str, String)>;

/// The shop.
pub(crate) struct Stage {
    pub(crate) servers: Servers,
    front: Front,
    processes: BTreeMap<Target, Mutex<Process>>,
    /// Between a role and a server, where there are lines that can go bad.
    pub(super) lines: BTreeMap<(Target, Target), Line>,
    /// Held by whoever ends a server and starts it again.
    pub(super) restarts: Mutex<()>,
    /// Held shared while a second process begins, alone while a durable is held back: a role refuses to begin then.
    pub(super) beginnings: RwLock<()>,
}

/// A process of a role.
pub(crate) struct Process {
    role: Target,
    settings: Settings,
    child: Child,
}

impl Deref for Stage {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.front
    }
}

impl Stage {
    /// Everything, ready.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_told(name, &[]).await
    }

    /// The same, with more settings for some roles.
    pub(crate) async fn start_told(name: &str, more: &[(Target, Settings)]) -> Self {
        Self::begin(name, more, &[]).await
    }

    /// The same as [`Stage::start`], with lines that can go bad between every role and each server.
    pub(super) async fn start_behind_lines(name: &str) -> Self {
        Self::begin(name, &[], &SERVERS).await
    }

    async fn begin(name: &str, more: &[(Target, Settings)], behind_lines: &[Target]) -> Self {
        let [entry, command_api, query_api] = [(); 3].map(|()| format!("http://{}", anywhere()));
        let webhook = format!("{entry}/v1/payments/webhook");
        let mut servers = Servers::of(name, |options| options.webhook = Some(webhook)).await;
        servers.provision().await;
        let outside = servers.stack.endpoints().clone();
        let endpoints = Endpoints {
            entry,
            command_api,
            query_api,
            nats: outside.nats,
            postgres: outside.postgres.to_string(),
            mail: outside.mail,
            smtp: outside.smtp.to_string(),
            payments: outside.payments,
        };
        // For the tools, which are told of the data folder.
        let told = serde_json::to_string(&endpoints).unwrap();
        std::fs::write(servers.data.join("endpoints.json"), told).unwrap();
        servers.stack.announce(&endpoints.entry).unwrap();
        let (mut processes, mut lines) = (BTreeMap::new(), BTreeMap::new());
        for role in Target::ROLES {
            let mut settings = settings(role, &endpoints);
            for server in behind_lines {
                let line = Line::to(address(*server, &endpoints).to_owned()).await;
                settings.push(told_of(*server, &line.address));
                lines.insert((role, *server), line);
            }
            let told = more.iter().filter(|(whom, _)| *whom == role);
            settings.extend(told.flat_map(|(_, more)| more.clone()));
            let process = Process::begin(&servers, role, settings).await;
            processes.insert(role, Mutex::new(process));
        }
        let data = servers.data.clone();
        let stage = Self {
            servers,
            front: Front { data, endpoints },
            processes,
            lines,
            restarts: Mutex::default(),
            beginnings: RwLock::default(),
        };
        for address in [&stage.endpoints.query_api, &stage.endpoints.entry] {
            let shop = Shop::new(address).unwrap();
            let ready = shop.wait_for(address, "/readyz", PATIENCE, |_| true).await;
            ready.unwrap();
        }
        stage
    }

    /// One fault, from its beginning to its end.
    pub(super) async fn suffer(&self, strike: &Strike) -> anyhow::Result<()> {
        match &strike.fault {
            Fault::Kill(target) => self.kill(*target, strike.lasts).await,
            Fault::Freeze(target) => self.freeze(*target, strike.lasts).await,
            Fault::Double(role) => {
                let second = self.stands_by(*role).await;
                sleep(strike.lasts).await;
                second.ends().await
            }
            Fault::Outlive(role) => {
                let second = self.stands_by(*role).await;
                self.freeze(*role, strike.lasts).await?;
                second.ends().await
            }
            Fault::Line(line, trouble) => {
                let line = &self.lines[line];
                line.set(Some(*trouble));
                sleep(strike.lasts).await;
                line.set(None);
                Ok(())
            }
            Fault::Durables => self.unsettle_durables(strike.lasts).await,
            Fault::Full => self.fill_nats(strike.lasts).await,
            Fault::Provider(order) => {
                order_fault(&self.endpoints.payments, order).await;
                Ok(())
            }
            Fault::Mail(order) => {
                order_fault(&self.endpoints.mail, order).await;
                Ok(())
            }
        }
    }

    fn server(&self, target: Target) -> Option<&Server> {
        match target {
            Target::Nats => self.servers.stack.nats(),
            Target::Postgres => self.servers.stack.postgres(),
            Target::Gateway
            | Target::CommandApi
            | Target::QueryApi
            | Target::Projector
            | Target::Saga
            | Target::Reactor => None,
        }
    }

    async fn kill(&self, target: Target, away: Duration) -> anyhow::Result<()> {
        if let Some(server) = self.server(target) {
            let _alone = self.restarts.lock().await;
            server.kill().await?;
            sleep(away).await;
            return Ok(server.restart().await?);
        }
        let mut process = self.processes[&target].lock().await;
        let child = &process.child;
        if let Some(exit) = child.exited() {
            bail!("{target} has ended by itself ({exit})");
        }
        child.signaller().send(Signal::KILL)?;
        child.wait().await;
        sleep(away).await;
        process.begin_again(&self.servers).await;
        Ok(())
    }

    /// A second process of a role, which has begun.
    async fn stands_by(&self, role: Target) -> Process {
        let _begins = self.beginnings.read().await;
        let second = self.second(role).await;
        // What it needs for that may be away.
        let _ = second.is_ready().await;
        second
    }

    async fn freeze(&self, target: Target, lasts: Duration) -> anyhow::Result<()> {
        // Held while it lasts: what is stopped is not killed meanwhile, and so goes on.
        let mut held = None;
        let pid = match self.server(target) {
            Some(server) => server.pid().await,
            None => Some(
                held.insert(self.processes[&target].lock().await)
                    .child
                    .pid(),
            ),
        };
        // Of a server that is away just now there is nothing to stop.
        let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) else {
            return Ok(());
        };
        let frozen = Frozen::stop(pid)?;
        sleep(lasts).await;
        drop(frozen);
        Ok(())
    }

    /// The first process of a role.
    pub(crate) async fn first(&self, role: Target) -> MutexGuard<'_, Process> {
        self.processes[&role].lock().await
    }

    /// Another process of a role, at a port of its own: the gateway finds it by itself.
    pub(crate) async fn second(&self, role: Target) -> Process {
        self.second_told(role, Settings::new()).await
    }

    /// The same, with more settings.
    pub(crate) async fn second_told(&self, role: Target, more: Settings) -> Process {
        let mut settings = settings(role, &self.endpoints);
        for (name, value) in &mut settings {
            if LISTENS.contains(name) {
                *value = anywhere();
            }
        }
        settings.extend(more);
        Process::begin(&self.servers, role, settings).await
    }

    /// Nobody has ended that nobody killed, and nobody has panicked.
    pub(crate) async fn is_sound(&self) -> anyhow::Result<()> {
        for (role, process) in &self.processes {
            if let Some(exit) = process.lock().await.child.exited() {
                bail!("{role} has ended by itself ({exit})");
            }
            let log = std::fs::read_to_string(self.servers.data.join(format!("{role}.log")))?;
            ensure!(!log.contains("panicked at"), "{role} has panicked");
        }
        Ok(())
    }

    /// Takes back what was ordered from the outside.
    pub(super) async fn heal(&self) {
        heal(&self.endpoints.payments).await;
        heal(&self.endpoints.mail).await;
    }
}

/// A stopped process, which goes on in any case.
struct Frozen(Pid);

impl Frozen {
    fn stop(pid: Pid) -> std::io::Result<Self> {
        kill_process(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Who was killed meanwhile needs it no more.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Where a role serves, or says how it is.
const LISTENS: [&str; 2] = ["MILLRACE_LISTEN", "MILLRACE_HEALTH_LISTEN"];

impl Process {
    async fn begin(servers: &Servers, role: Target, settings: Settings) -> Self {
        let child = spawn(servers, role, &settings).await;
        Self {
            role,
            settings,
            child,
        }
    }

    async fn begin_again(&mut self, servers: &Servers) {
        self.child = spawn(servers, self.role, &self.settings).await;
    }

    /// Where it serves, or says how it is.
    pub(crate) fn address(&self) -> String {
        let mut settings = self.settings.iter();
        let listens = settings.find(|(name, _)| LISTENS.contains(name));
        format!("http://{}", listens.unwrap().1)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits until it says so.
    pub(crate) async fn is_ready(&self) -> anyhow::Result<()> {
        let shop = Shop::new(&self.address())?;
        let what = self.role.to_string();
        shop.wait_for(&what, "/readyz", PATIENCE, |_| true).await?;
        Ok(())
    }

    /// Ends when it is told to, in order.
    async fn ends(&self) -> anyhow::Result<()> {
        let (in_order, role) = (self.child.stop(Signal::TERM, PATIENCE).await?, self.role);
        ensure!(in_order, "a {role} did not end within {PATIENCE:?}");
        Ok(())
    }

    /// Ends in order and begins again, as in a rolling upgrade; it is ready then.
    pub(crate) async fn renew(&mut self, servers: &Servers) -> anyhow::Result<()> {
        self.ends().await?;
        self.begin_again(servers).await;
        self.is_ready().await
    }
}

async fn spawn(servers: &Servers, role: Target, settings: &Settings) -> Child {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<(&str, &str)> = settings.collect();
    servers
        .role_that_is_told(&[&role.to_string()], &settings)
        .await
}

/// Whom a role may be cut off from.
const SERVERS: [Target; 2] = [Target::Nats, Target::Postgres];

/// `host:port` of a server.
fn address(server: Target, endpoints: &Endpoints) -> &str {
    if server == Target::Nats {
        return endpoints.nats.trim_start_matches("nats://");
    }
    &endpoints.postgres
}

/// How a role is told where a server is.
fn told_of(server: Target, address: &str) -> (&'static str, String) {
    if server == Target::Nats {
        return ("MILLRACE_NATS", format!("nats://{address}"));
    }
    ("MILLRACE_POSTGRES", address.to_owned())
}

/// A port that nobody has.
fn anywhere() -> String {
    devstack::Reserved::choose(0).unwrap().address().to_string()
}

fn settings(role: Target, endpoints: &Endpoints) -> Settings {
    let at = |address: &str| address.trim_start_matches("http://").to_owned();
    match role {
        Target::Gateway => vec![
            ("MILLRACE_LISTEN", at(&endpoints.entry)),
            ("MILLRACE_COMMAND_APIS", endpoints.command_api.clone()),
            ("MILLRACE_QUERY_APIS", endpoints.query_api.clone()),
            ("MILLRACE_USER_RATE", "0".to_owned()),
            ("MILLRACE_ADDRESS_RATE", "0".to_owned()),
            ("MILLRACE_KEY_RATE", "0".to_owned()),
        ],
        Target::CommandApi => vec![
            ("MILLRACE_LISTEN", at(&endpoints.command_api)),
            ("MILLRACE_PROXIES", "127.0.0.1".to_owned()),
        ],
        Target::QueryApi => vec![("MILLRACE_LISTEN", at(&endpoints.query_api))],
        Target::Reactor => vec![
            ("MILLRACE_PAYMENTS", endpoints.payments.clone()),
            ("MILLRACE_SMTP", endpoints.smtp.clone()),
            // The outside fails often here, and is to be asked again soon.
            ("MILLRACE_PAYMENT_TIMEOUT_MS", "1000".to_owned()),
            ("MILLRACE_MAIL_TIMEOUT_MS", "1000".to_owned()),
            ("MILLRACE_MAIL_PAUSE_MAX_MS", "1000".to_owned()),
            ("MILLRACE_HEALTH_LISTEN", anywhere()),
        ],
        Target::Projector | Target::Saga => vec![("MILLRACE_HEALTH_LISTEN", anywhere())],
        Target::Nats | Target::Postgres => Settings::new(),
    }
}
