//! The account page: who somebody is, with every personal field still sealed.

use std::collections::BTreeSet;

use cqrs_es::{EventEnvelope, View};
use kernel::{Reason, Sealed};
use serde::{Deserialize, Serialize};
use user::{Role, User, UserEvent};

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// Where an account stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// In good standing.
    #[default]
    Active,
    /// Barred from ordering and signing in.
    Suspended,
}

/// One user. The password hash is in the log and in no view.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserAccount {
    /// The user's id.
    pub id: String,
    /// How to address them, sealed.
    pub name: Option<Sealed>,
    /// Their mail address, sealed.
    pub email: Option<Sealed>,
    /// Where the account stands.
    pub status: AccountStatus,
    /// Why it is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
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
        }
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
}
