//! `POST /v1/products/import`: products line by line, as many as there are.
//!
//! ```text
//!   body ──► lines ──► 64 at a time, those of one SKU in order ──► ImportProduct, PublishProduct
//!                          │ every 1,000 lines                       each under an id that follows
//!                          ▼                                         from import and line number
//!                event.product.import.<id>: how far, what came of it, a digest of all lines so far
//! ```
//!
//! Nothing is promised that could be lost: the answer comes when every line is done. Where the body
//! breaks off the import says so, and the same lines under the same key go on behind the last line
//! on record; the few after it that were done all the same are found in the log by their ids. One that
//! had nothing to do is not found, and may have something to do now, before a later line of the same
//! product that is found: that one is done once more behind it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use edge::json::must_be_uncoded;
use edge::openapi::{self, Calls, Part, about};
use edge::{Deadline, IdempotencyKey, Problem};
use futures::future::join_all;
use kernel::{ImportId, Sku};
use product::{
    ERRORS_KEPT_MAX, Import, ImportCommand, ImportRefusal, ImportStatus, LineError, Product,
    ProductCommand, ProductRefusal, ProductStatus, Report, Tally,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use streams::{CommandMeta, ExecuteError, Executed, Outcome};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::api::Api;
use crate::batch::{Batch, ProductLine, shortened, wrong};
use crate::call::{Call, Operators};
use crate::error::{self, refusals};
use crate::lines::{Line, Lines};
use crate::write::{Made, Written};

/// Most imports at once; each holds at most [`LINES_AT_ONCE`] lines.
pub(crate) const IMPORTS_AT_ONCE_MAX: usize = 8;

/// Lines that are worked on at the same time.
const LINES_AT_ONCE: u64 = 64;

/// Lines between two records of how far an import is.
const LINES_PER_RECORD: u64 = 1_000;

pub(crate) fn calls() -> Calls<Api> {
    let line = r#"{"sku": "MUG", "title": "Millstone mug", "description": "Holds tea.", "category": "Kitchen", "price": {"amount": 1299, "currency": "EUR"}, "publish": true}"#;
    Calls::default().post(
        "/v1/products/import",
        about("Import products, one a line, any number")
            .more(
                "The answer comes when every line is done. What broke off goes on when the same \
                 lines are sent under the same key.",
            )
            .refuses(refusals([ImportRefusal::ImportDiffers]))
            .refuses([too_many(), Problem::malformed("")])
            .example(format!("{line}\n").into()),
        import,
    )
}

async fn import(
    State(api): State<Api>,
    Operators(call): Operators,
    key: IdempotencyKey,
    deadline: Deadline,
    Ndjson(body): Ndjson,
) -> Result<Made<Imported>, Problem> {
    let slots = Arc::clone(&api.imports);
    let slot = slots.try_acquire_owned().map_err(|_| too_many())?;
    let run = Run {
        id: ImportId(call.derive("import", &key)),
        api,
        call,
        deadline: deadline.clone(),
        tally: Tally::default(),
        errors: Vec::new(),
        recorded: 0,
        reached: HashMap::new(),
        _slot: slot,
    };
    // A task of its own: it says how far it came also when the client is gone.
    let run = tokio::spawn(run.run(key, Lines::of(body, deadline)));
    run.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an import ended abnormally");
        Err(Problem::internal())
    })
}

/// A body of lines, each of them JSON.
struct Ndjson(Body);

/// Its media type.
const NDJSON: &str = "application/x-ndjson";

impl<S: Sync> FromRequest<S> for Ndjson {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        must_be_uncoded(request.headers())?;
        let declared = request.headers().get(CONTENT_TYPE);
        let declared = declared.and_then(|value| value.to_str().ok());
        let essence = declared.and_then(|value| value.split(';').next());
        if essence.is_some_and(|it| it.trim().eq_ignore_ascii_case(NDJSON)) {
            return Ok(Self(request.into_body()));
        }
        Err(not_ndjson())
    }
}

