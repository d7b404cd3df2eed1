//! Over TLS, and for who doesn't want to, not at all.

use crate::{Sink, mail};
use devstack::mail::Tls;
use lettre::transport::smtp::client::{self, Certificate, CertificateStore, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

const NAME: &str = "localhost";

#[tokio::test]
async fn mails_come_over_tls_of_either_kind_and_not_in_the_clear() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let believed = || {
        TlsParameters::builder(NAME.to_owned())
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(own.cert.pem().as_bytes()).unwrap())
            .build_rustls()
            .unwrap()
    };
    for (offered, kind, asked) in [
        (
            true,
            Tls::Starttls(acceptor.clone()),
            client::Tls::Required(believed()),
        ),
        (
            false,
            Tls::Implicit(acceptor),
            client::Tls::Wrapper(believed()),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start_with(folder.path(), kind, None).await;
        if offered {
            // With the other kind both sides would wait for each other's first word.
            let plain = sink.send(mail("Ada <ada@example.com>", "plain@test")).await;
            assert!(plain.is_err(), "{plain:?}");
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(NAME)
            .port(sink.smtp.port())
            .tls(asked)
            .build();
        transport
            .send(mail("Ada <ada@example.com>", "sealed@test"))
            .await
            .unwrap();
        let kept = sink.messages("").await;
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(kept[0]["message_id"], "sealed@test");
        sink.stop().await;
    }
}
