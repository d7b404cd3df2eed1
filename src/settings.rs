//! Secrets: which role reads which, and from where.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use command_api::WebhookSecrets;
use projections::{Access, Login, Shown};
use streams::keys::{DigestKey, MasterKeys};
use streams::topology::{self, TopologyError};
use streams::{ConnectOptions, Connection};
use telemetry::Server;

use crate::provision;

/// The roles that sign in to NATS, by their user's name.
pub const NATS_ROLES: [&str; 8] = [
    "command-api",
    "query-api",
    "gateway",
    "projector",
    "saga",
    "reactor",
    "provision",
    "operator",
];

/// Those of them that append events.
const APPENDING: [&str; 3] = ["command-api", "saga", "reactor"];

/// What wraps the per-person keys: 32 bytes, base64url without padding.
pub const MASTER_KEY: &str = "MILLRACE_MASTER_KEY";

/// What request digests and email claims are keyed with: 32 bytes, base64url without padding.
pub const DIGEST_KEY: &str = "MILLRACE_DIGEST_KEY";

/// What the payment provider signs its webhooks with (`whsec_…`); several, separated by commas,
/// while one is replaced.
pub const PAYMENT_WEBHOOK_SECRET: &str = "MILLRACE_PAYMENT_WEBHOOK_SECRET";

/// The password of Postgres's administrator, of whom only `provision` and `rebuild` know.
pub const POSTGRES_ADMIN_PASSWORD: &str = "MILLRACE_POSTGRES_ADMIN_PASSWORD";

/// What a variable's name ends with that says in which file the secret is.
pub const FILE_SUFFIX: &str = "_FILE";

/// The administrator's name, unless another one is given.
pub const POSTGRES_ADMIN: &str = "millrace_admin";

/// How often a server that gives no answer is asked whether the streams are as declared; each try
/// takes up to 5 s.
const CHECK_TRIES: u32 = 6;

/// The variable with the password of a NATS user.
pub fn nats_password_variable(user: &str) -> String {
    let name = user.to_ascii_uppercase().replace('-', "_");
    format!("MILLRACE_NATS_{name}_PASSWORD")
}

/// The password with which the mailer signs in to the mail server, if it does.
pub const SMTP_PASSWORD: &str = "MILLRACE_SMTP_PASSWORD";

/// Every secret that a role reads from its environment, besides those that are flags of it too.
pub fn secrets_of(role: &str) -> Vec<String> {
    let mut names = Vec::new();
    if NATS_ROLES.contains(&role) {
        names.push(nats_password_variable(role));
    }
    let of_access = |access: Access| {
        domains::NAMES
            .iter()
            .map(move |context| access.password_variable(context))
    };
    match role {
        "provision" => {
            names.push(POSTGRES_ADMIN_PASSWORD.to_owned());
            names.extend(Access::ALL.into_iter().flat_map(of_access));
        }
        "projector" => names.extend(of_access(Access::Writer)),
        "query-api" => {
            names.extend(of_access(Access::Reader));
            names.extend([MASTER_KEY.to_owned(), DIGEST_KEY.to_owned()]);
        }
        "command-api" => {
            names.extend([MASTER_KEY, DIGEST_KEY, PAYMENT_WEBHOOK_SECRET].map(str::to_owned));
        }
        "reactor" => names.push(MASTER_KEY.to_owned()),
        _ => {}
    }
    names
}

