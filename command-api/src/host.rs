//! The command bus's side: every context that is hosted here answers commands and questions.

use inventory::StockItem;
use kernel::{EmailClaimId, Sealed, UserId, WebhookEndpointId};
use notification::webhook::{WebhookDelivery, WebhookEndpoint};
use notification::{Notification, Suppression};
use order::Order;
use payment::Payment;
use product::Product;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use streams::bus::{Host, Hosts, QuestionError};
use streams::keys::DigestKey;
use streams::{Streams, clock};
use user::{EmailClaim, Erasure, Standing, User};

use crate::elsewhere::{Here, QUESTION};
use crate::questions::{AskOffers, AskStanding, Local, OffersAnswer, Questions, StandingAnswer};

/// Most products in one question: as many as an order has lines.
const SKUS_MAX: usize = order::LINES_MAX as usize;

/// What the hosted contexts answer from.
#[derive(Clone)]
struct Answers {
    streams: Streams,
    digest_key: DigestKey,
    http: Here,
}

/// The hosts of `contexts`: all their aggregates and questions, and the HTTP calls that others carry
/// `here`.
pub fn hosts(contexts: &[String], streams: &Streams, digest_key: &DigestKey, here: &Here) -> Hosts {
    let answers = Answers {
        streams: streams.clone(),
        digest_key: digest_key.clone(),
        http: here.clone(),
    };
    let hosts = contexts
        .iter()
        .filter_map(|name| of_context(name, &answers));
    hosts.collect()
}

/// What a context answers; `None` = there is no such context.
fn of_context(name: &str, answers: &Answers) -> Option<Host> {
    let http = answers.http.clone();
    let host = Host::new(name, answers.streams.clone()).question(QUESTION, move |call| {
        let http = http.clone();
        async move { http.answer(call).await }
    });
    match name {
        "user" => Some(user(host, answers)),
        "product" => Some(product(host, &answers.streams)),
        "inventory" => Some(host.aggregate::<StockItem>()),
        "order" => Some(host.aggregate::<Order>()),
        "payment" => Some(host.aggregate::<Payment>()),
        "notification" => Some(notification(host, answers)),
        _ => None,
    }
}

fn user(host: Host, answers: &Answers) -> Host {
    let (standing, contact) = (Local(answers.streams.clone()), answers.clone());
    host.aggregate::<User>()
        .aggregate::<EmailClaim>()
        .aggregate::<Erasure>()
        .question("standing", move |payload| {
            let local = standing.clone();
            async move { answer_standing(&local, payload).await }
        })
        .question("contact", move |payload| {
            let answers = contact.clone();
            async move { answer_contact(&answers, payload).await }
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

fn notification(host: Host, answers: &Answers) -> Host {
    let signing = answers.clone();
    host.aggregate::<Notification>()
        .aggregate::<Suppression>()
        .aggregate::<WebhookEndpoint>()
        .aggregate::<WebhookDelivery>()
        .question("webhook-secrets", move |payload| {
            let answers = signing.clone();
            async move { answer_webhook_secrets(&answers, payload).await }
        })
}

/// `question.notification.webhook-secrets`.
#[derive(Debug, Deserialize)]
struct AskWebhookSecrets {
    endpoint_id: WebhookEndpointId,
}

/// The answer to it: what the endpoint's webhooks are signed with now, the newest first. It is in no
/// stream and no log.
#[derive(Serialize)]
struct WebhookSecretsAnswer {
    secrets: Vec<String>,
}

async fn answer_webhook_secrets(answers: &Answers, payload: Value) -> Result<Value, QuestionError> {
    let AskWebhookSecrets { endpoint_id } = read(payload)?;
    let id = endpoint_id.into();
    let endpoint = answers.streams.load_current::<WebhookEndpoint>(&id);
    let endpoint = endpoint.await.map_err(QuestionError::unavailable)?.state;
    let endpoint = endpoint
        .endpoint()
        .ok_or_else(|| QuestionError::bad_request("there is no such webhook endpoint"))?;
    let generations = endpoint.generations(clock::now()).into_iter();
    let secrets = generations.map(|number| answers.digest_key.webhook_secret(endpoint_id, number));
    write(&WebhookSecretsAnswer {
        secrets: secrets.collect(),
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

/// The answer to it: how to reach the person, sealed.
#[derive(Debug, Serialize)]
struct Contact {
    /// `None` = erased: there is nobody any more who could be written to.
    email: Option<Sealed>,
    name: Option<Sealed>,
    /// The keyed hash of the address: by it mail to that address is suppressed.
    address: Option<EmailClaimId>,
    erased: bool,
    /// What proves that a mail to the address was read, until it was proven. It is in no stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_token: Option<String>,
}

async fn answer_contact(answers: &Answers, payload: Value) -> Result<Value, QuestionError> {
    let AskContact { user_id } = read(payload)?;
    let loaded = answers.streams.load_current::<User>(&user_id.into()).await;
    let user = loaded.map_err(QuestionError::unavailable)?.state;
    if user.standing() == Standing::Unknown {
        return Err(QuestionError::bad_request("there is no such user"));
    }
    let account = user.account();
    let unverified = account.filter(|account| !account.email_verified);
    write(&Contact {
        email: account.map(|account| account.email.clone()),
        name: account.map(|account| account.name.clone()),
        address: account.map(|account| account.email_claim),
        erased: account.is_none(),
        verification_token: unverified.map(|account| {
            let claim = account.email_claim;
            answers.digest_key.verification_token(user_id, claim)
        }),
    })
}

fn read<T: for<'a> Deserialize<'a>>(payload: Value) -> Result<T, QuestionError> {
    serde_json::from_value(payload).map_err(QuestionError::bad_request)
}

fn write<T: Serialize>(answer: &T) -> Result<Value, QuestionError> {
    serde_json::to_value(answer).map_err(QuestionError::bad_request)
}
