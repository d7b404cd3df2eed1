//! Whose a row is: what isn't yours isn't there.

use edge::{Principal, Problem};
use kernel::UserId;
use serde::Deserialize;

use crate::caller::Caller;
use crate::failure::{internal, nothing};

/// What everybody may see.
const PUBLISHED: &str = "published";

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
    asked: Option<String>,
) -> Result<Option<String>, Problem> {
    if principal.is_operator() {
        return Ok(asked);
    }
    let own = principal.user_id;
    match asked {
        Some(text) if text.parse() != Ok(own) => Err(nothing("user")),
        Some(_) | None => Ok(Some(own.to_string())),
    }
}

/// The field that decides whether everybody may see a row.
#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    status: std::borrow::Cow<'a, str>,
}

/// Is the row for everybody?
pub(crate) fn is_published(row: &str) -> bool {
    serde_json::from_str::<Publication<'_>>(row)
        .is_ok_and(|publication| publication.status == PUBLISHED)
}

/// Which status to list: an operator's choice; for anybody else what is published.
pub(crate) fn only_published(
    caller: &Caller,
    asked: Option<String>,
) -> Result<Option<String>, Problem> {
    match asked {
        asked if caller.is_operator() => Ok(asked),
        Some(status) if status != PUBLISHED => Err(Problem::forbidden(
            "only an operator sees products that aren't published",
        )),
        Some(_) | None => Ok(Some(PUBLISHED.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn principal(id: u128, roles: &[&str]) -> Principal {
        Principal {
            user_id: UserId(Uuid::from_u128(id)),
            roles: roles.iter().map(ToString::to_string).collect(),
            scopes: None,
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
        let (me, other) = (me.to_string(), other.to_string());
        let mine = |asked: Option<&String>| only_own(&principal(1, &[]), asked.cloned());
        assert_eq!(mine(None).unwrap().as_ref(), Some(&me));
        assert_eq!(mine(Some(&me.to_uppercase())).unwrap(), Some(me));
        for not_mine in [other, "nonsense".to_owned()] {
            assert_eq!(mine(Some(&not_mine)).unwrap_err().status.as_u16(), 404);
        }
        assert_eq!(only_own(&principal(1, &["operator"]), None).unwrap(), None);
    }
}
