//! Closed sets of words: what is an enum in the code is one in the graph, with REST's words and the
//! code's own descriptions. A variant that is added there is in the graph by that alone.

use std::borrow::Cow;
use std::marker::PhantomData;

use async_graphql::parser::types::Field;
use async_graphql::registry::{Deprecation, MetaEnumValue, MetaType, MetaTypeId, Registry};
use async_graphql::{
    ContextSelectionSet, InputType, InputValueError, InputValueResult, Name, OutputType,
    Positioned, ServerResult, Value,
};
use checkout::{CheckoutEvent, Outcome, Step};
use notification::{Channel, Template};
use order::ReturnStatus;
use projections::{
    AccountStatus, CardStatus, CheckoutStage, Delivery, PaymentStage, SummaryStatus,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value as Json;
use strum::VariantNames;
use thiserror::Error;
use user::Role;

use super::refused;
use crate::failure::internal;

/// An enum of the code that the graph has too.
pub(super) trait Words: VariantNames + JsonSchema + 'static {
    /// What it is called in the graph.
    const NAME: &'static str;
}

impl Words for SummaryStatus {
    const NAME: &'static str = "OrderStatus";
}

impl Words for order::PaymentStatus {
    const NAME: &'static str = "OrderPaymentStatus";
}

impl Words for ReturnStatus {
    const NAME: &'static str = "OrderReturnStatus";
}

impl Words for PaymentStage {
    const NAME: &'static str = "PaymentStatus";
}

impl Words for CheckoutStage {
    const NAME: &'static str = "CheckoutStatus";
}

impl Words for CheckoutEvent {
    const NAME: &'static str = "CheckoutEvent";
}

impl Words for Step {
    const NAME: &'static str = "CheckoutStep";
}

impl Words for Outcome {
    const NAME: &'static str = "CheckoutOutcome";
}

impl Words for Delivery {
    const NAME: &'static str = "NotificationStatus";
}

impl Words for Template {
    const NAME: &'static str = "NotificationTemplate";
}

impl Words for Channel {
    const NAME: &'static str = "NotificationChannel";
}

impl Words for CardStatus {
    const NAME: &'static str = "ProductStatus";
}

impl Words for AccountStatus {
    const NAME: &'static str = "UserStatus";
}

impl Words for Role {
    const NAME: &'static str = "Role";
}

/// A row has a word that its set has not.
#[derive(Debug, Error)]
#[error("{0:?} is no word of {1}")]
struct Unknown(String, &'static str);

/// One word of a set.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Word<T> {
    word: String,
    #[serde(skip)]
    set: PhantomData<fn() -> T>,
}

impl<T> Word<T> {
    /// As REST has it.
    pub(super) fn into_text(self) -> String {
        self.word
    }
}

impl<T: Words> InputType for Word<T> {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_input_type::<Self, _>(MetaTypeId::Enum, |_| described::<T>())
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let given = value.unwrap_or_default();
        let word = if let Value::Enum(name) = &given {
            name.to_string()
        } else if let Value::String(text) = &given {
            text.clone()
        } else {
            return Err(InputValueError::expected_type(given));
        };
        if !T::VARIANTS.contains(&word.as_str()) {
            let known = T::VARIANTS.join(", ");
            return Err(InputValueError::custom(format!("it is one of {known}")));
        }
        let set = PhantomData;
        Ok(Self { word, set })
    }

    fn to_value(&self) -> Value {
        Value::Enum(Name::new(&self.word))
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        Some(self)
    }
}

impl<T: Words> OutputType for Word<T> {
    fn type_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_output_type::<Self, _>(MetaTypeId::Enum, |_| described::<T>())
    }

    /// A word that a newer projector has written is no word of this graph yet: the field has an error.
    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        if T::VARIANTS.contains(&self.word.as_str()) {
            return Ok(Value::Enum(Name::new(&self.word)));
        }
        let unknown = Unknown(self.word.clone(), T::NAME);
        let error = refused(&internal(&unknown)).into_server_error(field.pos);
        Err(ctx.set_error_path(error))
    }
}

/// The set with its description and each word's.
fn described<T: Words>() -> MetaType {
    let schema = T::json_schema(&mut SchemaGenerator::default()).to_value();
    let words = T::VARIANTS.iter().map(|word| {
        let value = MetaEnumValue {
            name: (*word).to_owned(),
            description: description(&schema, word),
            deprecation: Deprecation::NoDeprecated,
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            directive_invocations: Vec::new(),
        };
        ((*word).to_owned(), value)
    });
    MetaType::Enum {
        name: T::NAME.to_owned(),
        description: text(&schema),
        enum_values: words.collect(),
        visible: None,
        inaccessible: false,
        tags: Vec::new(),
        rust_typename: Some(std::any::type_name::<Word<T>>()),
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

/// What the code says of `word`: of a variant, or of one that has more than its name.
fn description(schema: &Json, word: &str) -> Option<String> {
    let variants = schema.get("oneOf")?.as_array()?;
    let names = |variant: &&Json| {
        let places = ["/const", "/properties/type/const", "/properties/name/const"];
        let mut found = places.iter().filter_map(|place| variant.pointer(place));
        found.any(|name| name == word)
    };
    text(variants.iter().find(names)?)
}

/// What it is said to be. Line breaks are those of the code.
fn text(schema: &Json) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that the code says nothing of, under the name that JSON gives them.
    fn untold<T: Words>() -> Vec<String> {
        let MetaType::Enum {
            description: Some(_),
            enum_values,
            ..
        } = described::<T>()
        else {
            return vec![T::NAME.to_owned()];
        };
        let values = enum_values.into_values();
        let untold = values.filter(|value| value.description.is_none());
        untold.map(|value| value.name).collect()
    }

    #[test]
    fn every_word_is_what_json_has_and_is_described() {
        let untold = [
            untold::<SummaryStatus>(),
            untold::<order::PaymentStatus>(),
            untold::<ReturnStatus>(),
            untold::<PaymentStage>(),
            untold::<CheckoutStage>(),
            untold::<CheckoutEvent>(),
            untold::<Step>(),
            untold::<Outcome>(),
            untold::<Delivery>(),
            untold::<Template>(),
            untold::<Channel>(),
            untold::<CardStatus>(),
            untold::<AccountStatus>(),
            untold::<Role>(),
        ];
        assert_eq!(untold.concat(), Vec::<String>::new());
    }
}
