//! Mails: read as they were sent, found again, kept over a crash, deleted, shown to people.

use crate::{Sink, as_after_a_crash, mail};
use devstack::mail::{Error, JournalError};
use lettre::Message;
use lettre::message::header::ContentType;
use serde_json::{Value, json};

#[tokio::test]
async fn a_mail_can_be_read_as_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    sink.send(mail("anna@example.test", "one@millrace.test"))
        .await
        .unwrap();
    let messages = sink.messages("").await;
    assert_eq!(messages.len(), 1);
    let found = &messages[0];
    assert_eq!(found["n"], 1);
    assert_eq!(found["from"], "shop@millrace.test");
    assert_eq!(found["to"], json!(["anna@example.test"]));
    assert_eq!(found["subject"], "Grüße aus der Mühle");
    assert_eq!(found["message_id"], "one@millrace.test");
    let text = found["text"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(
        text.trim_end(),
        "Your order is confirmed.\n.a line with a dot"
    );
    let html = found["html"].as_str().unwrap();
    assert_eq!(html.trim_end(), "<p>Your order is <b>confirmed</b>.</p>");
    assert!(found["received_at"].as_str().unwrap().ends_with('Z'));
    let raw = sink.get("/messages/1/raw").await.text().await.unwrap();
    assert!(raw.contains("Message-ID: <one@millrace.test>\r\n"), "{raw}");
    sink.stop().await;
}

#[tokio::test]
async fn mails_are_found_by_recipient_and_by_message_id() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    for (to, id) in [
        ("a@x.test", "1@m"),
        ("b@x.test", "2@m"),
        ("a@x.test", "3@m"),
    ] {
        sink.send(mail(to, id)).await.unwrap();
    }
    let ids = |found: Vec<Value>| -> Vec<u64> {
        found
            .iter()
            .map(|mail| mail["n"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ids(sink.messages("?to=A@x.test").await), [1, 3]);
    assert_eq!(ids(sink.messages("?message_id=2@m").await), [2]);
    assert_eq!(ids(sink.messages("?message_id=%3C2@m%3E").await), [2]);
    assert_eq!(
        ids(sink.messages("?to=b@x.test&message_id=3@m").await),
        [0; 0]
    );
    sink.stop().await;
}

#[tokio::test]
async fn an_accepted_mail_survives_a_crash_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("mail");
    let sink = Sink::start(&data).await;
    sink.send(mail("a@x.test", "1@m")).await.unwrap();
    let crashed = as_after_a_crash(&data, folder.path());
    sink.stop().await;
    for data in [crashed, data] {
        let sink = Sink::start(&data).await;
        let messages = sink.messages("").await;
        assert_eq!(messages[0]["message_id"], "1@m");
        sink.send(mail("a@x.test", "2@m")).await.unwrap();
        assert_eq!(sink.messages("").await[1]["n"], 2);
        sink.stop().await;
    }
}

#[tokio::test]
async fn deleted_mails_stay_deleted_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    sink.send(mail("a@x.test", "1@m")).await.unwrap();
    sink.delete("/messages").await;
    assert_eq!(sink.messages("").await, Vec::<Value>::new());
    sink.stop().await;
    let sink = Sink::start(folder.path()).await;
    assert_eq!(sink.messages("").await, Vec::<Value>::new());
    sink.send(mail("a@x.test", "2@m")).await.unwrap();
    assert_eq!(sink.messages("").await[0]["n"], 2);
    sink.stop().await;
}

#[tokio::test]
async fn a_second_sink_on_the_same_folder_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    sink.get("/livez").await;
    let second = Sink::start(folder.path()).await;
    let error = second.running.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Store(JournalError::Locked { .. })));
    sink.stop().await;
}

#[tokio::test]
async fn the_page_shows_html_mails_without_letting_them_run() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    let hostile = Message::builder()
        .from("shop@millrace.test".parse().unwrap())
        .to("a@x.test".parse().unwrap())
        .subject("<script>alert(1)</script>")
        .header(ContentType::TEXT_HTML)
        .body("<script>alert(2)</script>\"><script>alert(3)</script>".to_owned())
        .unwrap();
    sink.send(hostile).await.unwrap();
    let answer = sink.get("/").await;
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = answer.text().await.unwrap();
    assert!(page.contains("<iframe sandbox "), "{page}");
    assert!(!page.contains("<script>"), "{page}");
    sink.stop().await;
}
