//! What production mode refuses: secrets that everybody knows, what can be read on its way, and what
//! is only for a laptop.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use reactors::{LOCAL_RETURN_URL, ProviderConfig, SmtpConfig};

use crate::cli::Command;
use crate::outgoing;
use crate::settings::{SMTP_PASSWORD, Source, secrets_of};

/// Shortest secret in production, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// What stands in `.env.example`.
const PLACEHOLDER: &str = "change-me";

/// How the payment provider's keys begin that move no money.
const TEST_KEYS: [&str; 2] = ["sk_test_", "rk_test_"];

/// Where the keys of a local stack are.
pub const LOCAL_KEYS: &str = ".millrace/keys/jwt";

/// What a process is trusted with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Nothing that matters: any secret will do.
    #[default]
    Development,
    /// A shop: refuses placeholders, short and repeated secrets, the provider's test keys, servers
    /// elsewhere without TLS, and commands that are only for a laptop.
    Production,
}

/// Refuses what must not run in production.
///
/// # Errors
/// Which secret is missing or none, which way is not encrypted, or why the command is not for
/// production.
pub fn check(command: &Command) -> anyhow::Result<()> {
    let (role, keys) = match command {
        Command::CommandApi(args) => {
            outgoing::nats(&args.nats)?;
            ("command-api", Some(&args.jwt_keys))
        }
        Command::QueryApi(args) => {
            outgoing::nats(&args.nats)?;
            outgoing::postgres(&args.postgres)?;
            ("query-api", Some(&args.jwt_keys))
        }
        Command::Gateway(args) => {
            outgoing::nats(&args.nats)?;
            outgoing::apis(&args.config)?;
            ("gateway", Some(&args.jwt_keys))
        }
        Command::Provision(args) => {
            outgoing::nats(&args.nats)?;
            outgoing::postgres(&args.postgres)?;
            ("provision", args.jwt_keys.as_ref())
        }
        Command::Projector(args) => {
            outgoing::nats(&args.nats)?;
            outgoing::postgres(&args.postgres)?;
            ("projector", None)
        }
        Command::Saga(args) => {
            outgoing::nats(&args.nats)?;
            ("saga", None)
        }
        Command::Reactor(args) => {
            outgoing::nats(&args.nats)?;
            check_reactor(&args.config)?;
            ("reactor", None)
        }
        Command::Up(_)
        | Command::Demo(_)
        | Command::Token(_)
        | Command::MailSink(_)
        | Command::PaymentSimulator(_) => bail!("this is only for a laptop, not for production"),
        tool @ (Command::Parked(_)
        | Command::Stuck(_)
        | Command::Inbox(_)
        | Command::Keys(_)
        | Command::Reconcile(_)
        | Command::Audit(_)
        | Command::Import(_)
        | Command::Rebuild(_)
        | Command::Health(_)
        | Command::Verify(_)
        | Command::Schema(_)
        | Command::Simulate(_)
        | Command::Sagas(_)) => return check_tool(tool),
    };
    let local = keys.is_some_and(|folder| folder == Path::new(LOCAL_KEYS));
    ensure!(
        !local,
        "set MILLRACE_JWT_KEYS: production has keys of its own"
    );
    let secret = |name: String| Ok((name.clone(), Source::Environment.get(&name)?));
    let secrets: Vec<_> = secrets_of(role)
        .into_iter()
        .map(secret)
        .collect::<anyhow::Result<_>>()?;
    sound(&secrets)
}

/// Refuses the ways to those outside that a reactor talks to, and the secrets that it shows them.
fn check_reactor(config: &reactors::Config) -> anyhow::Result<()> {
    outgoing::payments(&config.provider.url)?;
    outgoing::mails(&config.smtp)?;
    let key = provider_key(&config.provider.secret_key)?;
    let mut foreign = vec![(devstack::secrets::PAYMENT_SECRET_KEY.to_owned(), key)];
    let password = mail_password(&config.smtp)?;
    foreign.extend(password.map(|password| (SMTP_PASSWORD.to_owned(), password)));
    sound(&foreign)?;
    own_page(&config.provider)
}

