//! `gateway`: a read through the entry beside the same call to the query API itself, and beside nginx in
//! the entry's place; and a write beside the same one to the command API. Every role is a process of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use devstack::launch::{Child, Launcher, Signal, Spawner, Spec};

use crate::Args;
use crate::commands::Posts;
use crate::load::{Run, Take, closed_loop, in_turn};
use crate::report::{Row, Spread, rows};
use crate::shop::{Stack, progress};

/// How many requests are under way at the same time.
const IN_FLIGHT: usize = 64;

/// performance.md: through the gateway over the same call to the query API.
const TARGET: f64 = 0.85;

/// How many products are read in turn, and written to at once.
const PRODUCTS: usize = 64;

/// Where Debian puts it, which is not on everybody's search path.
const SBIN: &str = "/usr/sbin";

/// How long nginx may take to end in order.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether something answers, and how many times at most.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 100;

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let mut skus = Vec::new();
    for _ in 0..PRODUCTS {
        skus.push(stack.product(1).await?);
    }
    // For an operator the gateway keeps no answer: each call goes all the way.
    let token = stack.token()?;
    let gets = |base: &str, token: &str| Gets::new(base, &skus, token);
    let direct = gets(stack.query_api(), &token);
    let through = gets(stack.entry(), &token);
    let kept = gets(stack.entry(), "");
    let nginx = Nginx::start(stack.query_api()).await?;
    let proxied = nginx.as_ref().map(|nginx| gets(&nginx.url, &token));
    for gets in [&direct, &through, &kept].into_iter().chain(&proxied) {
        gets.settled().await?;
    }

    let duration = Duration::from_secs(args.seconds);
    let mut takes = vec![
        direct.take("GET product, query API", duration),
        through.take("the same through the gateway", duration),
        kept.take("without a token: kept there", duration),
    ];
    takes.extend(
        proxied
            .iter()
            .map(|gets| gets.take("the same through nginx", duration)),
    );
    let writes = |base| Posts::of_receipts(stack, base, &skus);
    let [told, passed_on] = [writes(stack.command_api())?, writes(stack.entry())?];
    let writes = [
        told.take("POST …/receive, command API", IN_FLIGHT, duration),
        passed_on.take("the same through the gateway", IN_FLIGHT, duration),
    ];
    let bar = progress("gateway", (takes.len() + writes.len()) * args.rounds);
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    let mut rows = compared(&takes, &runs);
    let runs = in_turn(&writes, args.rounds, &bar).await?;
    rows.extend(compared(&writes, &runs));
    bar.finish_and_clear();
    if let Some(nginx) = nginx {
        nginx.stop().await?;
    }
    Ok(rows)
}

/// Each beside the direct call, and what the way through adds to the half of all answers.
fn compared(takes: &[Take<'_>], runs: &[Vec<Run>]) -> Vec<Row> {
    let mut figures = rows("gateway", IN_FLIGHT, takes, runs);
    if let [direct, through, others @ ..] = figures.as_mut_slice() {
        *through = through.clone().beside(direct.ours, Some(TARGET));
        for other in others {
            *other = other.clone().beside(direct.ours, None);
        }
    }
    let added = |index: usize| Some(added(runs.first()?, runs.get(index)?));
    if let Some(ours) = added(1) {
        let row = Row::plain("gateway", "added p50".to_owned(), "µs", ours);
        // nginx comes last, if it is there.
        figures.push(match added(3) {
            Some(nginx) => row.beside(nginx, None).called("added p50 ÷ nginx's"),
            None => row,
        });
    }
    figures
}

fn added(direct: &[Run], through: &[Run]) -> Spread {
    let more = |(direct, through): (&Run, &Run)| {
        (through.percentile_ms(50.0) - direct.percentile_ms(50.0)) * 1_000.0
    };
    Spread::of(&direct.iter().zip(through).map(more).collect::<Vec<_>>())
}

/// Reads of one product after another.
#[derive(Clone)]
struct Gets {
    http: reqwest::Client,
    urls: Arc<Vec<String>>,
    /// Empty = nobody in particular reads.
    token: String,
}

impl Gets {
    fn new(base: &str, skus: &[String], token: &str) -> Self {
        let urls = skus.iter().map(|sku| format!("{base}/v1/products/{sku}"));
        Self {
            http: reqwest::Client::new(),
            urls: Arc::new(urls.collect()),
            token: token.to_owned(),
        }
    }

    fn take<'a>(&self, what: &str, duration: Duration) -> Take<'a> {
        let gets = self.clone();
        Take::new(what, move || {
            let gets = gets.clone();
            closed_loop(IN_FLIGHT, duration, move |caller, turn| {
                let gets = gets.clone();
                async move { gets.get(caller + usize::try_from(turn)?).await }
            })
        })
    }

    async fn get(&self, number: usize) -> anyhow::Result<()> {
        let url = self.urls.get(number % self.urls.len());
        let mut request = self.http.get(url.context("nothing to read")?);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(status.as_u16() == 200, "{status}: {body:?}");
        Ok(())
    }

    /// Waits until every product can be read.
    async fn settled(&self) -> anyhow::Result<()> {
        for number in 0..PRODUCTS {
            let mut looks = 0;
            while let Err(error) = self.get(number).await {
                looks += 1;
                ensure!(looks < LOOKS_MAX, "product {number} can't be read: {error}");
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

/// nginx in the gateway's place, as plain as it can be and as fast: no log, connections kept.
struct Nginx {
    url: String,
    child: Child,
    // Ends the child when this program ends.
    _spawner: Spawner,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// One in front of `behind`; `None`, and how to get it, where there is none.
    async fn start(behind: &str) -> anyhow::Result<Option<Self>> {
        let Some(program) = on_path("nginx") else {
            eprintln!("bench: no nginx to compare with: apt-get install nginx-light");
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let port = devstack::Reserved::choose(0)?.address().port();
        let file = folder.path().join("nginx.conf");
        let text = configuration(folder.path(), port, behind.trim_start_matches("http://"));
        std::fs::write(&file, text)?;
        let spawner = Spawner::start()?;
        let mut spec = Spec::new(program).args(["-e", "stderr", "-c"]).args([file]);
        spec.log = Some(folder.path().join("nginx.log"));
        let child = spawner.spawn(&Launcher::current()?, &spec).await?;
        Ok(Some(Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
            _spawner: spawner,
            _folder: folder,
        }))
    }

    async fn stop(self) -> anyhow::Result<()> {
        let ended = self.child.stop(Signal::TERM, STOP_PATIENCE).await?;
        ensure!(ended, "nginx did not end in order");
        Ok(())
    }
}

fn configuration(folder: &Path, port: u16, behind: &str) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;\npid {folder}/pid;\nworker_processes auto;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n{temporary}access_log off;\n\
         upstream behind {{ server {behind}; keepalive {IN_FLIGHT}; }}\n\
         server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000;\n\
         location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n\
         }} }}\n"
    )
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from(SBIN)]);
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| program.is_file())
}
