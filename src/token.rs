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
    /// What the token is good for alone, with spaces between (`orders:read products:write`): the first part
    /// of the calls' paths, and whether they read or write. Without it: all that the role may do.
    #[arg(long)]
    pub scope: Option<String>,
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
    let principal = Principal {
        scopes: args.scope.as_deref().map(scopes),
        ..principal(subject, args.role)
    };
    println!("{}", sign(&args.data, &principal)?);
    Ok(())
}

/// An operator's token.
///
/// # Errors
/// The data folder has no keys.
pub fn operator(data: &Path) -> anyhow::Result<String> {
    sign(data, &principal(OPERATOR, Role::Operator))
}

/// An operator's token that is good for what `scope` says alone.
///
/// # Errors
/// The data folder has no keys.
pub fn operator_for(data: &Path, scope: &str) -> anyhow::Result<String> {
    let operator = principal(OPERATOR, Role::Operator);
    let scopes = Some(scopes(scope));
    sign(data, &Principal { scopes, ..operator })
}

/// A customer's token.
///
/// # Errors
/// The data folder has no keys, or `user_id` is none.
pub fn customer(data: &Path, user_id: &str) -> anyhow::Result<String> {
    sign(data, &principal(user_id.parse()?, Role::Customer))
}

fn scopes(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn principal(user_id: UserId, role: Role) -> Principal {
    Principal {
        user_id,
        roles: match role {
            Role::Operator => vec!["operator".to_owned()],
            Role::Customer => Vec::new(),
        },
        scopes: None,
    }
}

fn sign(data: &Path, principal: &Principal) -> anyhow::Result<String> {
    let folder = data.join(crate::up::JWT_KEYS);
    let keys = KeySet::load(&folder).with_context(|| {
        format!(
            "no keys in {}: `millrace up --data {}` makes them",
            folder.display(),
            data.display()
        )
    })?;
    Ok(Signer::new(&keys, chrono::Utc::now)
        .sign(principal)?
        .access_token)
}
