//! `If-Match`: what is listed as refused when it is stale is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use checkout::settling::Settled;
use command_api::{AskSettle, Local, NoAnswer, Questions};
use kernel::{AggregateId, Decider, Money, NotificationId, OrderId, Position, Sku, UserId};
use notification::{Channel, Details, Notification, NotificationCommand, Template};
use order::{Order, OrderCommand};
use payment::{Payment, PaymentCommand};
use product::Offer;
use serde_json::{Value, json};
use streams::keys::DigestKey;
use streams::{CommandMeta, Streams};
use user::Standing;
use uuid::Uuid;

use crate::app::{Answer, App, DOCUMENT, Person};

/// How many events every saga has.
const VERSION: u64 = 3;

/// Other contexts in memory, and sagas of which each is suspended.
struct Suspended(Local);

#[async_trait]
impl Questions for Suspended {
    async fn standing(&self, user_id: UserId) -> Result<Standing, NoAnswer> {
        self.0.standing(user_id).await
    }

    async fn offers(&self, skus: &[Sku]) -> Result<BTreeMap<Sku, Offer>, NoAnswer> {
        self.0.offers(skus).await
    }

    async fn settle(&self, ask: &AskSettle) -> Result<Settled, NoAnswer> {
        let versions = ask.versions.as_ref();
        Ok(if versions.is_none_or(|all| all.contains(&VERSION)) {
            Settled::Recorded {
                version: VERSION + 1,
                position: Position::new("CHECKOUT", 9),
                replayed: false,
            }
        } else {
            Settled::Stale { version: VERSION }
        })
    }
}

fn example(path: &str) -> Value {
    let content = &DOCUMENT.json()["paths"][path]["post"]["requestBody"]["content"];
    let content = content.as_object().unwrap().values().next().unwrap();
    content["example"].clone()
}

/// A shop in which there is one of everything.
struct Shop {
    app: App,
    ann: Person,
    /// What stands in a path for what it names.
    ids: BTreeMap<&'static str, String>,
}

impl Shop {
    async fn open() -> Self {
        let streams = Streams::in_memory();
        let app = App::asking(streams.clone(), Arc::new(Suspended(Local(streams))));
        let ann = app.customer("ann@example.com").await;
        app.product("MUG", 1_299).await;
        let nobody = Uuid::nil().to_string();
        let ids = [
            ("sku", "MUG".to_owned()),
            ("saga", "gift".to_owned()),
            ("sagas", nobody.clone()),
            ("checkouts", nobody),
            ("users", ann.id.to_string()),
        ];
        let ids = BTreeMap::from(ids);
        let mut shop = Self { app, ann, ids };
        shop.makes("/v1/inventory", "inventory").await;
        shop.makes("/v1/orders", "orders").await;
        shop.delivers().await;
        shop.makes("/v1/orders/{id}/returns", "return_id").await;
        shop.makes("/v1/users/{id}/addresses", "address_id").await;
        shop.makes("/v1/webhook-endpoints", "webhook-endpoints")
            .await;
        shop.makes("/v1/webhook-endpoints/{id}/test", "delivery_id")
            .await;
        shop.asks_for_a_mail().await;
        shop
    }

    /// Its id is what stands in a path for `name`.
    async fn makes(&mut self, path: &str, name: &'static str) {
        let made = self.sends(path, None).await;
        assert!(made.status < 300, "{path}: {}", made.body);
        self.ids.insert(name, made.id().to_owned());
    }

    /// What sagas and reactors do.
    async fn done<A: Decider>(&self, id: impl Into<AggregateId>, command: A::Command) {
        let meta = CommandMeta::new(Uuid::now_v7(), chrono::Utc::now(), "system");
        let streams = &self.app.streams;
        let executed = streams.execute::<A>(&id.into(), command, &meta).await;
        executed.unwrap();
    }

