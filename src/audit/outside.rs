//! What the world outside has on record: the payment provider's lists, the mail sink's mails.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::towards;

/// Objects on a page: the provider's own limit.
const PAGE: usize = 100;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One intent of the provider, in minor units.
#[derive(Debug, Default)]
pub(super) struct Intent {
    /// What we gave it along; `None` = somebody else's.
    pub(super) order_id: Option<String>,
    pub(super) held: i64,
    pub(super) received: i64,
    pub(super) refunded: i64,
    /// Refunds that are neither done nor failed.
    pub(super) pending: i64,
}

/// The provider's record.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) intents: BTreeMap<String, Intent>,
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    has_more: bool,
}

#[derive(Deserialize)]
struct IntentObject {
    id: String,
    #[serde(default)]
    amount_capturable: i64,
    #[serde(default)]
    amount_received: i64,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RefundObject {
    id: String,
    amount: i64,
    status: String,
    payment_intent: Option<String>,
}

/// Where the provider is, and who asks.
pub(super) struct Provider {
    client: Client,
    url: String,
    key: String,
}

impl Provider {
    pub(super) fn new(url: String, key: String) -> anyhow::Result<Self> {
        let client = towards(&url).timeout(PATIENCE).build()?;
        Ok(Self { client, url, key })
    }

    /// Everything that the provider has ever had.
    pub(super) async fn ledger(&self, bar: &ProgressBar) -> anyhow::Result<Ledger> {
        let mut ledger = Ledger::default();
        let intents: Vec<IntentObject> = self
            .all("payment_intents", |it: &IntentObject| &it.id, bar)
            .await?;
        for object in intents {
            let intent = Intent {
                order_id: object.metadata.get("order_id").cloned(),
                held: object.amount_capturable,
                received: object.amount_received,
                ..Intent::default()
            };
            ledger.intents.insert(object.id, intent);
        }
        let refunds: Vec<RefundObject> =
            self.all("refunds", |it: &RefundObject| &it.id, bar).await?;
        for refund in refunds {
            let of = refund
                .payment_intent
                .and_then(|of| ledger.intents.get_mut(&of));
            let Some(intent) = of else {
                continue;
            };
            match refund.status.as_str() {
                "succeeded" => intent.refunded += refund.amount,
                "failed" | "canceled" => {}
                _ => intent.pending += refund.amount,
            }
        }
        Ok(ledger)
    }

    /// A whole list, newest first.
    async fn all<T: DeserializeOwned>(
        &self,
        list: &str,
        id: impl Fn(&T) -> &String,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<T>> {
        let mut all: Vec<T> = Vec::new();
        loop {
            let after = all
                .last()
                .map(|last| format!("&starting_after={}", id(last)));
            let after = after.unwrap_or_default();
            let url = format!("{}/v1/{list}?limit={PAGE}{after}", self.url);
            let asked = self.client.get(&url).bearer_auth(&self.key).send().await;
            let answer = asked.and_then(reqwest::Response::error_for_status);
            let answer = answer.context("the payment provider can't be asked")?;
            let page: Page<T> = answer
                .json()
                .await
                .with_context(|| format!("{url} answers no list"))?;
            let came = page.data.len();
            all.extend(page.data);
            bar.inc(came as u64);
            if !page.has_more || came == 0 {
                return Ok(all);
            }
        }
    }
}

/// How often the mail sink has taken a mail of ours, by the id before the `@` of its Message-ID.
pub(super) async fn mails(sink: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    #[derive(Deserialize)]
    struct Mail {
        message_id: Option<String>,
    }
    let client = towards(sink).timeout(PATIENCE).build()?;
    let asked = client.get(format!("{sink}/messages")).send().await;
    let answer = asked.and_then(reqwest::Response::error_for_status);
    let answer = answer.context("the mail sink can't be asked")?;
    let mails: Vec<Mail> = answer
        .json()
        .await
        .context("the mail sink answers no list")?;
    let mut taken = BTreeMap::new();
    for id in mails.into_iter().filter_map(|mail| mail.message_id) {
        let id = id.split('@').next().unwrap_or_default().to_owned();
        *taken.entry(id).or_insert(0) += 1;
    }
    Ok(taken)
}
