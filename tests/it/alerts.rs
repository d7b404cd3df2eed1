//! deploy/prometheus/alerts.yml rings for every alarm of docs/operate.md, at numbers that the roles tell.

use std::collections::BTreeSet;

use crate::app::{becomes, shared};
use crate::deploy::file;
use serde_json::Value;

/// What Kubernetes says; a role that is not ready says nothing of that in its own numbers.
const OF_KUBERNETES: &str = "kube_deployment_status_replicas_unavailable";

/// Words with an underscore in expressions that are no numbers.
const FUNCTIONS: [&str; 1] = ["min_over_time"];

/// Each alert: the alarm that it is, and its expression.
fn alerts() -> Vec<(String, String)> {
    let rules: Value = serde_saphyr::from_str(&file("deploy/prometheus/alerts.yml")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().iter();
    let alerts = rules.map(|rule| {
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["page", "ticket", "info"].contains(&severity), "{rule}");
        (text(&rule["annotations"]["alarm"]), text(&rule["expr"]))
    });
    alerts.collect()
}

/// The numbers of ours that an alarm, or an expression, names.
fn numbers(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter(|word| word.contains('_') && *word != OF_KUBERNETES);
    named.filter(|word| !FUNCTIONS.contains(word)).collect()
}

#[test]
fn every_alarm_of_the_operator_has_an_alert_that_names_its_number() {
    let text = file("docs/operate.md");
    let mut sections = text.split("\n## ");
    let table = sections.find(|section| section.starts_with("When something rings"));
    let rows = table
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"));
    let alarms: Vec<&str> = rows
        .map(|row| row.split('|').nth(1).unwrap().trim())
        .collect();
    let alerts = alerts();
    let of_alerts: Vec<&str> = alerts.iter().map(|(alarm, _)| alarm.as_str()).collect();
    assert_eq!(of_alerts, alarms);
    for (alarm, expression) in &alerts {
        assert_eq!(numbers(expression), numbers(alarm), "{alarm}");
    }
}

/// Which numbers there are at all is looked up by `documents::every_metric_that_rings_exists`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rings_for_a_view_is_told_for_each_view() {
    let alerts = alerts();
    let numbers = alerts
        .iter()
        .flat_map(|(_, expression)| numbers(expression));
    let of_views: BTreeSet<&str> = numbers.filter(|name| name.starts_with("view_")).collect();
    assert!(!of_views.is_empty());
    let queries = shared().await.queries();
    becomes("each number told for views", async || {
        let page = queries.open("/metrics", &[]).await.unwrap();
        let page = page.text().await.unwrap();
        let is_told = |name: &&str| page.contains(&format!("\n{name}{{view="));
        of_views.iter().all(is_told)
    })
    .await;
}
