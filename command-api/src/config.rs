//! What the role can be told.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use edge::{Limits, Network, Targets, TlsArgs};
use streams::Settings;

/// How old a webhook's signature may be, in seconds: what the provider's own libraries take.
const WEBHOOK_TOLERANCE_S: u64 = 300;

/// [`Config::webhook_endpoints_max`] unless somebody says otherwise.
pub(crate) const ENDPOINTS_MAX: usize = 20;

/// The settings of `millrace command-api`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Config {
    /// The contexts that this process hosts. Calls on the others are carried over the bus to a
    /// process that hosts them.
    #[arg(
        long,
        env = "MILLRACE_CONTEXTS",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(domains::NAMES),
        default_values = domains::NAMES
    )]
    pub contexts: Vec<String>,
    /// How old the signature of a payment webhook may be, in seconds.
    #[arg(long, env = "MILLRACE_WEBHOOK_TOLERANCE_S", default_value_t = WEBHOOK_TOLERANCE_S)]
    pub webhook_tolerance_s: u64,
    /// The proxies in front of this process, as addresses or networks (`10.0.0.0/8`): what they say in `X-Forwarded-For` is
    /// believed, what others say is not.
    #[arg(long, env = "MILLRACE_PROXIES", value_delimiter = ',')]
    pub proxies: Vec<Network>,
    /// What it shows of itself.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Where webhooks may go.
    #[command(flatten)]
    pub targets: Targets,
    /// How many webhook endpoints a customer may have; those of the operators are not counted.
    #[arg(
        long,
        env = "MILLRACE_WEBHOOK_ENDPOINTS_MAX",
        default_value_t = ENDPOINTS_MAX
    )]
    pub webhook_endpoints_max: usize,
    /// How many aggregates are kept in memory, so that a command needs nothing of the log; a large one
    /// counts once for each 2 KiB, so this many times 2 KiB is about the most that they take, but for very few that are
    /// larger than half of what one of the cache's shards may hold, and count as that.
    #[arg(
        long,
        env = "MILLRACE_AGGREGATES_MAX",
        default_value_t = Settings::default().cache_capacity
    )]
    pub aggregates_max: u64,
    /// The server's bounds.
    #[command(flatten)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            contexts: domains::NAMES.map(str::to_owned).to_vec(),
            webhook_tolerance_s: WEBHOOK_TOLERANCE_S,
            proxies: Vec::new(),
            tls: TlsArgs::default(),
            targets: Targets::default(),
            webhook_endpoints_max: ENDPOINTS_MAX,
            aggregates_max: Settings::default().cache_capacity,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Is this context hosted here?
    pub fn hosts(&self, context: &str) -> bool {
        self.contexts.iter().any(|hosted| hosted == context)
    }

    pub(crate) fn webhook_tolerance(&self) -> Duration {
        Duration::from_secs(self.webhook_tolerance_s)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Role {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn without_a_word_it_hosts_everything() {
        let role = Role::try_parse_from(["command-api"]).unwrap();
        assert_eq!(role.config, Config::default());
        let some = Role::try_parse_from(["command-api", "--contexts", "order,payment"]).unwrap();
        assert!(some.config.hosts("payment") && !some.config.hosts("user"));
        assert!(Role::try_parse_from(["command-api", "--contexts", "orders"]).is_err());
    }
}
