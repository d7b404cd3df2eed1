//! From refusals and failures to statuses: the one place where both are mapped.
//!
//! A refusal is 404 when the thing isn't there, 409 when its state forbids, 422 when a rule about
//! the request's own values is broken (then with the field). A failure is 503 when trying again may
//! help, 500 when it won't.

use axum::http::StatusCode;
use edge::Problem;
use edge::problem::RETRY_AFTER_DEFAULT;
use inventory::InventoryRefusal;
use kernel::Refusal;
use notification::webhook::{DeliveryRefusal, EndpointRefusal};
use notification::{NotificationRefusal, SuppressionRefusal};
use order::OrderRefusal;
use payment::PaymentRefusal;
use product::{ImportRefusal, ProductRefusal};
use serde_json::Value;
use streams::inbox::InboxError;
use streams::{ExecuteAtError, ExecuteError, LoadError, TogetherRefusal, chain};
use user::{EmailRefusal, UserRefusal};

use crate::personal::PersonalError;
use crate::problems::problem;
use crate::questions::NoAnswer;

/// Where a refusal about a number of units points.
pub(crate) const QUANTITY: &str = "/quantity";

/// Where a refusal belongs.
pub(crate) struct Place {
    status: StatusCode,
    /// The field that it is about.
    pointer: Option<String>,
    /// The same request may succeed later: what forbids it passes as things go on.
    passes: bool,
}

/// A refusal that the API can answer.
pub(crate) trait Placed: Refusal {
    /// Its status and field, and whether it passes.
    fn place(&self) -> Place;
}

fn placed(status: StatusCode, pointer: Option<String>) -> Place {
    Place {
        status,
        pointer,
        passes: false,
    }
}

fn state() -> Place {
    placed(StatusCode::CONFLICT, None)
}

/// A state that the thing leaves by itself: an order is confirmed, a parcel arrives.
fn for_now() -> Place {
    Place {
        passes: true,
        ..state()
    }
}

fn missing() -> Place {
    placed(StatusCode::NOT_FOUND, None)
}

fn taken(pointer: &str) -> Place {
    placed(StatusCode::CONFLICT, Some(pointer.to_owned()))
}

fn rule(pointer: impl Into<String>) -> Place {
    placed(StatusCode::UNPROCESSABLE_ENTITY, Some(pointer.into()))
}

impl Placed for UserRefusal {
    fn place(&self) -> Place {
        match self {
            Self::UserUnknown | Self::AddressUnknown => missing(),
            Self::CustomerRoleImplied => rule("/role"),
            Self::UserAlreadyExists
            | Self::UserErased
            | Self::UserLeaving
            | Self::ErasureNotRequested
            | Self::AddressDiffers
            | Self::TooManyAddresses { .. } => state(),
            // Another change came first. What is current is looked up anew for each request.
            Self::EmailNotCurrent => for_now(),
        }
    }
}

impl Placed for EmailRefusal {
    fn place(&self) -> Place {
        match self {
            Self::EmailTaken | Self::EmailHeldByAnother => taken("/email"),
        }
    }
}

impl Placed for ProductRefusal {
    fn place(&self) -> Place {
        match self {
            Self::ProductAlreadyExists => taken("/sku"),
            Self::ProductUnknown => missing(),
            Self::ProductDiscontinued | Self::ProductNotPublished => state(),
            Self::PriceNotPositive | Self::PriceTooHigh { .. } => rule("/price/amount"),
        }
    }
}

impl Placed for ImportRefusal {
    fn place(&self) -> Place {
        match self {
            Self::ImportUnknown => missing(),
            Self::ImportDiffers => placed(StatusCode::UNPROCESSABLE_ENTITY, None),
        }
    }
}

impl Placed for InventoryRefusal {
    fn place(&self) -> Place {
        match self {
            Self::StockItemAlreadyExists => taken("/sku"),
            Self::StockItemUnknown | Self::ReservationUnknown { .. } => missing(),
            Self::QuantityNotPositive | Self::StockTooLarge { .. } => rule(QUANTITY),
            Self::AdjustmentOfZero => rule("/delta"),
            Self::ReservationDiffers { .. }
            | Self::ReservationShipped
            | Self::ReservationExpired
            | Self::ReservationClosed
            | Self::ReservationAlreadyExpired
            | Self::ReservationCommitted
            | Self::RestockDiffers { .. }
            | Self::RestockExpired => state(),
            // What is set aside is given back or bought, and units come in.
            Self::AdjustmentTooLarge { .. }
            | Self::ReservationNotLapsed
            | Self::ReservationNotCommitted
            | Self::OutOfStock { .. } => for_now(),
        }
    }
}

