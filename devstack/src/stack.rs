//! All servers together: up, where they are, what failed, down.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::endpoints::Chosen;
use crate::fetch::{self, Sources};
use crate::launch::{Launcher, Spawner};
use crate::lock::Lock;
use crate::nats::{self, Sync};
use crate::postgres::{self, Ground};
use crate::server::{Host, Plan};
use crate::{
    Data, Endpoints, Error, Failure, Notice, Ports, Secrets, Server, Service, Services, sinks,
};

/// Failures that may wait to be noticed: one of each server, twice over.
const FAILURES: usize = 8;
/// Everybody may pass through.
const PASSABLE: u32 = 0o755;

/// What to bring up, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder, usually `.millrace`.
    pub data: PathBuf,
    /// Whether to remove first what an earlier run left there.
    pub fresh: bool,
    /// The program with the hidden subcommand and the sinks.
    pub launcher: Launcher,
    /// Which servers.
    pub services: Services,
    /// Which ports, if they are free.
    pub ports: Ports,
    /// When NATS flushes.
    pub sync: Sync,
    /// How many NATS servers: one, or a cluster of three or five.
    pub nats_nodes: usize,
    /// Where the payment simulator sends its webhooks.
    pub webhook: Option<String>,
}

impl Options {
    /// Every server on its usual port, durable, data kept.
    pub fn new(data: impl Into<PathBuf>, launcher: Launcher) -> Self {
        Self {
            data: data.into(),
            fresh: false,
            launcher,
            services: Services::all(),
            ports: Ports::usual(),
            sync: Sync::Always,
            nats_nodes: 1,
            webhook: None,
        }
    }
}

/// The running servers. Dropping it ends them; [`stop`](Self::stop) does so in order.
#[derive(Debug)]
pub struct Stack {
    // Declared first, dropped first: the lock is freed after the servers were told to end.
    servers: Vec<(Service, Server)>,
    endpoints: Endpoints,
    secrets: Secrets,
    notices: Vec<Notice>,
    failures: mpsc::Receiver<Failure>,
    data: Data,
    lock: Lock,
}

impl Stack {
    /// Locks the data folder, finds or fetches the programs, starts the servers at the same time
    /// and waits until all are ready.
    ///
    /// # Errors
    /// When the folder is in use, a program is not to be had, or a server does not come up; the
    /// others are ended then.
    pub fn start(options: Options) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(
            async move { Box::pin(Self::start_from(options, &Sources::from_environment())).await },
        )
    }

    /// As [`start`](Self::start), with programs from given sources.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_from(options: Options, sources: &Sources) -> BoxFuture<'_, Result<Self, Error>> {
        Box::pin(async move {
            let data = Data::open(&options.data)?;
            let mut lock = Lock::take(&data).await?;
            if options.fresh {
                data.empty()?;
            }
            data.lay_out()?;
            let secrets = Secrets::load_or_create(data.root())?;
            let chosen = Chosen::choose(options.ports, &options.services, options.nats_nodes)?;
            let endpoints = chosen.endpoints();
            let mut notices: Vec<Notice> = Notice::waited(lock.waited()).into_iter().collect();
            notices.extend(chosen.moved());

            let (report, failures) = mpsc::channel(FAILURES);
            let start = Start {
                host: Host {
                    launcher: options.launcher.clone(),
                    spawner: Spawner::start()?,
                    failures: report,
                },
                options: &options,
                sources,
                data: &data,
                secrets: &secrets,
                hold: lock.hold(),
            };
            let (servers, more) = Box::pin(start.all(chosen)).await?;
            notices.extend(more);
            lock.announce(&data, &endpoints, None)?;
            Ok(Self {
                servers,
                endpoints,
                secrets,
                notices,
                failures,
                data,
                lock,
            })
        })
    }

    /// Where the servers listen. The address of a server that was not asked for is where it
    /// would be.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The secrets of this data folder.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The data folder.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// What went otherwise than usual and should be shown: taken ports, Postgres elsewhere.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Writes the entry URL into the lock, for whoever comes second.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn announce(&mut self, entry: &str) -> Result<(), Error> {
        Ok(self
            .lock
            .announce(&self.data, &self.endpoints, Some(entry))?)
    }

    /// One server, if it was asked for; faults are injected here.
    pub fn server(&self, service: Service) -> Option<&Server> {
        self.servers
            .iter()
            .find(|(name, _)| *name == service)
            .map(|(_, server)| server)
    }

    /// nats-server, the first of several.
    pub fn nats(&self) -> Option<&Server> {
        self.server(Service::Nats)
    }

    /// Every nats-server.
    pub fn nats_nodes(&self) -> impl Iterator<Item = &Server> {
        let servers = self.servers.iter();
        let nodes = servers.filter(|(service, _)| *service == Service::Nats);
        nodes.map(|(_, server)| server)
    }

    /// Starts the nodes of a NATS cluster again that have ended; false = there is no cluster, or none of it
    /// is left.
    ///
    /// # Errors
    /// One does not come up.
    pub fn revive_nats(&self) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let (mut ended, mut alive) = (Vec::new(), 0);
            for node in self.nats_nodes() {
                match node.pid().await {
                    None => ended.push(node),
                    Some(_) => alive += 1,
                }
            }
            if alive == 0 {
                return Ok(false);
            }
            for node in ended {
                node.restart().await?;
            }
            Ok(true)
        })
    }

    /// Postgres.
    pub fn postgres(&self) -> Option<&Server> {
        self.server(Service::Postgres)
    }

    /// Resolves when a server ends that nobody asked to.
    pub fn failed(&mut self) -> BoxFuture<'_, Failure> {
        Box::pin(async move {
            match self.failures.recv().await {
                Some(failure) => failure,
                // Every server holds a sender, so with none left nothing can fail.
                None => std::future::pending().await,
            }
        })
    }

    /// Stops all servers in order and frees the data folder.
    ///
    /// # Errors
    /// The first server that had to be killed; all are gone nevertheless.
    pub fn stop(self) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move { self.stop_all().await })
    }

    /// Stops all servers and removes their data, also what is outside the data folder.
    ///
    /// # Errors
    /// As [`stop`](Self::stop); when something cannot be removed.
    pub fn discard(self) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            let stopped = self.stop_all().await;
            self.data.empty()?;
            stopped
        })
    }

    async fn stop_all(&self) -> Result<(), Error> {
        let stopping = self.servers.iter().map(|(_, server)| server.stop());
        futures::future::join_all(stopping)
            .await
            .into_iter()
            .collect()
    }
}

