//! Which database, as which role.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::config::SslMode;
use tokio_util::task::AbortOnDropHandle;

use crate::tls::{Connection, Shown, Tls, TlsError};

/// Bound of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest that it may take until a connection can be used. Whoever takes it and then says nothing is no
/// server: it may be a proxy in front of one that hangs. Long, for one that has much to do is not to begin anew
/// again and again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a silent connection is left alone before the kernel asks whether the other end lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// How long sent bytes may stay unacknowledged before the connection counts as lost.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows are found by an index wherever there is one. A statement is planned once for each connection, maybe
/// while its table is empty, and Postgres would walk through a small table from then on, also once it has
/// grown, until it has counted its rows anew.
pub(crate) const BY_INDEX: &str = "-c enable_seqscan=off";

/// The task that moves a connection's bytes; ends with whoever holds it.
pub(crate) type Driver = AbortOnDropHandle<()>;

/// Moves the bytes of `connection`.
pub(crate) fn driven(connection: Connection) -> Driver {
    AbortOnDropHandle::new(tokio::spawn(async move {
        // Whoever uses the client next is told the same error.
        let _ = connection.await;
    }))
}

/// What a role may do to the read models of its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// The projector: select, insert, update.
    Writer,
    /// The query API: select.
    Reader,
}

impl Access {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Writer, Self::Reader];

    /// `writer` or `reader`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }

    /// The login role: `millrace_<context>_writer` or `…_reader`.
    pub fn role(self, context: &str) -> String {
        format!("millrace_{context}_{}", self.name())
    }

    /// The environment variable that holds the role's password.
    pub fn password_variable(self, context: &str) -> String {
        let name = format!("millrace_postgres_{context}_{}_password", self.name());
        name.to_ascii_uppercase()
    }
}

/// The database of a context: `millrace_<context>`.
pub(crate) fn database(context: &str) -> String {
    format!("millrace_{context}")
}

/// No login.
#[derive(Debug, Error)]
pub enum LoginError {
    /// An address that is none.
    #[error("{0:?} is no Postgres address: host:port is wanted, as in 127.0.0.1:5432")]
    Address(String),
    /// Who vouches for the server can't be told.
    #[error("no TLS to Postgres")]
    Tls(#[from] TlsError),
}

/// No connection.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Postgres can't be reached, or refuses.
    #[error(transparent)]
    Refused(#[from] tokio_postgres::Error),
    /// Something is there, and does not answer.
    #[error("no answer within {} seconds", .0.as_secs())]
    Silent(Duration),
}

/// What `opening` comes to, if it does in time.
pub(crate) async fn in_time<T>(
    opening: BoxFuture<'_, Result<T, OpenError>>,
) -> Result<T, OpenError> {
    let opened = tokio::time::timeout(OPEN_TIMEOUT, opening).await;
    opened.unwrap_or(Err(OpenError::Silent(OPEN_TIMEOUT)))
}

/// One database of one server, as one role; over TLS when it is said who vouches for the server.
#[derive(Clone)]
pub struct Login {
    host: String,
    port: u16,
    database: String,
    user: String,
    password: String,
    tls: Tls,
}

impl Login {
    /// The database of `context`, as its writer or reader.
    ///
    /// # Errors
    /// `address` is not `host:port`.
    pub fn context(
        address: &str,
        context: &str,
        access: Access,
        password: &str,
    ) -> Result<Self, LoginError> {
        let login = Self::admin(address, &access.role(context), password)?;
        Ok(login.to_database(&database(context)))
    }

    /// The server's own database, as somebody who may make databases and roles.
    ///
    /// # Errors
    /// `address` is not `host:port`.
    pub fn admin(address: &str, user: &str, password: &str) -> Result<Self, LoginError> {
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, u16::from_str(port).ok()?)))
            .filter(|(host, _)| !host.is_empty())
            .ok_or_else(|| LoginError::Address(address.to_owned()))?;
        Ok(Self {
            // An IPv6 address stands in brackets in front of a port.
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            database: "postgres".to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            tls: Tls::load(None, None)?,
        })
    }

    /// The same server and role, another database.
    #[must_use]
    pub fn to_database(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
            ..self.clone()
        }
    }

    /// The same, but only over TLS, to a server for whose name one of the certificates in `ca` (PEM)
    /// vouches. `None` = without TLS. `shown` is for a server that demands a certificate.
    ///
    /// # Errors
    /// A file can't be read, `ca` has no certificate, or what is `shown` does not belong together.
    pub fn trusting(self, ca: Option<&Path>, shown: Option<Shown<'_>>) -> Result<Self, LoginError> {
        Ok(Self {
            tls: Tls::load(ca, shown)?,
            ..self
        })
    }

    /// Connects as `config` says: with TLS if a login is to have it.
    pub(crate) async fn open(
        &self,
        config: &tokio_postgres::Config,
    ) -> Result<(Client, Connection), OpenError> {
        in_time(Box::pin(async { Ok(self.tls.open(config).await?) })).await
    }

    /// For tokio-postgres; `name` is shown in `pg_stat_activity`.
    pub fn config(&self, name: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .ssl_mode(match self.tls.ca() {
                Some(_) => SslMode::Require,
                None => SslMode::Disable,
            })
            .dbname(&self.database)
            .user(&self.user)
            .password(&self.password)
            .application_name(name)
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .tcp_user_timeout(USER_TIMEOUT);
        config
    }

    /// For sqlx.
    pub fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass();
        let options = match self.tls.ca() {
            Some(ca) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(ca),
            None => options.ssl_mode(PgSslMode::Disable),
        };
        let options = match self.tls.shown() {
            Some((certificate, key)) => options.ssl_client_cert(certificate).ssl_client_key(key),
            None => options,
        };
        options
            .host(&self.host)
            .port(self.port)
            .database(&self.database)
            .username(&self.user)
            .password(&self.password)
    }
}

impl fmt::Debug for Login {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            database,
            user,
            password: _,
            tls: _,
        } = self;
        write!(f, "{user}@{host}:{port}/{database}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for bad in ["", "localhost", ":5432", "localhost:", "localhost:x"] {
            assert!(Login::admin(bad, "a", "b").is_err(), "{bad:?}");
        }
        let login = Login::context("[::1]:5432", "order", Access::Reader, "secret").unwrap();
        assert_eq!(
            format!("{login:?}"),
            "millrace_order_reader@::1:5432/millrace_order"
        );
        assert_eq!(
            Access::Writer.password_variable("order"),
            "MILLRACE_POSTGRES_ORDER_WRITER_PASSWORD"
        );
    }
}
