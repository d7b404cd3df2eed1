//! Limits: what a well-behaved client never sends is turned away.

use crate::Sink;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A conversation by hand, for what a well-behaved client never says.
struct Talk(BufReader<TcpStream>);

impl Talk {
    async fn begin(sink: &Sink) -> Self {
        let stream = TcpStream::connect(sink.smtp).await.unwrap();
        let mut talk = Self(BufReader::new(stream));
        assert!(talk.hear().await.starts_with("220 "));
        assert!(talk.say("HELO me\r\n").await.starts_with("250 "));
        talk
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(line.as_bytes()).await.unwrap();
        self.hear().await
    }

    async fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }
}

#[tokio::test]
async fn too_large_a_mail_is_refused_at_its_end_and_the_session_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    let mut talk = Talk::begin(&sink).await;
    for (body_mib, expected) in [(11, "552 "), (9, "250 ")] {
        assert!(
            talk.say("MAIL FROM:<a@x.test>\r\n")
                .await
                .starts_with("250")
        );
        assert!(talk.say("RCPT TO:<b@x.test>\r\n").await.starts_with("250"));
        assert!(talk.say("DATA\r\n").await.starts_with("354"));
        let line = format!("{}\r\n", "x".repeat(1022));
        for _ in 0..body_mib * 1024 {
            talk.0.write_all(line.as_bytes()).await.unwrap();
        }
        let answer = talk.say(".\r\n").await;
        assert!(answer.starts_with(expected), "{answer}");
    }
    assert_eq!(sink.messages("").await.len(), 1);
    sink.stop().await;
}

#[tokio::test]
async fn an_endless_line_and_too_many_connections_are_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    let mut talk = Talk::begin(&sink).await;
    let answer = talk.say(&"x".repeat(64 * 1024)).await;
    assert!(answer.starts_with("500 "), "{answer}");
    drop(talk);
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() < 100, "no bound on connections");
        let mut stream = TcpStream::connect(sink.smtp).await.unwrap();
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).await.unwrap();
        if &greeting == b"421 " {
            break open.len();
        }
        open.push(stream);
    };
    assert!((60..=64).contains(&refused), "{refused}");
    sink.stop().await;
}

#[tokio::test]
async fn a_mail_with_more_than_a_hundred_recipients_is_refused_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    let mut talk = Talk::begin(&sink).await;
    assert!(
        talk.say("MAIL FROM:<a@x.test>\r\n")
            .await
            .starts_with("250")
    );
    for number in 0..100 {
        let answer = talk.say(&format!("RCPT TO:<{number}@x.test>\r\n")).await;
        assert!(answer.starts_with("250"), "{answer}");
    }
    assert!(talk.say("RCPT TO:<b@x.test>\r\n").await.starts_with("452 "));
    sink.stop().await;
}
