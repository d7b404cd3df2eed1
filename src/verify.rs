//! `millrace verify`: is the log what it should be, and has nobody read further than it goes?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use kernel::wire::WireError;
use projections::read::ViewStatus;
use projections::{Reader, lag};
use serde::Serialize;
use streams::topology::{self, TopologyError};
use streams::verify::{self, Audit, Ends, Finding, Kind, Known, ScanError};
use streams::{Connection, RecordedEvent, Settings};

use crate::provision;
use crate::reach::{ReachArgs, read_through, tell};

/// How long a database may take to answer.
const VIEWS_PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two tries to ask it.
const VIEWS_PAUSE: Duration = Duration::from_millis(200);

/// Settings of `millrace verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Which log.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Nothing is wrong.
    pub ok: bool,
    /// The event streams.
    pub streams: Vec<StreamReport>,
    /// Who reads them, and how far.
    pub readers: Vec<ReaderReport>,
    /// How much is wrong.
    pub findings_total: u64,
    /// What is wrong; of very much, the first of each stream.
    pub findings: Vec<Finding>,
}

/// One event stream.
#[derive(Debug, Serialize)]
pub struct StreamReport {
    /// Its name.
    pub stream: String,
    /// How many events were read.
    pub events: u64,
    /// Of how many aggregates.
    pub aggregates: usize,
    /// How much is wrong with them.
    pub findings: u64,
}

/// Somebody who reads a stream and remembers how far.
#[derive(Debug, Clone, Serialize)]
pub struct ReaderReport {
    /// `view order_summary` or `durable checkout-order`.
    pub reader: String,
    /// Of which stream.
    pub stream: String,
    /// How far it says that it has come.
    pub position: u64,
    /// Of a view: how many events it had not taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// How long the first of them had waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_s: Option<f64>,
}

/// Examines everything and prints what was found.
///
/// # Errors
/// Something could not be looked at, so nothing can be said.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let connection = args.reach.log().await?;
    let (views, stopped) = views(&args.reach, &connection).await?;
    let mut report = examine(&connection, views).await?;
    report.add(stopped);
    tell(&report, report.ok, args.json, Report::words)
}

/// Examines streams, durables, and `views`, which were asked before.
///
/// # Errors
/// Something could not be looked at.
pub async fn examine(connection: &Connection, views: Vec<ReaderReport>) -> anyhow::Result<Report> {
    let mut report = Report {
        readers: views,
        ..Report::default()
    };
    let table = provision::topology();
    match topology::check(connection, &table).await {
        Ok(()) => {
            let floors = verify::floors(connection, &table).await?;
            report
                .readers
                .extend(floors.iter().map(|floor| ReaderReport {
                    reader: format!("durable {}", floor.durable),
                    stream: floor.stream.to_owned(),
                    position: floor.acknowledged.max(floor.delivered),
                    behind: None,
                    behind_s: None,
                }));
        }
        Err(error) => report.add(of_topology(error)?),
    }
    let once = topology::kept_once(connection, &table).await?;
    let lonely = |stream: String| {
        let what = "one server of the cluster alone keeps it: `millrace provision --replicas 3`";
        of_the_table(format!("stream {stream}"), what.to_owned())
    };
    report.add(once.into_iter().map(lonely).collect());
    // Readers were asked first: whoever is ahead now has not just become so.
    let mut ends = BTreeMap::new();
    for context in domains::CONTEXTS {
        let found = match verify::ends(connection, context.stream).await {
            Ok(found) => found,
            // The guard has named it.
            Err(ScanError::Missing { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        ends.insert(context.stream, found);
        let examined = stream(connection, context.name, found).await?;
        report.take(context.stream, examined);
    }
    let ahead = ahead(connection, &report.readers, ends).await?;
    report.add(ahead);
    Ok(report)
}

impl Report {
    fn add(&mut self, findings: Vec<Finding>) {
        self.findings_total += findings.len() as u64;
        self.findings.extend(findings);
        self.ok = self.findings_total == 0;
    }

    fn take(&mut self, stream: &str, audit: Audit<'_>) {
        self.streams.push(StreamReport {
            stream: stream.to_owned(),
            events: audit.events(),
            aggregates: audit.aggregates(),
            findings: audit.count(),
        });
        self.findings_total += audit.count();
        self.findings.extend(audit.into_findings());
        self.ok = self.findings_total == 0;
    }

    /// The report as people read it.
    pub fn words(&self) -> String {
        let mut text = String::new();
        for stream in &self.streams {
            let StreamReport {
                stream,
                events,
                aggregates,
                findings,
            } = stream;
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "{stream:14} {events:>10} events of {aggregates:>8} aggregates   {}",
                amount(*findings)
            );
        }
        for finding in &self.findings {
            let place = finding
                .position
                .map_or_else(String::new, |position| format!(":{position}"));
            let subject = finding.subject.as_deref().unwrap_or_default();
            let _ = writeln!(
                text,
                "{:?} at {}{place} {subject}: {}",
                finding.kind, finding.stream, finding.detail
            );
        }
        for reader in self.readers.iter().filter(|reader| reader.behind > Some(0)) {
            let waits = reader
                .behind_s
                .map(|waits| format!(", the first for {waits:.1} s"));
            let _ = writeln!(
                text,
                "{} is {} events behind {}{}",
                reader.reader,
                reader.behind.unwrap_or_default(),
                reader.stream,
                waits.unwrap_or_default()
            );
        }
        let readers = self.readers.len();
        let _ = if self.ok {
            writeln!(text, "All is well; {readers} readers are within the log.")
        } else {
            writeln!(text, "{} findings.", self.findings_total)
        };
        text
    }
}

fn amount(findings: u64) -> String {
    match findings {
        0 => "well".to_owned(),
        1 => "1 finding".to_owned(),
        more => format!("{more} findings"),
    }
}

/// Reads the stream of a context to the end that it had at the start.
async fn stream<'a>(
    connection: &Connection,
    context: &'a str,
    ends: Ends,
) -> anyhow::Result<Audit<'a>> {
    let mut audit = Audit::new(context, &knows);
    let name = streams::subject::stream_name(context);
    read_through(connection, &name, ends, |message| audit.see(&message)).await?;
    audit.end(ends.last);
    Ok(audit)
}

