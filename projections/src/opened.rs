//! What readers are shown where a row holds something sealed. Here it is only described: the query API
//! opens it on the way out.

use schemars::JsonSchema;

/// Where goods go.
#[derive(JsonSchema)]
pub struct PostalAddress {
    /// Who receives it.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// Floor, company, care of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// The town.
    pub city: String,
    /// Its code.
    pub postal_code: String,
    /// State, province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// Where an order goes, as long as anybody may know.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum ShippingAddress {
    /// There.
    Readable(PostalAddress),
    /// The buyer was erased.
    Erased {
        /// Always true.
        erased: bool,
    },
}
