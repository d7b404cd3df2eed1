//! `millrace audit`: does everything add up?
//!
//! What must be so is computed anew, from the JSON of the log and from what the world outside has on
//! record, with nothing of the domains, the sagas or the read models; so it can find their faults.
//!
//! ```text
//!   log ──> books ──┐
//!   provider's lists├──> rules ──> findings
//!   mail sink ──────┤
//!   read models ────┘
//! ```

mod books;
mod outside;
mod rows;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reactors::ProviderConfig;
use serde::Serialize;
use streams::verify::ends;
use streams::{Connection, subject};

use crate::reach::{ReachArgs, bar, read_through, tell};
use books::Books;
use outside::{Ledger, Provider};
pub use rows::RowsReport;
use rules::Standing;

/// The streams that money, goods and mails are in. Orders come first: what they tell of is in the others by
/// then.
const CONTEXTS: [&str; 6] = [
    "order",
    "checkout",
    "payment",
    "inventory",
    "notification",
    "user",
];

/// How often everything is looked at where something seems wrong: what is under way may look so once.
const LOOKS: usize = 3;

/// Before it is looked at again.
const PAUSE: Duration = Duration::from_secs(2);

/// Settings of `millrace audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Which log.
    #[command(flatten)]
    pub reach: ReachArgs,
    /// The payment provider; with --data, that of the local stack.
    #[command(flatten)]
    pub provider: ProviderConfig,
    /// Nothing may be under way: every order is settled or waits for a person, every mail is sent or given
    /// up, no row is behind.
    #[arg(long)]
    pub at_rest: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// An equation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which, in words.
    pub rule: &'static str,
    /// What it does not hold for: `order …`, `payment …`, `stock of …`, `mail …`, or a row.
    pub subject: String,
    /// What is instead.
    pub what: String,
}

/// Orders, by how they stand.
#[derive(Debug, Default, Serialize)]
pub struct OrdersReport {
    /// All.
    pub orders: u64,
    /// By status.
    pub by_status: BTreeMap<&'static str, u64>,
    /// Nothing is under way for them.
    pub settled: u64,
    /// A saga or a refund goes on.
    pub under_way: u64,
    /// Suspended, or their money came back from the bank.
    pub waiting_for_a_person: u64,
    /// A person has settled a part of them: how, only they know.
    pub by_hand: u64,
}

/// Money of one currency, in minor units.
#[derive(Debug, Default, Serialize)]
pub struct MoneyReport {
    /// Taken, by our log.
    pub captured: i64,
    /// Given back, by our log.
    pub refunded: i64,
    /// The difference.
    pub kept: i64,
}

/// The provider's record, in minor units of whatever currency.
#[derive(Debug, Default, Serialize)]
pub struct ProviderReport {
    /// How many intents it has.
    pub intents: usize,
    /// Taken for orders of ours.
    pub captured: i64,
    /// Given back of it.
    pub refunded: i64,
    /// Intents that no payment of ours knows, and that neither took nor hold anything: what is left of a
    /// call that made one and whose answer was lost. Only we could confirm them, so nothing is wrong.
    pub bare: usize,
}

/// Stock, over all SKUs.
#[derive(Debug, Default, Serialize)]
pub struct StockReport {
    /// How many SKUs.
    pub skus: usize,
    /// Units in the house.
    pub on_hand: i64,
    /// Held for orders whose payment is under way.
    pub reserved: i64,
    /// Held for confirmed orders.
    pub committed: i64,
}

/// Mails.
#[derive(Debug, Default, Serialize)]
pub struct MailsReport {
    /// Asked for.
    pub asked: usize,
    /// Sent.
    pub sent: usize,
    /// Neither sent nor given up.
    pub under_way: usize,
    /// Distinct ones that the mail sink has; none where there is no sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<usize>,
}

/// What was counted, and what does not add up.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Every equation holds.
    pub ok: bool,
    /// Nothing was allowed to be under way.
    pub at_rest: bool,
    /// How many events were read.
    pub events: u64,
    /// Orders.
    pub orders: OrdersReport,
    /// Money, by currency.
    pub money: BTreeMap<String, MoneyReport>,
    /// The provider's record.
    pub provider: ProviderReport,
    /// Stock.
    pub stock: StockReport,
    /// Mails.
    pub mails: MailsReport,
    /// Read models.
    pub rows: Vec<RowsReport>,
    /// What does not hold, each time that it was looked at.
    pub findings: Vec<Finding>,
}

