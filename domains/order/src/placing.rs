//! What a basket must be before it is an order: one function a rule, in the order of the refusals.

use std::collections::BTreeSet;

use kernel::{Money, Sku};

use crate::{Line, OrderRefusal};

/// Most lines of one order.
pub const LINES_MAX: u32 = 100;

/// Most units in one line.
pub const QUANTITY_MAX: u32 = 10_000;

/// The sum over all lines, if they are fit to be ordered.
pub(crate) fn total(lines: &[Line]) -> Result<Money, OrderRefusal> {
    let counted: Vec<_> = lines
        .iter()
        .map(|line| (&line.sku, line.quantity))
        .collect();
    counted_lines(&counted)?;
    let Some(first) = lines.first() else {
        return Err(OrderRefusal::NoLines);
    };
    one_currency(first, lines)?;
    positive_prices(lines)?;
    sum(first, lines)
}

/// What lines must be, ordered or returned: 1 to 100 of distinct SKUs, each of some units.
pub(crate) fn counted_lines(lines: &[(&Sku, u32)]) -> Result<(), OrderRefusal> {
    if lines.is_empty() {
        return Err(OrderRefusal::NoLines);
    }
    if lines.len() > LINES_MAX as usize {
        return Err(OrderRefusal::TooManyLines { max: LINES_MAX });
    }
    quantities_in_range(lines)?;
    distinct_skus(lines)
}

fn numbered<T>(lines: &[T]) -> impl Iterator<Item = (u32, &T)> {
    (0..).zip(lines)
}

fn quantities_in_range(lines: &[(&Sku, u32)]) -> Result<(), OrderRefusal> {
    for (line, (_, quantity)) in numbered(lines) {
        if !(1..=QUANTITY_MAX).contains(quantity) {
            return Err(OrderRefusal::QuantityOutOfRange {
                line,
                max: QUANTITY_MAX,
            });
        }
    }
    Ok(())
}

fn distinct_skus(lines: &[(&Sku, u32)]) -> Result<(), OrderRefusal> {
    let mut seen = BTreeSet::new();
    for (line, (sku, _)) in numbered(lines) {
        if !seen.insert(sku) {
            return Err(OrderRefusal::DuplicateSku {
                line,
                sku: (*sku).clone(),
            });
        }
    }
    Ok(())
}

fn one_currency(first: &Line, lines: &[Line]) -> Result<(), OrderRefusal> {
    for (line, Line { unit_price, .. }) in numbered(lines) {
        if unit_price.currency != first.unit_price.currency {
            return Err(OrderRefusal::MixedCurrencies { line });
        }
    }
    Ok(())
}

fn positive_prices(lines: &[Line]) -> Result<(), OrderRefusal> {
    for (line, Line { unit_price, .. }) in numbered(lines) {
        if !unit_price.is_positive() {
            return Err(OrderRefusal::PriceNotPositive { line });
        }
    }
    Ok(())
}

fn sum(first: &Line, lines: &[Line]) -> Result<Money, OrderRefusal> {
    let nothing = Money::zero(first.unit_price.currency);
    lines
        .iter()
        .try_fold(nothing, |total, line| {
            total.plus(line.unit_price.times(line.quantity)?)
        })
        .map_err(|_| OrderRefusal::TotalOverflow)
}
