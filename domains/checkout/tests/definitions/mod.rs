//! Definitions beside the shop's: another order of steps, and the builds that know which.

#![allow(
    dead_code,
    clippy::indexing_slicing,
    reason = "a test's kit: each test file uses a part of it"
)]

use std::sync::LazyLock;

use checkout::{
    Definition, Definitions, REFUND_STEPS, RETURN_STEPS, RefundRow, ReturnRow, Row, STEPS, Stage,
};

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

/// Under revision 2 a return's money goes back, and the goods are left where they are.
static RETURNS: LazyLock<[Definition<ReturnRow>; 2]> = LazyLock::new(|| {
    let definition = |revision, steps| Definition { revision, steps };
    [
        definition(1, &RETURN_STEPS),
        definition(2, &RETURN_STEPS[1..]),
    ]
});

/// Under revision 2 a refund is told to the customer alone.
static REFUNDS: [Definition<RefundRow>; 2] = [
    Definition {
        revision: 1,
        steps: &REFUND_STEPS,
    },
    Definition {
        revision: 2,
        steps: &[],
    },
];

/// A build that knows revision 1 alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Yesterday;

impl Definitions for Yesterday {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition] {
        &BOTH[..1]
    }
}

impl Definitions<ReturnRow> for Yesterday {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition<ReturnRow>] {
        &RETURNS[..1]
    }
}

impl Definitions<RefundRow> for Yesterday {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition<RefundRow>] {
        &REFUNDS[..1]
    }
}

/// One that starts all sagas under revision 2, and goes on with those of revision 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Today;

impl Definitions for Today {
    const CURRENT: u32 = 2;

    fn known() -> &'static [Definition] {
        &*BOTH
    }
}

impl Definitions<ReturnRow> for Today {
    const CURRENT: u32 = 2;

    fn known() -> &'static [Definition<ReturnRow>] {
        &*RETURNS
    }
}

impl Definitions<RefundRow> for Today {
    const CURRENT: u32 = 2;

    fn known() -> &'static [Definition<RefundRow>] {
        &REFUNDS
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