impl Placed for OrderRefusal {
    fn place(&self) -> Place {
        match self {
            Self::OrderUnknown | Self::ReturnUnknown => missing(),
            Self::NoLines | Self::TooManyLines { .. } | Self::TotalOverflow => rule("/lines"),
            Self::QuantityOutOfRange { line, .. } | Self::ReturnExceedsOrdered { line, .. } => {
                rule(format!("/lines/{line}/quantity"))
            }
            Self::DuplicateSku { line, .. }
            | Self::SkuNotOrdered { line, .. }
            | Self::MixedCurrencies { line }
            | Self::PriceNotPositive { line } => rule(format!("/lines/{line}/sku")),
            Self::RefundExceedsTotal => rule("/amount"),
            Self::OrderAlreadyExists
            | Self::OrderCanceled
            | Self::OrderRejected
            | Self::OrderAlreadyPaid { .. }
            | Self::OrderAlreadyConfirmed
            | Self::OrderAlreadyShipped
            | Self::TooManyReturns { .. }
            | Self::ReturnDiffers
            | Self::ReturnRefused
            | Self::ReturnAlreadyReceived
            | Self::RefundReversed
            | Self::RefundDiffers => state(),
            // The order's own way leads on: it is paid, sent, and arrives; a return is looked at.
            Self::OrderNotConfirmed
            | Self::OrderNotShipped
            | Self::OrderNotDelivered
            | Self::ReturnNotApproved
            | Self::OrderNotRefundable => for_now(),
        }
    }
}

impl Placed for PaymentRefusal {
    fn place(&self) -> Place {
        match self {
            Self::PaymentUnknown | Self::RefundUnknown => missing(),
            Self::AmountNotPositive
            | Self::AmountDiffers { .. }
            | Self::RefundExceedsCaptured { .. } => rule("/amount"),
            Self::PaymentDiffers
            | Self::PaymentVoided
            | Self::VoidRequested
            | Self::PaymentDeclined { .. }
            | Self::PaymentFailed { .. }
            | Self::PaymentCaptured
            | Self::IntentDiffers { .. }
            | Self::RefundDiffers { .. }
            | Self::RefundFailed { .. }
            | Self::NoMismatch
            | Self::TooManyRefunds { .. } => state(),
            // The provider has yet to say how it went.
            Self::PaymentNotAuthorized | Self::CaptureInProgress | Self::PaymentNotCaptured => {
                for_now()
            }
        }
    }
}

impl Placed for NotificationRefusal {
    fn place(&self) -> Place {
        match self {
            Self::NotificationUnknown => missing(),
            Self::NotificationDiffers
            | Self::NotificationAlreadySent { .. }
            | Self::NotificationAlreadyBounced
            | Self::NotificationNotFailed => state(),
            Self::NotificationNotSent => for_now(),
        }
    }
}

impl Placed for SuppressionRefusal {
    fn place(&self) -> Place {
        match *self {}
    }
}

impl Placed for EndpointRefusal {
    fn place(&self) -> Place {
        match self {
            Self::WebhookEndpointUnknown => missing(),
            Self::NoEventTypes | Self::TooManyEventTypes { .. } => rule("/event_types"),
            Self::WebhookEndpointDiffers | Self::WebhookEndpointDisabled => state(),
        }
    }
}

impl Placed for DeliveryRefusal {
    fn place(&self) -> Place {
        match self {
            Self::WebhookDeliveryUnknown => missing(),
            Self::WebhookDeliveryDiffers => state(),
            Self::WebhookAttemptNotDue => for_now(),
        }
    }
}

/// Refusals as the client sees them, for a call's description.
pub(crate) fn refusals<R: Placed>(all: impl IntoIterator<Item = R>) -> Vec<Problem> {
    all.into_iter()
        .map(|refusal| of_refusal(&refusal))
        .collect()
}

