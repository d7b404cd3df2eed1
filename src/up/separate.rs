//! `up --separate`: every role is a process of its own, which ends with this one. One that dies is
//! reported and started again; one that is told to end (SIGTERM) stays down, to see what still works.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use devstack::launch::{Child, Exit, Launcher, Signal, Spawner, Spec};
use devstack::{Data, Reserved};
use edge::Targets;
use reactors::WebhookConfig;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::configs::{Configs, variables};
use super::{Endpoints, JWT_KEYS, Roles, UpArgs, Worker};
use crate::client::Shop;
use crate::settings::{Source, secrets_of};

/// How long a role may take until it is ready.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// How long a role may take to finish what it has accepted.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// Pause before a role that died is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Who lives shorter than that has not got to work.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// After so many short lives in a row the whole ends: it would not get better.
const SHORT_LIVES_MAX: u32 = 5;

/// Each role's process.
pub(super) type Processes = BTreeMap<String, u32>;

/// What the processes are started with.
pub(super) struct Separate<'a> {
    pub(super) args: &'a UpArgs,
    pub(super) configs: &'a Configs,
    pub(super) endpoints: &'a Endpoints,
    pub(super) source: Source<'a>,
    pub(super) data: &'a Data,
    pub(super) shutdown: CancellationToken,
}

impl Separate<'_> {
    /// Starts every role; all are ready then, and the gateway has found the APIs.
    pub(super) async fn start(&self, roles: &mut Roles) -> anyhow::Result<Processes> {
        let (launcher, spawner) = (Launcher::current()?, Spawner::start()?);
        let workers = self.args.workers().map(Worker::role);
        let apis = [
            ("command-api", &self.endpoints.command_api),
            ("query-api", &self.endpoints.query_api),
            (gateway::ROLE, &self.endpoints.entry),
        ];
        let apis = apis.map(|(role, address)| (role, address.clone()));
        let mut probed = apis.to_vec();
        for role in workers {
            let address = Reserved::choose(0)?.address();
            probed.push((role, format!("http://{address}")));
        }
        let mut processes = Processes::new();
        for (role, address) in &probed {
            let life = Life {
                role,
                spec: self.spec(role, address, launcher.program())?,
                launcher: launcher.clone(),
                spawner: spawner.clone(),
            };
            let child = life.begin().await?;
            processes.insert((*role).to_owned(), child.pid());
            let stop = self.shutdown.clone();
            roles.spawn(async move { life.watch(child, stop).await });
        }
        for (role, address) in probed {
            let shop = Shop::new(&address)?;
            let ready = shop.wait_for(role, "/readyz", READY_LIMIT, |_| true);
            tokio::select! {
                ready = ready => { ready?; }
                Some(ended) = roles.join_next() => {
                    ended??;
                    bail!("a role ended while {role} was waited for");
                }
            }
        }
        Ok(processes)
    }

    /// How a role is run that listens at `address`: with its own secrets and no others.
    fn spec(&self, role: &str, address: &str, program: &Path) -> anyhow::Result<Spec> {
        let keys = std::path::absolute(self.data.join(JWT_KEYS))?;
        let mut spec = Spec::new(program)
            .args([role])
            .args(self.flags(role, address.trim_start_matches("http://")))
            .env("MILLRACE_NATS", &self.endpoints.nats)
            .env("MILLRACE_POSTGRES", &self.endpoints.postgres)
            .env("MILLRACE_JWT_KEYS", keys);
        let provider = devstack::secrets::PAYMENT_SECRET_KEY.to_owned();
        let more = (role == Worker::Reactor.role()).then_some(provider);
        for (name, value) in variables(self.args, role) {
            spec = spec.env(name, value);
        }
        for name in secrets_of(role).into_iter().chain(more) {
            spec = spec.env(&name, self.source.get(&name)?);
        }
        spec.log = Some(std::path::absolute(self.data.log(role))?);
        Ok(spec)
    }

    fn flags(&self, role: &str, listen: &str) -> Vec<String> {
        let args = self.args;
        let listen = listen.to_owned();
        let targets = || targets(&args.webhooks.targets);
        let contexts = || args.contexts.join(",");
        let flags: Vec<(&str, String)> = match role {
            "command-api" => {
                let own = vec![
                    ("listen", listen),
                    ("contexts", contexts()),
                    // The gateway.
                    ("proxies", "127.0.0.1".to_owned()),
                ];
                [own, targets()].concat()
            }
            "query-api" => vec![("listen", listen)],
            gateway::ROLE => {
                let commands = &self.endpoints.command_api;
                let rates = self.configs.gateway.rates;
                vec![
                    ("listen", listen),
                    (
                        "command-apis",
                        format!("{}={commands}", args.contexts.join("+")),
                    ),
                    ("query-apis", self.endpoints.query_api.clone()),
                    ("user-rate", rates.user_rate.to_string()),
                    ("address-rate", rates.address_rate.to_string()),
                    ("key-rate", rates.key_rate.to_string()),
                ]
            }
            "reactor" => {
                let own = vec![
                    ("health-listen", listen),
                    ("payments", self.endpoints.payments.clone()),
                    (
                        "payment-return-url",
                        self.configs.return_url(self.endpoints),
                    ),
                    ("payment-timeout-ms", args.payment_timeout_ms.to_string()),
                    ("smtp", self.endpoints.smtp.clone()),
                    ("mail-timeout-ms", args.mail_timeout_ms.to_string()),
                    ("mail-pause-max-ms", args.mail_pause_max_ms.to_string()),
                    ("erasure-grace-ms", args.erasure_grace_ms.to_string()),
                ];
                [own, targets(), webhooks(&args.webhooks)].concat()
            }
            // The workers that need nothing else.
            _ => vec![("health-listen", listen)],
        };
        let flag = |(name, value): (&str, String)| [format!("--{name}"), value];
        flags.into_iter().flat_map(flag).collect()
    }
}

