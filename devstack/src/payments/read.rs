//! The calls that change nothing: one object, or a page of them.

use super::form::Form;
use super::intent::Intent;
use super::ledger::Books;
use super::refund::Refund;
use super::refusal::{Answer, Refusal};
use serde_json::{Value, json};

/// Objects on a page unless the request says otherwise (Stripe's default).
const DEFAULT_PAGE: u64 = 10;
/// The largest page (Stripe's limit).
const MAX_PAGE: u64 = 100;

/// One intent.
pub(super) fn intent(books: &Books, id: &str) -> Result<Answer, Refusal> {
    let row = books.rows.get(id);
    let row = row.ok_or_else(|| Refusal::missing("payment_intent", id, "intent"))?;
    Ok(Answer::ok(&row.intent.shape()))
}

/// A page of intents, newest first.
pub(super) fn intents(books: &Books, form: &Form) -> Result<Answer, Refusal> {
    form.only(&[
        "limit",
        "starting_after",
        "created[gte]",
        "created[gt]",
        "created[lte]",
        "created[lt]",
    ])?;
    let created = Created::parse(form)?;
    let end =
        match form.get("starting_after") {
            None => books.created.len(),
            Some(id) => books.rows.get(id).map(|row| row.number).ok_or_else(|| {
                Refusal::missing_reference("payment_intent", id, "starting_after")
            })?,
        };
    let older = books.created.iter().take(end).rev();
    let found = older
        .filter_map(|id| Some(&books.rows.get(id)?.intent))
        .filter(|intent| created.covers(intent.created));
    page("/v1/payment_intents", found.map(Intent::shape), form)
}

/// One refund.
pub(super) fn refund(books: &Books, id: &str) -> Result<Answer, Refusal> {
    let refund = books.refunds.iter().rev().find(|refund| refund.id == id);
    let refund = refund.ok_or_else(|| Refusal::missing("refund", id, "id"))?;
    Ok(Answer::ok(&refund.shape()))
}

/// A page of refunds, newest first.
pub(super) fn refunds(books: &Books, form: &Form) -> Result<Answer, Refusal> {
    form.only(&["limit", "starting_after", "payment_intent"])?;
    let end = match form.get("starting_after") {
        None => books.refunds.len(),
        Some(id) => books
            .refunds
            .iter()
            .position(|refund| refund.id == id)
            .ok_or_else(|| Refusal::missing_reference("refund", id, "starting_after"))?,
    };
    let wanted = form.get("payment_intent");
    let found = books
        .refunds
        .iter()
        .take(end)
        .rev()
        .filter(|refund| wanted.is_none_or(|intent| refund.intent == intent));
    page("/v1/refunds", found.map(Refund::shape), form)
}

fn page(url: &str, mut found: impl Iterator<Item = Value>, form: &Form) -> Result<Answer, Refusal> {
    let limit = form.number("limit")?.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let message = format!("Invalid limit: must be between 1 and {MAX_PAGE}");
        return Err(Refusal::invalid(
            "parameter_invalid_integer",
            message,
            "limit",
        ));
    }
    let mut data = Vec::new();
    while (data.len() as u64) < limit
        && let Some(object) = found.next()
    {
        data.push(object);
    }
    let has_more = found.next().is_some();
    Ok(Answer::ok(
        &json!({ "object": "list", "data": data, "has_more": has_more, "url": url }),
    ))
}

/// A range of times of creation, in seconds.
struct Created {
    from: i64,
    to: i64,
}

impl Created {
    fn parse(form: &Form) -> Result<Self, Refusal> {
        let bound = |name| -> Result<Option<i64>, Refusal> {
            let number = form.number(name)?;
            Ok(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
        };
        let after = bound("created[gt]")?.map(|after| after.saturating_add(1));
        let before = bound("created[lt]")?.map(|before| before.saturating_sub(1));
        let from = bound("created[gte]")?.max(after).unwrap_or(i64::MIN);
        let to = bound("created[lte]")?.unwrap_or(i64::MAX);
        let to = to.min(before.unwrap_or(i64::MAX));
        Ok(Self { from, to })
    }

    fn covers(&self, created: i64) -> bool {
        (self.from..=self.to).contains(&created)
    }
}