impl Part for Ndjson {
    fn describe(call: &mut openapi::Call<'_>) {
        let description = "A product a line, of any number.";
        call.body_as(NDJSON, description, &json!({}));
        call.problem(not_ndjson());
        call.problem(Problem::coded());
    }
}

fn not_ndjson() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "the body must be application/x-ndjson: a product a line",
    )
}

fn too_many() -> Problem {
    let detail = format!("at most {IMPORTS_AT_ONCE_MAX} imports run at once");
    Problem::unavailable("overloaded", detail)
}

/// 503: only a process that hosts the context takes imports in.
pub(crate) fn not_here() -> Problem {
    let detail = "imports are taken in by the processes that host the product context";
    Problem::unavailable("unavailable", detail)
}

/// An import at work.
struct Run {
    id: ImportId,
    api: Api,
    call: Call,
    /// Each line that is done moves it, and each record.
    deadline: Deadline,
    /// What is done.
    tally: Tally,
    /// What was wrong with lines since the last record.
    errors: Vec<LineError>,
    /// How many lines are on record.
    recorded: u64,
    /// The version of each product at which one of its lines since the last record came into force.
    reached: HashMap<Sku, u64>,
    _slot: OwnedSemaphorePermit,
}

/// What became of one line.
enum Became {
    Created,
    Updated,
    Unchanged,
    Refused(LineError),
}

impl Run {
    async fn run(
        mut self,
        key: IdempotencyKey,
        mut lines: Lines,
    ) -> Result<Made<Imported>, Problem> {
        let key = key.as_str().to_owned();
        let started = self.start(key).await?;
        let status = started.state.status();
        let known = started.state.report().cloned().unwrap_or_default();
        self.recorded = known.tally.lines;
        self.tally = known.tally;
        let ended = if status == Some(ImportStatus::Completed) {
            self.repeat(&mut lines, started).await
        } else {
            self.go_on(&mut lines).await
        };
        match ended {
            Ok(made) => Ok(made),
            Err(problem) => {
                self.interrupt(&problem).await;
                Err(problem)
            }
        }
    }

    /// It was done before: the same lines are answered in the same way.
    async fn repeat(
        &mut self,
        lines: &mut Lines,
        done: Executed<Import>,
    ) -> Result<Made<Imported>, Problem> {
        self.pass_known(lines).await?;
        if lines.next().await?.is_some() {
            return Err(differs());
        }
        Ok(self.answer(&done, true))
    }

    async fn go_on(&mut self, lines: &mut Lines) -> Result<Made<Imported>, Problem> {
        self.pass_known(lines).await?;
        loop {
            let batch = self.read(lines).await?;
            let is_last = batch.is_last;
            self.import(batch).await?;
            if is_last {
                break;
            }
            if self.tally.lines - self.recorded >= LINES_PER_RECORD {
                let (tally, errors) = self.news();
                self.record(ImportCommand::RecordProgress { tally, errors })
                    .await?;
                self.recorded = self.tally.lines;
                self.errors.clear();
                self.reached.clear();
            }
        }
        let (tally, errors) = self.news();
        let done = self
            .record(ImportCommand::CompleteImport { tally, errors })
            .await?;
        Ok(self.answer(&done, false))
    }

    /// Reads the lines that are on record, which must be the same ones.
    async fn pass_known(&self, lines: &mut Lines) -> Result<(), Problem> {
        let mut digest = String::new();
        for _ in 0..self.tally.lines {
            let line = lines.next().await?.ok_or_else(differs)?;
            digest = self.digest(&digest, &line);
        }
        if digest == self.tally.digest {
            Ok(())
        } else {
            Err(differs())
        }
    }

    /// The next lines, as many as are worked on at once.
    async fn read(&self, lines: &mut Lines) -> Result<Batch, Problem> {
        let mut batch = Batch::after(&self.tally);
        while batch.lines < self.tally.lines + LINES_AT_ONCE {
            let Some(line) = lines.next().await? else {
                batch.is_last = true;
                break;
            };
            let digest = self.digest(&batch.digest, &line);
            batch.take(&line, digest);
        }
        Ok(batch)
    }

