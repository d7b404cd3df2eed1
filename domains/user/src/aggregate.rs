//! One user: what follows from a command, and what a fact changes.

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use kernel::{Decider, EmailClaimId, Reason, Sealed};
use serde::{Deserialize, Serialize};

use crate::{Role, Standing, UserCommand, UserEvent, UserRefusal};

/// A person with an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// Nobody registered under this id.
    #[default]
    Unregistered,
    /// In good standing.
    Active(Account),
    /// Barred from ordering and signing in.
    Suspended {
        /// What is kept meanwhile.
        account: Account,
        /// The operator's reason.
        reason: Reason,
    },
}

/// What a registered user has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The address as given, sealed.
    pub email: Sealed,
    /// The claim on the normalized address.
    pub email_claim: EmailClaimId,
    /// The name to be shown, sealed.
    pub name: Sealed,
    /// An argon2id hash in PHC format, sealed.
    pub password_hash: Sealed,
    /// Always with [`Role::Customer`].
    pub roles: BTreeSet<Role>,
}

impl User {
    /// Where the user stands.
    pub fn standing(&self) -> Standing {
        match self {
            Self::Unregistered => Standing::Unknown,
            Self::Active(_) => Standing::Active,
            Self::Suspended { .. } => Standing::Suspended,
        }
    }

    /// May this person place orders (and sign in)?
    pub fn may_order(&self) -> bool {
        self.standing() == Standing::Active
    }

    /// What the user has, once registered.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Unregistered => None,
            Self::Active(account) | Self::Suspended { account, .. } => Some(account),
        }
    }

    /// Has the user this role?
    pub fn has_role(&self, role: Role) -> bool {
        self.account().is_some_and(|a| a.roles.contains(&role))
    }

    fn register(
        &self,
        email: &Sealed,
        email_claim: EmailClaimId,
        name: &Sealed,
        password_hash: &Sealed,
    ) -> Result<Vec<UserEvent>, UserRefusal> {
        if self.account().is_some() {
            return Err(UserRefusal::UserAlreadyExists);
        }
        Ok(vec![UserEvent::UserRegistered {
            email: email.clone(),
            email_claim,
            name: name.clone(),
            password_hash: password_hash.clone(),
        }])
    }

    fn grant(&self, role: Role) -> Result<Vec<UserEvent>, UserRefusal> {
        if self.must_be_registered()?.roles.contains(&role) {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::RoleGranted { role }])
    }

    fn revoke(&self, role: Role) -> Result<Vec<UserEvent>, UserRefusal> {
        let account = self.must_be_registered()?;
        if role == Role::Customer {
            return Err(UserRefusal::CustomerRoleImplied);
        }
        if !account.roles.contains(&role) {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::RoleRevoked { role }])
    }

    /// A second suspension is already true: the first reason stands.
    fn suspend(&self, reason: &Reason) -> Result<Vec<UserEvent>, UserRefusal> {
        self.must_be_registered()?;
        if self.standing() == Standing::Suspended {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::UserSuspended {
            reason: reason.clone(),
        }])
    }

    fn reactivate(&self) -> Result<Vec<UserEvent>, UserRefusal> {
        self.must_be_registered()?;
        if self.standing() == Standing::Active {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::UserReactivated {}])
    }

    fn must_be_registered(&self) -> Result<&Account, UserRefusal> {
        self.account().ok_or(UserRefusal::UserUnknown)
    }

    fn account_mut(&mut self) -> Option<&mut Account> {
        match self {
            Self::Unregistered => None,
            Self::Active(account) | Self::Suspended { account, .. } => Some(account),
        }
    }

    fn move_to(&mut self, stage: impl FnOnce(Account) -> Self) {
        match std::mem::take(self) {
            Self::Unregistered => {}
            Self::Active(account) | Self::Suspended { account, .. } => *self = stage(account),
        }
    }
}

impl Decider for User {
    const CONTEXT: &'static str = "user";

    fn decide(&self, command: &UserCommand) -> Result<Vec<UserEvent>, UserRefusal> {
        match command {
            UserCommand::RegisterUser {
                email,
                email_claim,
                name,
                password_hash,
            } => self.register(email, *email_claim, name, password_hash),
            UserCommand::GrantRole { role } => self.grant(*role),
            UserCommand::RevokeRole { role } => self.revoke(*role),
            UserCommand::SuspendUser { reason } => self.suspend(reason),
            UserCommand::ReactivateUser {} => self.reactivate(),
        }
    }

    fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::UserRegistered {
                email,
                email_claim,
                name,
                password_hash,
            } => {
                *self = Self::Active(Account {
                    email: email.clone(),
                    email_claim: *email_claim,
                    name: name.clone(),
                    password_hash: password_hash.clone(),
                    roles: BTreeSet::from([Role::Customer]),
                });
            }
            UserEvent::RoleGranted { role } => {
                if let Some(account) = self.account_mut() {
                    account.roles.insert(*role);
                }
            }
            UserEvent::RoleRevoked { role } => {
                if let Some(account) = self.account_mut() {
                    account.roles.remove(role);
                }
            }
            UserEvent::UserSuspended { reason } => {
                let reason = reason.clone();
                self.move_to(|account| Self::Suspended { account, reason });
            }
            UserEvent::UserReactivated {} => self.move_to(Self::Active),
        }
    }
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: UserCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), UserRefusal> {
        kernel::bridge(self, command, sink).await
    }

    fn apply(&mut self, event: UserEvent) {
        self.evolve(&event);
    }
}
