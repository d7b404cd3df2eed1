//! Every resource, on one page.

use kernel::{
    EmailClaimId, ImportId, NotificationId, OrderId, PaymentId, RefundId, ReturnId, Sku, UserId,
    WebhookDeliveryId, WebhookEndpointId, purpose,
};
use projections::{
    AftermathStage, CHECKOUT_TIMELINE, CardStatus, CheckoutStage, Delivery, DeliveryStatus,
    EndpointStatus, IMPORT_REPORT, ImportStage, NOTIFICATION_ENTRY, ORDER_SUMMARY, PAYMENT_SUMMARY,
    PRODUCT_CARD, PaymentStage, REFUND_HANDLING, RETURN_HANDLING, STOCK_LEVEL, SUPPRESSION_ENTRY,
    SummaryStatus, SuppressionStatus, USER_ACCOUNT, ViewSpec, WEBHOOK_DELIVERY_ENTRY,
    WEBHOOK_ENDPOINT_ENTRY,
};
use strum::VariantNames;

use crate::resource::{Audience, IdOf, Narrow, Resource, Takes, id_of};
use crate::unseal::{Field, Plain};

/// Whose it is.
const USER_ID: Narrow = Narrow {
    name: "user_id",
    takes: Takes::Id(id_of::<UserId>()),
};

/// Of which order.
const ORDER_ID: Narrow = Narrow {
    name: "order_id",
    takes: Takes::Id(id_of::<OrderId>()),
};

/// How far it has come.
const fn status(words: &'static [&'static str]) -> Narrow {
    Narrow {
        name: "status",
        takes: Takes::Word(words),
    }
}

/// A SKU.
pub(crate) const SKU: IdOf = IdOf {
    name: "sku",
    read: |text| text.parse::<Sku>().ok().map(|sku| (&sku).into()),
    schema: |call| call.asked::<Sku>(),
};

