//! A bank account, and the claim on its number: the aggregates that stores are tried with.

use cqrs_es::DomainEvent;
use kernel::{Decider, Fact};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use super::CONTEXT;

/// An account: `nothing → open`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    open: bool,
    balance: u64,
    deposits: u64,
}

impl Account {
    /// Money on it.
    pub fn balance(&self) -> u64 {
        self.balance
    }

    /// How often money was paid in.
    pub fn deposits(&self) -> u64 {
        self.deposits
    }
}

/// What can be asked of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Make it. Again is fine.
    Open,
    /// Make it, which must not have happened.
    Create,
    /// Pay in, one event for each amount.
    Deposit(Vec<u64>),
    /// Take out.
    Withdraw(u64),
    /// Take everything out, if there is anything.
    Empty,
}

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum AccountEvent {
    /// It was made.
    AccountOpened {},
    /// Money came; version 1 called the amount `sum`.
    MoneyDeposited {
        /// How much.
        amount: u64,
    },
    /// Money went.
    MoneyWithdrawn {
        /// How much.
        amount: u64,
    },
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum AccountRefusal {
    /// There is no such account.
    #[error("the account is not open")]
    AccountNotOpen,
    /// There is one already.
    #[error("the account is open already")]
    AccountOpenAlready,
    /// Less on it than wanted.
    #[error("there is only {balance} on it")]
    AccountOverdrawn {
        /// What there is.
        balance: u64,
    },
}

impl Fact for AccountEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::AccountOpened {} => "account_opened",
            Self::MoneyDeposited { .. } => "money_deposited",
            Self::MoneyWithdrawn { .. } => "money_withdrawn",
        }
    }

    fn schema_version(&self) -> u32 {
        match self {
            Self::MoneyDeposited { .. } => 2,
            Self::AccountOpened {} | Self::MoneyWithdrawn { .. } => 1,
        }
    }
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

kernel::aggregate!(
    Account,
    CONTEXT,
    AccountCommand,
    AccountEvent,
    AccountRefusal
);

impl Decider for Account {
    const CONTEXT: &'static str = CONTEXT;

    fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, AccountRefusal> {
        if let AccountCommand::Open | AccountCommand::Create = command {
            return match (self.open, command) {
                (true, AccountCommand::Create) => Err(AccountRefusal::AccountOpenAlready),
                (true, _) => Ok(vec![]),
                (false, _) => Ok(vec![AccountEvent::AccountOpened {}]),
            };
        }
        if !self.open {
            return Err(AccountRefusal::AccountNotOpen);
        }
        let balance = self.balance;
        Ok(match command {
            AccountCommand::Open | AccountCommand::Create => vec![],
            AccountCommand::Deposit(amounts) => amounts
                .iter()
                .map(|amount| AccountEvent::MoneyDeposited { amount: *amount })
                .collect(),
            AccountCommand::Withdraw(amount) if *amount > balance => {
                return Err(AccountRefusal::AccountOverdrawn { balance });
            }
            AccountCommand::Withdraw(amount) => {
                vec![AccountEvent::MoneyWithdrawn { amount: *amount }]
            }
            AccountCommand::Empty if balance == 0 => vec![],
            AccountCommand::Empty => vec![AccountEvent::MoneyWithdrawn { amount: balance }],
        })
    }

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::AccountOpened {} => self.open = true,
            AccountEvent::MoneyDeposited { amount } => {
                self.balance = self.balance.saturating_add(*amount);
                self.deposits += 1;
            }
            AccountEvent::MoneyWithdrawn { amount } => {
                self.balance = self.balance.saturating_sub(*amount);
            }
        }
    }

    fn upcast(event_type: &str, version: u32, data: &Value) -> Option<(u32, Value)> {
        match (event_type, version) {
            ("money_deposited", 1) => Some((2, json!({ "amount": data.get("sum") }))),
            _ => None,
        }
    }
}

/// Whose number it is: a second kind of aggregate of the same context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberClaim {
    owner: Option<String>,
}

impl NumberClaim {
    #[cfg(test)]
    pub(crate) fn of(owner: String) -> Self {
        Self { owner: Some(owner) }
    }
}

/// What can be asked of a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimNumber {
    /// For whom.
    pub owner: String,
}

/// What happened to a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum NumberEvent {
    /// It belongs to somebody.
    NumberClaimed {
        /// Who.
        owner: String,
    },
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum NumberRefusal {
    /// Somebody else has it.
    #[error("the number belongs to {owner}")]
    NumberTaken {
        /// Who.
        owner: String,
    },
}

impl Fact for NumberEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::NumberClaimed { .. } => "number_claimed",
        }
    }
}

impl DomainEvent for NumberEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

kernel::aggregate!(
    NumberClaim,
    "account.number",
    ClaimNumber,
    NumberEvent,
    NumberRefusal
);

impl Decider for NumberClaim {
    const CONTEXT: &'static str = CONTEXT;
    const KIND: Option<&'static str> = Some("number");

    fn decide(&self, command: &ClaimNumber) -> Result<Vec<NumberEvent>, NumberRefusal> {
        match &self.owner {
            None => Ok(vec![NumberEvent::NumberClaimed {
                owner: command.owner.clone(),
            }]),
            Some(owner) if *owner == command.owner => Ok(vec![]),
            Some(owner) => Err(NumberRefusal::NumberTaken {
                owner: owner.clone(),
            }),
        }
    }

    fn remembered_bytes(&self) -> usize {
        self.owner.as_ref().map_or(0, String::capacity)
    }

    fn evolve(&mut self, event: &NumberEvent) {
        match event {
            NumberEvent::NumberClaimed { owner } => self.owner = Some(owner.clone()),
        }
    }
}
