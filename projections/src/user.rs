//! The account page: who somebody is, with every personal field still sealed.

use std::collections::BTreeSet;

use cqrs_es::{EventEnvelope, View};
use kernel::{AddressId, Reason, Sealed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;
use user::{Role, Topic, User, UserEvent};

use crate::moment::Moment;
use crate::opened::PostalAddress;
use crate::view::{EntityView, Sort};

/// Where an account stands.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AccountStatus {
    /// In good standing.
    #[default]
    Active,
    /// Barred from ordering and signing in.
    Suspended,
    /// Asked to be erased: waits for the orders that are open.
    Leaving,
    /// Nobody is left under this id.
    Erased,
}

/// An address of an address book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavedAddress {
    /// Its id.
    pub id: AddressId,
    /// The address, sealed.
    #[schemars(with = "Option<PostalAddress>", description = "Where that is.")]
    pub address: Sealed,
    /// Is it the one that is proposed first?
    pub default: bool,
}

/// One user. The password hash is in the log and in no view.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UserAccount {
    /// The user's id.
    pub id: String,
    /// How to address them, sealed.
    #[schemars(with = "Option<String>", description = "How to address them.")]
    pub name: Option<Sealed>,
    /// Their mail address, sealed.
    #[schemars(with = "Option<String>", description = "Their mail address.")]
    pub email: Option<Sealed>,
    /// Have mails to it reached them?
    pub email_verified: bool,
    /// Their phone number, sealed.
    #[schemars(with = "Option<String>", description = "Their phone number.")]
    pub phone: Option<Sealed>,
    /// The address book, oldest first.
    pub addresses: Vec<SavedAddress>,
    /// What they want to hear of.
    pub notification_preferences: BTreeSet<Topic>,
    /// Where the account stands.
    pub status: AccountStatus,
    /// Why it is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When at the latest they are erased, if they asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erase_by: Option<Moment>,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// How many events the user has.
    pub version: u64,
    /// When they registered.
    pub registered_at: Option<Moment>,
    /// When something about them changed last.
    pub updated_at: Option<Moment>,
}

impl EntityView<User> for UserAccount {
    const NAME: &'static str = "user_account";
    const FILTERS: &'static [&'static str] = &["status"];
    const SORT: Sort = Sort::Latest("registered_at");
}

impl View<User> for UserAccount {
    fn update(&mut self, event: &EventEnvelope<User>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        match &event.payload {
            UserEvent::UserRegistered {
                email,
                name,
                email_claim: _,
                password_hash: _,
            } => {
                self.email = Some(email.clone());
                self.name = Some(name.clone());
                self.roles.insert(Role::Customer);
                self.registered_at = at;
            }
            UserEvent::EmailVerified { email_claim: _ } => self.email_verified = true,
            UserEvent::EmailChanged {
                email,
                email_claim: _,
            } => {
                self.email = Some(email.clone());
                self.email_verified = false;
            }
            UserEvent::PasswordChanged { password_hash: _ } => {}
            UserEvent::ProfileUpdated { name, phone } => {
                self.name = Some(name.clone());
                self.phone.clone_from(phone);
            }
            UserEvent::AddressAdded {
                address_id,
                address,
            } => self.save(*address_id, address),
            UserEvent::AddressRemoved { address_id } => {
                self.addresses.retain(|saved| saved.id != *address_id);
            }
            UserEvent::DefaultAddressSet { address_id } => {
                for saved in &mut self.addresses {
                    saved.default = saved.id == *address_id;
                }
            }
            UserEvent::NotificationPreferenceSet { topic, allowed } => {
                if *allowed {
                    self.notification_preferences.insert(*topic);
                } else {
                    self.notification_preferences.remove(topic);
                }
            }
            UserEvent::RoleGranted { role } => {
                self.roles.insert(*role);
            }
            UserEvent::RoleRevoked { role } => {
                self.roles.remove(role);
            }
            UserEvent::UserSuspended { reason } => {
                self.status = AccountStatus::Suspended;
                self.reason = Some(reason.clone());
            }
            UserEvent::UserReactivated {} => {
                self.status = AccountStatus::Active;
                self.reason = None;
            }
            UserEvent::ErasureRequested { erase_by } => {
                self.status = AccountStatus::Leaving;
                self.reason = None;
                self.erase_by = Some(Moment(*erase_by));
            }
            UserEvent::UserErased { email_claim: _ } => self.erase(),
        }
    }
}

impl UserAccount {
    /// One more address; the default, if there is none.
    fn save(&mut self, id: AddressId, address: &Sealed) {
        self.addresses.push(SavedAddress {
            id,
            address: address.clone(),
            default: !self.addresses.iter().any(|saved| saved.default),
        });
    }