/// A secret's variable, or the file that `<name>_FILE` names, without the end of its last line.
fn from_environment(name: &str) -> anyhow::Result<Option<String>> {
    let (value, file) = (std::env::var(name).ok(), format!("{name}{FILE_SUFFIX}"));
    let Some(path) = std::env::var_os(&file) else {
        return Ok(value);
    };
    ensure!(
        value.is_none(),
        "{name} and {file} are both set: which one counts?"
    );
    let path = Path::new(&path);
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{file} names {}, which can't be read", path.display()))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Where secrets come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// The environment of this process, or files that it names: a role on its own.
    Environment,
    /// The data folder of the local stack.
    Stack(&'a devstack::Secrets),
}

impl Source<'_> {
    /// A secret by its variable's name.
    ///
    /// # Errors
    /// It is not set; the error says where it was looked for.
    pub fn get(&self, name: &str) -> anyhow::Result<String> {
        self.find(name)?.with_context(|| match self {
            Self::Environment => {
                format!("set {name}, or {name}_FILE to the file that holds it")
            }
            Self::Stack(_) => format!("secrets.env of the data folder lacks {name}"),
        })
    }

    /// A secret by its variable's name, if it is set.
    ///
    /// # Errors
    /// The file that is to hold it can't be read.
    pub fn find(&self, name: &str) -> anyhow::Result<Option<String>> {
        let found = match self {
            Self::Environment => from_environment(name)?,
            Self::Stack(secrets) => secrets.get(name).map(str::to_owned),
        };
        Ok(found.filter(|value| !value.is_empty()))
    }

    /// What wraps the per-person keys: one master key, or while they are rotated several with commas
    /// between them, the newest first.
    ///
    /// # Errors
    /// It is not set or malformed.
    pub fn master_keys(&self) -> anyhow::Result<MasterKeys> {
        MasterKeys::parse(&self.get(MASTER_KEY)?).context(MASTER_KEY)
    }

    /// The key of digests.
    ///
    /// # Errors
    /// It is not set or malformed.
    pub fn digest_key(&self) -> anyhow::Result<DigestKey> {
        DigestKey::parse(&self.get(DIGEST_KEY)?).context(DIGEST_KEY)
    }

    /// What the payment provider signs its webhooks with.
    ///
    /// # Errors
    /// It is not set.
    pub fn webhook_secrets(&self) -> anyhow::Result<WebhookSecrets> {
        let secrets = self.get(PAYMENT_WEBHOOK_SECRET)?;
        WebhookSecrets::parse(&secrets).context(PAYMENT_WEBHOOK_SECRET)
    }

    /// A connection to NATS as the user of `role`.
    ///
    /// # Errors
    /// The password is not set, or NATS can't be reached.
    pub async fn connect(
        &self,
        nats: impl Into<Server<'_>>,
        role: &str,
    ) -> anyhow::Result<Connection> {
        let nats = nats.into();
        let options = ConnectOptions {
            url: nats.address.to_owned(),
            ca: nats.ca.map(Path::to_owned),
            shown: nats
                .shown
                .map(|shown| (shown.certificate.to_owned(), shown.key.to_owned())),
            user: role.to_owned(),
            password: self.get(&nats_password_variable(role))?,
            name: format!("millrace {role}"),
        };
        Ok(Connection::open(&options).await?)
    }

    /// The same, for a role that works on streams: refuses to begin on one that could lose events.
    ///
    /// # Errors
    /// As [`Source::connect`]; a stream or durable is missing or not as declared, the error names
    /// the field.
    pub async fn connect_to_work(
        &self,
        nats: impl Into<Server<'_>>,
        role: &str,
    ) -> anyhow::Result<Connection> {
        let connection = self.connect(nats, role).await?;
        let mut tries = 1;
        loop {
            match topology::check(&connection, &provision::topology()).await {
                Ok(()) => break,
                // A server that has just been started may be slow to answer.
                Err(TopologyError::Failed { .. }) if tries < CHECK_TRIES => tries += 1,
                checked @ Err(_) => checked
                    .context("the streams are not as declared; has `millrace provision` run?")?,
            }
        }
        if APPENDING.contains(&role) {
            connection.watch(provision::topology());
        }
        Ok(connection)
    }

    /// Logins to every context's database.
    ///
    /// # Errors
    /// A password is not set, the address is none, or the certificates can't be read.
    pub fn logins<'s>(
        &self,
        postgres: impl Into<Server<'s>>,
        access: Access,
    ) -> anyhow::Result<BTreeMap<String, Login>> {
        let postgres = postgres.into();
        domains::NAMES
            .iter()
            .map(|context| {
                let password = self.get(&access.password_variable(context))?;
                let login = Login::context(postgres.address, context, access, &password)?;
                Ok(((*context).to_owned(), believing(login, postgres)?))
            })
            .collect()
    }
}

/// The login over TLS, as it is said of the server.
///
/// # Errors
/// A file can't be read, or holds nothing that can be used.
pub(crate) fn believing(login: Login, postgres: Server<'_>) -> anyhow::Result<Login> {
    let shown = postgres.shown.map(|shown| Shown {
        certificate: shown.certificate,
        key: shown.key,
    });
    Ok(login.trusting(postgres.ca, shown)?)
}
