//! The stack with real servers: up, down, killed, as root and as a normal user.

#![expect(clippy::unwrap_used, reason = "a test says by a panic what is wrong")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use devstack::launch::{Launcher, Spawner, Spec, User};
use devstack::{
    DataError, Endpoints, Error, Notice, Options, Ports, Service, Services, Stack, fetch, holder,
    postgres, temporary_data,
};
use rustix::process::{Pid, Signal, kill_process};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_devstack-run");
/// Longer than anything here takes, shorter than anybody's patience.
const LIMIT: Duration = Duration::from_secs(30);

fn options(data: &Path, services: &[Service]) -> Options {
    let mut options = Options::new(data, Launcher::new(LAUNCHER));
    options.ports = Ports::free();
    options.services = Services::only(services.iter().copied());
    options
}

async fn jetstream(stack: &Stack) -> async_nats::jetstream::Context {
    let password = stack.secrets().get("MILLRACE_NATS_PROVISION_PASSWORD");
    let client = async_nats::ConnectOptions::new()
        .user_and_password("provision".into(), password.unwrap().into())
        .connect(&stack.endpoints().nats)
        .await
        .unwrap();
    async_nats::jetstream::new(client)
}

async fn ask_postgres(stack: &Stack, question: &str) -> String {
    let address = stack.endpoints().postgres;
    let (client, connection) = postgres::admin(address, stack.secrets())
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let row = client.query_one(question, &[]).await.unwrap();
    row.get(0)
}

async fn keep_something(stack: &Stack) {
    let stream = async_nats::jetstream::stream::Config {
        name: "KEPT".into(),
        subjects: vec!["kept".into()],
        ..Default::default()
    };
    let jetstream = jetstream(stack).await;
    jetstream.create_stream(stream).await.unwrap();
    let acknowledgement = jetstream.publish("kept", "event".into()).await.unwrap();
    assert_eq!(acknowledgement.await.unwrap().sequence, 1);
    ask_postgres(stack, "SELECT lo_put(lo_create(4711), 0, 'kept')::text").await;
}

async fn kept(stack: &Stack) -> (u64, String) {
    let mut stream = jetstream(stack).await.get_stream("KEPT").await.unwrap();
    let messages = stream.info().await.unwrap().state.messages;
    let question = "SELECT convert_from(lo_get(4711), 'UTF8')";
    (messages, ask_postgres(stack, question).await)
}

