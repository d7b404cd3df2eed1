//! One role alone, against given servers. `up` runs the same code, all in one process.

use anyhow::{Context, anyhow, ensure};
use axum::Router;
use axum::routing::get;
use clap::{Args, Command, FromArgMatches};
use command_api::Connections;
use edge::Limits;
use edge::auth::{KeySet, Verifier};
use projections::projector::Standing;
use projections::{Access, Reader};
use streams::keys::{Erasures, Keys};
use streams::{Connection, Settings};
use telemetry::{Metrics, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{CommandApiArgs, GatewayArgs, ProjectorArgs, QueryApiArgs, ReactorArgs, SagaArgs};
use crate::production::Mode;
use crate::settings::Source;
use crate::{entry, production, provision, withdrawing};

/// Most connections at once of those who ask how a role is.
const PROBES_MAX: usize = 32;

/// A configuration with every setting at its documented default, whatever the environment says.
pub fn defaults<A: Args + FromArgMatches>() -> A {
    let command = A::augment_args(Command::new("defaults")).mut_args(|arg| arg.env(None::<&str>));
    let parsed = command
        .try_get_matches_from(["defaults"])
        .and_then(|matches| A::from_arg_matches(&matches));
    match parsed {
        Ok(args) => args,
        // A setting without a default is a fault of the program, and found by its first test.
        Err(error) => error.exit(),
    }
}

/// The command API over `connection`.
///
/// # Errors
/// A secret is missing, or it can't be made ready.
pub async fn command_service(
    config: command_api::Config,
    secrets: &Source<'_>,
    connection: Connection,
    token_keys: KeySet,
) -> anyhow::Result<command_api::Service> {
    let connections = Connections {
        streams: connection.streams(Settings {
            cache_capacity: config.aggregates_max,
            ..Settings::default()
        }),
        keys: Keys::new(&connection, secrets.master_keys()?),
        token_keys,
        digest_key: secrets.digest_key()?,
        webhook_secrets: secrets.webhook_secrets()?,
        nats: connection,
    };
    Ok(command_api::Service::start(config, connections).await?)
}

/// The query API over `connection` and the databases of all contexts, as one router; and the
/// follower of erasures that drops keys from its memory. Who was erased by now it knows already.
///
/// # Errors
/// A secret is missing, a database is not known, or the erasures can't be read.
pub async fn query_router(
    config: &query_api::Config,
    secrets: &Source<'_>,
    connection: &Connection,
    verifier: Verifier,
    (postgres, closing): (Server<'_>, CancellationToken),
) -> anyhow::Result<(Router, Erasures)> {
    let databases = secrets.logins(postgres, Access::Reader)?;
    let keys = Keys::new(connection, secrets.master_keys()?);
    let mut erasures = Erasures::new(connection, &keys);
    erasures.learn().await?;
    let api = query_api::Api::new(
        config,
        query_api::Parts {
            log: connection,
            topology: provision::topology(),
            reader: Reader::open(&databases, config.read),
            keys,
            digest_key: secrets.digest_key()?,
        },
        verifier,
        closing,
    );
    Ok((query_api::router(api, config), erasures))
}

/// Runs the command API until it is told to stop.
///
/// # Errors
/// A server can't be reached, or a secret is missing.
pub async fn command_api(args: CommandApiArgs) -> anyhow::Result<()> {
    let (secrets, stop) = (Source::Environment, until_told());
    let connection = secrets.connect_to_work(&args.nats, "command-api");
    let connection = unless_told(&stop, connection).await?;
    let keys = KeySet::load(&args.jwt_keys)?;
    let followed = keys.clone().follow(stop.clone());
    let contexts = args.config.contexts.clone();
    let encrypted = args.config.tls.tls_cert.is_some();
    let service = command_service(args.config, &secrets, connection.clone(), keys);
    let service = unless_told(&stop, service).await?.with(metrics()?);
    let listener = listen(&args.listen).await?;
    let address = advertised(args.advertise, &listener, encrypted)?;
    let withdrawn = withdrawing::follow(&connection, service.verifier(), stop.clone());
    // Everything that it serves is one future: too large for a stack.
    let (served, (), (), announced) = tokio::join!(
        Box::pin(service.run(listener, stop.clone())),
        withdrawn,
        followed,
        announce(
            &connection,
            ("command-api", &contexts),
            address,
            stop.clone()
        ),
    );
    served.map_err(anyhow::Error::from).and(announced)
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// NATS can't be reached, or a secret is missing.
pub async fn gateway(mut args: GatewayArgs, mode: Mode) -> anyhow::Result<()> {
    let apis_http = &mut args.config.behind.apis_http;
    apis_http.get_or_insert(mode != Mode::Production);
    // No check of the streams: it works on none.
    let (secrets, stop) = (Source::Environment, until_told());
    let connection = secrets.connect(&args.nats, gateway::ROLE);
    let connection = unless_told(&stop, connection).await?;
    let keys = KeySet::load(&args.jwt_keys)?;
    let limits = args.config.limits;
    let encrypted = args.config.tls.tls_cert.is_some();
    let service = gateway::Service::new(args.config, Some(connection), &keys)?;
    let listener = listen(&args.listen).await?;
    let port = listener.local_addr()?.port();
    let address = advertised(args.advertise, &listener, encrypted)?;
    // No two gateways may have the same: they would take themselves for one.
    let address = address.unwrap_or_else(|| format!("http://{}:{port}", machine()));
    let routes = entry::routes(&limits);
    // Until it is told to stop; if it ends otherwise, so does the process.
    tokio::spawn(keys.follow(stop.clone()));
    let Some(apart) = args.metrics_listen else {
        let service = service.with(routes.merge(metrics()?));
        return Ok(service.run(listener, address, stop).await?);
    };
    let run = service.with(routes).run(listener, address, stop);
    beside(&apart, Router::new(), run).await
}

/// The name of this machine or container, or one that nobody else has.
fn machine() -> String {
    let name = std::env::var("HOSTNAME").ok();
    let name = name.filter(|name| !name.is_empty());
    name.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
}

/// Where a replica says that it can be reached, over TLS where it shows a certificate; `None` = it
/// can't say.
fn advertised(
    given: Option<String>,
    listener: &TcpListener,
    encrypted: bool,
) -> anyhow::Result<Option<String>> {
    let scheme = if encrypted { "https" } else { "http" };
    if let Some(given) = given {
        let known: gateway::Address = given
            .parse()
            .map_err(|error| anyhow!("MILLRACE_ADVERTISE: {error}"))?;
        ensure!(
            known.is_encrypted() == encrypted,
            "MILLRACE_ADVERTISE: what listens there talks {scheme}, not {given}"
        );
        return Ok(Some(known.to_string()));
    }
    let address = listener.local_addr()?;
    Ok((!address.ip().is_unspecified()).then(|| format!("{scheme}://{address}")))
}

/// Announces a replica, and which contexts it serves, to the gateways and its like until `stop`.
///
/// # Errors
/// NATS does not take it.
pub async fn announce(
    connection: &Connection,
    (role, contexts): (&str, &[String]),
    address: Option<String>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if address.is_none() {
        tracing::info!(
            "no gateway finds it: set MILLRACE_ADVERTISE to where they reach this replica"
        );
    }
    let announced = connection
        .announce(role, address.as_deref(), contexts, stop.clone())
        .await;
    // Without it, nobody would come: better to end at once.
    announced.inspect_err(|_| stop.cancel())?;
    Ok(())
}

/// Runs the query API until it is told to stop.
///
/// # Errors
/// A server can't be reached, or a secret is missing.
pub async fn query_api(args: QueryApiArgs) -> anyhow::Result<()> {
    let (secrets, stop) = (Source::Environment, until_told());
    let connection = secrets.connect_to_work(&args.nats, "query-api");
    let connection = unless_told(&stop, connection).await?;
    let keys = KeySet::load(&args.jwt_keys)?;
    let postgres = &args.postgres;
    let verifier = Verifier::new(&keys, streams::clock::now);
    let withdrawn = verifier.clone();
    let reach = (postgres.into(), stop.clone());
    let router = query_router(&args.config, &secrets, &connection, verifier, reach);
    let (router, erasures) = unless_told(&stop, router).await?;
    let router = router.merge(metrics()?);
    let listener = listen(&args.listen).await?;
    let tls = args.config.tls.acceptor()?;
    let address = advertised(args.advertise, &listener, tls.is_some())?;
    let (served, (), (), (), announced) = tokio::join!(
        edge::serve_tls(
            listener,
            router,
            (args.config.limits, None),
            (tls, stop.clone())
        ),
        erasures.follow(stop.clone()),
        withdrawing::follow(&connection, withdrawn, stop.clone()),
        keys.follow(stop.clone()),
        announce(&connection, ("query-api", &[]), address, stop.clone()),
    );
    served.map_err(anyhow::Error::from).and(announced)
}

/// `/metrics`, for Prometheus: of the whole process.
///
/// # Errors
/// A recorder was installed before.
pub fn metrics() -> anyhow::Result<Router> {
    let metrics = Metrics::install()?;
    let routes = Router::new().route("/metrics", get(async move || metrics.render()));
    Ok(routes.method_not_allowed_fallback(edge::method_refused))
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("can't listen on {address}"))
}

/// Runs the projector until it is told to stop.
///
/// # Errors
/// A server can't be reached, a secret is missing, or every view has stopped.
pub async fn projector(args: ProjectorArgs) -> anyhow::Result<()> {
    let (secrets, stop) = (Source::Environment, until_told());
    let connection = secrets.connect_to_work(&args.nats, "projector");
    let connection = unless_told(&stop, connection).await?;
    let databases = secrets.logins(&args.postgres, Access::Writer)?;
    let standing = Standing::default();
    let asked = standing.clone();
    let health =
        command_api::health(&connection).check("views", move || std::future::ready(asked.check()));
    let watched = (standing, stop);
    let run = projections::projector::run(args.config, connection, databases, watched);
    beside(&args.health_listen, health.router(), run).await
}

/// Runs the sagas until they are told to stop.
///
/// # Errors
/// A server can't be reached, or a secret is missing.
pub async fn saga(args: SagaArgs) -> anyhow::Result<()> {
    let (secrets, stop) = (Source::Environment, until_told());
    let connection = secrets.connect_to_work(&args.nats, "saga");
    let connection = unless_told(&stop, connection).await?;
    let health = command_api::health(&connection);
    let run = sagas::run(args.config, connection, stop);
    beside(&args.health_listen, health.router(), run).await
}

/// Runs the reactors until they are told to stop.
///
/// # Errors
/// A server can't be reached, or a secret is missing.
pub async fn reactor(mut args: ReactorArgs) -> anyhow::Result<()> {
    let (secrets, stop) = (Source::Environment, until_told());
    production::know_provider(&mut args.config.provider)?;
    if let Some(password) = production::mail_password(&args.config.smtp)? {
        args.config.smtp.smtp_password = password;
    }
    let connection = secrets.connect_to_work(&args.nats, "reactor");
    let connection = unless_told(&stop, connection).await?;
    let keys = Keys::new(&connection, secrets.master_keys()?);
    let health = command_api::health(&connection);
    let run = reactors::run(args.config, connection, keys, stop);
    beside(&args.health_listen, health.router(), run).await
}

/// Runs a role, and as long as it runs says at `address` how it is: `routes`, and its metrics.
///
/// # Errors
/// Nobody can listen there, or the role ended with one.
async fn beside<E>(
    address: &str,
    routes: Router,
    role: impl Future<Output = Result<(), E>>,
) -> anyhow::Result<()>
where
    anyhow::Error: From<E>,
{
    let listener = listen(address).await?;
    let limits = Limits {
        connections_max: PROBES_MAX,
        ..Limits::default()
    };
    let routes = edge::guarded(routes.merge(metrics()?), &limits);
    let ended = CancellationToken::new();
    let served = edge::serve(listener, routes, limits, ended.clone());
    let role = async {
        // Dropped however the role ends.
        let _ended = ended.drop_guard();
        role.await
    };
    let (role, served) = tokio::join!(role, served);
    role?;
    Ok(served?)
}

/// What a role has to do before it can begin. It may have to wait long for a server, and whoever wants to
/// stop it meanwhile need not.
///
/// # Errors
/// It was told to stop, or those of `work`.
async fn unless_told<T>(
    stop: &CancellationToken,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let done = stop.run_until_cancelled(work).await;
    done.context("it was told to stop before it had begun")?
}

/// Canceled at Ctrl-C or SIGTERM.
pub fn until_told() -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            // Whatever it answers, there is nothing left to wait for.
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
    });
    stop
}
