//! The command bus's side: every context that is hosted here answers commands and questions.

use checkout::Checkout;
use inventory::StockItem;
use kernel::{Sealed, UserId};
use notification::Notification;
use order::Order;
use payment::Payment;
use product::Product;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use streams::Streams;
use streams::bus::{Host, Hosts, QuestionError};
use user::{EmailClaim, User};

use crate::questions::{AskOffers, AskStanding, Local, OffersAnswer, Questions, StandingAnswer};

/// Most products in one question: as many as an order has lines.
const SKUS_MAX: usize = order::LINES_MAX as usize;

/// The hosts of `contexts`: all their aggregates and questions.
pub fn hosts(contexts: &[String], streams: &Streams) -> Hosts {
    let hosts = contexts.iter().filter_map(|name| of_context(name, streams));
    hosts.collect()
}

/// What a context answers; `None` = there is no such context.
fn of_context(name: &str, streams: &Streams) -> Option<Host> {
    let host = Host::new(name, streams.clone());
    match name {
        "user" => Some(user(host, streams)),
        "product" => Some(product(host, streams)),
        "inventory" => Some(host.aggregate::<StockItem>()),
        "order" => Some(host.aggregate::<Order>()),
        "payment" => Some(host.aggregate::<Payment>()),
        "notification" => Some(host.aggregate::<Notification>()),
        "checkout" => Some(host.aggregate::<Checkout>()),
        _ => None,
    }
}

fn user(host: Host, streams: &Streams) -> Host {
    let (standing, contact) = (Local(streams.clone()), streams.clone());
    host.aggregate::<User>()
        .aggregate::<EmailClaim>()
        .question("standing", move |payload| {
            let local = standing.clone();
            async move { answer_standing(&local, payload).await }
        })
        .question("contact", move |payload| {
            let streams = contact.clone();
            async move { answer_contact(&streams, payload).await }
        })
}

fn product(host: Host, streams: &Streams) -> Host {
    let offers = Local(streams.clone());
    host.aggregate::<Product>()
        .question("offers", move |payload| {
            let local = offers.clone();
            async move { answer_offers(&local, payload).await }
        })
}

async fn answer_standing(local: &Local, payload: Value) -> Result<Value, QuestionError> {
    let AskStanding { user_id } = read(payload)?;
    let status = local.standing(user_id).await;
    let status = status.map_err(QuestionError::unavailable)?;
    write(&StandingAnswer { status })
}

async fn answer_offers(local: &Local, payload: Value) -> Result<Value, QuestionError> {
    let AskOffers { skus } = read(payload)?;
    if skus.len() > SKUS_MAX {
        let message = format!("at most {SKUS_MAX} products can be asked for at once");
        return Err(QuestionError::bad_request(message));
    }
    let offers = local.offers(&skus).await;
    let offers = offers.map_err(QuestionError::unavailable)?;
    write(&OffersAnswer { offers })
}

/// `question.user.contact`.
#[derive(Debug, Deserialize)]
struct AskContact {
    user_id: UserId,
}

/// The answer to it: both sealed for the person.
#[derive(Debug, Serialize)]
struct Contact {
    email: Sealed,
    name: Sealed,
    /// Whether there is nobody any more who could be written to.
    erased: bool,
}

async fn answer_contact(streams: &Streams, payload: Value) -> Result<Value, QuestionError> {
    let AskContact { user_id } = read(payload)?;
    let loaded = streams.load_current::<User>(&user_id.into()).await;
    let loaded = loaded.map_err(QuestionError::unavailable)?;
    let account = loaded.state.account();
    let account = account.ok_or_else(|| QuestionError::bad_request("there is no such user"))?;
    write(&Contact {
        email: account.email.clone(),
        name: account.name.clone(),
        // Erasure comes with the command that erases; until then nobody is.
        erased: false,
    })
}

fn read<T: for<'a> Deserialize<'a>>(payload: Value) -> Result<T, QuestionError> {
    serde_json::from_value(payload).map_err(QuestionError::bad_request)
}

fn write<T: Serialize>(answer: &T) -> Result<Value, QuestionError> {
    serde_json::to_value(answer).map_err(QuestionError::bad_request)
}
