//! The paths of the simulator: Stripe's own under `/v1/`, and what tests and people use beside them.

use super::authenticate;
use super::call::{Call, Calls};
use super::command::Operation;
use super::connection::Cut;
use super::control;
use super::faults::When;
use super::form::Form;
use super::ledger::Books;
use super::read;
use super::refusal::{Answer, Refusal};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;

/// The largest body; Stripe's calls are far smaller.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Says that the answer is that of an earlier request with the same key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// All paths.
pub(super) fn routes(calls: Calls, secret_key: String) -> Router {
    let secret_key: Arc<str> = secret_key.into();
    Router::new()
        .route("/v1/payment_intents", post(create).get(list_intents))
        .route("/v1/payment_intents/{id}", get(intent))
        .route("/v1/payment_intents/{id}/{action}", post(act))
        .route("/v1/refunds", post(refund).get(list_refunds))
        .route("/v1/refunds/{id}", get(one_refund))
        .route("/v1/{*rest}", axum::routing::any(unknown))
        .method_not_allowed_fallback(unknown)
        .layer(from_fn_with_state(secret_key, authorize))
        .merge(control::routes())
        .merge(authenticate::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(calls)
}

async fn authorize(State(key): State<Arc<str>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let bearer = given.and_then(|given| given.to_str().ok()?.strip_prefix("Bearer "));
    if bearer == Some(&*key) {
        return next.run(request).await;
    }
    Refusal::unauthorized(given.is_some())
        .answer()
        .into_response()
}

async fn unknown(method: axum::http::Method, uri: Uri) -> Answer {
    Refusal::unknown_call(method.as_str(), uri.path()).answer()
}

async fn create(
    State(calls): State<Calls>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Posted,
) -> Response {
    let call = request.call(Operation::Create, None);
    write(&calls, &cut, call).await
}

async fn act(
    State(calls): State<Calls>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path((id, action)): Path<(String, String)>,
    request: Posted,
) -> Response {
    let operation = match action.as_str() {
        "confirm" => Operation::Confirm,
        "capture" => Operation::Capture,
        "cancel" => Operation::Cancel,
        _ => {
            return Refusal::unknown_call("POST", &request.path)
                .answer()
                .into_response();
        }
    };
    let call = request.call(operation, Some(id));
    write(&calls, &cut, call).await
}

async fn refund(
    State(calls): State<Calls>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Posted,
) -> Response {
    let call = request.call(Operation::Refund, None);
    let call = call.map(|call| Call {
        intent: call.form.get("payment_intent").map(str::to_owned),
        ..call
    });
    write(&calls, &cut, call).await
}

async fn write(calls: &Calls, cut: &Cut, call: Result<Call, Refusal>) -> Response {
    let call = match call {
        Ok(call) => call,
        Err(refusal) => return refusal.answer().into_response(),
    };
    let (answer, replayed) = calls.run(call).await.on(cut).await;
    let mut response = answer.into_response();
    if replayed {
        let yes = axum::http::HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, yes);
    }
    response
}

async fn intent(
    State(calls): State<Calls>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path(id): Path<String>,
) -> Answer {
    let now = chrono::Utc::now().timestamp();
    if let Err(error) = calls.ledger.count(&id, Operation::Retrieve, now) {
        return Refusal::internal(&error.to_string()).answer();
    }
    let asked = (Operation::Retrieve, id.as_str());
    look(&calls, &cut, asked, |books| read::intent(books, &id)).await
}

async fn list_intents(
    State(calls): State<Calls>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    RawQuery(query): RawQuery,
) -> Answer {
    let form = Form::parse(query.unwrap_or_default().as_bytes());
    let asked = (Operation::List, "");
    look(&calls, &cut, asked, |books| read::intents(books, &form)).await
}

async fn one_refund(
    State(calls): State<Calls>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path(id): Path<String>,
) -> Answer {
    let asked = (Operation::Retrieve, "");
    look(&calls, &cut, asked, |books| read::refund(books, &id)).await
}

async fn list_refunds(
    State(calls): State<Calls>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    RawQuery(query): RawQuery,
) -> Answer {
    let form = Form::parse(query.unwrap_or_default().as_bytes());
    let asked = (
        Operation::List,
        form.get("payment_intent").unwrap_or_default(),
    );
    look(&calls, &cut, asked, |books| read::refunds(books, &form)).await
}

/// Reads, between the faults that strike before and after.
async fn look(
    calls: &Calls,
    cut: &Cut,
    (operation, id): (Operation, &str),
    read: impl FnOnce(&Books) -> Result<Answer, Refusal>,
) -> Answer {
    if let Some(end) = calls.strike_read(operation, When::Before, id).await {
        return end.on(cut).await.0;
    }
    let read = calls.ledger.read(read).await;
    if let Some(end) = calls.strike_read(operation, When::After, id).await {
        return end.on(cut).await.0;
    }
    match read {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => refusal.answer(),
        Err(error) => Refusal::internal(&error.to_string()).answer(),
    }
}

/// A POST with its form, not yet a call.
struct Posted {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl<S: Send + Sync> axum::extract::FromRequest<S> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let path = request.uri().path().to_owned();
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        Ok(Self {
            path,
            headers,
            body,
        })
    }
}

impl Posted {
    fn call(self, operation: Operation, intent: Option<String>) -> Result<Call, Refusal> {
        let text = |name| self.headers.get(name)?.to_str().ok();
        let kind = text(header::CONTENT_TYPE);
        let is_form =
            kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if !self.body.is_empty() && !is_form {
            return Err(Refusal::not_a_form());
        }
        let key = text(HeaderName::from_static("idempotency-key"));
        Ok(Call {
            operation,
            key: key.map(str::to_owned),
            form: Form::parse(&self.body),
            path: self.path,
            intent,
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (status, kind, self.body).into_response()
    }
}
