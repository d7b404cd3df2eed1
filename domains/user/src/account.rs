//! What a registered user has, and what they change of it.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{AddressId, EmailClaimId, Sealed};
use serde::{Deserialize, Serialize};

use crate::{Role, Topic, UserEvent, UserRefusal};

/// Most addresses in one address book: the state stays small, and nobody looks through more.
pub const ADDRESSES_MAX: usize = 20;

/// What a registered user has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The address as given, sealed.
    pub email: Sealed,
    /// The claim on the normalized address.
    pub email_claim: EmailClaimId,
    /// Have mails to the address reached the person?
    pub email_verified: bool,
    /// The name to be shown, sealed.
    pub name: Sealed,
    /// The phone number, sealed.
    pub phone: Option<Sealed>,
    /// An argon2id hash in PHC format, sealed.
    pub password_hash: Sealed,
    /// Always with [`Role::Customer`].
    pub roles: BTreeSet<Role>,
    /// The address book, each address sealed.
    pub addresses: BTreeMap<AddressId, Sealed>,
    /// The address that is proposed first.
    pub default_address: Option<AddressId>,
    /// What they want to hear of.
    pub topics: BTreeSet<Topic>,
}

type Decision = Result<Vec<UserEvent>, UserRefusal>;

impl Account {
    /// What everybody begins with.
    pub(crate) fn new(
        email: &Sealed,
        email_claim: EmailClaimId,
        name: &Sealed,
        password_hash: &Sealed,
    ) -> Self {
        Self {
            email: email.clone(),
            email_claim,
            email_verified: false,
            name: name.clone(),
            phone: None,
            password_hash: password_hash.clone(),
            roles: BTreeSet::from([Role::Customer]),
            addresses: BTreeMap::new(),
            default_address: None,
            topics: BTreeSet::new(),
        }
    }

    pub(crate) fn verify_email(&self, email_claim: EmailClaimId) -> Decision {
        self.must_still_hold(email_claim)?;
        if self.email_verified {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::EmailVerified { email_claim }])
    }

    /// To the address that they have is already true, however it is spelled.
    pub(crate) fn change_email(
        &self,
        from: EmailClaimId,
        email: &Sealed,
        email_claim: EmailClaimId,
    ) -> Decision {
        if email_claim == self.email_claim {
            return Ok(vec![]);
        }
        self.must_still_hold(from)?;
        Ok(vec![UserEvent::EmailChanged {
            email: email.clone(),
            email_claim,
        }])
    }

    pub(crate) fn change_password(&self, password_hash: &Sealed) -> Vec<UserEvent> {
        if self.password_hash == *password_hash {
            return vec![];
        }
        vec![UserEvent::PasswordChanged {
            password_hash: password_hash.clone(),
        }]
    }

    pub(crate) fn update_profile(&self, name: &Sealed, phone: Option<&Sealed>) -> Vec<UserEvent> {
        if self.name == *name && self.phone.as_ref() == phone {
            return vec![];
        }
        vec![UserEvent::ProfileUpdated {
            name: name.clone(),
            phone: phone.cloned(),
        }]
    }

    pub(crate) fn add_address(&self, address_id: AddressId, address: &Sealed) -> Decision {
        match self.addresses.get(&address_id) {
            Some(known) if known == address => Ok(vec![]),
            Some(_) => Err(UserRefusal::AddressDiffers),
            None if self.addresses.len() >= ADDRESSES_MAX => {
                Err(UserRefusal::TooManyAddresses { max: ADDRESSES_MAX })
            }
            None => Ok(vec![UserEvent::AddressAdded {
                address_id,
                address: address.clone(),
            }]),
        }
    }

    /// What isn't there is removed already.
    pub(crate) fn remove_address(&self, address_id: AddressId) -> Vec<UserEvent> {
        if !self.addresses.contains_key(&address_id) {
            return vec![];
        }
        vec![UserEvent::AddressRemoved { address_id }]
    }

    pub(crate) fn set_default_address(&self, address_id: AddressId) -> Decision {
        if !self.addresses.contains_key(&address_id) {
            return Err(UserRefusal::AddressUnknown);
        }
        if self.default_address == Some(address_id) {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::DefaultAddressSet { address_id }])
    }

    pub(crate) fn set_preference(&self, topic: Topic, allowed: bool) -> Vec<UserEvent> {
        if self.topics.contains(&topic) == allowed {
            return vec![];
        }
        vec![UserEvent::NotificationPreferenceSet { topic, allowed }]
    }

    pub(crate) fn grant(&self, role: Role) -> Vec<UserEvent> {
        if self.roles.contains(&role) {
            return vec![];
        }
        vec![UserEvent::RoleGranted { role }]
    }

    pub(crate) fn revoke(&self, role: Role) -> Decision {
        if role == Role::Customer {
            return Err(UserRefusal::CustomerRoleImplied);
        }
        if !self.roles.contains(&role) {
            return Ok(vec![]);
        }
        Ok(vec![UserEvent::RoleRevoked { role }])
    }

    /// Takes in a fact about what the account holds; those about where its user stands are the
    /// user's.
    pub(crate) fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::EmailVerified { email_claim } => {
                self.email_verified |= *email_claim == self.email_claim;
            }
            UserEvent::EmailChanged { email, email_claim } => {
                self.email = email.clone();
                self.email_claim = *email_claim;
                self.email_verified = false;
            }
            UserEvent::PasswordChanged { password_hash } => {
                self.password_hash = password_hash.clone();
            }
            UserEvent::ProfileUpdated { name, phone } => {
                self.name = name.clone();
                self.phone.clone_from(phone);
            }
            UserEvent::AddressAdded {
                address_id,
                address,
            } => {
                self.addresses.insert(*address_id, address.clone());
                self.default_address.get_or_insert(*address_id);
            }
            UserEvent::AddressRemoved { address_id } => {
                self.addresses.remove(address_id);
                self.default_address.take_if(|id| id == address_id);
            }
            UserEvent::DefaultAddressSet { address_id } => {
                self.default_address = Some(*address_id);
            }
            UserEvent::NotificationPreferenceSet { topic, allowed } => {
                if *allowed {
                    self.topics.insert(*topic);
                } else {
                    self.topics.remove(topic);
                }
            }
            UserEvent::RoleGranted { role } => {
                self.roles.insert(*role);
            }
            UserEvent::RoleRevoked { role } => {
                self.roles.remove(role);
            }
            UserEvent::UserRegistered { .. }
            | UserEvent::UserSuspended { .. }
            | UserEvent::UserReactivated {}
            | UserEvent::ErasureRequested { .. }
            | UserEvent::UserErased { .. } => {}
        }
    }

    fn must_still_hold(&self, email_claim: EmailClaimId) -> Result<(), UserRefusal> {
        if self.email_claim == email_claim {
            Ok(())
        } else {
            Err(UserRefusal::EmailNotCurrent)
        }
    }
}