/// A folder for the data of one test: gone when it is dropped, and with parents that Postgres's
/// user can pass through, unlike those of an ordinary temporary folder.
///
/// # Errors
/// When the system's folder for temporary files cannot be written.
pub fn temporary_data() -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("millrace-test-")
        .permissions(Permissions::from_mode(PASSABLE))
        .tempdir()
}

/// How to run a server, and what went otherwise than usual about it.
type Planned = (Plan, Vec<Notice>);

/// A start that is under way.
struct Start<'a> {
    host: Host,
    options: &'a Options,
    sources: &'a Sources,
    data: &'a Data,
    secrets: &'a Secrets,
    hold: Arc<std::fs::File>,
}

impl Start<'_> {
    async fn all(&self, chosen: Chosen) -> Result<(Vec<(Service, Server)>, Vec<Notice>), Error> {
        let plans = self.plans(&chosen).await?;
        // All at once, and while no program is being started: between fork and exec a child holds
        // our sockets too, and a server that wants one of the ports would find it taken.
        drop(chosen);
        let (plans, notices): (Vec<_>, Vec<_>) = plans.into_iter().unzip();
        let starts = plans.into_iter().map(|plan| async {
            let service = plan.service;
            Ok::<_, Error>((service, self.run(plan).await?))
        });
        let servers = futures::future::try_join_all(starts).await?;
        Ok((servers, notices.concat()))
    }

    async fn plans(&self, chosen: &Chosen) -> Result<Vec<Planned>, Error> {
        let (nats, postgres, mail, payments) = tokio::try_join!(
            self.when(Service::Nats, async {
                let program = fetch::nats_server(self.sources).await?;
                let how = (chosen.nats.as_slice(), &self.options.sync);
                let plans = nats::plans(&program, self.data, self.secrets, how)?;
                Ok(plans.into_iter().map(|plan| (plan, Vec::new())).collect())
            }),
            self.when(Service::Postgres, async {
                let ground = Ground {
                    data: self.data,
                    secrets: self.secrets,
                    host: &self.host,
                    sources: self.sources,
                    hold: self.hold.clone(),
                };
                let port = chosen.postgres.address().port();
                Ok(vec![postgres::plan(&ground, port).await?])
            }),
            self.when(Service::Mail, async {
                let (smtp, http) = (chosen.smtp.address(), chosen.mail.address());
                let plan = sinks::mail_plan(&self.host.launcher, self.data, smtp, http);
                Ok(vec![(plan, Vec::new())])
            }),
            self.when(Service::Payments, async {
                let plan = sinks::payments_plan(
                    &self.host.launcher,
                    self.data,
                    self.secrets,
                    chosen.payments.address(),
                    self.options.webhook.as_deref(),
                );
                Ok(vec![(plan, Vec::new())])
            }),
        )?;
        let all = [nats, postgres, mail, payments];
        Ok(all.into_iter().flatten().collect())
    }

    async fn when(
        &self,
        service: Service,
        plans: impl Future<Output = Result<Vec<Planned>, Error>>,
    ) -> Result<Vec<Planned>, Error> {
        if !self.options.services.contains(service) {
            return Ok(Vec::new());
        }
        plans.await
    }

    async fn run(&self, mut plan: Plan) -> Result<Server, Error> {
        plan.spec.hold = Some(self.hold.clone());
        Server::start(plan, self.host.clone()).await
    }
}
