//! Two builds of the saga on one log: each checkout goes on by the definition that it started under,
//! and a build that doesn't know it leaves it to one that does.

#[path = "../../domains/checkout/tests/definitions/mod.rs"]
mod definitions;

use std::time::{Duration, Instant};

use checkout::settling::{self, SagaId};
use checkout::{
    Checkout, CheckoutEvent, Definitions, Item, Refunding, RefundingFact, Returning, ReturningFact,
    refund_id_of_return,
};
use chrono::{DateTime, Utc};
use clap::Parser;
use inventory::{InventoryCommand, StockItem};
use kernel::{AggregateId, Decider, Fact, Money, OrderId, RefundId, ReturnId, Sealed, UserId};
use notification::Notification;
use order::{Line, Order, OrderCommand, OrderStatus};
use payment::{Payment, PaymentCommand, ProviderAction, payment_id};
use sagas::Others;
use serde_json::json;
use streams::bus::{Bus, Host, Hosts};
use streams::parking::{self, ParkedKey, Wish};
use streams::{CommandMeta, Connection, Settings, Streams};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::definitions::{Today, Yesterday};
use crate::app::{PATIENCE, counted};
use crate::server::Server;

const SKU: &str = "MUG";

/// A shop without its HTTP: the contexts on the bus, and a provider that the test plays.
pub(crate) struct Shop {
    server: Server,
    pub(crate) connection: Connection,
    streams: Streams,
}

/// A process of the saga.
pub(crate) struct Role {
    stop: CancellationToken,
    running: JoinHandle<Result<(), sagas::Error>>,
}

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    saga: sagas::Config,
}

impl Shop {
    pub(crate) async fn open(name: &str) -> Self {
        let server = Server::start(name).await;
        let connection = server.connect().await;
        let topology = millrace::provision::topology();
        let made = streams::topology::provision(&connection, &topology, 1);
        made.await.unwrap();
        let streams = connection.streams(Settings::default());
        let host = |context| Host::new(context, streams.clone());
        let hosts = Hosts::from_iter([
            host("inventory").aggregate::<StockItem>(),
            host("payment").aggregate::<Payment>(),
            host("order").aggregate::<Order>(),
            host("notification").aggregate::<Notification>(),
        ]);
        let serving = hosts.start(&connection).await.unwrap();
        tokio::spawn(serving.run(CancellationToken::new()));
        let shop = Self {
            server,
            connection,
            streams,
        };
        let quantity = 10;
        for command in [
            InventoryCommand::CreateStockItem {},
            InventoryCommand::ReceiveStock { quantity },
        ] {
            shop.does::<StockItem>(SKU, command, None).await;
        }
        shop
    }

    /// A process of the build that knows `D`.
    pub(crate) async fn role<D: Definitions>(&self) -> Role {
        self.role_with::<D>(Others::default(), &[]).await
    }

    pub(crate) async fn role_with<D: Definitions>(&self, others: Others, args: &[&str]) -> Role {
        Role::start::<D>(self.server.connect().await, others, args)
    }

    pub(crate) async fn does<A: Decider>(
        &self,
        id: &str,
        command: A::Command,
        order: Option<OrderId>,
    ) {
        self.did::<A>(id, command, order, Utc::now()).await;
    }

    /// Somebody did it at that time.
    async fn did<A: Decider>(
        &self,
        id: &str,
        command: A::Command,
        order: Option<OrderId>,
        at: DateTime<Utc>,
    ) {
        let mut meta = CommandMeta::new(Uuid::new_v4(), at, "test");
        if let Some(order) = order {
            meta = meta.with_correlation(order.to_string());
        }
        let id: AggregateId = id.parse().unwrap();
        self.streams
            .execute::<A>(&id, command, &meta)
            .await
            .unwrap();
    }

