//! Streams, durables, databases and roles: made with admin rights, here and nowhere else.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use edge::auth::KeySet;
use projections::provision::READER_CONNECTIONS_MAX;
use projections::{Access, Login, Passwords};
use streams::topology::{self, DurableSpec, Topology, TopologyError};
use telemetry::{NatsArgs, PostgresArgs, Server};

use crate::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD, Source, believing};

/// Longest that servers which have just started may take to find each other and elect who decides: until
/// then none takes a stream.
const CLUSTER_TIME_MAX: Duration = Duration::from_mins(1);

/// Pause before they are asked again.
const CLUSTER_PAUSE: Duration = Duration::from_millis(500);

/// Settings of `millrace provision`.
#[derive(Debug, Args)]
pub struct ProvisionArgs {
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Postgres.
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Postgres's administrator: a superuser, or who may make roles and databases.
    #[arg(long, env = "MILLRACE_POSTGRES_ADMIN", default_value = POSTGRES_ADMIN)]
    pub postgres_admin: String,
    /// How many of what.
    #[command(flatten)]
    pub size: Size,
    /// Folder in which the first key that signs access tokens is made, if there is none.
    #[arg(long, env = "MILLRACE_JWT_KEYS")]
    pub jwt_keys: Option<PathBuf>,
}

/// How many copies and connections there are to be.
#[derive(Debug, Clone, Copy, Args)]
pub struct Size {
    /// Copies of each stream: 1 on a single server, 3 on a cluster.
    #[arg(long, env = "MILLRACE_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
    /// Most connections to Postgres of each context's reader, which all query APIs share: each brings one more
    /// than `MILLRACE_READ_CONNECTIONS`, and a rollout has one more of them.
    #[arg(
        long,
        env = "MILLRACE_READER_CONNECTIONS_MAX",
        default_value_t = READER_CONNECTIONS_MAX,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
    )]
    pub reader_connections_max: u32,
}

impl Size {
    /// So many copies, and the connections that are enough for most.
    pub fn of(replicas: usize) -> Self {
        Self {
            replicas,
            reader_connections_max: READER_CONNECTIONS_MAX,
        }
    }
}

/// The one table of streams and durables.
pub fn topology() -> Topology {
    let durables: Vec<DurableSpec> = sagas::DURABLES
        .into_iter()
        .chain(reactors::DURABLES)
        .collect();
    Topology::new(&domains::NAMES, &durables)
        .without(&reactors::RETIRED)
        .beginning(&sagas::LATER)
}

/// Makes what is missing, and refuses what is dangerous.
///
/// # Errors
/// A server can't be reached, a secret is missing, or a stream could lose events as it is.
pub async fn run(args: ProvisionArgs) -> anyhow::Result<()> {
    provision(
        &Source::Environment,
        &args.nats,
        (&args.postgres, &args.postgres_admin),
        args.size,
    )
    .await?;
    if let Some(folder) = &args.jwt_keys {
        KeySet::create_if_missing(folder)?;
    }
    println!("streams, durables, databases and roles are as declared");
    Ok(())
}

/// The same, for `up`.
///
/// # Errors
/// As [`run`].
pub async fn provision(
    secrets: &Source<'_>,
    nats: impl Into<Server<'_>>,
    (postgres, administrator): (impl Into<Server<'_>>, &str),
    size: Size,
) -> anyhow::Result<()> {
    let (nats, postgres) = (nats.into(), postgres.into());
    let streams = async {
        let connection = secrets.connect(nats, "provision").await?;
        let topology = topology();
        let (began, mut told) = (Instant::now(), false);
        loop {
            match topology::provision(&connection, &topology, size.replicas).await {
                Err(error @ TopologyError::Failed { .. })
                    if size.replicas > 1 && began.elapsed() < CLUSTER_TIME_MAX =>
                {
                    if !told {
                        eprintln!("the cluster may be electing: {}", streams::chain(&error));
                    }
                    told = true;
                    tokio::time::sleep(CLUSTER_PAUSE).await;
                }
                done => return done.context("can't provision the streams"),
            }
        }
    };
    let databases = async {
        let mut passwords = Passwords::default();
        for context in domains::NAMES {
            for access in Access::ALL {
                let password = secrets.get(&access.password_variable(context))?;
                passwords.set(context, access, password);
            }
        }
        let admin_password = secrets.get(POSTGRES_ADMIN_PASSWORD)?;
        let admin = Login::admin(postgres.address, administrator, &admin_password)?;
        let admin = believing(admin, postgres)?;
        projections::provision(&admin, &passwords, size.reader_connections_max)
            .await
            .context("can't provision the databases")
    };
    tokio::try_join!(streams, databases)?;
    Ok(())
}
