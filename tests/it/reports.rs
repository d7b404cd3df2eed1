//! Reports say what the orders, the payments and the stock say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::app::{App, Must, PATIENCE, folder, shared};
use crate::rebuild::rebuild;

/// What one unit costs.
const PRICE: i64 = 1_299;

/// All rows of a list, a few at a time, and none older than `token`.
async fn all(app: &App, path: &str, token: &str) -> Vec<Value> {
    let operator = app.operator();
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = format!("{path}{separator}limit=3{cursor}");
        let page = operator.get_after(&page, token).await.must();
        rows.extend(page.body["items"].as_array().unwrap().clone());
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// How far the view behind a list is.
async fn position(app: &App, path: &str) -> String {
    let page = app.operator().get(path).await.must();
    page.header("Projection-Position").unwrap().to_owned()
}

fn amount(of: &Value) -> i64 {
    of["amount"].as_i64().unwrap_or(0)
}

fn day(time: &Value) -> String {
    time.as_str().unwrap()[..10].to_owned()
}

/// Sold, placed, units and revenue by day and product, as the orders have it.
fn sold(orders: &[Value]) -> BTreeMap<(String, String), [i64; 6]> {
    let mut sold = BTreeMap::<_, [i64; 6]>::new();
    for order in orders {
        let status = order["status"].as_str().unwrap();
        let keeps = ["confirmed", "shipped", "delivered"].contains(&status);
        for line in order["lines"].as_array().unwrap() {
            let sku = line["sku"].as_str().unwrap().to_owned();
            let row = sold.entry((day(&order["placed_at"]), sku)).or_default();
            let quantity = line["quantity"].as_i64().unwrap();
            row[0] += 1;
            row[1] += i64::from(keeps);
            row[2] += i64::from(status == "rejected");
            row[3] += i64::from(status == "canceled");
            if keeps {
                row[4] += quantity;
                row[5] += quantity * amount(&line["unit_price"]);
            }
        }
    }
    sold
}

/// Orders with every outcome: kept, declined, canceled, and one of which a piece came back.
async fn trade(app: &App, mug: &str, tee: &str) {
    let customer = app.customer().await;
    let kept = customer.tries(&[(mug, 2), (tee, 1)], "pm_card_visa").await;
    let kept = kept.success().unwrap().text("/id").to_owned();
    let declined = customer.orders(mug, 1, "pm_card_chargeDeclined").await;
    let canceled = customer.orders(tee, 3, "pm_card_visa").await;
    let back = customer.orders(mug, 2, "pm_card_visa").await;
    app.order_is(&kept, "confirmed").await;
    app.order_is(&declined, "rejected").await;
    app.order_is(&canceled, "confirmed").await;
    let path = format!("/v1/orders/{canceled}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    customer.shop.post(&path, &reason).await.must();
    app.delivers(&back).await;
    let path = format!("/v1/orders/{back}/returns");
    let lines = json!({ "lines": [{ "sku": mug, "quantity": 1 }], "reason": "too heavy" });
    let asked = customer.shop.post(&path, &lines).await.unwrap();
    let id = asked.success().unwrap().text("/id").to_owned();
    for step in ["approve", "receive"] {
        let path = format!("{path}/{id}/{step}");
        app.operator().post(&path, &json!({})).await.must();
    }
    for (order, money) in [(&canceled, "refunded"), (&back, "partially_refunded")] {
        let path = format!("/v1/orders/{order}");
        let paid = |row: &Value| row["payment_status"] == money;
        let operator = app.operator();
        operator
            .wait_for(money, &path, PATIENCE, paid)
            .await
            .unwrap();
    }
    app.stock_is(mug, [19, 0, 2]).await;
    app.stock_is(tee, [20, 0, 1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_say_what_the_orders_say() {
    let app = App::start(&folder("reports")).await;
    let (mug, tee) = (app.product(20).await, app.product(20).await);
    trade(&app, &mug, &tee).await;

    let token = position(&app, "/v1/orders").await;
    let orders = all(&app, "/v1/orders", &token).await;
    let report = all(&app, "/v1/reports/sales", &token).await;
    let mut told = BTreeMap::new();
    for row in &report {
        let key = (
            row["day"].as_str().unwrap().to_owned(),
            row["sku"].as_str().unwrap().to_owned(),
        );
        let count = |name: &str| row[name].as_i64().unwrap();
        let [orders, sold] = ["orders", "sold"].map(count);
        let [rejected, canceled, units] = ["rejected", "canceled", "units"].map(count);
        let revenue = amount(&row["revenue"]);
        told.insert(key, [orders, sold, rejected, canceled, units, revenue]);
    }
    assert_eq!(told, sold(&orders));
    let revenue: i64 = told.values().map(|row| row[5]).sum();
    assert_eq!(revenue, 5 * PRICE);
    let returned: i64 = report.iter().map(|r| r["returned"].as_i64().unwrap()).sum();
    assert_eq!(returned, 1);
    let text = json!(report).to_string();
    assert!(
        !text.contains("user_id") && !text.contains("Grace"),
        "{text}"
    );

    takings_are_what_the_payments_say(&app).await;
    movements_lead_to_the_stock(&app, &mug).await;
    narrowed(&app, &mug, &report).await;
    for view in ["sales_report", "takings", "stock_movement"] {
        let (code, report) = rebuild(&app, view, &["--ci", "--switch"]).await;
        assert_eq!(code, 0, "{report}");
    }
    let token = position(&app, "/v1/orders").await;
    assert_eq!(all(&app, "/v1/reports/sales", &token).await, report);
}

async fn takings_are_what_the_payments_say(app: &App) {
    let token = position(app, "/v1/payments").await;
    let payments = all(app, "/v1/payments", &token).await;
    let takings = all(app, "/v1/reports/takings", &token).await;
    let sum = |rows: &[Value], name: &str| rows.iter().map(|row| amount(&row[name])).sum::<i64>();
    assert_eq!(sum(&takings, "captured"), sum(&payments, "captured"));
    assert_eq!(sum(&takings, "refunded"), sum(&payments, "refunded"));
    assert_eq!(sum(&takings, "refunded"), 4 * PRICE);
    let count = |name: &str| {
        takings
            .iter()
            .map(|r| r[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((count("captures"), count("refunds")), (3, 2));
}

async fn movements_lead_to_the_stock(app: &App, sku: &str) {
    let token = position(app, "/v1/inventory").await;
    let path = format!("/v1/reports/stock-movements?sku={sku}&sort=oldest");
    let rows = all(app, &path, &token).await;
    let net = rows.iter().map(|row| {
        let quantity = row["quantity"].as_i64().unwrap();
        match row["movement"].as_str().unwrap() {
            "received" | "adjusted" | "restocked" => quantity,
            "shipped" => -quantity,
            _ => 0,
        }
    });
    let last = rows.last().unwrap();
    assert_eq!(Some(net.sum()), last["on_hand"].as_i64());
    let stock = app.operator().get(&format!("/v1/inventory/{sku}")).await;
    let stock = stock.must().body;
    for count in ["on_hand", "reserved", "committed", "available"] {
        assert_eq!(last[count], stock[count], "{last}");
    }
}

/// Days, products and movements narrow a report; whatever else is said is refused.
async fn narrowed(app: &App, sku: &str, report: &[Value]) {
    let token = position(app, "/v1/orders").await;
    let first = report.last().unwrap()["day"].as_str().unwrap().to_owned();
    let last = report[0]["day"].as_str().unwrap().to_owned();
    let whole = format!("/v1/reports/sales?from={first}&to={last}");
    assert_eq!(all(app, &whole, &token).await, report);
    let before = "/v1/reports/sales?to=2020-01-01";
    assert!(all(app, before, &token).await.is_empty());
    let of_one = all(app, &format!("{whole}&sku={sku}&currency=EUR"), &token).await;
    assert!(!of_one.is_empty() && of_one.iter().all(|row| row["sku"] == sku));
    let received = format!("/v1/reports/stock-movements?sku={sku}&movement=received");
    assert_eq!(all(app, &received, &token).await.len(), 1);
    for bad in ["from=today", "kind=order", "as_of=1", "sort=day", "limit=0"] {
        let path = format!("/v1/reports/sales?{bad}");
        let answer = app.operator().get(&path).await.unwrap();
        assert_eq!(answer.status, 400, "{bad}: {}", answer.body);
    }
}

#[tokio::test]
async fn reports_are_for_operators_and_wait_for_their_token() {
    let app = shared().await;
    let customer = app.customer().await;
    for path in ["sales", "takings", "stock-movements"] {
        let path = format!("/v1/reports/{path}");
        assert_eq!(customer.shop.get(&path).await.unwrap().status, 403);
        assert_eq!(app.shop().get(&path).await.unwrap().status, 401);
    }
    let path = "/v1/reports/sales";
    let early = app
        .operator()
        .get_after(path, "ORDER:9999999")
        .await
        .unwrap();
    assert_eq!(early.status, 503, "{}", early.body);
    assert_eq!(early.body["code"], "view_is_behind");
}
