//! The calls that change something, parsed and checked before anything runs.

use super::form::Form;
use super::intent::CaptureMethod;
use super::method;
use super::refusal::Refusal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a request does: the word of faults and of the ledger's counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Operation {
    Create,
    Confirm,
    Capture,
    Cancel,
    Refund,
    Retrieve,
    List,
    /// The customer's authentication, from the test API.
    CompleteAction,
}

/// A call that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Create(Create),
    Confirm(Confirmation),
    Capture { amount: Option<u64> },
    Cancel { reason: Option<String> },
    CompleteAction { succeed: bool },
    Refund(RefundOrder),
}

/// With what an intent is confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Confirmation {
    pub(super) method: Option<String>,
    /// Where the customer comes back to from a page on which they act.
    pub(super) return_url: Option<String>,
}

/// A new intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Create {
    pub(super) amount: u64,
    pub(super) currency: String,
    pub(super) capture_method: CaptureMethod,
    pub(super) method: Option<String>,
    /// May a method of it send the customer to another page? So may those of the dashboard, which an intent
    /// accepts that names none.
    pub(super) redirects: bool,
    pub(super) confirm: bool,
    pub(super) return_url: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// A new refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefundOrder {
    pub(super) amount: Option<u64>,
    pub(super) reason: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

const CANCELLATION_REASONS: [&str; 4] = [
    "duplicate",
    "fraudulent",
    "requested_by_customer",
    "abandoned",
];
const REFUND_REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

impl Command {
    /// Parses the parameters of a call.
    ///
    /// # Errors
    /// Stripe's refusal of the first parameter that is wrong.
    pub(super) fn parse(operation: Operation, form: &Form) -> Result<Self, Refusal> {
        match operation {
            Operation::Create => Create::parse(form).map(Self::Create),
            Operation::Confirm => {
                form.only(&["payment_method", "return_url"])?;
                Ok(Self::Confirm(Confirmation {
                    method: known_method(form)?,
                    return_url: return_url(form)?,
                }))
            }
            Operation::Capture => {
                form.only(&["amount_to_capture"])?;
                let amount = form.amount("amount_to_capture")?;
                Ok(Self::Capture { amount })
            }
            Operation::Cancel => {
                form.only(&["cancellation_reason"])?;
                let reason = one_of(form, "cancellation_reason", &CANCELLATION_REASONS)?;
                Ok(Self::Cancel { reason })
            }
            Operation::Refund => {
                form.only(&["payment_intent", "amount", "reason", "metadata"])?;
                form.required("payment_intent")?;
                Ok(Self::Refund(RefundOrder {
                    amount: form.amount("amount")?,
                    reason: one_of(form, "reason", &REFUND_REASONS)?,
                    metadata: form.metadata()?,
                }))
            }
            Operation::Retrieve | Operation::List | Operation::CompleteAction => {
                Err(Refusal::internal("not a call with a form"))
            }
        }
    }
}

impl Create {
    fn parse(form: &Form) -> Result<Self, Refusal> {
        form.only(&[
            "amount",
            "currency",
            "capture_method",
            "payment_method",
            "confirm",
            "return_url",
            "metadata",
        ])?;
        let (confirm, return_url) = (form.flag("confirm")?, return_url(form)?);
        if return_url.is_some() && !confirm {
            let message = "return_url can only be used with confirm=true.".to_owned();
            return Err(Refusal::invalid("parameter_unknown", message, "return_url"));
        }
        let currency = form.required("currency")?.to_ascii_lowercase();
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
            let message = format!("Invalid currency: {currency}.");
            return Err(Refusal::invalid(
                "parameter_invalid_string",
                message,
                "currency",
            ));
        }
        let amount = form.amount("amount")?;
        let capture_method = match form.get("capture_method") {
            None | Some("automatic" | "automatic_async") => CaptureMethod::Automatic,
            Some("manual") => CaptureMethod::Manual,
            Some(other) => {
                let message = format!(
                    "Invalid capture_method: must be one of automatic, automatic_async, or manual, not {other}"
                );
                return Err(Refusal::invalid(
                    "parameter_invalid_string",
                    message,
                    "capture_method",
                ));
            }
        };
        Ok(Self {
            amount: amount.ok_or_else(|| Refusal::missing_parameter("amount"))?,
            currency,
            capture_method,
            method: known_method(form)?,
            redirects: redirects(form)?,
            confirm,
            return_url,
            metadata: form.metadata()?,
        })
    }
}

/// What Stripe takes since version 2023-08-16 of its API.
fn redirects(form: &Form) -> Result<bool, Refusal> {
    let stays = form.flag("automatic_payment_methods[enabled]")?
        && form.get("automatic_payment_methods[allow_redirects]") == Some("never");
    Ok(form.get("payment_method_types[]").is_none() && !stays)
}

fn return_url(form: &Form) -> Result<Option<String>, Refusal> {
    let Some(text) = form.get("return_url") else {
        return Ok(None);
    };
    if url::Url::parse(text).is_err() {
        let message = "Not a valid URL".to_owned();
        return Err(Refusal::invalid("url_invalid", message, "return_url"));
    }
    Ok(Some(text.to_owned()))
}

fn known_method(form: &Form) -> Result<Option<String>, Refusal> {
    let Some(id) = form.get("payment_method") else {
        return Ok(None);
    };
    method::known(id)?;
    Ok(Some(id.to_owned()))
}

fn one_of(form: &Form, name: &'static str, allowed: &[&str]) -> Result<Option<String>, Refusal> {
    let Some(value) = form.get(name) else {
        return Ok(None);
    };
    if allowed.contains(&value) {
        return Ok(Some(value.to_owned()));
    }
    let message = format!("Invalid {name}: must be one of {}", allowed.join(", "));
    Err(Refusal::invalid("parameter_invalid_string", message, name))
}