    async fn import(&mut self, batch: Batch) -> Result<(), Problem> {
        let products = batch.products.iter();
        let all = products.map(|(sku, lines)| self.product(sku, lines));
        let outcomes: Result<Vec<_>, _> = join_all(all).await.into_iter().collect();
        let mut errors = batch.errors;
        let outcomes = outcomes?;
        for ((sku, _), (reached, _)) in batch.products.iter().zip(&outcomes) {
            self.reached.insert(sku.clone(), *reached);
        }
        for became in outcomes.into_iter().flat_map(|(_, all)| all) {
            match became {
                Became::Created => self.tally.created += 1,
                Became::Updated => self.tally.updated += 1,
                Became::Unchanged => self.tally.unchanged += 1,
                Became::Refused(error) => errors.push(error),
            }
        }
        errors.sort_by_key(|error| error.line);
        self.tally.failed += errors.len() as u64;
        self.tally.lines = batch.lines;
        self.tally.digest = batch.digest;
        let room = ERRORS_KEPT_MAX.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(room));
        Ok(())
    }

    /// The lines of one product, one after another; with the version that it had reached.
    async fn product(
        &self,
        sku: &Sku,
        lines: &[(u64, ProductLine)],
    ) -> Result<(u64, Vec<Became>), Problem> {
        let mut reached = self.reached.get(sku).copied().unwrap_or_default();
        let mut all = Vec::with_capacity(lines.len());
        for line in lines {
            let became = self.line(sku, line, &mut reached).await;
            self.deadline.extend();
            // Also after a failure: it may have happened.
            self.api.questions.forget_product(sku);
            all.push(became?);
        }
        Ok((reached, all))
    }

    async fn line(
        &self,
        sku: &Sku,
        numbered: &(u64, ProductLine),
        reached: &mut u64,
    ) -> Result<Became, Problem> {
        let (number, line) = (numbered.0, &numbered.1);
        let mut done = self.fields(sku, numbered, "import").await;
        // Done before, but a line in front of it has come into force since.
        if let Ok(product) = &done
            && product.outcome == Outcome::Replayed
            && product.version < *reached
        {
            let purpose = format!("import/behind/{reached}");
            done = self.fields(sku, numbered, &purpose).await;
        }
        let product = match done {
            Ok(product) => product,
            Err(failure) => return refused(number, failure),
        };
        // Where there was nothing to do, its version tells what others have done since too.
        if product.outcome != Outcome::AlreadyTrue {
            *reached = product.version.max(*reached);
        }
        let is_new = product.version == product.events.len() as u64;
        let mut changed = !product.events.is_empty();
        if line.publish && product.state.status() != Some(ProductStatus::Published) {
            let meta = self.meta(number, "publish");
            match self
                .execute(sku, ProductCommand::PublishProduct {}, meta)
                .await
            {
                Ok(published) => changed |= !published.events.is_empty(),
                Err(failure) => return refused(number, failure),
            }
        }
        Ok(match (changed, is_new) {
            (false, _) => Became::Unchanged,
            (true, true) => Became::Created,
            (true, false) => Became::Updated,
        })
    }

    /// Gives the product what the line says of it.
    async fn fields(
        &self,
        sku: &Sku,
        (number, line): &(u64, ProductLine),
        purpose: &str,
    ) -> Result<Executed<Product>, ExecuteError<ProductRefusal>> {
        let command = ProductCommand::ImportProduct {
            title: line.title.clone(),
            description: line.description.clone(),
            category: line.category.clone(),
            price: line.price,
        };
        let meta = self.api.digested(self.meta(*number, purpose), line);
        self.execute(sku, command, meta).await
    }

    async fn execute(
        &self,
        sku: &Sku,
        command: ProductCommand,
        meta: CommandMeta,
    ) -> Result<Executed<Product>, ExecuteError<ProductRefusal>> {
        let streams = &self.api.streams;
        streams
            .execute::<Product>(&sku.into(), command, &meta)
            .await
    }

    /// A line's command: the same line of the same import has the same one for ever.
    fn meta(&self, number: u64, purpose: &str) -> CommandMeta {
        let name = format!("{number}/{purpose}");
        let command_id = Uuid::new_v5(&self.id.0, name.as_bytes());
        let meta = self.call.command(command_id);
        meta.with_causation(self.id.to_string())
    }

    /// Begins it, or goes on with it, if its version fulfils the call's condition.
    async fn start(&self, key: String) -> Result<Executed<Import>, Problem> {
        let meta = self.call.command(Uuid::now_v7());
        let (id, command) = (self.id.into(), ImportCommand::StartImport { key });
        let started = self.api.write::<Import>(&self.call, &id, command, &meta);
        started.await
    }

    /// What happened to the import itself. Its own rules make a repetition harmless.
    async fn record(&self, command: ImportCommand) -> Result<Executed<Import>, Problem> {
        self.deadline.extend();
        let meta = self.call.command(Uuid::now_v7());
        let id = self.id.into();
        let recorded = self.api.streams.execute::<Import>(&id, command, &meta);
        recorded.await.map_err(error::of_execute)
    }

    async fn interrupt(&self, problem: &Problem) {
        let (tally, errors) = self.news();
        let Ok(reason) = shortened(&problem.detail).parse() else {
            // Details of ours are neither empty nor do they hold control characters.
            return;
        };
        let command = ImportCommand::InterruptImport {
            tally,
            errors,
            reason,
        };
        if let Err(problem) = self.record(command).await {
            let (id, code) = (self.id, problem.code);
            tracing::warn!(%id, %code, "an import broke off, which could not be recorded");
        }
    }

    fn news(&self) -> (Tally, Vec<LineError>) {
        (self.tally.clone(), self.errors.clone())
    }

    /// Over `line` and all before it.
    fn digest(&self, before: &str, line: &Line) -> String {
        let mut text = format!("{before}\n{}\n", line.bytes).into_bytes();
        text.extend_from_slice(&line.text);
        self.api.digest.digest(&text)
    }

    fn answer(&self, done: &Executed<Import>, replayed: bool) -> Made<Imported> {
        let report = done.state.report().cloned().unwrap_or_default();
        let written = Written {
            replayed,
            ..Written::from(done)
        };
        let location = format!("/v1/products/imports/{}", self.id);
        written.made(location, Imported::new(self.id, report))
    }
}

