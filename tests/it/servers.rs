//! NATS and Postgres of a test's own, provisioned, with no role at work: the test starts those that
//! it needs, and kills a server when it likes.

use std::path::PathBuf;

use devstack::launch::{Child, Launcher, Spawner, Spec};
use devstack::{Options, Ports, Service, Services, Stack};
use edge::auth::KeySet;
use millrace::client::Shop;
use millrace::provision::Size;
use millrace::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD, Source};
use projections::provision::READER_CONNECTIONS_MAX;
use projections::{Access, Login, Passwords};
use streams::{Connection, Streams};
use tokio_postgres::{Client, NoTls};

use crate::app::{ANYWHERE, PATIENCE, folder, program};

/// The servers.
pub(crate) struct Servers {
    pub(crate) data: PathBuf,
    pub(crate) stack: Stack,
    spawner: Spawner,
}

impl Servers {
    /// Both servers, with every stream and database in place.
    pub(crate) async fn start(name: &str) -> Self {
        let servers = Self::bare(name, [Service::Nats, Service::Postgres]).await;
        servers.provision().await;
        servers
    }

    /// Postgres alone, with every database in place.
    pub(crate) async fn postgres_only(name: &str) -> Self {
        let servers = Self::bare(name, [Service::Postgres]).await;
        let mut passwords = Passwords::default();
        for context in projections::contexts() {
            for access in Access::ALL {
                let password = servers.secret(&access.password_variable(context));
                passwords.set(context, access, password);
            }
        }
        let admin = servers.admin_login();
        let most = READER_CONNECTIONS_MAX;
        let made = projections::provision(&admin, &passwords, most);
        made.await.unwrap();
        servers
    }

    pub(crate) async fn bare(name: &str, services: impl IntoIterator<Item = Service>) -> Self {
        let services = Services::only(services);
        Self::of(name, |options| options.services = services).await
    }

    /// Every server, unless `set` says otherwise, with nothing in place.
    pub(crate) async fn of(name: &str, set: impl FnOnce(&mut Options)) -> Self {
        let data = folder(name);
        std::fs::create_dir_all(data.parent().unwrap()).unwrap();
        let mut options = Options::new(&data, Launcher::new(program()));
        options.ports = Ports::free();
        set(&mut options);
        let stack = Stack::start(options).await.unwrap();
        KeySet::create_if_missing(&data.join(millrace::up::JWT_KEYS)).unwrap();
        let spawner = Spawner::start().unwrap();
        Self {
            data,
            stack,
            spawner,
        }
    }

    /// Makes what is missing, as `millrace provision` does.
    pub(crate) async fn provision(&self) {
        let source = Source::Stack(self.stack.secrets());
        let nats = &self.stack.endpoints().nats;
        let admin = (&self.postgres(), POSTGRES_ADMIN);
        let made = millrace::provision::provision(&source, nats, admin, Size::of(1));
        made.await.unwrap();
    }

    /// A connection to NATS as the user of `role`.
    pub(crate) async fn connect(&self, role: &str) -> Connection {
        let nats = &self.stack.endpoints().nats;
        let source = Source::Stack(self.stack.secrets());
        source.connect(nats, role).await.unwrap()
    }

    /// The event store, with the rights of the command API.
    pub(crate) async fn streams(&self) -> Streams {
        let connection = self.connect("command-api").await;
        connection.streams(streams::Settings::default())
    }

    /// The login of a context's writer or reader.
    pub(crate) fn login(&self, context: &str, access: Access) -> Login {
        let password = self.secret(&access.password_variable(context));
        Login::context(&self.postgres(), context, access, &password).unwrap()
    }

    /// The superuser's login.
    pub(crate) fn admin_login(&self) -> Login {
        let password = self.secret(POSTGRES_ADMIN_PASSWORD);
        Login::admin(&self.postgres(), POSTGRES_ADMIN, &password).unwrap()
    }

    /// The superuser in one database.
    pub(crate) async fn sql(&self, database: &str) -> Client {
        sql(&self.admin_login().to_database(database)).await
    }

    /// A role as a process of its own.
    pub(crate) async fn role(&self, args: &[&str]) -> Child {
        self.role_that_is_told(args, &[]).await
    }

    /// A role as a process of its own, with more in its environment.
    pub(crate) async fn role_that_is_told(&self, args: &[&str], more: &[(&str, &str)]) -> Child {
        let mut spec = Spec::new(program())
            .args(args.iter().copied())
            .env("MILLRACE_HEALTH_LISTEN", ANYWHERE)
            .env("MILLRACE_NATS", &self.stack.endpoints().nats)
            .env("MILLRACE_POSTGRES", self.postgres())
            .env("MILLRACE_JWT_KEYS", self.data.join("keys/jwt"));
        for (name, value) in self.stack.secrets().iter() {
            spec = spec.env(name, value);
        }
        for (name, value) in more {
            spec = spec.env(name, value);
        }
        spec.log = Some(self.data.join(format!("{}.log", args.join("-"))));
        let launcher = Launcher::new(program());
        self.spawner.spawn(&launcher, &spec).await.unwrap()
    }

    /// An API (`command-api`, `query-api`) as a process of its own, as an operator sees it.
    pub(crate) async fn api(&self, role: &str) -> (Shop, Child) {
        let port = devstack::Reserved::choose(0).unwrap().address().port();
        let listen = format!("127.0.0.1:{port}");
        let child = self.role(&[role, "--listen", &listen]).await;
        let shop = Shop::new(&format!("http://{listen}")).unwrap();
        let ready = shop.wait_for(role, "/readyz", PATIENCE, |_| true).await;
        ready.unwrap();
        let token = millrace::token::operator(&self.data).unwrap();
        (shop.with_token(&token), child)
    }

    /// Any other process, which ends with this one.
    pub(crate) async fn spawn(&self, spec: &Spec) -> Child {
        let launcher = Launcher::new(program());
        self.spawner.spawn(&launcher, spec).await.unwrap()
    }

    /// Ends both in order.
    pub(crate) async fn stop(self) {
        self.stack.stop().await.unwrap();
    }

    fn postgres(&self) -> String {
        self.stack.endpoints().postgres.to_string()
    }

    fn secret(&self, name: &str) -> String {
        self.stack.secrets().get(name).unwrap().to_owned()
    }
}

/// A plain connection to a database.
pub(crate) async fn sql(login: &Login) -> Client {
    let (client, connection) = login.config("test").connect(NoTls).await.unwrap();
    // Whoever uses the client next is told the same error.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}
