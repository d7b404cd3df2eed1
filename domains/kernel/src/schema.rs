//! What the shared values look like as JSON: the schemas that the API's document is made of.
//!
//! They stand beside the parsers and use the same bounds. `text` and `id` hold what is parsed.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::money::CURRENCIES;
use crate::{
    Currency, Description, PaymentMethod, Position, Reason, Sku, Title, Tracking, WebhookUrl,
};

/// Something visible between nothing but characters that are no control characters.
pub const TEXT_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";

/// The same, with line breaks.
const LINES_PATTERN: &str = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$";

/// A text of 1 to `length_max` characters, with something visible in it, on one line.
pub fn text(length_max: usize) -> Schema {
    lines(length_max, TEXT_PATTERN)
}

fn lines(length_max: usize, pattern: &str) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": length_max,
        "pattern": pattern,
    })
}

/// A schema for a type of `text`, from its own bound.
macro_rules! bounded {
    ($($name:ident: $pattern:expr;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                lines($name::LENGTH_MAX, $pattern)
            }
        }
    )*};
}

bounded! {
    Reason: TEXT_PATTERN;
    Title: TEXT_PATTERN;
    Description: LINES_PATTERN;
    Tracking: TEXT_PATTERN;
    PaymentMethod: TEXT_PATTERN;
    WebhookUrl: TEXT_PATTERN;
}

impl JsonSchema for Sku {
    fn schema_name() -> Cow<'static, str> {
        "Sku".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": CURRENCIES })
    }
}

impl JsonSchema for Position {
    fn schema_name() -> Cow<'static, str> {
        "Position".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A place in a stream, as in ORDER:1042.",
            "pattern": "^[A-Z]{1,32}:[0-9]{1,20}$",
        })
    }
}
