//! Form-encoded parameters as Stripe takes them: flat names, with brackets for what is nested.

use super::refusal::Refusal;
use std::collections::BTreeMap;

/// Keys of one object's metadata (Stripe's limit).
const MAX_METADATA_KEYS: usize = 50;
/// Characters in a metadata key (Stripe's limit).
const MAX_METADATA_KEY: usize = 40;
/// Characters in a metadata value (Stripe's limit).
const MAX_METADATA_VALUE: usize = 500;
/// The largest amount in minor units (Stripe's limit: eight digits).
const MAX_AMOUNT: u64 = 99_999_999;

/// Parameters that Stripe knows and that change nothing here.
const INERT: [&str; 7] = [
    "automatic_payment_methods[allow_redirects]",
    "automatic_payment_methods[enabled]",
    "description",
    "expand[]",
    "payment_method_types[]",
    "receipt_email",
    "statement_descriptor",
];

/// The parameters of one request, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Parses a body or a query string.
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(
            url::form_urlencoded::parse(encoded)
                .into_owned()
                .filter(|(name, value)| !(name.is_empty() && value.is_empty()))
                .collect(),
        )
    }

    /// Refuses parameters that the call doesn't have, as Stripe does: a misspelt one is never ignored.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let known = |name: &str| {
            known.contains(&name)
                || INERT.contains(&name)
                || known.contains(&"metadata") && metadata_key(name).is_some()
        };
        match self.0.keys().find(|name| !known(name)) {
            Some(unknown) => Err(Refusal::unknown_parameter(unknown)),
            None => Ok(()),
        }
    }

    /// The value, if there is one that isn't empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// The value, which must be there.
    pub(super) fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name)
            .ok_or_else(|| Refusal::missing_parameter(name))
    }

    /// A number, if the parameter is there.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Refusal::invalid_integer(name, text)),
        }
    }

    /// An amount of at least one minor unit, if the parameter is there.
    pub(super) fn amount(&self, name: &'static str) -> Result<Option<u64>, Refusal> {
        match self.number(name)? {
            Some(0) => Err(Refusal::invalid(
                "parameter_invalid_integer",
                "This value must be greater than or equal to 1.".to_owned(),
                name,
            )),
            Some(amount) if amount > MAX_AMOUNT => Err(Refusal::amount_too_large(
                format!("Amount must be no more than {MAX_AMOUNT}"),
                name,
            )),
            amount => Ok(amount),
        }
    }

    /// `true` or `false`, absent is `false`.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Refusal> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Refusal::invalid(
                "parameter_invalid_boolean",
                format!("Invalid boolean: {other}"),
                name,
            )),
        }
    }

    /// The values of `metadata[…]`.
    pub(super) fn metadata(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let metadata: BTreeMap<_, _> = self
            .0
            .iter()
            .filter_map(|(name, value)| Some((metadata_key(name)?.to_owned(), value.clone())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let fits = metadata.len() <= MAX_METADATA_KEYS
            && metadata.iter().all(|(key, value)| {
                key.chars().count() <= MAX_METADATA_KEY
                    && value.chars().count() <= MAX_METADATA_VALUE
            });
        if fits {
            return Ok(metadata);
        }
        Err(Refusal::invalid(
            "parameter_invalid_string",
            format!(
                "Metadata can have up to {MAX_METADATA_KEYS} keys of up to {MAX_METADATA_KEY} characters \
                 with values of up to {MAX_METADATA_VALUE} characters"
            ),
            "metadata",
        ))
    }

    /// The digest of path and parameters, by which a repeated request is known.
    pub(super) fn fingerprint(&self, path: &str) -> String {
        let mut canonical = url::form_urlencoded::Serializer::new(format!("{path}?"));
        canonical.extend_pairs(&self.0);
        let digest = ring::digest::digest(&ring::digest::SHA256, canonical.finish().as_bytes());
        super::hex(digest.as_ref())
    }
}

fn metadata_key(name: &str) -> Option<&str> {
    name.strip_prefix("metadata[")?.strip_suffix(']')
}
