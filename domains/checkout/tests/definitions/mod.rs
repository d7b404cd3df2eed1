//! Definitions beside the shop's: another order of steps, and the builds that know which.

#![allow(
    dead_code,
    clippy::indexing_slicing,
    reason = "a test's kit: each test file uses a part of it"
)]

use std::sync::LazyLock;

use checkout::{Definition, Definitions, Row, STEPS, Stage};

/// Why an order without stock is rejected under revision 2.
pub(crate) const LATE_STOCK: &str = "stock_came_too_late";

/// Revision 1 is the shop's; under revision 2 stock is made firm before the money is held.
static BOTH: LazyLock<[Definition; 2]> = LazyLock::new(|| {
    let (revision, steps) = (1, &STEPS);
    [
        Definition { revision, steps },
        Definition {
            revision: 2,
            steps: firm_first(),
        },
    ]
});

fn firm_first() -> &'static [Row] {
    let [reserve, authorize, commit, capture, confirm, ship] = STEPS.clone();
    Box::leak(Box::new([
        Row {
            timeout: Some(LATE_STOCK),
            then: Stage::Committing,
            ..reserve
        },
        Row {
            then: Stage::Authorizing,
            ..commit
        },
        Row {
            then: Stage::Capturing,
            ..authorize
        },
        capture,
        confirm,
        ship,
    ]))
}

/// A build that knows revision 1 alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Yesterday;

impl Definitions for Yesterday {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition] {
        &BOTH[..1]
    }
}

/// One that starts checkouts under revision 2, and goes on with those of revision 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Today;

impl Definitions for Today {
    const CURRENT: u32 = 2;

    fn known() -> &'static [Definition] {
        &*BOTH
    }
}

/// One out of which revision 1 was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tomorrow;

impl Definitions for Tomorrow {
    const CURRENT: u32 = 2;

    fn known() -> &'static [Definition] {
        &BOTH[1..]
    }
}
