//! What other contexts know: asked, not copied.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use checkout::settling::{SagaId, Settled, Wish};
use futures::{StreamExt, TryStreamExt, stream};
use kernel::{OrderId, Sku, UserId};
use product::{Offer, Product};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use streams::bus::{Bus, BusError};
use streams::{BoxError, CommandMeta, Connection, LoadError, RecordedEvent, Streams};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use user::{Standing, User};

use crate::remembered::{Followed, Remembered};

/// Longest wait for an answer over the bus.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Products that are loaded at once for one question.
const LOADS_AT_ONCE: usize = 16;

/// Nobody answers now.
#[derive(Debug, Error)]
#[error("the {context} context doesn't answer now")]
pub struct NoAnswer {
    context: &'static str,
    #[source]
    source: BoxError,
}

impl NoAnswer {
    /// Of `context`, because of `source`.
    pub fn of(context: &'static str, source: impl Into<BoxError>) -> Self {
        Self {
            context,
            source: source.into(),
        }
    }
}

/// What other contexts know, and what is theirs to do.
#[async_trait]
pub trait Questions: Send + Sync + 'static {
    /// Where the user stands.
    async fn standing(&self, user_id: UserId) -> Result<Standing, NoAnswer>;

    /// What is offered under these SKUs; an unknown one is absent.
    async fn offers(&self, skus: &[Sku]) -> Result<BTreeMap<Sku, Offer>, NoAnswer>;

    /// Has a suspended saga do what an operator wishes. Only the role that runs the sagas can.
    async fn settle(&self, ask: &AskSettle) -> Result<Settled, NoAnswer> {
        Err(NoAnswer::of(
            "checkout",
            format!("{} is not run here", ask.saga),
        ))
    }
}

/// Answers from this process's own event store, each proven at the stream's leader.
#[derive(Clone)]
pub struct Local(pub Streams);

#[async_trait]
impl Questions for Local {
    async fn standing(&self, user_id: UserId) -> Result<Standing, NoAnswer> {
        let loaded = self.0.load_current::<User>(&user_id.into()).await;
        let loaded = loaded.map_err(|error| NoAnswer::of("user", error))?;
        Ok(loaded.state.standing())
    }

    async fn offers(&self, skus: &[Sku]) -> Result<BTreeMap<Sku, Offer>, NoAnswer> {
        let one = |sku: Sku| async move {
            let loaded = self.0.load_current::<Product>(&(&sku).into()).await?;
            Ok::<_, LoadError>(loaded.state.offer().map(|offer| (sku, offer)))
        };
        let found: Vec<_> = stream::iter(skus.iter().cloned().map(one))
            .buffer_unordered(LOADS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| NoAnswer::of("product", error))?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Asks whoever hosts the context: over the command bus, or directly when that is this process.
#[derive(Clone)]
pub struct OverBus(pub Bus);

/// `question.user.standing`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AskStanding {
    pub(crate) user_id: UserId,
}

/// The answer to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StandingAnswer {
    pub(crate) status: Standing,
}

/// `question.product.offers`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AskOffers {
    pub(crate) skus: Vec<Sku>,
}

/// The answer to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OffersAnswer {
    pub(crate) offers: BTreeMap<Sku, Offer>,
}

/// One saga, whichever it is.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Whose {
    /// A checkout, a return's or a refund's.
    Shop(SagaId),
    /// One that is a table of steps.
    Table {
        /// As its table is called.
        saga: String,
        /// The order that it is about.
        id: OrderId,
    },
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shop(saga) => saga.fmt(f),
            Self::Table { saga, id } => write!(f, "{saga} {id}"),
        }
    }
}

/// `question.checkout.settle`, answered with [`Settled`].
#[derive(Debug, Serialize)]
pub struct AskSettle {
    /// Which saga.
    pub saga: Whose,
    /// What it is to do.
    pub wish: Wish,
    /// Who wants it, and under which command id.
    pub meta: CommandMeta,
    /// The versions of the saga that it is for. `None` = whichever there is.
    pub versions: Option<Vec<u64>>,
}

impl OverBus {
    async fn ask<Q: Serialize, A: for<'a> Deserialize<'a>>(
        &self,
        context: &'static str,
        name: &str,
        question: &Q,
    ) -> Result<A, NoAnswer> {
        let failed = |error: serde_json::Error| NoAnswer::of(context, error);
        let payload: Value = serde_json::to_value(question).map_err(failed)?;
        let answer = self.0.question(context, name, &payload, ANSWER_TIME_MAX);
        let answer = answer.await.map_err(|error| NoAnswer::of(context, error))?;
        serde_json::from_value(answer).map_err(failed)
    }
}