/// How any command may fail, for a call's description: all that [`of_failure`] can make of it, and
/// parts that are down.
pub(crate) fn failures() -> Vec<Problem> {
    let source = || "a server is gone".into();
    let all: [ExecuteError<TogetherRefusal>; 5] = [
        ExecuteError::KeyReused,
        ExecuteError::Conflict,
        ExecuteError::Unavailable { source: source() },
        ExecuteError::Unknown { source: source() },
        ExecuteError::TooLarge,
    ];
    all.iter().map(failure).collect()
}

/// A refusal as the client sees it.
pub(crate) fn of_refusal<R: Placed>(refusal: &R) -> Problem {
    let place = refusal.place();
    let mut problem = problem(place.status, refusal.code(), refusal.to_string());
    problem.retryable = place.passes;
    match place.pointer {
        Some(pointer) => problem.at(pointer, refusal.to_string()),
        None => problem,
    }
}

/// A command that was not done, as the client sees it.
pub(crate) fn of_execute<R: Placed>(error: ExecuteError<R>) -> Problem {
    if let ExecuteError::Refused(refusal) = error {
        return of_refusal(&refusal);
    }
    of_failure(error)
}

/// A command with a condition that was not done, as the client sees it.
pub(crate) fn of_conditional<R: Placed>(error: ExecuteAtError<R>) -> Problem {
    match error {
        ExecuteAtError::Stale { version } => Problem::stale(version),
        ExecuteAtError::Failed(error) => of_execute(error),
    }
}

/// A command on several aggregates that was not done. `refused` knows whose refusals they are.
pub(crate) fn of_together(
    error: ExecuteError<TogetherRefusal>,
    refused: impl FnOnce(&TogetherRefusal) -> Problem,
) -> Problem {
    if let ExecuteError::Refused(refusal) = &error {
        return refused(refusal);
    }
    of_failure(error)
}

/// The same with a condition on the first of them.
pub(crate) fn of_together_if(
    error: ExecuteAtError<TogetherRefusal>,
    refused: impl FnOnce(&TogetherRefusal) -> Problem,
) -> Problem {
    match error {
        ExecuteAtError::Stale { version } => Problem::stale(version),
        ExecuteAtError::Failed(error) => of_together(error, refused),
    }
}

/// A refusal that travelled as JSON, if it is an `R`.
pub(crate) fn of_value<R: Placed>(value: &Value) -> Option<Problem> {
    let refusal: R = serde_json::from_value(value.clone()).ok()?;
    Some(of_refusal(&refusal))
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn of_failure<R: std::error::Error + 'static>(error: ExecuteError<R>) -> Problem {
    match &error {
        ExecuteError::Unavailable { source } => {
            warn(source.as_ref(), "a part of the system is down");
        }
        ExecuteError::Unknown { source } => {
            warn(source.as_ref(), "the outcome of an append is not known");
        }
        ExecuteError::Refused(_) | ExecuteError::Unreadable(_) | ExecuteError::Unwritable(_) => {
            tracing::error!(error = chain(&error), "a request failed");
        }
        ExecuteError::KeyReused | ExecuteError::Conflict | ExecuteError::TooLarge => {}
    }
    failure(&error)
}

fn failure<R: std::error::Error + 'static>(error: &ExecuteError<R>) -> Problem {
    match error {
        ExecuteError::KeyReused => key_reused(),
        ExecuteError::Conflict => Problem::new(
            StatusCode::CONFLICT,
            "conflict",
            "others were at it at the same time, again and again or for too long; nothing was done",
        )
        .retry(RETRY_AFTER_DEFAULT),
        ExecuteError::Unavailable { .. } => part_down(),
        ExecuteError::Unknown { .. } => outcome_unknown(),
        ExecuteError::TooLarge => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "what follows from the request is larger than an event may be",
        ),
        ExecuteError::Refused(_) | ExecuteError::Unreadable(_) | ExecuteError::Unwritable(_) => {
            Problem::internal()
        }
    }
}

