//! What the provider has, as its lists tell: intents and refunds, newest first, page by page.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kernel::RefundId;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::ProviderError;
use crate::provider::{Intent, Provider};

/// Objects on a page: the provider's own limit.
const PAGE: usize = 100;

/// Most pages of one list: a million objects. What a list never ends with is an error, not a wait.
const PAGES_MAX: usize = 10_000;

/// Money that the provider gave back, or could not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refund {
    /// The provider's id (`re_…`).
    pub id: String,
    /// How much, in minor units.
    #[serde(default)]
    pub amount: i64,
    /// `pending`, `requires_action`, `succeeded`, `failed`, `canceled`.
    pub status: String,
    /// When it was made, in seconds.
    #[serde(default)]
    pub created: i64,
    /// Of which intent.
    #[serde(default)]
    pub payment_intent: Option<String>,
    /// What we gave it along: `refund_id`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Why it could not be given back.
    #[serde(default)]
    pub failure_reason: Option<String>,
}

impl Refund {
    /// Our id of it; none when somebody else made it (in the provider's dashboard).
    pub fn refund_id(&self) -> Option<RefundId> {
        self.metadata.get("refund_id")?.parse().ok()
    }

    /// Why the money did not go back; `None` = it did, or is on its way, as it is with every word
    /// that does not say the contrary: who takes it for a failure may pay twice.
    pub fn failure(&self) -> Option<String> {
        let status = self.status.as_str();
        if !matches!(status, "failed" | "canceled") {
            return None;
        }
        let reason = self.failure_reason.clone();
        Some(reason.unwrap_or_else(|| format!("refund_{status}")))
    }
}

/// What a list consists of.
trait Listed: DeserializeOwned {
    fn id(&self) -> &str;
}

impl Listed for Intent {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Refund {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    has_more: bool,
}

impl Provider {
    /// How the intent stands now; `None` = the provider has no such intent.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn find(&self, intent_id: &str) -> Result<Option<Intent>, ProviderError> {
        match self.retrieve(intent_id).await {
            Ok(intent) => Ok(Some(intent)),
            Err(ProviderError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every intent that was made since `since`; `seen` hears how many there are so far.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn intents_since(
        &self,
        since: DateTime<Utc>,
        seen: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Intent>, ProviderError> {
        let list = format!("payment_intents?created[gte]={}", since.timestamp());
        self.all(&list, |_: &Intent| true, seen).await
    }

    /// Every refund that was made since `since`.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn refunds_since(&self, since: DateTime<Utc>) -> Result<Vec<Refund>, ProviderError> {
        let recent = |refund: &Refund| refund.created >= since.timestamp();
        self.all("refunds?", recent, &|_| {}).await
    }

    /// Every refund of one intent.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn refunds_of(&self, intent_id: &str) -> Result<Vec<Refund>, ProviderError> {
        let list = format!("refunds?payment_intent={intent_id}");
        self.all(&list, |_: &Refund| true, &|_| {}).await
    }

    /// The list from its newest object to the last that is `wanted`.
    async fn all<T: Listed>(
        &self,
        list: &str,
        wanted: impl Fn(&T) -> bool,
        seen: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<T>, ProviderError> {
        let mut all: Vec<T> = Vec::new();
        for _ in 0..PAGES_MAX {
            let after = all
                .last()
                .map(|last| format!("&starting_after={}", last.id()));
            let path = format!("{list}&limit={PAGE}{}", after.unwrap_or_default());
            let page: Page<T> = self.get(&path).await?;
            let came = page.data.len();
            let before = all.len();
            all.extend(page.data.into_iter().take_while(|object| wanted(object)));
            seen(all.len());
            if !page.has_more || all.len() < before + came || came == 0 {
                return Ok(all);
            }
        }
        Err(ProviderError::Refused {
            code: "endless_list".to_owned(),
            message: format!("{list} has more than {} objects", PAGES_MAX * PAGE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refund(json: &str) -> Refund {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_refund_says_whose_it_is_and_whether_it_went_through() {
        let ours = refund(
            r#"{"id":"re_1","status":"succeeded",
                "metadata":{"refund_id":"0198c1d2-9c6d-7e53-9b70-4d8eafb0213c"}}"#,
        );
        assert!(ours.refund_id().is_some());
        assert_eq!(ours.failure(), None);
        let theirs = refund(r#"{"id":"re_2","status":"failed","failure_reason":"lost_card"}"#);
        assert_eq!(theirs.refund_id(), None);
        assert_eq!(theirs.failure().as_deref(), Some("lost_card"));
        let canceled = refund(r#"{"id":"re_3","status":"canceled","payment_intent":null}"#);
        assert_eq!(canceled.failure().as_deref(), Some("refund_canceled"));
    }

    #[test]
    fn a_refund_that_is_under_way_has_not_failed() {
        for status in ["pending", "requires_action", "a_word_of_tomorrow"] {
            let refund = refund(&format!(r#"{{"id":"re_1","status":"{status}"}}"#));
            assert_eq!(refund.failure(), None, "{status}");
        }
    }
}
