//! Databases, roles, tables: what only an administrator may make.
//!
//! ```text
//!   roles        a writer and a reader for each context, with their passwords
//!   database     one for each context, closed to everybody else
//!   migrations   its tables, by sqlx
//!   grants       the reader selects, the writer selects, inserts and updates
//! ```
//!
//! All of it may be done again at any time, and by two at once: an advisory lock lets one go first.

mod migrations;
mod roles;

use std::collections::BTreeMap;

use futures::future::LocalBoxFuture;
use sqlx::migrate::MigrateError;
use sqlx::{ConnectOptions, Connection, PgConnection};
use thiserror::Error;

use crate::login::{Access, Login};
pub use roles::READER_CONNECTIONS_MAX;

/// The advisory lock of whoever provisions this server: any number, as long as it is always this.
const PROVISION_LOCK: i64 = 64_557_223;

/// The passwords of the writer and the reader of every context.
#[derive(Clone, Default)]
pub struct Passwords(BTreeMap<(String, Access), String>);

impl Passwords {
    /// Sets the password of one role.
    pub fn set(&mut self, context: &str, access: Access, password: impl Into<String>) {
        self.0.insert((context.to_owned(), access), password.into());
    }

    fn get(&self, context: &str, access: Access) -> Result<&str, ProvisionError> {
        let key = (context.to_owned(), access);
        let password = self.0.get(&key).filter(|password| !password.is_empty());
        password
            .map(String::as_str)
            .ok_or_else(|| ProvisionError::NoPassword {
                variable: access.password_variable(context),
            })
    }
}

impl std::fmt::Debug for Passwords {
    /// Never shows one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The oldest major version that is good enough.
const POSTGRES_MIN: u32 = 15;

/// Why the databases could not be made ready.
#[derive(Debug, Error)]
pub enum ProvisionError {
    /// A role without a password.
    #[error("there is no password in {variable}")]
    NoPassword {
        /// Where it is looked for.
        variable: String,
    },
    /// The server can't be reached, or refuses this login.
    #[error("can't connect as {login}")]
    Connect {
        /// As whom, where.
        login: String,
        /// What sqlx says.
        #[source]
        source: sqlx::Error,
    },
    /// It lacks what the tables and roles need.
    #[error("Postgres is {version}; {POSTGRES_MIN} or newer is needed")]
    TooOld {
        /// What it says that it is.
        version: String,
    },
    /// A statement failed.
    #[error("can't {what}")]
    Statement {
        /// What was to be done.
        what: String,
        /// What sqlx says.
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed, or one that was applied has changed since.
    #[error("can't migrate the database of {context}")]
    Migrate {
        /// Whose.
        context: &'static str,
        /// What sqlx says.
        #[source]
        source: MigrateError,
    },
}

/// Makes the databases, roles and tables of every context, or brings them up to date. Each reader may have
/// so many connections ([`READER_CONNECTIONS_MAX`]).
///
/// # Errors
/// See [`ProvisionError`]; what was done until then stays and is found again the next time.
pub fn provision<'a>(
    admin: &'a Login,
    passwords: &'a Passwords,
    reader_connections_max: u32,
) -> LocalBoxFuture<'a, Result<(), ProvisionError>> {
    Box::pin(async move {
        let mut server = connect(admin).await?;
        must_be_new_enough(&mut server).await?;
        execute(
            &mut server,
            "wait for whoever else provisions",
            &format!("select pg_advisory_lock({PROVISION_LOCK})"),
        )
        .await?;
        let outcome = provision_all(&mut server, admin, (passwords, reader_connections_max)).await;
        // Ends the session and with it the lock; the server ends it as well when this can't be said.
        let _ = server.close().await;
        outcome
    })
}

async fn provision_all(
    server: &mut PgConnection,
    admin: &Login,
    (passwords, reader_connections_max): (&Passwords, u32),
) -> Result<(), ProvisionError> {
    for context in crate::contexts() {
        for access in Access::ALL {
            let connections_max = match access {
                Access::Writer => roles::WRITER_CONNECTIONS_MAX,
                Access::Reader => reader_connections_max,
            };
            let password = passwords.get(context, access)?;
            roles::create(server, context, (access, connections_max), password).await?;
        }
        roles::create_database(server, context).await?;
        let login = admin.to_database(&crate::login::database(context));
        let mut database = connect(&login).await?;
        migrations::apply(context, &mut database).await?;
        roles::grant(&mut database, context).await?;
        // The work is committed; how the session ends changes nothing.
        let _ = database.close().await;
        tracing::info!(context, "database is ready");
    }
    Ok(())
}

async fn must_be_new_enough(server: &mut PgConnection) -> Result<(), ProvisionError> {
    let asked = "select current_setting('server_version')";
    let version: String = sqlx::query_scalar(asked)
        .fetch_one(server)
        .await
        .map_err(|source| ProvisionError::Statement {
            what: "ask for the server's version".to_owned(),
            source,
        })?;
    if is_too_old(&version) {
        return Err(ProvisionError::TooOld { version });
    }
    Ok(())
}

/// Is Postgres of this version (`18.1 (Debian …)`, `19beta1`) too old, or none that is known?
fn is_too_old(version: &str) -> bool {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next();
    let major: Option<u32> = digits.and_then(|digits| digits.parse().ok());
    major.is_none_or(|major| major < POSTGRES_MIN)
}

async fn connect(login: &Login) -> Result<PgConnection, ProvisionError> {
    let connected = login.options().connect().await;
    connected.map_err(|source| ProvisionError::Connect {
        login: login.to_string(),
        source,
    })
}

/// Runs one statement that has no parameters (role and database names can't be any).
async fn execute(
    connection: &mut PgConnection,
    what: &str,
    sql: &str,
) -> Result<(), ProvisionError> {
    let done = sqlx::raw_sql(sql).execute(connection).await;
    done.map(|_| ())
        .map_err(|source| ProvisionError::Statement {
            what: what.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postgres_that_is_too_old_is_known_by_its_major_number() {
        for fine in ["15.0", "18.1 (Debian 18.1-1)", "19beta1"] {
            assert!(!is_too_old(fine), "{fine}");
        }
        for old in ["14.20", "9.6.24", "", "none"] {
            assert!(is_too_old(old), "{old}");
        }
    }
}
