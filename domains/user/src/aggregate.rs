//! One user: what follows from a command, and what a fact changes.

use chrono::{DateTime, Utc};
use kernel::{Decider, EmailClaimId, Reason, Sealed};
use serde::{Deserialize, Serialize};

use crate::{Account, Role, Standing, UserCommand, UserEvent, UserRefusal};

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
    /// Asked to be erased: may sign in and see to the orders that are open, and nothing else.
    Leaving {
        /// What is kept until then.
        account: Account,
        /// When at the latest.
        erase_by: DateTime<Utc>,
    },
    /// Nobody is left under this id.
    Erased,
}

type Decision = Result<Vec<UserEvent>, UserRefusal>;

impl User {
    /// Where the user stands.
    pub fn standing(&self) -> Standing {
        match self {
            Self::Unregistered => Standing::Unknown,
            Self::Active(_) => Standing::Active,
            Self::Suspended { .. } => Standing::Suspended,
            Self::Leaving { .. } => Standing::Leaving,
            Self::Erased => Standing::Erased,
        }
    }

    /// May this person place orders?
    pub fn may_order(&self) -> bool {
        self.standing() == Standing::Active
    }

    /// What the user has, once registered and until erased.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Unregistered | Self::Erased => None,
            Self::Active(account)
            | Self::Suspended { account, .. }
            | Self::Leaving { account, .. } => Some(account),
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
    ) -> Decision {
        if self.standing() != Standing::Unknown {
            return Err(UserRefusal::UserAlreadyExists);
        }
        Ok(vec![UserEvent::UserRegistered {
            email: email.clone(),
            email_claim,
            name: name.clone(),
            password_hash: password_hash.clone(),
        }])
    }

    /// A second suspension is already true: the first reason stands.
    fn suspend(&self, reason: &Reason) -> Decision {
        self.must_stay()?;
        if self.standing() == Standing::Suspended {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::UserSuspended {
            reason: reason.clone(),
        }])
    }

    fn reactivate(&self) -> Decision {
        self.must_stay()?;
        if self.standing() == Standing::Active {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::UserReactivated {}])
    }

    /// Whoever is barred may leave too. A second request changes nothing: the first date stands.
    fn request_erasure(&self, erase_by: DateTime<Utc>) -> Decision {
        match self {
            Self::Unregistered => Err(UserRefusal::UserUnknown),
            Self::Active(_) | Self::Suspended { .. } => {
                Ok(vec![UserEvent::ErasureRequested { erase_by }])
            }
            Self::Leaving { .. } | Self::Erased => Ok(vec![]),
        }
    }

    fn erase(&self) -> Decision {
        match self {
            Self::Unregistered => Err(UserRefusal::UserUnknown),
            Self::Active(_) | Self::Suspended { .. } => Err(UserRefusal::ErasureNotRequested),
            Self::Leaving { account, .. } => Ok(vec![UserEvent::UserErased {
                email_claim: account.email_claim,
            }]),
            Self::Erased => Ok(vec![]),
        }
    }

    /// The account of somebody who isn't about to be forgotten.
    fn must_stay(&self) -> Result<&Account, UserRefusal> {
        match self {
            Self::Unregistered => Err(UserRefusal::UserUnknown),
            Self::Erased => Err(UserRefusal::UserErased),
            Self::Leaving { .. } => Err(UserRefusal::UserLeaving),
            Self::Active(account) | Self::Suspended { account, .. } => Ok(account),
        }
    }

    fn account_mut(&mut self) -> Option<&mut Account> {
        match self {
            Self::Unregistered | Self::Erased => None,
            Self::Active(account)
            | Self::Suspended { account, .. }
            | Self::Leaving { account, .. } => Some(account),
        }
    }

    fn move_to(&mut self, stage: impl FnOnce(Account) -> Self) {
        match std::mem::take(self) {
            Self::Unregistered => {}
            Self::Erased => *self = Self::Erased,
            Self::Active(account)
            | Self::Suspended { account, .. }
            | Self::Leaving { account, .. } => *self = stage(account),
        }
    }
}

impl Decider for User {
    const CONTEXT: &'static str = "user";

    fn decide(&self, command: &UserCommand) -> Decision {
        match command {
            UserCommand::RegisterUser {
                email,
                email_claim,
                name,
                password_hash,
            } => self.register(email, *email_claim, name, password_hash),
            UserCommand::VerifyEmail { email_claim } => {
                self.must_stay()?.verify_email(*email_claim)
            }
            UserCommand::ChangeEmail {
                from,
                email,
                email_claim,
            } => self.must_stay()?.change_email(*from, email, *email_claim),
            UserCommand::ChangePassword { password_hash } => {
                Ok(self.must_stay()?.change_password(password_hash))
            }
            UserCommand::UpdateProfile { name, phone } => {
                Ok(self.must_stay()?.update_profile(name, phone.as_ref()))
            }
            UserCommand::AddAddress {
                address_id,
                address,
            } => self.must_stay()?.add_address(*address_id, address),
            UserCommand::RemoveAddress { address_id } => {
                Ok(self.must_stay()?.remove_address(*address_id))
            }
            UserCommand::SetDefaultAddress { address_id } => {
                self.must_stay()?.set_default_address(*address_id)
            }
            UserCommand::SetNotificationPreference { topic, allowed } => {
                Ok(self.must_stay()?.set_preference(*topic, *allowed))
            }
            UserCommand::GrantRole { role } => Ok(self.must_stay()?.grant(*role)),
            UserCommand::RevokeRole { role } => self.must_stay()?.revoke(*role),
            UserCommand::SuspendUser { reason } => self.suspend(reason),
            UserCommand::ReactivateUser {} => self.reactivate(),
            UserCommand::RequestErasure { erase_by } => self.request_erasure(*erase_by),
            UserCommand::EraseUser {} => self.erase(),
        }
    }

    fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::UserRegistered {
                email,
                email_claim,
                name,
                password_hash,
            } => *self = Self::Active(Account::new(email, *email_claim, name, password_hash)),
            UserEvent::EmailVerified { .. }
            | UserEvent::EmailChanged { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::ProfileUpdated { .. }
            | UserEvent::AddressAdded { .. }
            | UserEvent::AddressRemoved { .. }
            | UserEvent::DefaultAddressSet { .. }
            | UserEvent::NotificationPreferenceSet { .. }
            | UserEvent::RoleGranted { .. }
            | UserEvent::RoleRevoked { .. } => {
                if let Some(account) = self.account_mut() {
                    account.evolve(event);
                }
            }
            UserEvent::UserSuspended { reason } => {
                let reason = reason.clone();
                self.move_to(|account| Self::Suspended { account, reason });
            }
            UserEvent::UserReactivated {} => self.move_to(Self::Active),
            UserEvent::ErasureRequested { erase_by } => {
                let erase_by = *erase_by;
                self.move_to(|account| Self::Leaving { account, erase_by });
            }
            UserEvent::UserErased { email_claim: _ } => self.move_to(|_| Self::Erased),
        }
    }
}

kernel::aggregate!(User, "user", UserCommand, UserEvent, UserRefusal);
