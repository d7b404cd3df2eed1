//! Where a page begins: opaque to clients, bound to the list and the filters that it came from.
//!
//! It is not signed. It holds nothing but a place in a list that its bearer may read anyway: who
//! may read what is decided by the token of each request, and the filters are compared.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::Problem;
use projections::ViewSpec;
use projections::read::{After, Filter, How};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest cursor, in characters.
pub(crate) const CURSOR_LENGTH_MAX: usize = 1024;

/// What filters are hashed in.
const FILTERS: Uuid = Uuid::from_u128(0xd1a7_5c0e_3b1d_4f0e_9f62_6d2b_8e41_7c35);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// The view.
    v: String,
    /// What the filters come to.
    f: Uuid,
    /// The last row's place in the order, if that isn't its id.
    s: Option<String>,
    /// The last row's id.
    i: String,
}

/// Writes a cursor.
pub(crate) fn write(view: &ViewSpec, filters: &[Filter], after: &After) -> String {
    let content = Content {
        v: view.name.to_owned(),
        f: hash(filters),
        s: after.sort.clone(),
        i: after.view_id.clone(),
    };
    // Strings always serialize; an empty cursor would be refused, not misread.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&content).unwrap_or_default())
}

/// Reads one that `view` gave under the same filters.
pub(crate) fn read(view: &ViewSpec, filters: &[Filter], cursor: &str) -> Result<After, Problem> {
    let content = decode(cursor).ok_or_else(|| invalid("it was not given by this API"))?;
    if content.v != view.name || content.f != hash(filters) {
        return Err(invalid("it was given for another list or other filters"));
    }
    Ok(After {
        sort: content.s,
        view_id: content.i,
    })
}

fn decode(cursor: &str) -> Option<Content> {
    let short = (cursor.len() <= CURSOR_LENGTH_MAX).then_some(cursor)?;
    let bytes = URL_SAFE_NO_PAD.decode(short).ok()?;
    let content: Content = serde_json::from_slice(&bytes).ok()?;
    // Text in Postgres holds no NUL.
    let clean = |text: &str| !text.contains('\0');
    let usable = clean(&content.i) && content.s.as_deref().is_none_or(clean);
    usable.then_some(content)
}

/// Of the same filters, in whatever order, the same. So a cursor is short however long they are.
fn hash(filters: &[Filter]) -> Uuid {
    let mut named: Vec<(_, How, _)> = filters
        .iter()
        .map(|filter| (filter.column.to_owned(), filter.how, filter.value.clone()))
        .collect();
    named.sort_unstable();
    Uuid::new_v5(&FILTERS, &serde_json::to_vec(&named).unwrap_or_default())
}

/// A cursor that can't be used.
pub(crate) fn invalid(why: &str) -> Problem {
    let detail = format!("the parameter cursor can't be used: {why}");
    Problem::new(StatusCode::BAD_REQUEST, "cursor_invalid", detail)
}

#[cfg(test)]
mod tests {
    use projections::{ORDER_SUMMARY, PAYMENT_SUMMARY};

    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place_and_nowhere_else() {
        let filters = [Filter::new("status", "placed"), Filter::new("user_id", "u")];
        let after = After {
            sort: Some("2026-01-01T00:00:00.000000Z".into()),
            view_id: "o-1".into(),
        };
        let cursor = write(&ORDER_SUMMARY, &filters, &after);
        assert_eq!(read(&ORDER_SUMMARY, &filters, &cursor).unwrap(), after);
        let [status, user] = filters;
        let swapped = [user, status.clone()];
        assert_eq!(read(&ORDER_SUMMARY, &swapped, &cursor).unwrap(), after);
        let other = read(&ORDER_SUMMARY, &[status], &cursor).unwrap_err();
        assert_eq!(
            (other.status.as_u16(), &*other.code),
            (400, "cursor_invalid")
        );
        assert!(read(&PAYMENT_SUMMARY, &swapped, &cursor).is_err());
    }

    #[test]
    fn a_cursor_is_short_however_long_its_filters_are() {
        let long = "\u{1}".repeat(200);
        let filters = [
            Filter::new("status", long.as_str()),
            Filter::new("user_id", long.as_str()),
        ];
        let after = After {
            sort: Some("2026-01-01T00:00:00.000000Z".into()),
            view_id: "o".repeat(64),
        };
        let cursor = write(&ORDER_SUMMARY, &filters, &after);
        assert_eq!(read(&ORDER_SUMMARY, &filters, &cursor).unwrap(), after);
    }

    #[test]
    fn nonsense_is_no_cursor() {
        let none = hash(&[]);
        let nul = format!(r#"{{"v":"order_summary","f":"{none}","s":"\u0000","i":"a"}}"#);
        let nul = URL_SAFE_NO_PAD.encode(nul);
        let long = "A".repeat(5_000);
        for bad in ["", "x", "e30", "====", &nul, &long] {
            let refused = read(&ORDER_SUMMARY, &[], bad).unwrap_err();
            assert_eq!(refused.status.as_u16(), 400, "{bad:.20}");
        }
    }
}
