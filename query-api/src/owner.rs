//! Whose a row is: what isn't yours isn't there.

use edge::{Principal, Problem};
use kernel::UserId;
use serde::Deserialize;

use crate::failure::{internal, nothing};

/// The only field that decides who may see a row.
#[derive(Deserialize)]
struct Owned {
    user_id: Option<UserId>,
}

/// 404 unless `principal` owns the row, or is an operator. A row without an owner is for operators.
pub(crate) fn must_see(principal: &Principal, row: &str, what: &str) -> Result<(), Problem> {
    if principal.is_operator() {
        return Ok(());
    }
    let row: Owned = serde_json::from_str(row).map_err(|error| internal(&error))?;
    match row.user_id {
        Some(owner) => principal.require_owner_or_operator(owner, what),
        None => Err(nothing(what)),
    }
}

/// Whose rows to list: an operator's choice, anybody else's own.
pub(crate) fn only_own(
    principal: &Principal,
    asked: Option<UserId>,
) -> Result<Option<UserId>, Problem> {
    if principal.is_operator() {
        return Ok(asked);
    }
    let own = asked.unwrap_or(principal.user_id);
    principal.require_owner_or_operator(own, "user")?;
    Ok(Some(own))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn principal(id: u128, roles: &[&str]) -> Principal {
        Principal {
            user_id: UserId(Uuid::from_u128(id)),
            roles: roles.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_is_not_yours_is_not_there() {
        let owner = UserId(Uuid::from_u128(1));
        let row = format!("{{\"id\":\"x\",\"user_id\":\"{owner}\",\"lines\":[]}}");
        assert!(must_see(&principal(1, &[]), &row, "order").is_ok());
        assert!(must_see(&principal(2, &["operator"]), &row, "order").is_ok());
        let refused = must_see(&principal(2, &["customer"]), &row, "order").unwrap_err();
        assert_eq!(refused.status.as_u16(), 404);
        let orphan = must_see(&principal(1, &[]), "{\"user_id\":null}", "payment");
        assert_eq!(orphan.unwrap_err().status.as_u16(), 404);
    }

    #[test]
    fn customers_list_their_own() {
        let (me, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert_eq!(only_own(&principal(1, &[]), None).unwrap(), Some(me));
        assert!(only_own(&principal(1, &[]), Some(other)).is_err());
        assert_eq!(only_own(&principal(1, &["operator"]), None).unwrap(), None);
    }
}
