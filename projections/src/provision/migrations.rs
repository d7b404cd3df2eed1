//! Every migration, in one table. The files are part of the binary.

use std::borrow::Cow;

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::{ProvisionError, execute};

/// Longest that a migration waits for a table at a time, in milliseconds. Whoever comes after it waits for it,
/// also who only reads, and a reader's statement may take four seconds.
const LOCK_MS: u32 = 2_000;

/// Pause before it is tried again.
const LOCK_PAUSE: Duration = Duration::from_secs(3);

/// How often it is tried: for five minutes.
const LOCK_TRIES_MAX: u32 = 60;

/// What Postgres says to who has waited for so long.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A migration: its context, its number within it, what it is called, and its file.
type Entry = (&'static str, i64, &'static str, &'static str);

macro_rules! file {
    ($path:literal) => {
        include_str!(concat!("../../migrations/", $path))
    };
}

/// Applied in this order; one that was applied never changes again.
const MIGRATIONS: [Entry; 31] = [
    (
        "user",
        1,
        "user account",
        file!("user/0001_user_account.sql"),
    ),
    (
        "user",
        2,
        "account page",
        file!("user/0002_account_page.sql"),
    ),
    ("user", 3, "revision", file!("user/0003_revision.sql")),
    (
        "product",
        1,
        "product card",
        file!("product/0001_product_card.sql"),
    ),
    (
        "product",
        2,
        "price history",
        file!("product/0002_price_history.sql"),
    ),
    (
        "product",
        3,
        "import report",
        file!("product/0003_import_report.sql"),
    ),
    (
        "product",
        4,
        "product words",
        file!("product/0004_product_words.sql"),
    ),
    ("product", 5, "revision", file!("product/0005_revision.sql")),
    (
        "inventory",
        1,
        "stock level",
        file!("inventory/0001_stock_level.sql"),
    ),
    (
        "inventory",
        2,
        "low stock",
        file!("inventory/0002_low_stock.sql"),
    ),
    (
        "inventory",
        3,
        "stock movement",
        file!("inventory/0003_stock_movement.sql"),
    ),
    ("inventory", 4, "held", file!("inventory/0004_held.sql")),
    (
        "inventory",
        5,
        "revision",
        file!("inventory/0005_revision.sql"),
    ),
    (
        "order",
        1,
        "order summary",
        file!("order/0001_order_summary.sql"),
    ),
    (
        "order",
        2,
        "sales report",
        file!("order/0002_sales_report.sql"),
    ),
    ("order", 3, "revision", file!("order/0003_revision.sql")),
    (
        "payment",
        1,
        "payment summary",
        file!("payment/0001_payment_summary.sql"),
    ),
    ("payment", 2, "takings", file!("payment/0002_takings.sql")),
    (
        "payment",
        3,
        "mismatched",
        file!("payment/0003_mismatched.sql"),
    ),
    ("payment", 4, "due", file!("payment/0004_due.sql")),
    ("payment", 5, "revision", file!("payment/0005_revision.sql")),
    (
        "payment",
        6,
        "by status",
        file!("payment/0006_by_status.sql"),
    ),
    (
        "notification",
        1,
        "notification entry",
        file!("notification/0001_notification_entry.sql"),
    ),
    (
        "notification",
        2,
        "suppression entry",
        file!("notification/0002_suppression_entry.sql"),
    ),
    (
        "notification",
        3,
        "webhooks",
        file!("notification/0003_webhooks.sql"),
    ),
    (
        "notification",
        4,
        "revision",
        file!("notification/0004_revision.sql"),
    ),
    (
        "notification",
        5,
        "by status",
        file!("notification/0005_by_status.sql"),
    ),
    (
        "checkout",
        1,
        "checkout timeline",
        file!("checkout/0001_checkout_timeline.sql"),
    ),
    (
        "checkout",
        2,
        "aftermath",
        file!("checkout/0002_aftermath.sql"),
    ),
    (
        "checkout",
        3,
        "revision",
        file!("checkout/0003_revision.sql"),
    ),
    (
        "checkout",
        4,
        "saga progress",
        file!("checkout/0004_saga_progress.sql"),
    ),
];

/// Brings the database of `context` up to date.
pub(super) async fn apply(
    context: &'static str,
    database: &mut PgConnection,
) -> Result<(), ProvisionError> {
    let bound = format!("set lock_timeout = {LOCK_MS}");
    execute(database, "bound how long a migration waits", &bound).await?;
    let migrator = migrator(context);
    let mut tries = 1;
    while let Err(source) = migrator.run_direct(database).await {
        if tries == LOCK_TRIES_MAX || !has_waited(&source) {
            return Err(ProvisionError::Migrate { context, source });
        }
        tracing::info!(
            context,
            tries,
            "a migration waits for a table that is in use"
        );
        tries += 1;
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    execute(database, "let what follows wait", "reset lock_timeout").await
}

/// Did it get no lock in time?
fn has_waited(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// The migrations of `context`. What a newer version has applied beside them only adds, and stays.
fn migrator(context: &str) -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .filter(|(of, ..)| *of == context)
        .map(|(_, number, name, sql)| {
            Migration::new(
                *number,
                Cow::Borrowed(name),
                MigrationType::Simple,
                Cow::Borrowed(sql),
                false,
            )
        })
        .collect();
    Migrator {
        migrations,
        ignore_missing: true,
        ..Migrator::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_applied() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files = 0;
        for context in std::fs::read_dir(folder).unwrap() {
            let context = context.unwrap();
            for file in std::fs::read_dir(context.path()).unwrap() {
                let file = file.unwrap();
                let name = format!("{}.sql", file.path().file_stem().unwrap().display());
                let sql = std::fs::read_to_string(file.path()).unwrap();
                let applied = MIGRATIONS.iter().any(|(of, number, what, applied)| {
                    context.file_name() == *of
                        && name == format!("{number:04}_{}.sql", what.replace(' ', "_"))
                        && sql == *applied
                });
                assert!(applied, "{} is not in the list", file.path().display());
                files += 1;
            }
        }
        assert_eq!(files, MIGRATIONS.len());
    }

    #[test]
    fn every_view_has_its_table_and_its_position() {
        for view in crate::VIEWS {
            let sql: String = MIGRATIONS
                .iter()
                .filter(|(context, ..)| *context == view.context)
                .map(|(.., sql)| *sql)
                .collect();
            let table = format!("create table {} (", view.name);
            assert!(sql.contains(&table), "{view:?}");
            let position = format!("values ('{}', '{}')", view.name, view.stream());
            assert!(sql.contains(&position), "{view:?}");
            for column in view.filters {
                // As it stands in the row, or computed from it.
                let plain = sql.contains(&format!("payload ->> '{column}'"));
                let computed = sql.contains(&format!("add column {column} "));
                assert!(plain || computed, "{view:?} {column}");
            }
        }
    }
}
