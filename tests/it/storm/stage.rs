//! The whole shop, each role a process of its own, under the test's control.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use devstack::Server;
use devstack::launch::{Child, Signal};
use millrace::client::Shop;
use millrace::up::Endpoints;
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::schedule::{Fault, Strike, Target};
use crate::app::{PATIENCE, program};
use crate::faults::{heal, order_fault};
use crate::servers::Servers;

/// How a role is told where the others are, in its environment.
type Settings = Vec<(&'static str, String)>;

/// The shop.
pub(super) struct Stage {
    pub(super) servers: Servers,
    pub(super) endpoints: Endpoints,
    settings: BTreeMap<Target, Settings>,
    processes: BTreeMap<Target, Mutex<Child>>,
}

impl Stage {
    /// Everything, ready.
    pub(super) async fn start(name: &str) -> Self {
        let [entry, command_api, query_api] = [(); 3].map(|()| {
            format!(
                "http://{}",
                devstack::Reserved::choose(0).unwrap().address()
            )
        });
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
        let settings: BTreeMap<_, _> = Target::ROLES
            .map(|role| (role, settings(role, &endpoints)))
            .into();
        let mut processes = BTreeMap::new();
        for (role, settings) in &settings {
            let child = begin(&servers, *role, settings).await;
            processes.insert(*role, Mutex::new(child));
        }
        let stage = Self {
            servers,
            endpoints,
            settings,
            processes,
        };
        for address in [&stage.endpoints.query_api, &stage.endpoints.entry] {
            let shop = Shop::new(address).unwrap();
            let ready = shop.wait_for(address, "/readyz", PATIENCE, |_| true).await;
            ready.unwrap();
        }
        stage
    }

    /// The shop as its operator sees it, with a token that lasts for one story.
    pub(super) fn operator(&self) -> Shop {
        let token = millrace::token::operator(&self.servers.data).unwrap();
        self.shop().with_token(&token)
    }

    /// The same for a customer.
    pub(super) fn customer(&self, id: &str) -> Shop {
        let token = millrace::token::customer(&self.servers.data, id).unwrap();
        self.shop().with_token(&token)
    }

    /// The shop without a token.
    pub(super) fn shop(&self) -> Shop {
        Shop::new(&self.endpoints.entry).unwrap()
    }

    /// One fault, from its beginning to its end.
    pub(super) async fn suffer(&self, strike: &Strike) -> anyhow::Result<()> {
        match &strike.fault {
            Fault::Kill(target) => self.kill(*target, strike.lasts).await,
            Fault::Freeze(target) => self.freeze(*target, strike.lasts).await,
            Fault::Double(role) => {
                let second = self.second(*role).await;
                sleep(strike.lasts).await;
                let in_order = second.stop(Signal::TERM, PATIENCE).await?;
                ensure!(
                    in_order,
                    "the second {role} did not end within {PATIENCE:?}"
                );
                Ok(())
            }
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
            server.kill().await?;
            sleep(away).await;
            return Ok(server.restart().await?);
        }
        let mut child = self.processes[&target].lock().await;
        if let Some(exit) = child.exited() {
            bail!("{target} has ended by itself ({exit})");
        }
        child.signaller().send(Signal::KILL)?;
        child.wait().await;
        sleep(away).await;
        *child = begin(&self.servers, target, &self.settings[&target]).await;
        Ok(())
    }

    async fn freeze(&self, target: Target, lasts: Duration) -> anyhow::Result<()> {
        // Held while it lasts: what is stopped is not killed meanwhile, and so goes on.
        let mut held = None;
        let pid = match self.server(target) {
            Some(server) => server.pid().await,
            None => Some(held.insert(self.processes[&target].lock().await).pid()),
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

    /// Another process of a role, at a port of its own: the gateway finds it by itself.
    async fn second(&self, role: Target) -> Child {
        let anywhere = devstack::Reserved::choose(0).unwrap().address().to_string();
        let mut settings = self.settings[&role].clone();
        for (name, value) in &mut settings {
            if *name == "MILLRACE_LISTEN" {
                value.clone_from(&anywhere);
            }
        }
        begin(&self.servers, role, &settings).await
    }

    /// Nobody has ended that nobody killed, and nobody has panicked.
    pub(super) async fn is_sound(&self) -> anyhow::Result<()> {
        for (role, process) in &self.processes {
            if let Some(exit) = process.lock().await.exited() {
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

    /// What a command of ours prints about this shop, as JSON; whether it was content.
    pub(super) fn tool(&self, args: &[&str]) -> anyhow::Result<(Value, bool)> {
        let output = Command::new(program())
            .args(args)
            .args(["--json", "--data"])
            .arg(&self.servers.data)
            .output()?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = serde_json::from_slice(&output.stdout).with_context(said)?;
        Ok((printed, output.status.success()))
    }

    /// Where the logs are.
    pub(super) fn data(&self) -> &PathBuf {
        &self.servers.data
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

async fn begin(servers: &Servers, role: Target, settings: &Settings) -> Child {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<(&str, &str)> = settings.collect();
    servers
        .role_that_is_told(&[&role.to_string()], &settings)
        .await
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
        ],
        Target::Projector | Target::Saga | Target::Nats | Target::Postgres => Settings::new(),
    }
}