/// Where webhooks may go, as flags.
fn targets(targets: &Targets) -> Vec<(&'static str, String)> {
    let networks = (!targets.webhook_networks.is_empty())
        .then(|| ("webhook-networks", commas(&targets.webhook_networks)));
    let always = [
        ("webhook-http", targets.webhook_http.to_string()),
        ("webhook-ports", commas(&targets.webhook_ports)),
    ];
    always.into_iter().chain(networks).collect()
}

/// How webhooks are sent, as flags.
fn webhooks(config: &WebhookConfig) -> Vec<(&'static str, String)> {
    vec![
        ("webhook-timeout-ms", config.webhook_timeout_ms.to_string()),
        ("webhook-retry-ms", commas(&config.webhook_retry_ms)),
        ("webhook-patience-s", config.webhook_patience_s.to_string()),
        (
            "webhook-retry-after-max-s",
            config.webhook_retry_after_max_s.to_string(),
        ),
        ("webhook-sweep-s", config.webhook_sweep_s.to_string()),
        ("webhook-at-once", config.webhook_at_once.to_string()),
        ("webhook-lanes", config.webhook_lanes.to_string()),
    ]
}

fn commas<T: ToString>(all: &[T]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    all.join(",")
}

/// One role, over all its processes.
struct Life {
    role: &'static str,
    spec: Spec,
    launcher: Launcher,
    spawner: Spawner,
}

impl Life {
    async fn begin(&self) -> anyhow::Result<Child> {
        let child = self.spawner.spawn(&self.launcher, &self.spec).await;
        child.context(self.role)
    }

    /// Keeps it running until `stop`.
    async fn watch(self, mut child: Child, stop: CancellationToken) -> anyhow::Result<()> {
        let mut short_lives = 0;
        loop {
            let begun = Instant::now();
            let exit = tokio::select! {
                () = stop.cancelled() => {
                    child.stop(Signal::TERM, STOP_LIMIT).await?;
                    return Ok(());
                }
                exit = child.wait() => exit,
            };
            if exit.success() {
                eprintln!(
                    "{} was told to end, and stays down until `up` is started again",
                    self.role
                );
                stop.cancelled().await;
                return Ok(());
            }
            let short = begun.elapsed() < SHORT_LIFE;
            short_lives = if short { short_lives + 1 } else { 0 };
            if short_lives >= SHORT_LIVES_MAX {
                bail!(self.hopeless(exit));
            }
            sleep(RESTART_PAUSE).await;
            child = self.begin().await?;
            eprintln!(
                "{} ended ({exit}) and is started again as process {}",
                self.role,
                child.pid()
            );
        }
    }

    fn hopeless(&self, exit: Exit) -> String {
        let log = self.spec.log.as_deref().unwrap_or(Path::new("its log"));
        let (role, log) = (self.role, log.display());
        format!("{role} ended {SHORT_LIVES_MAX} times in a row ({exit}); {log} says why")
    }
}
