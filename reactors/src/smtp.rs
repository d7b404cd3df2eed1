//! The connection to the mail server, given up together with whoever waits on it too long.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::{Instant, timeout_at};

use crate::mailer::MailerError;
use crate::{SmtpConfig, SmtpTls};

/// How long a connection may lie idle before it is taken for closed: servers close theirs after some minutes.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Longest wait for a connection to one address of the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which part of the time for a mail goes to one address at most: where the first ones are dead, another is
/// reached yet.
const CONNECT_SHARE: u32 = 4;

/// How what is said to the server is encrypted.
enum Encryption {
    None,
    Starttls(TlsParameters),
    Implicit(TlsParameters),
}

/// Why it is not known that a mail was taken.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// Was anything said of this mail? If not, what was answered is about the server, or about us.
    pub(crate) offered: bool,
    /// What was answered, or what broke; none = nothing came in time.
    pub(crate) error: Option<Error>,
}

/// A client of the mail server that keeps its connections.
///
/// Not lettre's own: its pool bounds no step but the connecting, and takes back a connection whose waiter gave
/// up in mid-dialogue. The next mail would read the answer to the one before as its own.
pub(crate) struct Smtp {
    server: (String, u16),
    encryption: Encryption,
    login: Option<Credentials>,
    timeout: Duration,
    /// Those on which everything that was asked is answered, the last used last, since when each; at most as
    /// many as there are lanes.
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl Smtp {
    pub(crate) fn new(config: &SmtpConfig) -> Result<Self, MailerError> {
        let malformed = || MailerError::Server(config.smtp.clone());
        let (host, port) = config.smtp.rsplit_once(':').ok_or_else(malformed)?;
        let port = port.parse().map_err(|_| malformed())?;
        let encryption = match config.smtp_tls {
            None | Some(SmtpTls::None) => Encryption::None,
            Some(SmtpTls::Starttls) => Encryption::Starttls(believed(host, config)?),
            Some(SmtpTls::Implicit) => Encryption::Implicit(believed(host, config)?),
        };
        Ok(Self {
            server: (host.to_owned(), port),
            encryption,
            login: login(config)?,
            timeout: Duration::from_millis(config.mail_timeout_ms),
            idle: Mutex::default(),
        })
    }

    /// Sends the mail. Once it was offered it may be on its way, whatever was answered but a no.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), Unsent> {
        let deadline = Instant::now() + self.timeout;
        // Whatever ends before its answer drops its connection with it.
        let mut connection = match timeout_at(deadline, self.connection()).await {
            Ok(Ok(connection)) => connection,
            not_connected => {
                return Err(Unsent {
                    offered: false,
                    error: not_connected.ok().and_then(Result::err),
                });
            }
        };
        let (envelope, text) = (message.envelope(), message.formatted());
        match timeout_at(deadline, connection.send(envelope, &text)).await {
            Ok(Ok(_taken)) => {
                self.keep(connection);
                Ok(())
            }
            not_taken => Err(Unsent {
                offered: true,
                error: not_taken.ok().and_then(Result::err),
            }),
        }
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, Error> {
        while let Some(mut connection) = self.kept() {
            if connection.test_connected().await {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let hello = ClientId::default();
        let implicit = match &self.encryption {
            Encryption::Implicit(tls) => Some(tls.clone()),
            Encryption::None | Encryption::Starttls(_) => None,
        };
        let limit = CONNECT_TIMEOUT.min(self.timeout / CONNECT_SHARE);
        let (server, limit) = (self.server.clone(), Some(limit));
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, limit, &hello, implicit, None).await?;
        if let Encryption::Starttls(tls) = &self.encryption {
            connection.starttls(tls.clone(), &hello).await?;
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        Ok(connection)
    }

    fn kept(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, since) = idle.pop()?;
        if since.elapsed() > IDLE_MAX {
            // All others are older.
            idle.clear();
            return None;
        }
        Some(connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((connection, Instant::now()));
    }
}

/// As whom, if as anybody.
fn login(config: &SmtpConfig) -> Result<Option<Credentials>, MailerError> {
    let Some(user) = config.user() else {
        return Ok(None);
    };
    if config.smtp_password.is_empty() {
        return Err(MailerError::Password);
    }
    if !config.is_private() {
        return Err(MailerError::InTheClear(config.server().to_owned()));
    }
    let (user, password) = (user.to_owned(), config.smtp_password.clone());
    Ok(Some(Credentials::new(user, password)))
}

/// Who may vouch for the mail server, under the name `host`.
fn believed(host: &str, config: &SmtpConfig) -> Result<TlsParameters, MailerError> {
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(path) = &config.smtp_ca {
        let unreadable = |source| MailerError::Authority {
            path: path.clone(),
            source,
        };
        let pem = std::fs::read(path).map_err(unreadable)?;
        tls = tls.certificate_store(CertificateStore::None);
        tls = tls.add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(tls.build_rustls()?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[derive(Parser)]
    struct Role {
        #[command(flatten)]
        smtp: SmtpConfig,
    }

    /// What comes of a user and a password, at a server and with more flags.
    fn signs_in(server: &str, more: &[&str]) -> Result<bool, MailerError> {
        let args = ["role", "--smtp-user", "shop", "--smtp", server];
        let role = Role::parse_from([&args[..], more].concat());
        login(&role.smtp).map(|login| login.is_some())
    }

    #[test]
    fn a_password_is_not_told_in_the_clear() {
        let known = ["--smtp-password", "secret", "--smtp-tls"];
        let over = |tls: &'static str| [&known[..], &[tls]].concat();
        for clear in [known[..2].to_vec(), over("none")] {
            let refused = signs_in("relay.example:25", &clear);
            assert!(
                matches!(refused, Err(MailerError::InTheClear(server)) if server == "relay.example")
            );
            assert!(signs_in("127.0.0.1:25", &clear).unwrap());
        }
        for tls in ["starttls", "implicit"] {
            assert!(signs_in("relay.example:587", &over(tls)).unwrap());
        }
        let forgotten = signs_in("127.0.0.1:25", &[]);
        assert!(matches!(forgotten, Err(MailerError::Password)));
        // As compose passes on what .env doesn't say.
        let empty = ["role", "--smtp-user", "", "--smtp-password", ""];
        for said in [&empty[..1], &empty] {
            let nobody = Role::parse_from(said);
            assert!(login(&nobody.smtp).unwrap().is_none());
        }
    }

    /// Takes mails, but answers each only once it has been read whole, if `answers`.
    async fn serve(stream: TcpStream, answers: bool) {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 here\r\n").await.unwrap();
        let (mut line, mut content) = (String::new(), false);
        while stream.read_line(&mut line).await.unwrap_or_default() > 0 {
            let ends = line == ".\r\n";
            if (!content || ends) && (answers || !ends) {
                let begins = line == "DATA\r\n";
                let answer: &[u8] = if begins { b"354 go\r\n" } else { b"250 ok\r\n" };
                stream.write_all(answer).await.unwrap();
                content = begins;
            }
            line.clear();
        }
    }

    /// A client of the server at `address` that waits so long, and a mail.
    fn client(address: &str, timeout_ms: &str) -> (Smtp, Message) {
        let args = ["role", "--smtp", address, "--mail-timeout-ms", timeout_ms];
        let smtp = Smtp::new(&Role::parse_from(args).smtp).unwrap();
        let message = Message::builder()
            .from("shop@example.com".parse().unwrap())
            .to("ann@example.com".parse().unwrap())
            .body("Good news".to_owned())
            .unwrap();
        (smtp, message)
    }

    #[tokio::test]
    async fn a_connection_whose_answer_did_not_come_in_time_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (smtp, message) = client(&address, "500");
        let server = async {
            for answers in [false, true] {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, answers));
            }
        };
        let mails = async {
            let silent = smtp.send(&message).await.unwrap_err();
            assert!(silent.offered && silent.error.is_none(), "{silent:?}");
            // The second on the kept one: nobody accepts another.
            for _ in 0..2 {
                smtp.send(&message).await.unwrap();
                assert_eq!(smtp.idle.lock().unwrap().len(), 1);
            }
        };
        tokio::join!(server, mails);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_at_all_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (smtp, message) = client(&address, "100");
        let silent = smtp.send(&message).await.unwrap_err();
        assert!(!silent.offered && silent.error.is_none(), "{silent:?}");
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next_one() {
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = dead.listen(0).unwrap();
        let address = dead.local_addr().unwrap();
        // Nobody accepts, so soon there is no room for another.
        let mut waiting = Vec::new();
        let room = Duration::from_millis(200);
        while let Ok(connected) = timeout(room, TcpStream::connect(address)).await {
            waiting.push(connected.unwrap());
        }
        let (smtp, message) = client(&address.to_string(), "4000");
        let begun = Instant::now();
        let unsent = smtp.send(&message).await.unwrap_err();
        let took = begun.elapsed();
        assert!(!unsent.offered && unsent.error.is_some(), "{unsent:?}");
        assert!(took < smtp.timeout / 2, "{took:?}");
    }
}