/// What most resources are: rows that hold nothing sealed.
const fn plain(
    (what, many, path): (&'static str, &'static str, &'static str),
    view: &'static ViewSpec,
    (audience, id): (Audience, IdOf),
    filters: &'static [Narrow],
) -> Resource {
    Resource {
        what,
        many,
        path,
        view,
        audience,
        id,
        filters: Some(filters),
        sealed: &[],
        erased: None,
        acts: false,
    }
}

/// What is sealed of an account.
const ACCOUNT: [Field; 4] = [
    field("name", purpose::USER_NAME, Plain::Text),
    field("email", purpose::USER_EMAIL, Plain::Text),
    field("phone", purpose::USER_PHONE, Plain::Text),
    field(
        "addresses",
        purpose::USER_ADDRESS,
        Plain::ObjectIn("address"),
    ),
];

const fn field(name: &'static str, purpose: &'static str, plain: Plain) -> Field {
    Field {
        name,
        purpose,
        plain,
        erased: "null",
    }
}

/// The accounts, with their personal fields opened.
pub(crate) static USERS: Resource = Resource {
    what: "user",
    many: "users",
    path: "/v1/users",
    view: &USER_ACCOUNT,
    audience: Audience::Person,
    id: id_of::<UserId>(),
    filters: None,
    sealed: &ACCOUNT,
    erased: Some("erased"),
    acts: false,
};

/// What was bought.
pub(crate) static ORDERS: Resource = Resource {
    what: "order",
    many: "orders",
    path: "/v1/orders",
    view: &ORDER_SUMMARY,
    audience: Audience::Owner,
    id: id_of::<OrderId>(),
    filters: Some(&[USER_ID, status(SummaryStatus::VARIANTS)]),
    sealed: &[Field {
        name: "shipping_address",
        purpose: purpose::ORDER_SHIPPING_ADDRESS,
        plain: Plain::Object,
        erased: "{\"erased\":true}",
    }],
    erased: None,
    acts: true,
};

/// The catalogue.
pub(crate) static PRODUCTS: Resource = plain(
    ("product", "products", "/v1/products"),
    &PRODUCT_CARD,
    (Audience::Public, SKU),
    &[
        Narrow {
            name: "category",
            takes: Takes::Text,
        },
        status(CardStatus::VARIANTS),
        Narrow {
            name: "q",
            takes: Takes::Search,
        },
    ],
);

/// How the bulk imports go.
static IMPORTS: Resource = plain(
    (
        "import of products",
        "imports of products",
        "/v1/products/imports",
    ),
    &IMPORT_REPORT,
    (Audience::Operators, id_of::<ImportId>()),
    &[
        Narrow {
            name: "key",
            takes: Takes::Text,
        },
        status(ImportStage::VARIANTS),
    ],
);

/// Stock.
static INVENTORY: Resource = plain(
    ("stock item", "stock items", "/v1/inventory"),
    &STOCK_LEVEL,
    (Audience::Operators, SKU),
    &[Narrow {
        name: "low_stock",
        takes: Takes::Flag,
    }],
);

/// What was held, taken and given back.
pub(crate) static PAYMENTS: Resource = plain(
    ("payment", "payments", "/v1/payments"),
    &PAYMENT_SUMMARY,
    (Audience::Owner, id_of::<PaymentId>()),
    &[ORDER_ID, USER_ID, status(PaymentStage::VARIANTS)],
);

/// Who was told what.
pub(crate) static NOTIFICATIONS: Resource = plain(
    ("notification", "notifications", "/v1/notifications"),
    &NOTIFICATION_ENTRY,
    (Audience::Owner, id_of::<NotificationId>()),
    &[ORDER_ID, USER_ID, status(Delivery::VARIANTS)],
);

/// The addresses that nothing is sent to, as their keyed hashes.
static SUPPRESSIONS: Resource = plain(
    ("suppression", "suppressions", "/v1/suppressions"),
    &SUPPRESSION_ENTRY,
    (Audience::Operators, id_of::<EmailClaimId>()),
    &[status(SuppressionStatus::VARIANTS)],
);

/// The servers that are told of events.
pub(crate) static WEBHOOK_ENDPOINTS: Resource = plain(
    (
        "webhook endpoint",
        "webhook endpoints",
        "/v1/webhook-endpoints",
    ),
    &WEBHOOK_ENDPOINT_ENTRY,
    (Audience::Owner, id_of::<WebhookEndpointId>()),
    &[
        USER_ID,
        status(EndpointStatus::VARIANTS),
        Narrow {
            name: "in_trouble",
            takes: Takes::Flag,
        },
    ],
);

/// What an endpoint is told, and how that went: a part of the endpoint, with routes of its own.
pub(crate) static WEBHOOK_DELIVERIES: Resource = plain(
    (
        "delivery",
        "deliveries",
        "/v1/webhook-endpoints/{id}/deliveries",
    ),
    &WEBHOOK_DELIVERY_ENTRY,
    (Audience::Owner, id_of::<WebhookDeliveryId>()),
    &[
        Narrow {
            name: "endpoint_id",
            takes: Takes::Id(id_of::<WebhookEndpointId>()),
        },
        USER_ID,
        Narrow {
            name: "event_type",
            takes: Takes::Text,
        },
        status(DeliveryStatus::VARIANTS),
    ],
);

/// How an order went through every service, step by step.
pub(crate) static CHECKOUTS: Resource = plain(
    ("checkout", "checkouts", "/v1/checkouts"),
    &CHECKOUT_TIMELINE,
    (Audience::Owner, id_of::<OrderId>()),
    &[USER_ID, status(CheckoutStage::VARIANTS)],
);

/// The sagas of goods that come back.
static RETURN_SAGAS: Resource = plain(
    (
        "saga of a return",
        "sagas of returns",
        "/v1/checkouts/returns",
    ),
    &RETURN_HANDLING,
    (Audience::Operators, id_of::<ReturnId>()),
    &[ORDER_ID, status(AftermathStage::VARIANTS)],
);

/// The sagas of money that goes back.
static REFUND_SAGAS: Resource = plain(
    (
        "saga of a refund",
        "sagas of refunds",
        "/v1/checkouts/refunds",
    ),
    &REFUND_HANDLING,
    (Audience::Operators, id_of::<RefundId>()),
    &[ORDER_ID, status(AftermathStage::VARIANTS)],
);

/// All of them.
pub(crate) static ALL: [&Resource; 12] = [
    &USERS,
    &PRODUCTS,
    &IMPORTS,
    &INVENTORY,
    &ORDERS,
    &PAYMENTS,
    &NOTIFICATIONS,
    &SUPPRESSIONS,
    &WEBHOOK_ENDPOINTS,
    &CHECKOUTS,
    &RETURN_SAGAS,
    &REFUND_SAGAS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_a_column_of_its_view() {
        for resource in ALL.into_iter().chain([&WEBHOOK_DELIVERIES]) {
            for narrow in resource.filters.unwrap_or_default() {
                let view = resource.view;
                let there = match narrow.takes {
                    Takes::Search => view.words.is_some(),
                    Takes::Text
                    | Takes::Flag
                    | Takes::Id(_)
                    | Takes::Word(_)
                    | Takes::From
                    | Takes::Before
                    | Takes::FromDay
                    | Takes::ToDay => view.filters.contains(&narrow.name),
                };
                assert!(there, "{view:?} {narrow:?}");
            }
            assert!(
                resource
                    .view
                    .fixed
                    .iter()
                    .all(|fixed| resource.view.filters.contains(fixed))
            );
        }
    }
}
