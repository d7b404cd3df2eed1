//! What this API's refusals are called and what helps: the pages behind `/problems/<code>`.

use std::borrow::Cow;

use axum::http::StatusCode;
use edge::Problem;
use edge::problem::Page;

const fn page(code: &'static str, title: &'static str, cure: &'static str) -> Page {
    Page { code, title, cure }
}

/// A problem of this API under the title that its page has.
pub(crate) fn problem(
    status: StatusCode,
    code: impl Into<Cow<'static, str>>,
    detail: impl Into<String>,
) -> Problem {
    let mut problem = Problem::new(status, code, detail);
    if let Some(page) = PAGES.iter().find(|page| page.code == problem.code) {
        problem.title = Cow::Borrowed(page.title);
    }
    problem
}

/// The refusals of this API's calls; the pages that every role has are [`edge::problem::COMMON`].
pub const PAGES: &[Page] = &[
    // user
    page(
        "user_unknown",
        "There is no such user",
        "Check the id, or register first.",
    ),
    page(
        "user_suspended",
        "The account is suspended",
        "Ask an operator to reactivate it.",
    ),
    page(
        "user_erased",
        "The user was erased",
        "Register anew, with the same email address if you like.",
    ),
    page(
        "user_leaving",
        "The account is about to be erased",
        "It ends when its orders are final; until then nothing about it changes.",
    ),
    page(
        "email_not_current",
        "The email address is another one by now",
        "Look at the account, then change it from there.",
    ),
    page(
        "verification_token_wrong",
        "The token is not the one that was mailed",
        "Send the token of the last mail to the present address.",
    ),
    page(
        "password_wrong",
        "The current password is wrong",
        "Send the password that you sign in with.",
    ),
    page(
        "address_differs",
        "The address exists with other content",
        "Take a new Idempotency-Key for a new address.",
    ),
    page(
        "too_many_addresses",
        "The address book is full",
        "Remove an address first.",
    ),
    page(
        "address_unknown",
        "There is no such address",
        "Look at the account for the ids of its addresses.",
    ),
    page(
        "customer_role_implied",
        "Everybody is a customer",
        "That role can't be taken from anybody.",
    ),
    page(
        "email_taken",
        "The email address is taken",
        "Sign in, or register with another address.",
    ),
    page(
        "email_held_by_another",
        "The email address is somebody else's",
        "Only its holder can give it up.",
    ),
    page(
        "credentials_wrong",
        "Email address or password is wrong",
        "Check both; which one is wrong is not told.",
    ),
    // product
    page(
        "product_already_exists",
        "The SKU is taken",
        "Take another SKU, or change the product that there is.",
    ),
    page(
        "product_unknown",
        "There is no such product",
        "Check the SKU.",
    ),
    page(
        "product_discontinued",
        "The product is off sale for good",
        "Create another product.",
    ),
    page(
        "product_not_published",
        "The product was never on sale",
        "Publish it first.",
    ),
    page(
        "price_not_positive",
        "A price must be above zero",
        "Send an amount of at least 1 minor unit.",
    ),
    page(
        "price_too_high",
        "The price is too high",
        "Send an amount within the bound that the detail names.",
    ),
    page(
        "sku_reserved",
        "No product can have this SKU",
        "Take another SKU.",
    ),
    page(
        "line_too_long",
        "The line is too long",
        "A line holds one product; look for a missing line break.",
    ),
    page(
        "import_differs",
        "The Idempotency-Key belongs to an import of other lines",
        "Send the same lines to go on where they broke off, or other lines under a new Idempotency-Key.",
    ),
    // inventory
    page(
        "stock_item_already_exists",
        "Stock of this SKU is already kept",
        "Receive or adjust it.",
    ),
    page(
        "stock_item_unknown",
        "No stock of this SKU is kept",
        "Create it with POST /v1/inventory first.",
    ),
    page(
        "quantity_not_positive",
        "The quantity must be at least 1",
        "Send a quantity from 1.",
    ),
    page(
        "reservation_committed",
        "The units are sold",
        "They leave with the order, or come back when it is canceled.",
    ),
    page(
        "reservation_not_lapsed",
        "The hold's time is not over",
        "Try again once it is.",
    ),
    page(
        "adjustment_of_zero",
        "An adjustment must not be zero",
        "Send the difference, up or down.",
    ),
    page(
        "adjustment_too_large",
        "The adjustment takes what is set aside",
        "Take at most the available units.",
    ),
    page(
        "stock_too_large",
        "Too many units",
        "Keep the stock within the bound that the detail names.",
    ),
    // order
    page(
        "sku_unknown",
        "There is no such product",
        "Take the line out, or correct its SKU.",
    ),
    page(
        "product_not_on_sale",
        "The product is not on sale",
        "Take the line out.",
    ),
    page(
        "price_changed",
        "The price has changed",
        "Show the new price and send it as expected_price, or leave expected_price out.",
    ),
    page("no_lines", "At least one line is needed", "Add a line."),
    page(
        "too_many_lines",
        "There are too many lines",
        "Split them into several orders, or returns.",
    ),
    page(
        "quantity_out_of_range",
        "The quantity is out of range",
        "Send a quantity within the bounds that the detail names.",
    ),
    page(
        "duplicate_sku",
        "A product stands in two lines",
        "Put both quantities into one line.",
    ),
    page(
        "mixed_currencies",
        "Two currencies in one order",
        "Order products of one currency at a time.",
    ),
    page(
        "total_overflow",
        "The total is too large",
        "Order less at a time.",
    ),
    page("order_unknown", "There is no such order", "Check the id."),
    page(
        "order_canceled",
        "The order was canceled",
        "Place another one.",
    ),
    page(
        "order_rejected",
        "The order was rejected",
        "Its reason says why; place another one.",
    ),
    page(
        "not_suspended",
        "The saga waits for nobody",
        "Look at it first: it goes on by itself, is over, or was tried too often to be tried again.",
    ),
    page(
        "order_already_shipped",
        "The order has left the house",
        "Wait for it, then return it.",
    ),
    page(
        "order_not_confirmed",
        "The order is not confirmed",
        "Wait until its checkout is through.",
    ),
    page(
        "order_not_shipped",
        "The order has not been shipped",
        "Ship it first; to give its money back, cancel it.",
    ),
    page(
        "order_not_delivered",
        "The order has not arrived",
        "Wait for it, then return it.",
    ),
    page(
        "sku_not_ordered",
        "The order has no such line",
        "Take the line out, or correct its SKU.",
    ),
    page(
        "return_exceeds_ordered",
        "More is returned than was ordered",
        "Send at most the quantity that the detail names; all returns of a line count together.",
    ),
    page(
        "too_many_returns",
        "The order has too many returns",
        "Ask an operator.",
    ),
    page(
        "return_differs",
        "The return was requested with other content",
        "Take a new Idempotency-Key for another return.",
    ),
    page("return_unknown", "There is no such return", "Check the id."),
    page(
        "return_refused",
        "The return was refused",
        "Its reason says why; another return may be requested.",
    ),
    page(
        "return_not_approved",
        "The return is not approved",
        "Approve it first.",
    ),
    page(
        "return_already_received",
        "The goods are here already",
        "Their money is on its way; nothing is left to be done.",
    ),
    // payment
    page(
        "payment_not_captured",
        "There is nothing to give back",
        "Only money that was taken can be refunded.",
    ),
    page(
        "amount_not_positive",
        "The amount must be above zero",
        "Send an amount of at least 1 minor unit.",
    ),
    page(
        "refund_differs",
        "The refund was requested with another amount",
        "Take a new Idempotency-Key for another refund.",
    ),
    page(
        "refund_failed",
        "The refund failed",
        "The provider said a final no; ask again under a new Idempotency-Key.",
    ),
    page(
        "refund_exceeds_captured",
        "More would go back than was taken",
        "Refund at most what the detail names: refunds on their way count as well.",
    ),
    page(
        "no_mismatch",
        "No mismatch stands on the payment's record",
        "Run `millrace reconcile`: what it finds is recorded by the reactor once a day.",
    ),
    page(
        "too_many_refunds",
        "The payment has too many refunds",
        "Give the rest back at the provider.",
    ),
    // payment
    page(
        "webhook_signature_wrong",
        "The webhook is not the payment provider's",
        "Check the endpoint's signing secret on both sides.",
    ),
    page(
        "webhook_signature_stale",
        "The webhook was signed too long ago",
        "Check the clocks; a webhook that is sent again is signed again.",
    ),
    // notification
    page(
        "notification_unknown",
        "There is no such notification",
        "Check the id.",
    ),
    page(
        "notification_not_failed",
        "The mail has not failed",
        "Only one that the mail server will never take is tried again or left; GET /v1/notifications/{id} says what became of it.",
    ),
    page(
        "notification_not_sent",
        "The notification was never sent",
        "Only what was sent can come back.",
    ),
    page(
        "webhook_url_not_allowed",
        "Nothing can be sent to that URL",
        "Give an https: URL without user name and password, on port 443 or 8443, at a public address.",
    ),
    page(
        "event_type_unknown",
        "You can't be told of such events",
        "Name a type as in order.order_placed, all of a kind as in order.*, or *. Customers are told of \
         what is theirs: user, order, payment, notification and checkout.",
    ),
    page(
        "no_event_types",
        "The endpoint wants to hear of nothing",
        "Name at least one type of event; to be told nothing for now, disable the endpoint.",
    ),
    page(
        "too_many_event_types",
        "Too many types of events are named",
        "Name all of a kind at once, as in order.*.",
    ),
    page(
        "too_many_webhook_endpoints",
        "You have as many webhook endpoints as you may",
        "Remove one that nobody needs any more; one endpoint can hear of every type of event.",
    ),
    page(
        "webhook_endpoint_differs",
        "There is another endpoint under this id",
        "Take a new Idempotency-Key for a new endpoint.",
    ),
    page(
        "webhook_endpoint_unknown",
        "There is no such webhook endpoint",
        "Look at GET /v1/webhook-endpoints for yours; one that was removed does not come back.",
    ),
    page(
        "webhook_endpoint_disabled",
        "The webhook endpoint is disabled",
        "Look at why, mend it, and enable the endpoint.",
    ),
    page(
        "webhook_delivery_unknown",
        "There is no such delivery",
        "Look at the endpoint's deliveries for their ids.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use edge::problem::COMMON;

    use super::*;

    #[test]
    fn codes_are_named_once() {
        let all = || COMMON.iter().chain(PAGES).map(|page| page.code);
        assert_eq!(all().collect::<BTreeSet<_>>().len(), all().count());
    }
}