#[async_trait]
impl Questions for OverBus {
    async fn standing(&self, user_id: UserId) -> Result<Standing, NoAnswer> {
        let answer: StandingAnswer = self
            .ask("user", "standing", &AskStanding { user_id })
            .await?;
        Ok(answer.status)
    }

    async fn offers(&self, skus: &[Sku]) -> Result<BTreeMap<Sku, Offer>, NoAnswer> {
        let question = AskOffers {
            skus: skus.to_vec(),
        };
        let answer: OffersAnswer = self.ask("product", "offers", &question).await?;
        Ok(answer.offers)
    }

    async fn settle(&self, ask: &AskSettle) -> Result<Settled, NoAnswer> {
        let context = "checkout";
        let payload = serde_json::to_value(ask).map_err(|error| NoAnswer::of(context, error))?;
        let settled = self
            .0
            .question(context, "settle", &payload, ANSWER_TIME_MAX);
        let settled = match settled.await {
            Ok(answer) => serde_json::from_value(answer),
            // Other than a question, it changes something: silence doesn't say that it was not done.
            Err(BusError::Timeout { .. } | BusError::Unreadable { .. }) => {
                return Ok(Settled::OutcomeUnknown);
            }
            Err(error) => return Err(NoAnswer::of(context, error)),
        };
        Ok(settled.unwrap_or(Settled::OutcomeUnknown))
    }
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// From the cache, if it is there.
    Cached,
    /// Of now: what a refusal must stand on.
    Fresh,
}

/// Remembered answers in front. Only what lets an order through is kept; what would refuse it is
/// asked again, so nobody is refused for what was true a second ago.
pub(crate) struct Cached {
    inner: Arc<dyn Questions>,
    active: Remembered<UserId, ()>,
    on_sale: Remembered<Sku, Offer>,
}

impl Cached {
    pub(crate) fn new(inner: Arc<dyn Questions>) -> Self {
        Self {
            inner,
            active: Remembered::new(),
            on_sale: Remembered::new(),
        }
    }

    pub(crate) async fn standing(&self, user_id: UserId, age: Age) -> Result<Standing, NoAnswer> {
        if age == Age::Cached && self.active.get(&user_id).is_some() {
            return Ok(Standing::Active);
        }
        let before = self.active.before(&user_id);
        let standing = self.inner.standing(user_id).await?;
        if standing == Standing::Active {
            self.active.keep(&user_id, before, ());
        } else {
            self.active.forget(&user_id);
        }
        Ok(standing)
    }

    /// The offers of `skus`; what isn't remembered is asked in one question.
    pub(crate) async fn offers(
        &self,
        skus: &[Sku],
        age: Age,
    ) -> Result<BTreeMap<Sku, Offer>, NoAnswer> {
        let mut found = BTreeMap::new();
        let mut asked = Vec::new();
        for sku in skus {
            match self.on_sale.get(sku).filter(|_| age == Age::Cached) {
                Some(offer) => {
                    found.insert(sku.clone(), offer);
                }
                None => asked.push((sku.clone(), self.on_sale.before(sku))),
            }
        }
        if asked.is_empty() {
            return Ok(found);
        }
        let skus: Vec<Sku> = asked.iter().map(|(sku, _)| sku.clone()).collect();
        let answers = self.inner.offers(&skus).await?;
        for (sku, before) in asked {
            match answers.get(&sku).filter(|offer| offer.published) {
                Some(offer) => self.on_sale.keep(&sku, before, offer.clone()),
                None => self.on_sale.forget(&sku),
            }
        }
        found.extend(answers);
        Ok(found)
    }

    /// Has a suspended saga do what an operator wishes.
    pub(crate) async fn settle(&self, ask: &AskSettle) -> Result<Settled, NoAnswer> {
        self.inner.settle(ask).await
    }

    /// This process has just changed the user.
    pub(crate) fn forget_user(&self, user_id: UserId) {
        self.active.forget(&user_id);
    }

    /// This process has just changed the product.
    pub(crate) fn forget_product(&self, sku: &Sku) {
        self.on_sale.forget(sku);
    }

    /// Hears from the streams what changes the answers, until `shutdown`.
    pub(crate) async fn follow(
        &self,
        connection: &Connection,
        streams: &Streams,
        shutdown: CancellationToken,
    ) {
        let of = |name| Followed {
            connection,
            streams,
            name,
        };
        let (users, products) = (of("USER"), of("PRODUCT"));
        tokio::join!(
            self.active.follow(&users, key_of, &shutdown),
            self.on_sale.follow(&products, key_of, &shutdown),
        );
    }
}

