//! What the role can be told.

use clap::Args;
use clap::builder::PossibleValuesParser;
use edge::Limits;

/// The settings of `millrace command-api`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Config {
    /// The contexts that this process hosts; the others are reached over the command bus.
    #[arg(
        long,
        env = "MILLRACE_CONTEXTS",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(domains::NAMES),
        default_values = domains::NAMES
    )]
    pub contexts: Vec<String>,
    /// The server's bounds.
    #[command(flatten)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            contexts: domains::NAMES.map(str::to_owned).to_vec(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Is this context hosted here?
    pub fn hosts(&self, context: &str) -> bool {
        self.contexts.iter().any(|hosted| hosted == context)
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