#[tokio::test]
async fn everything_comes_up_keeps_its_data_and_goes_down() {
    let data = temporary_data().unwrap();
    let all = [
        Service::Nats,
        Service::Postgres,
        Service::Mail,
        Service::Payments,
    ];
    let stack = Stack::start(options(data.path(), &all)).await.unwrap();
    assert_eq!(stack.notices(), []);
    keep_something(&stack).await;
    for (setting, value) in [
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("fsync", "on"),
    ] {
        let question = format!("SELECT current_setting('{setting}')");
        assert_eq!(ask_postgres(&stack, &question).await, value, "{setting}");
    }
    let secrets: Vec<_> = stack.secrets().iter().map(|(_, v)| v.to_owned()).collect();
    stack.stop().await.unwrap();

    let stack = Stack::start(options(data.path(), &all)).await.unwrap();
    assert_eq!(kept(&stack).await, (1, "kept".into()));
    assert!(stack.secrets().iter().map(|(_, v)| v).eq(&secrets));
    stack.stop().await.unwrap();

    let mut fresh = options(data.path(), &all);
    fresh.fresh = true;
    let stack = Stack::start(fresh).await.unwrap();
    jetstream(&stack)
        .await
        .get_stream("KEPT")
        .await
        .unwrap_err();
    assert_ne!(
        stack.secrets().get("MILLRACE_MASTER_KEY").unwrap(),
        secrets.first().unwrap()
    );
    stack.discard().await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_is_noticed_and_one_that_a_test_kills_is_not() {
    let data = temporary_data().unwrap();
    let services = [Service::Nats, Service::Postgres];
    let mut stack = Stack::start(options(data.path(), &services)).await.unwrap();
    keep_something(&stack).await;

    for server in [stack.nats(), stack.postgres()] {
        let server = server.unwrap();
        let before = server.pid().await.unwrap();
        server.kill().await.unwrap();
        assert_eq!(server.pid().await, None);
        server.restart().await.unwrap();
        assert_ne!(server.pid().await, Some(before));
    }
    assert_eq!(kept(&stack).await, (1, "kept".into()));
    let quiet = tokio::time::timeout(Duration::from_millis(100), stack.failed()).await;
    assert!(quiet.is_err(), "{quiet:?}");

    let pid = stack.nats().unwrap().pid().await.unwrap();
    kill(pid, Signal::KILL);
    let failure = tokio::time::timeout(LIMIT, stack.failed()).await.unwrap();
    assert_eq!(failure.service, Service::Nats);
    assert_eq!(failure.exit.to_string(), "signal: 9 (SIGKILL)");
    assert!(failure.tail.contains("Server is ready"), "{failure}");
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_is_told_who_holds_the_data() {
    let data = temporary_data().unwrap();
    let mail = [Service::Mail];
    let mut stack = Stack::start(options(data.path(), &mail)).await.unwrap();
    stack.announce("http://127.0.0.1:8080").unwrap();
    let error = Stack::start(options(data.path(), &mail)).await.unwrap_err();
    let text = error.to_string();
    let who = format!("process {} since", std::process::id());
    assert!(
        text.contains(&who) && text.contains("http://127.0.0.1:8080"),
        "{text}"
    );
    assert!(matches!(error, Error::Data(DataError::Held { .. })));
    let found = holder(data.path()).unwrap().unwrap();
    assert_eq!(found.endpoints.as_ref(), Some(stack.endpoints()));
    stack.stop().await.unwrap();
    assert_eq!(holder(data.path()).unwrap(), None);
}

#[tokio::test]
async fn taken_ports_give_way_and_are_named() {
    let (one, two) = (temporary_data().unwrap(), temporary_data().unwrap());
    let services = [Service::Payments];
    let first = Stack::start(options(one.path(), &services)).await.unwrap();
    let port: u16 = first
        .endpoints()
        .payments
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut same = options(two.path(), &services);
    same.ports.payments = port;
    let second = Stack::start(same).await.unwrap();
    assert!(matches!(
        second.notices(),
        [Notice::PortTaken { name: "payments", preferred, .. }] if *preferred == port
    ));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_named_with_the_end_of_its_log() {
    let data = temporary_data().unwrap();
    let services = [Service::Nats, Service::Postgres];
    let stack = Stack::start(options(data.path(), &services)).await.unwrap();
    stack.stop().await.unwrap();

    let store = data.path().join("nats/jetstream");
    fs::remove_dir_all(&store).unwrap();
    fs::write(&store, "not a folder").unwrap();
    let error = Stack::start(options(data.path(), &services))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("nats did not start: it ended (exit status: 1)"),
        "{text}"
    );
    assert!(
        text.contains("storage directory is not a directory"),
        "{text}"
    );

    fs::remove_file(&store).unwrap();
    fs::remove_file(data.path().join("secrets.env")).unwrap();
    let error = Stack::start(options(data.path(), &services))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Password { .. }), "{error}");
}

