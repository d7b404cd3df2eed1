//! Money: integer minor units with a currency, and only checked arithmetic.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The currencies that a shop can be run in: ISO 4217 codes of the payment provider's list with
/// two decimals or none.
pub const CURRENCIES: [&str; 30] = [
    "AUD", "BGN", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR",
    "ILS", "INR", "ISK", "JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SEK",
    "SGD", "THB", "TRY", "USD",
];

/// An ISO 4217 currency code, upper case (`EUR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(Code);

/// One of [`CURRENCIES`]. The alias hides the lifetime from serde's derive, which would borrow it.
type Code = &'static str;

impl Currency {
    /// The code, three upper-case letters.
    pub fn code(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        CURRENCIES
            .iter()
            .find(|known| **known == code)
            .map(|known| Self(known))
            .ok_or_else(|| MoneyError::UnknownCurrency {
                code: code.chars().take(8).collect(),
            })
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.0.to_owned()
    }
}

/// An amount in minor units: `{"amount": 1299, "currency": "EUR"}` is 12.99 €.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units (cents). Signed, because differences are amounts too.
    pub amount: i64,
    /// The currency of [`Money::amount`].
    pub currency: Currency,
}

impl Money {
    /// `amount` minor units of `currency`.
    pub fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Nothing, in `currency`.
    pub fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// Above zero?
    pub fn is_positive(self) -> bool {
        self.amount > 0
    }

    /// The sum.
    ///
    /// # Errors
    /// Two currencies, or more than 64 bits.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let amount = self.amount.checked_add(other.amount);
        Ok(Self::new(
            amount.ok_or(MoneyError::Overflow)?,
            self.currency,
        ))
    }

    /// The difference.
    ///
    /// # Errors
    /// Two currencies, or more than 64 bits.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let amount = self.amount.checked_sub(other.amount);
        Ok(Self::new(
            amount.ok_or(MoneyError::Overflow)?,
            self.currency,
        ))
    }

    /// `quantity` times this.
    ///
    /// # Errors
    /// More than 64 bits.
    pub fn times(self, quantity: u32) -> Result<Self, MoneyError> {
        let amount = self.amount.checked_mul(i64::from(quantity));
        Ok(Self::new(
            amount.ok_or(MoneyError::Overflow)?,
            self.currency,
        ))
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::MixedCurrencies {
                left: self.currency,
                right: other.currency,
            })
        }
    }
}

impl fmt::Display for Money {
    /// `1299 EUR` in minor units would mislead a reader: `12.99 EUR`, or `1299 JPY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.amount < 0 { "-" } else { "" };
        let units = self.amount.unsigned_abs();
        if matches!(self.currency.0, "JPY" | "KRW") {
            write!(f, "{sign}{units} {}", self.currency)
        } else {
            write!(
                f,
                "{sign}{}.{:02} {}",
                units / 100,
                units % 100,
                self.currency
            )
        }
    }
}

/// Why an amount could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// Not a currency that the shop can be run in.
    #[error("unknown currency {code:?}: an upper-case ISO 4217 code is wanted")]
    UnknownCurrency {
        /// What was given, cut.
        code: String,
    },
    /// Two currencies in one sum.
    #[error("{left} and {right} can't be added")]
    MixedCurrencies {
        /// Of the left side.
        left: Currency,
        /// Of the right side.
        right: Currency,
    },
    /// The result has more than 64 bits.
    #[error("the amount is too large")]
    Overflow,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur(amount: i64) -> Money {
        Money::new(amount, "EUR".parse().unwrap())
    }

    #[test]
    fn sums_are_checked() {
        assert_eq!(eur(1).plus(eur(2)), Ok(eur(3)));
        assert_eq!(eur(i64::MAX).plus(eur(1)), Err(MoneyError::Overflow));
        assert_eq!(eur(i64::MAX).times(2), Err(MoneyError::Overflow));
        let usd = Money::new(1, "USD".parse().unwrap());
        assert!(matches!(
            eur(1).minus(usd),
            Err(MoneyError::MixedCurrencies { .. })
        ));
    }

    #[test]
    fn reads_as_people_write_it() {
        assert_eq!(eur(1299).to_string(), "12.99 EUR");
        assert_eq!(eur(-5).to_string(), "-0.05 EUR");
        assert_eq!(
            Money::new(1299, "JPY".parse().unwrap()).to_string(),
            "1299 JPY"
        );
    }

    #[test]
    fn only_known_currencies_parse() {
        assert!(serde_json::from_str::<Money>(r#"{"amount":1,"currency":"eur"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"amount":1,"currency":"XXX"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"amount":1.5,"currency":"EUR"}"#).is_err());
    }
}