/// Refuses what people type to look after a running system, where it would talk in the clear.
fn check_tool(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Parked(args) => outgoing::log_tool(args.action.reach()),
        Command::Stuck(args) => outgoing::tool(&args.reach),
        Command::Inbox(args) => outgoing::log_tool(&args.reach),
        Command::Rebuild(args) => outgoing::tool(&args.reach),
        Command::Verify(args) => outgoing::tool(&args.reach),
        Command::Keys(args) => args.reach().map_or(Ok(()), outgoing::log_tool),
        Command::Schema(args) => args.reach().map_or(Ok(()), outgoing::log_tool),
        Command::Reconcile(args) => {
            if args.reach.data.is_none() {
                outgoing::payments(&args.provider.url)?;
            }
            outgoing::log_tool(&args.reach)
        }
        Command::Audit(args) => {
            if args.reach.data.is_none() {
                outgoing::payments(&args.provider.url)?;
            }
            outgoing::tool(&args.reach)
        }
        Command::Import(args) => args.entry.as_deref().map_or(Ok(()), outgoing::entry),
        Command::Up(_)
        | Command::Demo(_)
        | Command::Token(_)
        | Command::MailSink(_)
        | Command::PaymentSimulator(_)
        | Command::CommandApi(_)
        | Command::QueryApi(_)
        | Command::Gateway(_)
        | Command::Provision(_)
        | Command::Projector(_)
        | Command::Saga(_)
        | Command::Reactor(_)
        | Command::Health(_)
        | Command::Simulate(_)
        | Command::Sagas(_) => Ok(()),
    }
}

/// Customers come back from their bank to a page of the shop.
fn own_page(provider: &ProviderConfig) -> anyhow::Result<()> {
    ensure!(
        provider.return_url != LOCAL_RETURN_URL,
        "set MILLRACE_PAYMENT_RETURN_URL: customers come back from their bank to a page of the shop"
    );
    ensure!(
        provider.return_url.starts_with("https://"),
        "MILLRACE_PAYMENT_RETURN_URL: customers come back from their bank to a page of https"
    );
    Ok(())
}

/// The provider's secret key: as given, else from the environment or a file.
///
/// # Errors
/// It is not set.
pub fn provider_key(given: &str) -> anyhow::Result<String> {
    if given.is_empty() {
        return Source::Environment.get(devstack::secrets::PAYMENT_SECRET_KEY);
    }
    Ok(given.to_owned())
}

/// Gives the provider's client its secret key. Without one the provider says so, which is told then.
///
/// # Errors
/// The file with it can't be read.
pub fn know_provider(config: &mut ProviderConfig) -> anyhow::Result<()> {
    if config.secret_key.is_empty() {
        let found = Source::Environment.find(devstack::secrets::PAYMENT_SECRET_KEY)?;
        config.secret_key = found.unwrap_or_default();
    }
    Ok(())
}

/// The password of the mail server's user, as given, else from the environment or a file; `None` =
/// the mailer doesn't sign in.
///
/// # Errors
/// There is a user, and no password is set.
pub fn mail_password(config: &SmtpConfig) -> anyhow::Result<Option<String>> {
    if config.user().is_none() || !config.smtp_password.is_empty() {
        let given = config.user().map(|_| config.smtp_password.clone());
        return Ok(given);
    }
    Source::Environment.get(SMTP_PASSWORD).map(Some)
}

/// Each is a secret, and no two are the same.
fn sound(secrets: &[(String, String)]) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    for (name, value) in secrets {
        let of_one_kind = value.bytes().all(|byte| value.bytes().next() == Some(byte));
        let why = if value.contains(PLACEHOLDER) {
            "it is the placeholder of .env.example"
        } else if value.len() < SECRET_BYTES_MIN || of_one_kind {
            "it can be guessed"
        } else if TEST_KEYS.iter().any(|test| value.starts_with(test)) {
            "it is a test key, which moves no money"
        } else if let Some(other) = seen.insert(value, name) {
            bail!("production refuses {name}: it is the same as {other}");
        } else {
            continue;
        };
        bail!("production refuses {name}: {why}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_are_taken() {
        let refused = |values: &[&str]| {
            let named = values.iter().enumerate();
            let secrets: Vec<_> = named
                .map(|(n, value)| (format!("S{n}"), (*value).to_owned()))
                .collect();
            sound(&secrets).err().map(|error| error.to_string())
        };
        assert_eq!(
            refused(&["Zm9yIHJlYWwgc2VjcmV0", "YW5vdGhlciBvbmUgYXMgZ29vZA"]),
            None
        );
        for bad in [
            "change-me",
            "whsec_change-me-please",
            "short",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            "sk_test_51Habcdefghijklmn",
            "rk_test_51Habcdefghijklmn",
        ] {
            let said = refused(&[bad]).unwrap();
            assert!(said.starts_with("production refuses S0"), "{said}");
            assert!(!said.contains(bad), "a refusal does not tell the secret");
        }
        let twice = refused(&["Zm9yIHJlYWwgc2VjcmV0", "Zm9yIHJlYWwgc2VjcmV0"]);
        assert_eq!(
            twice.unwrap(),
            "production refuses S1: it is the same as S0"
        );
    }
}