/// Whose answer an event changes: its aggregate's, unless it is of another kind (an email claim).
fn key_of<K: FromStr>(event: &RecordedEvent) -> Option<K> {
    let main = event.kind.is_none();
    main.then(|| event.aggregate_id.as_str().parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use streams::bus::{Host, Hosts};

    use super::*;

    /// A catalogue and a register that can be changed behind the cache's back.
    struct Shop {
        standing: Mutex<Standing>,
        price: Mutex<i64>,
        asked: Mutex<Vec<usize>>,
    }

    #[async_trait]
    impl Questions for Shop {
        async fn standing(&self, _: UserId) -> Result<Standing, NoAnswer> {
            self.asked.lock().unwrap().push(0);
            Ok(*self.standing.lock().unwrap())
        }

        async fn offers(&self, skus: &[Sku]) -> Result<BTreeMap<Sku, Offer>, NoAnswer> {
            self.asked.lock().unwrap().push(skus.len());
            let price = kernel::Money::new(*self.price.lock().unwrap(), "EUR".parse().unwrap());
            let offer = |sku: &Sku| Offer {
                title: "Tea".parse().unwrap(),
                price,
                published: sku.as_str() != "draft",
            };
            let known = skus.iter().filter(|sku| sku.as_str() != "unknown");
            Ok(known.map(|sku| (sku.clone(), offer(sku))).collect())
        }
    }

    fn shop() -> (Arc<Shop>, Cached) {
        let shop = Arc::new(Shop {
            standing: Mutex::new(Standing::Active),
            price: Mutex::new(5),
            asked: Mutex::default(),
        });
        (Arc::clone(&shop), Cached::new(shop))
    }

    fn skus(names: &[&str]) -> Vec<Sku> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn of_a_settlement_without_an_answer_nobody_says_that_nothing_was_done() {
        let host = Host::new("checkout", Streams::in_memory());
        let host = host.question("settle", |_| std::future::pending());
        let bus = Bus::within(&Hosts::from_iter([host]));
        let ask = AskSettle {
            saga: Whose::Shop(SagaId::Checkout(OrderId(uuid::Uuid::from_u128(1)))),
            wish: Wish::Resume,
            meta: CommandMeta::new(uuid::Uuid::from_u128(2), chrono::Utc::now(), "user:ann"),
            versions: None,
        };
        let settled = OverBus(bus).settle(&ask).await.unwrap();
        assert_eq!(settled, Settled::OutcomeUnknown);
        let nobody = OverBus(Bus::within(&Hosts::default()));
        assert!(nobody.settle(&ask).await.is_err());
    }

    #[tokio::test]
    async fn only_what_lets_an_order_through_is_kept() {
        let (shop, cached) = shop();
        let all = skus(&["tea", "draft", "unknown"]);
        for _ in 0..2 {
            let offers = cached.offers(&all, Age::Cached).await.unwrap();
            assert_eq!(offers.len(), 2);
        }
        assert_eq!(*shop.asked.lock().unwrap(), [3, 2]);
        *shop.price.lock().unwrap() = 6;
        let price = |offers: BTreeMap<Sku, Offer>| offers.values().next().unwrap().price.amount;
        let tea = skus(&["tea"]);
        assert_eq!(price(cached.offers(&tea, Age::Cached).await.unwrap()), 5);
        assert_eq!(price(cached.offers(&tea, Age::Fresh).await.unwrap()), 6);
        assert_eq!(price(cached.offers(&tea, Age::Cached).await.unwrap()), 6);
        cached.forget_product(&tea[0]);
        cached.offers(&tea, Age::Cached).await.unwrap();
        assert_eq!(*shop.asked.lock().unwrap(), [3, 2, 1, 1]);
    }

    #[tokio::test]
    async fn a_suspension_is_never_cached() {
        let (shop, cached) = shop();
        let ann = UserId(uuid::Uuid::from_u128(1));
        let standing = |age| cached.standing(ann, age);
        assert_eq!(standing(Age::Cached).await.unwrap(), Standing::Active);
        *shop.standing.lock().unwrap() = Standing::Suspended;
        assert_eq!(standing(Age::Cached).await.unwrap(), Standing::Active);
        cached.forget_user(ann);
        assert_eq!(standing(Age::Cached).await.unwrap(), Standing::Suspended);
        *shop.standing.lock().unwrap() = Standing::Active;
        assert_eq!(standing(Age::Cached).await.unwrap(), Standing::Active);
    }
}
