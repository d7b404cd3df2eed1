//! `idle`: what clients cost that are connected and ask nothing.

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::report::{Row, Spread};
use crate::shop::{Stack, progress};
use crate::usage;

/// So many at a time.
const STEP: usize = 1_000;

/// How often so many come; the first ones fill what later ones use again.
const STEPS: usize = 2;

/// Each asks once, as a browser does before it idles.
const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) async fn run(stack: &Stack) -> anyhow::Result<Vec<Row>> {
    let entry = stack.command_api().trim_start_matches("http://");
    let bar = progress("idle", STEPS);
    let mut clients = Vec::new();
    let mut added = Vec::new();
    let mut before = usage::own_resident_mib();
    for _ in 0..STEPS {
        for _ in 0..STEP {
            clients.push(connect(entry).await?);
        }
        let now = usage::own_resident_mib();
        added.push(now - before);
        before = now;
        bar.inc(1);
    }
    bar.finish_and_clear();
    // The first thousand also warms up; all of them are shown as minimum and maximum.
    let what = format!("per {STEP} idle connections");
    Ok(vec![Row::resident("idle", what, Spread::of(&added))])
}

async fn connect(entry: &str) -> anyhow::Result<TcpStream> {
    let mut client = TcpStream::connect(entry).await.context(
        "no more connections: raise the limit of open files (ulimit -n) to 20,000 for this one",
    )?;
    client.write_all(REQUEST).await?;
    let mut answer = [0; 1024];
    let read = client.read(&mut answer).await?;
    let begins = answer.get(..read).unwrap_or_default();
    ensure!(begins.starts_with(b"HTTP/1.1 200"), "not answered");
    Ok(client)
}
