//! Roles and what they may do.
//!
//! Names are made of context names, which are constants of this code; passwords never travel or
//! stand in a log as such, only as the SCRAM verifier that the server would keep anyway.

use std::fmt::Write as _;

use postgres_protocol::password::scram_sha_256;
use sqlx::PgConnection;

use super::{ProvisionError, execute};
use crate::login::{Access, database};
use crate::projector::STATEMENT_TIMEOUT_MS as WRITER_STATEMENT_MS;
use crate::read::STATEMENT_TIMEOUT_MS as READER_STATEMENT_MS;

/// Postgres's "already exists", of a role and of a database.
const EXISTS: [&str; 3] = ["42710", "42P04", "23505"];

/// Most connections of a context's writer: its projectors, of which one works and others stand by, old and
/// new at a rollout. It only has to keep one context from taking all that there are.
pub(super) const WRITER_CONNECTIONS_MAX: u32 = 20;

/// Most connections of its reader, unless somebody says otherwise: of a query API each process has one more
/// than it reads with, and at a rollout there is one process more.
pub const READER_CONNECTIONS_MAX: u32 = 60;

/// Makes the role, or sets the password of the one that is there.
pub(super) async fn create(
    server: &mut PgConnection,
    context: &str,
    (access, connections_max): (Access, u32),
    password: &str,
) -> Result<(), ProvisionError> {
    let role = access.role(context);
    unless_exists(
        execute(
            server,
            &format!("create role {role}"),
            &format!("create role {role}"),
        )
        .await,
    )?;
    let verifier = scram_sha_256(password.as_bytes());
    let set_up = format!("set up role {role}");
    let sql = format!("alter role {role} with login password '{verifier}'");
    execute(server, &set_up, &sql).await?;
    bound(server, &role, (access, connections_max)).await?;
    // A new role may do nothing more. Only a superuser may as much as name these rights, and the
    // administrator of a hosted server is none.
    let more = may_more(server, &role).await;
    let more = more.map_err(|source| ProvisionError::Statement {
        what: set_up.clone(),
        source,
    });
    if more? {
        let sql = format!(
            "alter role {role} with nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
        );
        execute(server, &set_up, &sql).await?;
    }
    Ok(())
}

/// What a session of the role may take at the most. Ours ask for less by themselves; whoever else signs in
/// with the role is bound as well.
async fn bound(
    server: &mut PgConnection,
    role: &str,
    (access, connections_max): (Access, u32),
) -> Result<(), ProvisionError> {
    let statement_ms = match access {
        Access::Writer => WRITER_STATEMENT_MS,
        Access::Reader => READER_STATEMENT_MS,
    };
    let sql = format!(
        "alter role {role} connection limit {connections_max}; \
         alter role {role} set statement_timeout = {statement_ms}"
    );
    execute(server, &format!("bound role {role}"), &sql).await
}

/// Has somebody given the role rights that it must not have?
async fn may_more(server: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    let sql = "select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls \
               from pg_roles where rolname = $1";
    sqlx::query_scalar(sql).bind(role).fetch_one(server).await
}

/// Makes the context's database, closed to everybody but its two roles.
pub(super) async fn create_database(
    server: &mut PgConnection,
    context: &str,
) -> Result<(), ProvisionError> {
    let name = database(context);
    unless_exists(
        execute(
            server,
            &format!("create database {name}"),
            &format!("create database {name} encoding 'UTF8' template template0"),
        )
        .await,
    )?;
    let (writer, reader) = roles(context);
    let sql = format!(
        "revoke all on database {name} from public; \
         grant connect on database {name} to {writer}, {reader}"
    );
    execute(server, &format!("close database {name} to others"), &sql).await
}

/// The least that the two roles need.
pub(super) async fn grant(
    connection: &mut PgConnection,
    context: &str,
) -> Result<(), ProvisionError> {
    let (writer, reader) = roles(context);
    let mut sql = format!(
        "revoke all on schema public from public; \
         grant usage on schema public to {writer}, {reader}; \
         grant select, update on view_position to {writer}; \
         grant select on view_position to {reader};"
    );
    for view in crate::views_of(context) {
        let table = view.name;
        // Writing to a String can't fail.
        let _ = write!(
            sql,
            "grant select, insert, update on {table} to {writer}; \
             grant select on {table} to {reader};"
        );
    }
    execute(
        connection,
        &format!("grant the roles of {context} their rights"),
        &sql,
    )
    .await
}

fn roles(context: &str) -> (String, String) {
    (Access::Writer.role(context), Access::Reader.role(context))
}

fn unless_exists(outcome: Result<(), ProvisionError>) -> Result<(), ProvisionError> {
    match outcome {
        Err(ProvisionError::Statement {
            source: sqlx::Error::Database(error),
            ..
        }) if error.code().is_some_and(|code| EXISTS.contains(&&*code)) => Ok(()),
        other => other,
    }
}