/// Starts `devstack-run up` and waits for its line with the endpoints.
fn up(data: &Path, only: &str) -> (std::process::Child, Endpoints) {
    let mut child = std::process::Command::new(LAUNCHER)
        .args(["up", "--only", only, "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn servers_end_with_a_parent_that_is_killed_and_the_next_start_waits_for_them() {
    let data = temporary_data().unwrap();
    let (mut first, _) = up(data.path(), "nats,postgres,mail");
    first.kill().unwrap();
    first.wait().unwrap();
    let services = [Service::Nats, Service::Postgres, Service::Mail];
    let start = Stack::start(options(data.path(), &services));
    let stack = tokio::time::timeout(LIMIT, start).await.unwrap().unwrap();
    keep_something(&stack).await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_listens_any_more_after_the_parent_was_killed() {
    let data = temporary_data().unwrap();
    let (mut first, endpoints) = up(data.path(), "nats,postgres,payments");
    first.kill().unwrap();
    first.wait().unwrap();
    let port = |url: &str| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let ports = [
        port(&endpoints.nats),
        endpoints.postgres.port(),
        port(&endpoints.payments),
    ];
    let start = Instant::now();
    for port in ports {
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            assert!(start.elapsed() < LIMIT, "port {port} still answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn an_orderly_end_leaves_nothing_running() {
    let data = temporary_data().unwrap();
    let (mut first, _) = up(data.path(), "nats,postgres");
    kill(first.id(), Signal::TERM);
    assert!(first.wait().unwrap().success());
    assert_eq!(holder(data.path()).unwrap(), None);
    let log = fs::read_to_string(data.path().join("logs/postgres.log")).unwrap();
    assert!(log.contains("database system is shut down"), "{log}");
}

#[tokio::test]
async fn postgres_moves_out_of_a_folder_that_its_user_cannot_reach() {
    let private = temporary_data().unwrap();
    fs::set_permissions(private.path(), Permissions::from_mode(0o700)).unwrap();
    let data = private.path().join("data");
    let services = [Service::Postgres];
    let stack = Stack::start(options(&data, &services)).await.unwrap();
    let elsewhere = stack.data().postgres_elsewhere();
    if !rustix::process::geteuid().is_root() {
        assert_eq!((elsewhere, stack.notices()), (None, [].as_slice()));
        return stack.stop().await.unwrap();
    }
    let elsewhere = elsewhere.unwrap();
    assert!(elsewhere.starts_with("/var/tmp"), "{}", elsewhere.display());
    assert!(matches!(
        stack.notices(),
        [Notice::PostgresElsewhere { folder, .. }] if *folder == elsewhere
    ));
    ask_postgres(&stack, "SELECT lo_put(lo_create(4711), 0, 'kept')::text").await;
    stack.stop().await.unwrap();

    let stack = Stack::start(options(&data, &services)).await.unwrap();
    let question = "SELECT convert_from(lo_get(4711), 'UTF8')";
    assert_eq!(ask_postgres(&stack, question).await, "kept");
    stack.discard().await.unwrap();
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn a_normal_user_brings_everything_up_too() {
    let home = temporary_data().unwrap();
    let data = home.path().join("data");
    if !rustix::process::geteuid().is_root() {
        let stack = Stack::start(options(&data, &[Service::Nats, Service::Postgres])).await;
        keep_something(stack.as_ref().unwrap()).await;
        return stack.unwrap().stop().await.unwrap();
    }
    let user = User {
        uid: 65534,
        gid: 65534,
    };
    chown(home.path(), Some(user.uid), Some(user.gid)).unwrap();
    // Copies, because the originals may be where only root can go.
    let (program, server) = (home.path().join("run"), home.path().join("nats-server"));
    let sources = fetch::Sources::from_environment();
    fs::copy(LAUNCHER, &program).unwrap();
    fs::copy(fetch::nats_server(&sources).await.unwrap(), &server).unwrap();
    let mut spec = Spec::new(&program)
        .args(["up", "--only", "nats,postgres", "--data"])
        .args([&data])
        .env("MILLRACE_NATS_SERVER", &server)
        .env("HOME", home.path());
    spec.user = Some(user);
    spec.log = Some(home.path().join("log"));
    let spawner = Spawner::start().unwrap();
    let child = spawner
        .spawn(&Launcher::new(LAUNCHER), &spec)
        .await
        .unwrap();
    let start = Instant::now();
    while holder(&data)
        .unwrap()
        .is_none_or(|holder| holder.endpoints.is_none())
    {
        let log = fs::read_to_string(home.path().join("log")).unwrap();
        assert!(child.exited().is_none() && start.elapsed() < LIMIT, "{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(child.stop(Signal::TERM, LIMIT).await.unwrap());
    assert!(child.exited().unwrap().success());
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
