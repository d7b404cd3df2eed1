//! What the roles are told that `up` runs: what the environment says, as if each ran on its own, but for
//! what follows from their being on this machine behind one entry.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

use clap::{Arg, Args, Command, FromArgMatches};
use telemetry::LogArgs;

use super::{Endpoints, UpArgs};

/// What `up` itself says, by the ids of the settings: where everything is, who hosts what, and that nothing
/// between them is encrypted.
const OWN: [&str; 19] = [
    "apis_ca",
    "apis_cert",
    "apis_http",
    "apis_key",
    "apis_name",
    "command_apis",
    "contexts",
    "proxies",
    "query_apis",
    "secret_key",
    "smtp",
    "smtp_ca",
    "smtp_password",
    "smtp_tls",
    "smtp_user",
    "tls_cert",
    "tls_clients_ca",
    "tls_key",
    "url",
];

/// Whoever works on a laptop is one address and often one user: unless somebody says otherwise there is no
/// limit on anybody.
const UNLIMITED: [&str; 3] = ["user_rate", "address_rate", "key_rate"];

/// The configuration of each role.
pub(super) struct Configs {
    pub(super) command_api: command_api::Config,
    pub(super) query_api: query_api::Config,
    pub(super) gateway: gateway::Config,
    pub(super) projector: projections::projector::Config,
    pub(super) saga: sagas::Config,
    pub(super) reactor: reactors::Config,
}

impl Configs {
    /// # Errors
    /// A variable says what can't be; the error names its setting.
    pub(super) fn new(args: &UpArgs) -> Result<Self, clap::Error> {
        let mut command_api: command_api::Config = read(args)?;
        command_api.contexts.clone_from(&args.contexts);
        // The gateway.
        command_api.proxies = vec![IpAddr::from(Ipv4Addr::LOCALHOST).into()];
        command_api.targets = args.webhooks.targets.clone();
        let mut reactor: reactors::Config = read(args)?;
        reactor.provider.timeout_ms = args.payment_timeout_ms;
        reactor.smtp.mail_timeout_ms = args.mail_timeout_ms;
        reactor.smtp.mail_pause_max_ms = args.mail_pause_max_ms;
        reactor.erasure_grace_ms = args.erasure_grace_ms;
        reactor.webhooks = args.webhooks.clone();
        Ok(Self {
            command_api,
            query_api: read(args)?,
            gateway: read(args)?,
            projector: read(args)?,
            saga: read(args)?,
            reactor,
        })
    }

    /// The page to which customers come back from their bank: the shop's, or the only one that there is.
    pub(super) fn return_url(&self, endpoints: &Endpoints) -> String {
        let said = &self.reactor.provider.return_url;
        if said == reactors::LOCAL_RETURN_URL {
            return format!("{}/reference", endpoints.entry);
        }
        said.clone()
    }
}

/// What the environment says to a role, for its own process.
pub(super) fn variables(args: &UpArgs, role: &str) -> Vec<(String, OsString)> {
    let command = match role {
        "command-api" => settings::<command_api::Config>(args),
        "query-api" => settings::<query_api::Config>(args),
        gateway::ROLE => settings::<gateway::Config>(args),
        "projector" => settings::<projections::projector::Config>(args),
        "saga" => settings::<sagas::Config>(args),
        _ => settings::<reactors::Config>(args),
    };
    // Of a flag of `up` a role hears nothing, but of its variables: as if it ran on its own.
    let command = if args.environment {
        LogArgs::augment_args(command)
    } else {
        command
    };
    let names = command.get_arguments().filter_map(Arg::get_env);
    let said = |name: &std::ffi::OsStr| Some((name.to_str()?.to_owned(), std::env::var_os(name)?));
    names.filter_map(said).collect()
}

fn read<A: Args + FromArgMatches>(args: &UpArgs) -> Result<A, clap::Error> {
    let matches = settings::<A>(args).try_get_matches_from(["up"])?;
    A::from_arg_matches(&matches)
}

/// The settings of a role, as flags that nobody gives.
fn settings<A: Args>(args: &UpArgs) -> Command {
    let changed = |arg: Arg| {
        let id = arg.get_id().as_str();
        let (own, unlimited) = (OWN.contains(&id), UNLIMITED.contains(&id));
        let arg = if own || !args.environment {
            arg.env(None::<&str>)
        } else {
            arg
        };
        if unlimited {
            arg.default_value("0")
        } else {
            arg
        }
    };
    A::augment_args(Command::new("up")).mut_args(changed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_up_decides_are_settings_of_roles() {
        let args = UpArgs::quiet("data".into());
        let commands = [
            settings::<command_api::Config>(&args),
            settings::<query_api::Config>(&args),
            settings::<gateway::Config>(&args),
            settings::<projections::projector::Config>(&args),
            settings::<sagas::Config>(&args),
            settings::<reactors::Config>(&args),
        ];
        let ids = commands.iter().flat_map(Command::get_arguments);
        let ids: BTreeSet<_> = ids.map(|arg| arg.get_id().as_str()).collect();
        for id in OWN.iter().chain(&UNLIMITED) {
            assert!(ids.contains(id), "no role has {id}");
        }
    }

    #[test]
    fn without_a_word_every_role_is_as_documented() {
        let configs = Configs::new(&UpArgs::quiet("data".into())).unwrap();
        let documented: reactors::Config = crate::roles::defaults();
        let per_second = configs.reactor.smtp.mails_per_second;
        assert_eq!(per_second, documented.smtp.mails_per_second);
        assert_eq!(configs.gateway.rates.user_rate, 0);
        assert_eq!(configs.command_api.contexts, domains::NAMES);
    }
}
