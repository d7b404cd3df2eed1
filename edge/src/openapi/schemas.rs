//! What bodies look like, as JSON Schema (draft 2020-12, which OpenAPI 3.1 speaks).

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Where a document keeps what is named.
const PLACE: &str = "/components/schemas";

/// The schemas of one document: what is asked may leave a field out that an answer always has.
pub struct Schemas {
    asked: SchemaGenerator,
    told: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = PLACE.into();
                settings.meta_schema = None;
            })
        };
        Self {
            asked: settings().for_deserialize().into_generator(),
            told: settings()
                .for_serialize()
                .with_transform(RecursiveTransform(without_default))
                .into_generator(),
        }
    }
}

/// What is left out of a request has a default; an answer says it.
fn without_default(schema: &mut Schema) {
    schema.remove("default");
}

impl Schemas {
    /// Of something that a request holds.
    pub fn asked<T: JsonSchema>(&mut self) -> Value {
        self.asked.subschema_for::<T>().to_value()
    }

    /// Of something that an answer holds.
    pub fn told<T: JsonSchema>(&mut self) -> Value {
        self.told_by(SchemaGenerator::subschema_for::<T>)
    }

    /// The same, of what `schema` describes.
    pub fn told_by(&mut self, schema: fn(&mut SchemaGenerator) -> Schema) -> Value {
        schema(&mut self.told).to_value()
    }

    /// All that have names; and the names that stand for two things.
    pub(super) fn named(mut self) -> (Map<String, Value>, Vec<String>) {
        let mut all = self.asked.take_definitions(true);
        let mut twice = Vec::new();
        for (name, schema) in self.told.take_definitions(true) {
            if all.get(&name).is_some_and(|other| *other != schema) {
                twice.push(name.clone());
            }
            all.insert(name, schema);
        }
        (all, twice)
    }
}
