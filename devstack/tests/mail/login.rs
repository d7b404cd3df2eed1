//! A sink that lets in one user alone.

use devstack::mail::{Login, Tls};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::{Sink, mail};

const USER: &str = "shop";
const PASSWORD: &str = "correct horse";

/// With which code the sink sends somebody away; `None` = the mail was taken.
async fn refusal(sink: &Sink, mechanism: Mechanism, login: Option<[&str; 2]>) -> Option<u16> {
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(sink.smtp.port())
        .authentication(vec![mechanism]);
    if let Some([user, password]) = login {
        transport = transport.credentials(Credentials::new(user.to_owned(), password.to_owned()));
    }
    let sent = transport
        .build()
        .send(mail("ann@example.com", "1@shop"))
        .await;
    let error = sent.err()?;
    Some(error.status().unwrap().into())
}

#[tokio::test]
async fn only_who_knows_the_password_may_send() {
    let folder = tempfile::tempdir().unwrap();
    let login = Login {
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let sink = Sink::start_with(folder.path(), Tls::None, Some(login)).await;
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        for wrong in [[USER, "wrong"], ["somebody", PASSWORD]] {
            let refused = refusal(&sink, mechanism, Some(wrong)).await;
            assert_eq!(refused, Some(535), "{mechanism:?} {wrong:?}");
        }
        assert_eq!(refusal(&sink, mechanism, None).await, Some(530));
    }
    assert_eq!(sink.messages("").await.len(), 0);
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        let refused = refusal(&sink, mechanism, Some([USER, PASSWORD])).await;
        assert_eq!(refused, None, "{mechanism:?}");
    }
    assert_eq!(sink.messages("").await.len(), 2);
    sink.stop().await;
}