    pub(crate) async fn is<A: Decider>(&self, what: &str, id: &str, wanted: impl Fn(&A) -> bool) {
        let id: AggregateId = id.parse().unwrap();
        let started = Instant::now();
        loop {
            let known = self.streams.load_current::<A>(&id).await.unwrap();
            if wanted(&known.state) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{id} never {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn orders(&self) -> OrderId {
        self.ordered(Utc::now()).await
    }

    /// An order that was placed at that time.
    pub(crate) async fn ordered(&self, at: DateTime<Utc>) -> OrderId {
        let id = OrderId(Uuid::new_v4());
        let user_id = UserId(Uuid::new_v4());
        let placed = OrderCommand::PlaceOrder {
            user_id,
            lines: vec![Line {
                sku: SKU.parse().unwrap(),
                title: "Millstone mug".parse().unwrap(),
                quantity: 1,
                unit_price: Money::new(1_299, "EUR".parse().unwrap()),
            }],
            shipping_address: Sealed::new(user_id, "AAAA"),
            payment_method: "pm_card_visa".parse().unwrap(),
        };
        self.did::<Order>(&id.to_string(), placed, Some(id), at)
            .await;
        id
    }

    /// Waits until the payment of `order` wants something of the provider.
    pub(crate) async fn wants(&self, order: OrderId, what: fn(&ProviderAction) -> bool) {
        let id = payment_id(order).to_string();
        self.is::<Payment>("wants it", &id, |payment| {
            payment.due().is_some_and(|due| what(&due))
        })
        .await;
    }

    /// Waits until the checkout of `order` has asked for its money, of which nothing is held.
    pub(crate) async fn asks_for_money(&self, order: OrderId) {
        self.wants(order, |due| {
            matches!(due, ProviderAction::CreateIntent { .. })
        })
        .await;
    }

    /// The provider has done it.
    async fn paid(&self, order: OrderId, done: PaymentCommand) {
        let id = payment_id(order).to_string();
        self.does::<Payment>(&id, done, Some(order)).await;
    }

    pub(crate) async fn authorizes(&self, order: OrderId) {
        self.asks_for_money(order).await;
        let intent_id = format!("pi_{order}");
        self.paid(order, PaymentCommand::RecordIntent { intent_id })
            .await;
        let amount = Money::new(1_299, "EUR".parse().unwrap());
        self.paid(order, PaymentCommand::RecordAuthorization { amount })
            .await;
    }

    pub(crate) async fn captures(&self, order: OrderId) {
        self.wants(order, |due| matches!(due, ProviderAction::Capture { .. }))
            .await;
        let amount = Money::new(1_299, "EUR".parse().unwrap());
        self.paid(order, PaymentCommand::RecordCapture { amount })
            .await;
        self.is::<Order>("is confirmed", &order.to_string(), |order| {
            order.status() == Some(OrderStatus::Confirmed)
        })
        .await;
    }

    /// Waits until what is parked under `key` is as wanted.
    async fn parked(&self, key: &str, wanted: fn(&Option<ParkedKey>) -> bool) -> Option<ParkedKey> {
        let started = Instant::now();
        loop {
            let all = parking::parked(&self.connection).await.unwrap().into_iter();
            let mut found = all.filter(|(_, parked, _)| parked == key);
            let state = found.next().map(|(_, _, state)| state);
            if wanted(&state) {
                return state;
            }
            assert!(started.elapsed() < PATIENCE, "{key}: {state:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a checkout has written: the revision that it started under, and its steps in order.
    async fn wrote(&self, order: OrderId) -> (u32, Vec<String>) {
        let (mut revision, mut steps) = (0, Vec::new());
        let mut events = self.connection.ordered("CHECKOUT", 0);
        events.start().await.unwrap();
        while !events.caught_up() {
            let event = events.next().await.unwrap();
            if event.aggregate_id.as_str() != order.to_string() {
                continue;
            }
            let told = event.decode::<Checkout>().unwrap();
            if let CheckoutEvent::StepSucceeded { step } = &told {
                steps.push(step.to_string());
            } else if let Some(number) = told.starts() {
                revision = number;
            } else {
                steps.push(told.name().to_owned());
            }
        }
        (revision, steps)
    }
}

impl Role {
    pub(crate) fn start<D: Definitions>(
        connection: Connection,
        others: Others,
        args: &[&str],
    ) -> Self {
        let stop = CancellationToken::new();
        let config = Args::parse_from([&["saga"], args].concat()).saga;
        let running = tokio::spawn(sagas::run_by::<D>(config, others, connection, stop.clone()));
        Self { stop, running }
    }

    pub(crate) async fn ends(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_checkouts_end_by_their_own_tables_side_by_side() {
    let shop = Shop::open("side-by-side").await;
    let yesterday = shop.role::<Yesterday>().await;
    let old = shop.orders().await;
    shop.asks_for_money(old).await;
    yesterday.ends().await;

    let today = shop.role::<Today>().await;
    let new = shop.orders().await;
    shop.asks_for_money(new).await;
    let before = shop.wrote(new).await;
    let firm = ["reserve_stock-MUG", "commit_stock-MUG"];
    assert_eq!(before, (2, firm.map(str::to_owned).to_vec()));
    today.ends().await;

    let open = millrace::schema::count(&shop.connection).await.unwrap();
    let open = open.open_checkouts.into_iter();
    let open = open.map(|(revision, counted)| (revision, counted.open, counted.known));
    assert!(open.eq([(1, 1, true), (2, 1, false)]));

    // The older build has it alone: it goes on with its own, and leaves the newer one as it is.
    let yesterday = shop.role::<Yesterday>().await;
    shop.authorizes(new).await;
    shop.authorizes(old).await;
    shop.captures(old).await;
    assert_eq!(shop.wrote(new).await, before);
    let late = shop.orders().await;
    shop.authorizes(late).await;
    shop.wants(late, |due| matches!(due, ProviderAction::Capture { .. }))
        .await;
    assert_eq!(shop.wrote(new).await, before);
    yesterday.ends().await;

    // Nothing of it was lost, and nobody had to see to it.
    let today = shop.role::<Today>().await;
    shop.captures(new).await;
    shop.captures(late).await;
    today.ends().await;
    let parked = shop.connection.jetstream().get_stream("PARKED").await;
    assert_eq!(parked.unwrap().cached_info().state.messages, 0);

    let last = ["capture_payment", "checkout_completed"];
    let steps = |first: [&str; 3]| [&first[..], &last[..]].concat().join(" ");
    let by_1 = steps(["reserve_stock-MUG", "authorize_payment", "commit_stock-MUG"]);
    let by_2 = steps(["reserve_stock-MUG", "commit_stock-MUG", "authorize_payment"]);
    for (order, revision, table) in [(old, 1, &by_1), (late, 1, &by_1), (new, 2, &by_2)] {
        let (followed, wrote) = shop.wrote(order).await;
        assert_eq!((followed, &wrote.join(" ")), (revision, table));
    }
}

/// How many returns and refunds are open, by the definition that they follow.
async fn open_afterwards(shop: &Shop) -> [Vec<(u32, u64, bool)>; 2] {
    let census = millrace::schema::count(&shop.connection).await.unwrap();
    [census.open_returns, census.open_refunds].map(|counted| {
        let counted = counted.into_iter();
        let counted = counted.map(|(revision, of)| (revision, of.open, of.known));
        counted.collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returns_and_refunds_are_counted_until_they_end() {
    let shop = Shop::open("afterwards").await;
    assert_eq!(
        open_afterwards(&shop).await,
        [[(1, 0, true)], [(1, 0, true)]]
    );
    let (order_id, amount) = (
        OrderId(Uuid::new_v4()),
        Money::new(1_299, "EUR".parse().unwrap()),
    );
    let (return_id, other) = (ReturnId(Uuid::new_v4()), RefundId(Uuid::new_v4()));
    let received = ReturningFact::ReturnReceived {
        return_id,
        order_id,
        items: vec![Item {
            sku: SKU.parse().unwrap(),
            quantity: 1,
        }],
        amount,
        user_id: None,
        received_at: Utc::now(),
    };
    let refunded = RefundingFact::PaymentRefunded {
        refund_id: other,
        order_id,
        user_id: UserId(Uuid::new_v4()),
        amount,
        refunded_at: Utc::now(),
    };
    let returns = async |fact| {
        let id = return_id.to_string();
        shop.does::<Returning>(&id, fact, Some(order_id)).await;
    };
    let refunds = async |fact| {
        let id = other.to_string();
        shop.does::<Refunding>(&id, fact, Some(order_id)).await;
    };
    returns(received).await;
    assert_eq!(
        open_afterwards(&shop).await,
        [[(1, 1, true)], [(1, 0, true)]]
    );
    refunds(refunded).await;
    returns(ReturningFact::ReturnRestocked {
        sku: SKU.parse().unwrap(),
    })
    .await;
    assert_eq!(
        open_afterwards(&shop).await,
        [[(1, 1, true)], [(1, 1, true)]]
    );
    let refund_id = refund_id_of_return(return_id, 1);
    returns(ReturningFact::PaymentRefunded { refund_id }).await;
    refunds(RefundingFact::OrderRefunded {}).await;
    assert_eq!(
        open_afterwards(&shop).await,
        [[(1, 0, true)], [(1, 0, true)]]
    );
}

/// When it is no upgrade: the older build sets aside what it must not touch, and a person has it handled
/// once a build that knows it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_build_in_sight_knows_is_parked_until_one_does() {
    let shop = Shop::open("unknown-revision").await;
    let metrics = counted();
    let today = shop.role::<Today>().await;
    let order = shop.orders().await;
    shop.asks_for_money(order).await;
    let before = shop.wrote(order).await;
    today.ends().await;

    let none = ["--unknown-definition-patience-s", "0"];
    let yesterday = shop.role_with::<Yesterday>(Others::default(), &none).await;
    shop.authorizes(order).await;
    let key = order.to_string();
    let parked = shop.parked(&key, Option::is_some).await;
    let why = format!("{parked:?}");
    assert!(why.contains("definition revision 2"), "{why}");
    let told = metrics.render();
    assert!(told.contains("\nsagas_unknown_revision_total{"), "{told}");
    // Nor is a person's wish decided on.
    let asked = json!({
        "saga": SagaId::Checkout(order),
        "wish": settling::Wish::Resume,
        "meta": CommandMeta::new(Uuid::new_v4(), Utc::now(), "operator:ada"),
    });
    let bus = Bus::new(&shop.connection);
    let answer = bus.question("checkout", "settle", &asked, PATIENCE).await;
    assert!(answer.unwrap_err().is_retryable());
    let other = shop.orders().await;
    shop.authorizes(other).await;
    shop.captures(other).await;
    assert_eq!(shop.wrote(order).await, before);
    yesterday.ends().await;

    let today = shop.role::<Today>().await;
    let name = sagas::PAYMENT_DURABLE.name;
    let asked = parking::ask(
        &shop.connection,
        name,
        &key,
        "ada",
        Wish::Retry { reason: None },
    )
    .await;
    asked.unwrap();
    shop.captures(order).await;
    shop.parked(&key, Option::is_none).await;
    today.ends().await;
}