/// What the domain says about an event.
fn knows(event: &RecordedEvent) -> Known {
    let aggregate = domains::aggregate(&event.context, event.kind.as_deref());
    let Some(aggregate) = aggregate else {
        return Known::NoSuchAggregate;
    };
    let (name, version) = (event.event_type.as_str(), event.schema_version);
    if !aggregate.events.contains(&name) {
        let detail = format!("{} has no event {name} in this code", aggregate.name);
        return Known::Newer(detail);
    }
    match aggregate.reread(name, version, &event.data) {
        Ok(_) => Known::Yes,
        Err(error @ WireError::SchemaVersion { found, known, .. }) if found > known => {
            Known::Newer(error.to_string())
        }
        Err(WireError::Body {
            event_type, source, ..
        }) => Known::Broken(format!("{event_type}: {source}")),
        Err(error @ WireError::SchemaVersion { .. }) => Known::Broken(error.to_string()),
    }
}

fn of_the_table(stream: String, detail: String) -> Finding {
    Finding {
        kind: Kind::Topology,
        stream,
        position: None,
        subject: None,
        detail,
    }
}

fn of_topology(error: TopologyError) -> anyhow::Result<Vec<Finding>> {
    match error {
        TopologyError::Missing { ref what } => {
            Ok(vec![of_the_table(what.clone(), error.to_string())])
        }
        TopologyError::Different(differences) => Ok(differences
            .iter()
            .map(|difference| of_the_table(difference.of.clone(), difference.to_string()))
            .collect()),
        error @ (TopologyError::Name { .. } | TopologyError::Failed { .. }) => Err(error.into()),
    }
}

/// Who says to have come further than the log goes.
async fn ahead(
    connection: &Connection,
    readers: &[ReaderReport],
    mut ends: BTreeMap<&'static str, Ends>,
) -> anyhow::Result<Vec<Finding>> {
    for stream in [topology::TIMERS_STREAM, topology::INBOX_STREAM] {
        if readers.iter().any(|reader| reader.stream == stream) {
            ends.insert(stream, verify::ends(connection, stream).await?);
        }
    }
    let mut findings = Vec::new();
    for reader in readers {
        let Some(end) = ends.get(reader.stream.as_str()) else {
            continue;
        };
        if reader.position > end.last {
            findings.push(Finding {
                kind: Kind::AheadOfLog,
                stream: reader.stream.clone(),
                position: Some(reader.position),
                subject: None,
                detail: format!(
                    "{} has read it; the log ends at {}",
                    reader.reader, end.last
                ),
            });
        }
    }
    Ok(findings)
}

/// Asks the views of a context, again while their database may only be busy.
async fn statuses(reader: &Reader, context: &str) -> anyhow::Result<Vec<ViewStatus>> {
    let deadline = Instant::now() + VIEWS_PATIENCE;
    loop {
        match reader.statuses(context).await {
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                tokio::time::sleep(VIEWS_PAUSE).await;
            }
            asked => return asked.with_context(|| format!("can't ask the views of {context}")),
        }
    }
}

/// How far the read models have come, and which have stopped or don't move.
async fn views(
    reach: &ReachArgs,
    connection: &Connection,
) -> anyhow::Result<(Vec<ReaderReport>, Vec<Finding>)> {
    let reader = reach.views()?;
    let log = connection.streams(Settings::reading());
    let (mut readers, mut findings) = (Vec::new(), Vec::new());
    for context in projections::contexts() {
        for status in statuses(&reader, context).await? {
            let Some(position) = status.failed_position else {
                continue;
            };
            let cause = status.last_error.as_deref();
            let detail = format!(
                "view {}: {}",
                status.view,
                cause.unwrap_or("no reason is known")
            );
            findings.push(of_view(Kind::ViewStopped, &status.stream, position, detail));
        }
        let looked = lag::look(&reader, &log, context).await;
        let lags = looked
            .views
            .with_context(|| format!("can't ask the views of {context}"))?;
        for lag in lags {
            if lag.stalled && lag.stopped_at.is_none() {
                let detail = format!(
                    "view {} doesn't move while {} events wait: does its projector run?",
                    lag.view,
                    lag.behind.unwrap_or_default()
                );
                findings.push(of_view(
                    Kind::ViewStalled,
                    &lag.stream,
                    lag.position,
                    detail,
                ));
            }
            if lag.outdated {
                let detail = format!(
                    "an older version has made rows of view {0}: `millrace rebuild {0} --switch`",
                    lag.view
                );
                findings.push(of_view(
                    Kind::ViewOutdated,
                    &lag.stream,
                    lag.position,
                    detail,
                ));
            }
            readers.push(ReaderReport {
                reader: format!("view {}", lag.view),
                stream: lag.stream,
                position: lag.position,
                behind: lag.behind,
                behind_s: lag.behind_s,
            });
        }
    }
    Ok((readers, findings))
}

fn of_view(kind: Kind, stream: &str, position: u64, detail: String) -> Finding {
    Finding {
        kind,
        stream: stream.to_owned(),
        position: Some(position),
        subject: None,
        detail,
    }
}