    async fn delivers(&mut self) {
        let order_id: OrderId = self.ids["orders"].parse().unwrap();
        let payment_id = payment::payment_id(order_id);
        let request = PaymentCommand::RequestPayment {
            order_id,
            user_id: self.ann.id,
            amount: Money::new(2_598, "EUR".parse().unwrap()),
            method: "pm_card_visa".parse().unwrap(),
        };
        self.done::<Payment>(payment_id, request).await;
        for command in [
            OrderCommand::ConfirmOrder { payment_id },
            OrderCommand::ShipOrder {
                tracking: "1Z".parse().unwrap(),
            },
            OrderCommand::DeliverOrder {},
        ] {
            self.done::<Order>(order_id, command).await;
        }
        self.ids.insert("payments", payment_id.to_string());
    }

    async fn asks_for_a_mail(&mut self) {
        let id = NotificationId(Uuid::from_u128(7));
        let request = NotificationCommand::RequestNotification {
            user_id: self.ann.id,
            template: Template::Welcome,
            channel: Channel::Email,
            details: Details::default(),
        };
        self.done::<Notification>(id, request).await;
        self.ids.insert("notifications", id.to_string());
    }

    /// Where the call is about what there is.
    fn at(&self, path: &str) -> String {
        let parts: Vec<_> = path.split('/').collect();
        let named = parts.iter().map(|part| match *part {
            "{id}" => self.ids[parts[2]].as_str(),
            name if name.starts_with('{') => self.ids[name.trim_matches(['{', '}'])].as_str(),
            part => part,
        });
        named.collect::<Vec<_>>().join("/")
    }

    /// The call's example, or what does as it does here.
    fn body(&self, path: &str) -> Value {
        let mut body = example(path);
        match path {
            "/v1/users/{id}/password" => body["current_password"] = json!("correct horse"),
            "/v1/users/{id}/email/verify" => {
                let digest = DigestKey::parse(&URL_SAFE_NO_PAD.encode([0; 32])).unwrap();
                let claim = digest.email_claim_id("ann@example.com");
                body["token"] = json!(digest.verification_token(self.ann.id, claim));
            }
            _ => {}
        }
        body
    }

    /// Sends the call for whoever may make it.
    async fn sends(&self, path: &str, if_match: Option<&str>) -> Answer {
        let (at, body) = (self.at(path), self.body(path));
        let send = async |person: &Person| {
            let key = Uuid::new_v4().to_string();
            let mut call = self.app.post(&at).by(person).key(&key);
            if let Some(tag) = if_match {
                call = call.header("if-match", tag);
            }
            match body.as_str() {
                Some(lines) => {
                    let call = call.header("content-type", "application/x-ndjson");
                    call.raw(lines.to_owned()).await
                }
                None => call.send(&body).await,
            }
        };
        let hers = send(&self.ann).await;
        if [403, 404].contains(&hers.status) {
            send(&self.app.operator()).await
        } else {
            hers
        }
    }
}

#[tokio::test]
async fn whoever_has_seen_another_version_changes_nothing_by_whichever_call() {
    let shop = Shop::open().await;
    let paths = DOCUMENT.json()["paths"].as_object().unwrap();
    let lists = |call: &Value| call["post"]["responses"].get("412").is_some();
    let paths = paths.iter().filter(|(_, call)| lists(call));
    // Bodies of any length are not carried to another process.
    let paths = paths.filter(|(path, _)| !crate::APART || *path != "/v1/products/import");
    let paths: Vec<_> = paths.map(|(path, _)| path).collect();
    assert!(paths.len() > 40, "{paths:?}");
    let before = shop.app.ends().await;
    for path in paths {
        let stale = shop.sends(path, Some("\"999\"")).await;
        assert_eq!(stale.status, 412, "{path}: {}", stale.body);
        stale.refused(412, "version_is_stale", "");
    }
    assert_eq!(shop.app.ends().await, before);
    let resolve = "/v1/checkouts/{id}/resolve";
    for tag in [Some("\"2\", \"3\""), Some("*"), None] {
        shop.sends(resolve, tag).await.must(200);
    }
}