/// An aggregate that could not be loaded, as the client sees it.
pub(crate) fn of_load(error: LoadError) -> Problem {
    match error {
        LoadError::Unavailable(source) => unavailable(source.as_ref()),
        failure @ LoadError::Unreadable(_) => broken(&failure),
    }
}

/// Keys that can't be reached, as the client sees it.
pub(crate) fn of_personal(error: PersonalError) -> Problem {
    match error {
        PersonalError::Unavailable(source) => unavailable(source.as_ref()),
        PersonalError::Erased => of_refusal(&UserRefusal::UserErased),
        failure @ PersonalError::Broken(_) => broken(&failure),
    }
}

/// A letter that is not known to be stored, as the client sees it.
pub(crate) fn of_inbox(error: InboxError) -> Problem {
    match error {
        InboxError::Unavailable { source } => unavailable(source.as_ref()),
        InboxError::TooLarge { .. } => Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE),
        failure @ InboxError::Name { .. } => broken(&failure),
    }
}

pub(crate) fn key_reused() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "the Idempotency-Key was used for a request with another body",
    )
}

/// A question without an answer, as the client sees it.
#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(crate) fn of_question(error: NoAnswer) -> Problem {
    unavailable(&error)
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    warn(error, "a part of the system is down");
    part_down()
}

/// 503: it may have been done.
pub(crate) fn outcome_unknown() -> Problem {
    let detail = "it is not known whether it was done; with the same Idempotency-Key it is safe to try again";
    Problem::unavailable("outcome_unknown", detail)
}

/// 503: nothing was done.
pub(crate) fn part_down() -> Problem {
    let detail = "a part of the system is down; nothing was done";
    Problem::unavailable("unavailable", detail)
}

fn warn(error: &(dyn std::error::Error + 'static), what: &'static str) {
    tracing::warn!(error = chain(error), "{what}");
}

/// Nothing that the client or time could mend.
fn broken(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = chain(error), "a request failed");
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_field_under_its_own_code() {
        let problem = of_refusal(&OrderRefusal::QuantityOutOfRange {
            line: 2,
            max: 10_000,
        });
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem.code, "quantity_out_of_range");
        assert_eq!(problem.errors[0].pointer, "/lines/2/quantity");
        let problem = of_refusal(&OrderRefusal::OrderAlreadyShipped);
        assert_eq!(problem.status, StatusCode::CONFLICT);
        assert!(problem.errors.is_empty() && !problem.retryable);
    }

    #[test]
    fn a_refusal_that_passes_may_be_tried_again_unchanged() {
        let retryable = |problem: Problem| problem.retryable;
        assert!(retryable(of_refusal(&UserRefusal::EmailNotCurrent)));
        assert!(retryable(of_refusal(&OrderRefusal::OrderNotConfirmed)));
        assert!(retryable(of_refusal(&OrderRefusal::OrderNotShipped)));
        assert!(retryable(of_refusal(&PaymentRefusal::CaptureInProgress)));
        assert!(!retryable(of_refusal(&UserRefusal::UserErased)));
        assert!(!retryable(of_refusal(&OrderRefusal::OrderCanceled)));
        assert!(!retryable(of_refusal(&PaymentRefusal::PaymentVoided)));
        assert!(!retryable(of_refusal(&EmailRefusal::EmailTaken)));
    }

    #[test]
    fn what_others_are_at_is_told_to_come_again_and_what_is_too_large_is_not() {
        let busy = of_execute(ExecuteError::<OrderRefusal>::Conflict);
        assert_eq!(
            (busy.status, busy.code.as_ref()),
            (StatusCode::CONFLICT, "conflict")
        );
        assert!(busy.retryable && busy.retry_after == Some(RETRY_AFTER_DEFAULT));
        let large = of_execute(ExecuteError::<OrderRefusal>::TooLarge);
        assert_eq!(
            (large.status, large.code.as_ref()),
            (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
        );
        assert!(!large.retryable && large.retry_after.is_none());
    }

    #[test]
    fn an_unknown_outcome_is_never_a_client_error() {
        let source = "connection lost".into();
        let problem = of_execute(ExecuteError::<OrderRefusal>::Unknown { source });
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem.code, "outcome_unknown");
        assert!(problem.retry_after.is_some());
    }
}
