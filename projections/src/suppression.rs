//! The suppression list: the addresses that nothing is sent to, as their keyed hashes.

use cqrs_es::{EventEnvelope, View};
use kernel::Reason;
use notification::{Suppression, SuppressionEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// Whether an address is written to.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SuppressionStatus {
    /// Nothing is sent there.
    #[default]
    Suppressed,
    /// It may be written to again.
    Lifted,
}

/// One address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SuppressionEntry {
    /// The keyed hash of the address: the address itself is stored nowhere in the clear.
    pub id: String,
    /// Whether it is written to.
    pub status: SuppressionStatus,
    /// Why nothing is sent there, or was.
    pub reason: Option<Reason>,
    /// How many events the suppression has.
    pub version: u64,
    /// When it was suppressed first.
    pub first_suppressed_at: Option<Moment>,
    /// When that changed last.
    pub updated_at: Option<Moment>,
}

impl EntityView<Suppression> for SuppressionEntry {
    const NAME: &'static str = "suppression_entry";
    const FILTERS: &'static [&'static str] = &["status"];
    const SORT: Sort = Sort::Latest("first_suppressed_at");
}

impl View<Suppression> for SuppressionEntry {
    fn update(&mut self, event: &EventEnvelope<Suppression>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        match &event.payload {
            SuppressionEvent::AddressSuppressed { reason } => {
                self.status = SuppressionStatus::Suppressed;
                self.reason = Some(reason.clone());
                // A list's order never changes.
                self.first_suppressed_at = self.first_suppressed_at.or(at);
            }
            SuppressionEvent::AddressUnsuppressed {} => self.status = SuppressionStatus::Lifted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::fold;

    fn suppressed(reason: &str) -> SuppressionEvent {
        SuppressionEvent::AddressSuppressed {
            reason: reason.parse().unwrap(),
        }
    }

    #[test]
    fn an_entry_says_whether_the_address_is_written_to_and_why_not() {
        let first = vec![suppressed("bounced")];
        let row: SuppressionEntry = fold::<Suppression, _>("a-1", first.clone());
        assert_eq!(row.status, SuppressionStatus::Suppressed);
        let since = row.first_suppressed_at;

        let lifted = [first, vec![SuppressionEvent::AddressUnsuppressed {}]].concat();
        let row: SuppressionEntry = fold::<Suppression, _>("a-1", lifted.clone());
        assert_eq!(row.status, SuppressionStatus::Lifted);

        let again = [lifted, vec![suppressed("complained")]].concat();
        let row: SuppressionEntry = fold::<Suppression, _>("a-1", again);
        assert_eq!(row.status, SuppressionStatus::Suppressed);
        assert_eq!(row.reason, Some("complained".parse().unwrap()));
        assert_eq!(row.first_suppressed_at, since);
        assert!(row.updated_at > since);
    }
}