/// Computes what must be so, and prints what is not.
///
/// # Errors
/// The log, the provider, the mail sink or a read model can't be read, so nothing can be said.
pub async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let provider = args.reach.provider(args.provider)?;
    let sources = Sources {
        connection: args.reach.log().await?,
        provider: Provider::new(provider.url, provider.secret_key)?,
        reader: args.reach.views()?,
        mail_sink: args.reach.mail_sink()?,
    };
    let report = sources.look_until_sure(args.at_rest).await?;
    tell(&report, report.ok, args.json, Report::words)
}

/// All that is held against each other.
struct Sources {
    connection: Connection,
    provider: Provider,
    reader: projections::Reader,
    /// Only a stack of this machine has one.
    mail_sink: Option<String>,
}

impl Sources {
    /// What is wrong is wrong each time: streams, provider and rows are not read at one moment, and what
    /// happens in between may look wrong once.
    async fn look_until_sure(&self, at_rest: bool) -> anyhow::Result<Report> {
        let mut before: Option<BTreeSet<(&'static str, String)>> = None;
        for look in 1.. {
            let mut report = self.look(at_rest).await?;
            if let Some(before) = &before {
                let again = |it: &Finding| before.contains(&(it.rule, it.subject.clone()));
                report.findings.retain(again);
            }
            report.ok = report.findings.is_empty();
            if report.ok || look == LOOKS {
                return Ok(report);
            }
            let found = report.findings.into_iter().map(|it| (it.rule, it.subject));
            before = Some(found.collect());
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("the last look returns")
    }

    async fn look(&self, at_rest: bool) -> anyhow::Result<Report> {
        let mut books = Books::default();
        for context in CONTEXTS {
            self.read(context, &mut books).await?;
        }
        let bar = bar("provider", 0);
        let ledger = self.provider.ledger(&bar).await?;
        bar.finish_and_clear();
        let standings = books.judge(&ledger, at_rest);
        let taken = match &self.mail_sink {
            Some(sink) => Some(outside::mails(sink).await?),
            None => None,
        };
        if let Some(taken) = &taken {
            books.taken(taken);
        }
        let rows = books.rows(&self.reader, at_rest).await?;
        Ok(Report {
            ok: false,
            at_rest,
            events: books.events,
            orders: orders(&books, &standings),
            money: money(&books),
            provider: provider(&books, &ledger),
            stock: stock(&books),
            mails: MailsReport {
                taken: taken.map(|taken| taken.len()),
                ..mails(&books)
            },
            rows,
            findings: books.findings,
        })
    }

    /// Takes the events of a context in, to the end that its stream has now.
    async fn read(&self, context: &str, books: &mut Books) -> anyhow::Result<()> {
        let stream = subject::stream_name(context);
        let ends = ends(&self.connection, &stream).await?;
        let read = read_through(&self.connection, &stream, ends, |message| {
            match message.event() {
                Ok(event) => books.see(&event),
                Err(error) => books.found("events can be read", message.subject, error.to_string()),
            }
        });
        read.await.with_context(|| format!("can't read {stream}"))
    }
}

fn orders(books: &Books, standings: &BTreeMap<String, Standing>) -> OrdersReport {
    let mut report = OrdersReport::default();
    for (id, order) in &books.orders {
        report.orders += 1;
        *report.by_status.entry(order.status.into()).or_default() += 1;
        let counted = match standings.get(id) {
            Some(Standing::Settled) => &mut report.settled,
            Some(Standing::UnderWay) | None => &mut report.under_way,
            Some(Standing::Waits) => &mut report.waiting_for_a_person,
            Some(Standing::ByHand) => &mut report.by_hand,
        };
        *counted += 1;
    }
    report
}

fn money(books: &Books) -> BTreeMap<String, MoneyReport> {
    let mut by_currency: BTreeMap<_, MoneyReport> = BTreeMap::new();
    for payment in books.payments.values() {
        let sums = by_currency.entry(payment.currency.clone()).or_default();
        sums.captured += payment.captured;
        sums.refunded += payment.refunded();
        sums.kept = sums.captured - sums.refunded;
    }
    by_currency
}

fn provider(books: &Books, ledger: &Ledger) -> ProviderReport {
    let unclaimed = books.unclaimed(ledger).into_iter();
    let bare = unclaimed.filter(|(_, _, intent)| intent.received == 0 && intent.held == 0);
    let begun = ProviderReport {
        bare: bare.count(),
        ..ProviderReport::default()
    };
    let ours = ledger
        .intents
        .values()
        .filter(|intent| intent.order_id.is_some());
    ours.fold(begun, |sums, intent| ProviderReport {
        intents: sums.intents + 1,
        captured: sums.captured + intent.received,
        refunded: sums.refunded + intent.refunded,
        ..sums
    })
}

fn stock(books: &Books) -> StockReport {
    let mut report = StockReport {
        skus: books.bins.len(),
        ..StockReport::default()
    };
    for bin in books.bins.values() {
        let [on_hand, reserved, committed] = bin.figures();
        report.on_hand += on_hand;
        report.reserved += reserved;
        report.committed += committed;
    }
    report
}

fn mails(books: &Books) -> MailsReport {
    let mails = || books.mails.values();
    MailsReport {
        asked: books.mails.len(),
        sent: mails().filter(|mail| mail.sent).count(),
        under_way: mails().filter(|mail| !mail.over).count(),
        taken: None,
    }
}

impl Report {
    /// The report as people read it.
    pub fn words(&self) -> String {
        let mut text = String::new();
        for (what, figure, more) in self.figures() {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{what:10} {figure:>9}   {more}");
        }
        for Finding {
            rule,
            subject,
            what,
        } in &self.findings
        {
            let _ = writeln!(text, "✗ {rule}: {subject}: {what}");
        }
        let _ = match self.findings.len() {
            0 => writeln!(text, "Everything adds up, over {} events.", self.events),
            1 => writeln!(text, "1 equation does not hold."),
            more => writeln!(text, "{more} equations do not hold."),
        };
        text
    }

    /// What was counted: of what, how much, and what else.
    fn figures(&self) -> Vec<(&'static str, String, String)> {
        let mut figures = Vec::new();
        let mut line = |what, figure: &dyn ToString, more| {
            figures.push((what, figure.to_string(), more));
        };
        let orders = &self.orders;
        let statuses = orders.by_status.iter();
        let statuses: Vec<_> = statuses
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        line("orders", &orders.orders, statuses.join(", "));
        let (under_way, waiting) = (orders.under_way, orders.waiting_for_a_person);
        let more = format!(
            "settled, {under_way} under way, {waiting} waiting for a person, {} settled by hand",
            orders.by_hand
        );
        line("", &orders.settled, more);
        for (currency, money) in &self.money {
            let (back, kept) = (money.refunded, money.kept);
            let more =
                format!("captured − {back} refunded = {kept} kept, in minor units of {currency}");
            line("money", &money.captured, more);
        }
        let provider = &self.provider;
        let (back, intents) = (provider.refunded, provider.intents);
        let more = format!(
            "captured, {back} refunded, of {intents} intents, {} of which no payment knows",
            provider.bare
        );
        line("provider", &provider.captured, more);
        let stock = &self.stock;
        let (skus, reserved) = (stock.skus, stock.reserved);
        let more = format!(
            "on hand of {skus} SKUs, {reserved} reserved, {} committed",
            stock.committed
        );
        line("stock", &stock.on_hand, more);
        let mails = &self.mails;
        let taken = mails
            .taken
            .map(|taken| format!(", {taken} in the mail sink"));
        let (sent, under_way) = (mails.sent, mails.under_way);
        let more = format!(
            "asked for, {sent} sent, {under_way} under way{}",
            taken.unwrap_or_default()
        );
        line("mails", &mails.asked, more);
        for rows in &self.rows {
            let (view, behind, ahead) = (rows.view, rows.behind, rows.ahead);
            let more =
                format!("of {view} say what the log says, {behind} are behind, {ahead} ahead");
            line("rows", &rows.same, more);
        }
        figures
    }
}
