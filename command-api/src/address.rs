//! Where an order goes, or may go: parsed here, then sealed, never seen again by the domain.

use std::borrow::Cow;
use std::fmt;

use edge::Problem;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::text::{self, Text};

/// A postal address. It is sealed as its JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    /// Who receives it.
    name: Text<200>,
    /// Street and number.
    line1: Text<200>,
    /// Floor, company, care of.
    #[serde(
        default,
        deserialize_with = "text::optional::<_, 200>",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "text::optional_schema::<200>")]
    line2: Option<Text<200>>,
    city: Text<100>,
    postal_code: Text<20>,
    /// State, province.
    #[serde(
        default,
        deserialize_with = "text::optional::<_, 100>",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "text::optional_schema::<100>")]
    region: Option<Text<100>>,
    country: Country,
}

impl Address {
    /// What is sealed.
    pub(crate) fn to_json(&self) -> Result<String, Problem> {
        serde_json::to_string(self).map_err(|error| {
            tracing::error!(%error, "an address could not be written");
            Problem::internal()
        })
    }
}

impl fmt::Debug for Address {
    /// Personal data doesn't belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// An officially assigned ISO 3166-1 alpha-2 code, upper case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Country(String);

impl TryFrom<String> for Country {
    type Error = &'static str;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        if COUNTRIES.split(' ').any(|known| known == code) {
            Ok(Self(code))
        } else {
            Err("it must be an upper-case ISO 3166-1 alpha-2 code, as in DE")
        }
    }
}

impl JsonSchema for Country {
    fn schema_name() -> Cow<'static, str> {
        "Country".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes: Vec<&str> = COUNTRIES.split(' ').collect();
        json_schema!({ "type": "string", "enum": codes, "description": "ISO 3166-1 alpha-2." })
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.0
    }
}

/// The 249 codes of ISO 3166-1 that are officially assigned.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI \
BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE \
DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS \
GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW \
KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW \
MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO \
RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn address() -> Value {
        json!({
            "name": "Ann", "line1": "Main St 1", "line2": " ", "city": "Köln",
            "postal_code": "50667", "country": "DE",
        })
    }

    #[test]
    fn an_address_is_sealed_without_what_is_blank() {
        let parsed: Address = serde_json::from_value(address()).unwrap();
        assert_eq!(
            serde_json::to_value(&parsed).unwrap(),
            json!({
                "name": "Ann", "line1": "Main St 1", "city": "Köln",
                "postal_code": "50667", "country": "DE",
            })
        );
        assert_eq!(format!("{parsed:?}"), "Address(…)");
    }

    #[test]
    fn every_wrong_field_is_pointed_at() {
        for (field, value) in [
            ("name", json!("")),
            ("name", json!("a".repeat(201))),
            ("line1", json!("a\r\nb")),
            ("line1", json!(7)),
            ("line2", json!("a".repeat(201))),
            ("city", Value::Null),
            ("postal_code", json!("123456789012345678901")),
            ("region", json!("a\u{0}b")),
            ("country", json!("de")),
            ("country", json!("XX")),
            ("planet", json!("Earth")),
        ] {
            let mut bad = address();
            bad[field] = value.clone();
            let problem = edge::json::parse::<Address>(bad.to_string().as_bytes()).unwrap_err();
            assert_eq!(problem.status.as_u16(), 422, "{field} {value}");
            assert_eq!(problem.errors[0].pointer, format!("/{field}"), "{value}");
        }
    }

    #[test]
    fn there_are_249_countries() {
        let codes: std::collections::BTreeSet<_> = COUNTRIES.split(' ').collect();
        assert_eq!(codes.len(), 249);
        assert!(codes.iter().all(|code| code.len() == 2));
    }
}
