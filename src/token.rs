//! Access tokens for the local stack, without signing in.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use edge::Principal;
use edge::auth::{KeySet, Signer};
use kernel::UserId;
use uuid::Uuid;

/// The operator that tokens of the command line are made for: nobody's account, the same every
/// time, so that its deeds can be found in the log.
const OPERATOR: UserId = UserId(Uuid::from_u128(0x6d69_6c6c_7261_8000_8000_0000_0000_0001));

/// Settings of `millrace token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// As what the bearer may act.
    #[arg(long, value_enum)]
    pub role: Role,
    /// The user's id; required for a customer.
    #[arg(long, required_if_eq("role", "customer"))]
    pub subject: Option<UserId>,
    /// Where the stack keeps its data.
    #[arg(long, env = "MILLRACE_DATA", default_value = ".millrace")]
    pub data: PathBuf,
}

/// As what a bearer may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Runs the shop.
    Operator,
    /// Buys.
    Customer,
}

/// Prints a token.
///
/// # Errors
/// The data folder has no keys.
pub fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let subject = args.subject.unwrap_or(OPERATOR);
    println!("{}", sign(&args.data, subject, args.role)?);
    Ok(())
}

/// An operator's token.
///
/// # Errors
/// The data folder has no keys.
pub fn operator(data: &Path) -> anyhow::Result<String> {
    sign(data, OPERATOR, Role::Operator)
}

/// A customer's token.
///
/// # Errors
/// The data folder has no keys, or `user_id` is none.
pub fn customer(data: &Path, user_id: &str) -> anyhow::Result<String> {
    sign(data, user_id.parse()?, Role::Customer)
}

fn sign(data: &Path, subject: UserId, role: Role) -> anyhow::Result<String> {
    let folder = data.join(crate::up::JWT_KEYS);
    let keys = KeySet::load(&folder).with_context(|| {
        format!(
            "no keys in {}: `millrace up --data {}` makes them",
            folder.display(),
            data.display()
        )
    })?;
    let roles = match role {
        Role::Operator => vec!["operator".to_owned()],
        Role::Customer => Vec::new(),
    };
    let principal = Principal {
        user_id: subject,
        roles,
    };
    Ok(Signer::new(&keys, chrono::Utc::now)
        .sign(&principal)?
        .access_token)
}