    /// What is left of a person: that there was one, and when.
    fn erase(&mut self) {
        *self = Self {
            id: std::mem::take(&mut self.id),
            status: AccountStatus::Erased,
            version: self.version,
            registered_at: self.registered_at,
            updated_at: self.updated_at,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use kernel::{EmailClaimId, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::testkit::fold;

    fn registered() -> UserEvent {
        let person = UserId(Uuid::from_u128(1));
        UserEvent::UserRegistered {
            email: Sealed::new(person, "mail"),
            email_claim: EmailClaimId(Uuid::from_u128(2)),
            name: Sealed::new(person, "name"),
            password_hash: Sealed::new(person, "secret-hash"),
        }
    }

    #[test]
    fn a_registered_user_is_an_active_customer_without_a_password() {
        let row: UserAccount = fold::<User, _>("u-1", vec![registered()]);
        assert_eq!(row.status, AccountStatus::Active);
        assert_eq!(row.roles, BTreeSet::from([Role::Customer]));
        assert_eq!(row.version, 1);
        assert!(row.registered_at.is_some());
        assert!(!serde_json::to_string(&row).unwrap().contains("secret-hash"));
    }

    #[test]
    fn a_suspension_says_why_until_it_is_lifted() {
        let suspended = UserEvent::UserSuspended {
            reason: "fraud".parse().unwrap(),
        };
        let row: UserAccount = fold::<User, _>("u-1", vec![registered(), suspended.clone()]);
        assert_eq!(row.status, AccountStatus::Suspended);
        assert_eq!(row.reason, Some("fraud".parse().unwrap()));
        let back = vec![registered(), suspended, UserEvent::UserReactivated {}];
        let row: UserAccount = fold::<User, _>("u-1", back);
        assert_eq!((row.status, row.reason), (AccountStatus::Active, None));
    }

    #[test]
    fn roles_come_and_go() {
        let role = Role::Operator;
        let granted = vec![registered(), UserEvent::RoleGranted { role }];
        let row: UserAccount = fold::<User, _>("u-1", granted.clone());
        assert!(row.roles.contains(&role));
        let mut revoked = granted;
        revoked.push(UserEvent::RoleRevoked { role });
        let row: UserAccount = fold::<User, _>("u-1", revoked);
        assert!(!row.roles.contains(&role));
    }

    fn sealed(text: &str) -> Sealed {
        Sealed::new(UserId(Uuid::from_u128(1)), text)
    }

    fn added(number: u128) -> UserEvent {
        UserEvent::AddressAdded {
            address_id: AddressId(Uuid::from_u128(number)),
            address: sealed("home"),
        }
    }

    #[test]
    fn an_address_is_verified_until_it_is_changed() {
        let email_claim = EmailClaimId(Uuid::from_u128(2));
        let mut events = vec![registered(), UserEvent::EmailVerified { email_claim }];
        let row: UserAccount = fold::<User, _>("u-1", events.clone());
        assert!(row.email_verified);
        events.push(UserEvent::EmailChanged {
            email: sealed("other"),
            email_claim,
        });
        let row: UserAccount = fold::<User, _>("u-1", events);
        assert_eq!(
            (row.email, row.email_verified),
            (Some(sealed("other")), false)
        );
    }

    #[test]
    fn an_address_book_has_the_default_that_the_account_has() {
        let chosen = |address_id| UserEvent::DefaultAddressSet { address_id };
        let removed = |address_id| UserEvent::AddressRemoved { address_id };
        let [one, two] = [1, 2].map(|number| AddressId(Uuid::from_u128(number)));
        let mut events = vec![registered()];
        for event in [
            added(1),
            added(2),
            chosen(two),
            removed(two),
            added(3),
            chosen(one),
            removed(one),
        ] {
            events.push(event);
            let row: UserAccount = fold::<User, _>("u-1", events.clone());
            let mut user = User::default();
            for event in &events {
                kernel::Decider::evolve(&mut user, event);
            }
            let account = user.account().unwrap();
            let shown = row.addresses.iter().find(|saved| saved.default);
            assert_eq!(shown.map(|saved| saved.id), account.default_address);
            assert_eq!(row.addresses.len(), account.addresses.len());
        }
    }

    #[test]
    fn nothing_is_left_of_who_was_erased() {
        let erase_by = crate::testkit::start();
        let topic = Topic::Marketing;
        let mut events = vec![
            registered(),
            added(1),
            UserEvent::ProfileUpdated {
                name: sealed("married"),
                phone: Some(sealed("phone")),
            },
            UserEvent::NotificationPreferenceSet {
                topic,
                allowed: true,
            },
            UserEvent::ErasureRequested { erase_by },
        ];
        let row: UserAccount = fold::<User, _>("u-1", events.clone());
        assert_eq!(row.status, AccountStatus::Leaving);
        assert_eq!(row.erase_by, Some(Moment(erase_by)));
        assert_eq!(row.notification_preferences, BTreeSet::from([topic]));
        events.push(UserEvent::UserErased {
            email_claim: EmailClaimId(Uuid::from_u128(2)),
        });
        let row: UserAccount = fold::<User, _>("u-1", events);
        assert_eq!((row.status, row.version), (AccountStatus::Erased, 6));
        assert!(!serde_json::to_string(&row).unwrap().contains("sealed"));
    }
}