/// A refusal is the line's own; a failure ends the import for now.
fn refused(number: u64, failure: ExecuteError<ProductRefusal>) -> Result<Became, Problem> {
    let is_refusal = matches!(
        failure,
        ExecuteError::Refused(_) | ExecuteError::KeyReused | ExecuteError::TooLarge
    );
    let problem = error::of_execute(failure);
    if is_refusal {
        Ok(Became::Refused(wrong(number, &problem)))
    } else {
        Err(problem)
    }
}

fn differs() -> Problem {
    error::of_refusal(&ImportRefusal::ImportDiffers)
}

/// What came of an import.
#[derive(Serialize, JsonSchema)]
struct Imported {
    /// Its id.
    id: ImportId,
    /// How far it has come.
    status: ImportStatus,
    /// How many lines there were.
    lines: u64,
    /// Products that are new.
    created: u64,
    /// Products that were changed.
    updated: u64,
    /// Products that were so already.
    unchanged: u64,
    /// Lines that were not done.
    failed: u64,
    /// What was wrong with the first of these.
    errors: Vec<LineError>,
}

impl Imported {
    fn new(id: ImportId, report: Report) -> Self {
        let Tally {
            lines,
            created,
            updated,
            unchanged,
            failed,
            digest: _,
        } = report.tally;
        Self {
            id,
            status: ImportStatus::Completed,
            lines,
            created,
            updated,
            unchanged,
            failed,
            errors: report.errors,
        }
    }
}
