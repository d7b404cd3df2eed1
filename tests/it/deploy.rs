//! nats.conf, nats-cluster.conf, docker-compose.yml and .env.example name what the binary has, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use millrace::cli::Cli;
use serde::Deserialize;
use serde_json::json;

/// What the servers of other people read in the compose file.
const FOREIGN_VARIABLES: [&str; 3] = ["POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"];

/// What nats.conf reads besides the passwords.
pub(crate) const NATS_VARIABLES: [&str; 4] = [
    "MILLRACE_NATS_PORT",
    "MILLRACE_NATS_HTTP_PORT",
    "MILLRACE_NATS_STORE",
    "MILLRACE_NATS_SYNC",
];

/// What nats-cluster.conf reads besides those.
const CLUSTER_VARIABLES: [&str; 3] = [
    "MILLRACE_NATS_NAME",
    "MILLRACE_NATS_CLUSTER",
    "MILLRACE_NATS_ROUTES",
];

/// The nodes of the event store.
const NODES: [&str; 3] = ["nats-1", "nats-2", "nats-3"];

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    networks: serde_json::Value,
    volumes: BTreeMap<String, Option<serde_json::Value>>,
}

#[derive(Deserialize)]
struct Service {
    image: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    healthcheck: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    depends_on: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    networks: serde_json::Value,
    #[serde(default)]
    init: bool,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    cap_drop: Vec<String>,
    stop_grace_period: Option<String>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn compose() -> Compose {
    serde_saphyr::from_str(&file("docker-compose.yml")).unwrap()
}

/// Every environment variable that a flag of `role` names, from clap itself, and its secrets.
pub(crate) fn variables(role: &str) -> BTreeSet<String> {
    let cli = Cli::command();
    let command = cli
        .find_subcommand(role)
        .unwrap_or_else(|| panic!("no role {role}"));
    let of_flags = command
        .get_arguments()
        .chain(cli.get_arguments())
        .filter_map(|arg| arg.get_env())
        .map(|name| name.to_string_lossy().into_owned());
    of_flags
        .chain(millrace::settings::secrets_of(role))
        .collect()
}

fn is_ours(service: &Service) -> bool {
    service.image.as_deref() == Some("millrace")
}

/// The services that are roles of this binary.
pub(crate) fn services_of_ours() -> BTreeSet<String> {
    let services = compose().services.into_iter();
    let ours = services.filter(|(_, service)| is_ours(service));
    ours.map(|(name, _)| name).collect()
}

#[test]
fn every_service_of_ours_is_a_role_and_every_variable_of_it_exists() {
    let compose = compose();
    for (name, service) in compose
        .services
        .iter()
        .filter(|(_, service)| is_ours(service))
    {
        assert_eq!(
            service.command.first(),
            Some(name),
            "the service is named after its role"
        );
        let known = variables(name);
        for variable in service.environment.keys() {
            assert!(
                known.contains(variable),
                "{name} does not read {variable}; it reads {known:?}"
            );
        }
        for secret in millrace::settings::secrets_of(name) {
            assert!(
                service.environment.contains_key(&secret),
                "{name} is not given {secret}"
            );
        }
        for needed in service.depends_on.keys() {
            assert!(
                compose.services.contains_key(needed),
                "{name} waits for {needed}"
            );
        }
        for volume in &service.volumes {
            let source = volume.split(':').next().unwrap();
            assert!(
                source.starts_with('.') || compose.volumes.contains_key(source),
                "{source}"
            );
        }
    }
    let read = file("nats.conf") + &file("nats-cluster.conf");
    for name in NODES.into_iter().chain(["postgres"]) {
        for variable in compose.services[name].environment.keys() {
            let known =
                FOREIGN_VARIABLES.contains(&variable.as_str()) || read.contains(variable.as_str());
            assert!(known, "{name}: {variable}");
        }
    }
}

#[test]
fn every_node_waits_for_the_disk() {
    let compose = compose();
    for name in NODES {
        let sync = &compose.services[name].environment["MILLRACE_NATS_SYNC"];
        assert_eq!(sync, "always", "{name}");
    }
}

#[test]
fn every_role_of_the_binary_is_a_service() {
    // What is no service: the laptop's all-in-one, its demo, the tokens for it, and what people
    // type to look after a running system.
    let alone = [
        "up",
        "demo",
        "health",
        "token",
        "import",
        "parked",
        "inbox",
        "keys",
        "rebuild",
        "simulate",
        "sagas",
        "stuck",
        "reconcile",
        "audit",
        "verify",
        "schema",
    ];
    let roles: BTreeSet<String> = Cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .filter(|name| !alone.contains(&name.as_str()))
        .collect();
    assert_eq!(roles, services_of_ours());
}

#[test]
fn every_published_port_is_the_one_that_the_role_listens_on() {
    for (name, service) in compose().services {
        for published in &service.ports {
            assert!(
                published.starts_with("127.0.0.1:"),
                "{name} publishes {published} to other machines"
            );
            let inner = published.rsplit(':').next().unwrap();
            let listens = service
                .environment
                .values()
                .filter_map(|value| value.as_str())
                .chain(service.command.iter().map(String::as_str))
                .any(|value| value.ends_with(&format!(":{inner}")));
            assert!(
                listens,
                "{name} publishes {inner} but does not listen there"
            );
        }
    }
}

#[test]
fn every_service_ends_in_its_own_time() {
    for (name, service) in compose().services {
        let time = if name == "postgres" { "1m" } else { "45s" };
        assert_eq!(service.stop_grace_period.as_deref(), Some(time), "{name}");
        assert_eq!(service.init, is_ours(&service), "{name}");
    }
}

#[test]
fn no_role_writes_but_to_its_volumes_or_has_a_right_of_roots() {
    for (name, service) in compose().services {
        assert_eq!(service.read_only, is_ours(&service), "{name}");
        let dropped = is_ours(&service).then(|| "ALL".to_owned());
        assert_eq!(service.cap_drop, Vec::from_iter(dropped), "{name}");
    }
}

/// At its socket it also answers while it makes its first database, and then it goes away once more:
/// `provision` would be started too early, and fail until it is back.
#[test]
fn postgres_is_asked_where_the_roles_reach_it() {
    let services = compose().services;
    let asked = services["postgres"].healthcheck["test"].as_array().unwrap();
    let host = asked.iter().position(|word| word == "--host").unwrap();
    assert_eq!(asked[host + 1], "127.0.0.1");
}

/// Else another container might be given its address first.
#[test]
fn the_gateway_has_an_address_that_no_other_container_draws() {
    let compose = compose();
    let [config] = compose.networks["default"]["ipam"]["config"]
        .as_array()
        .unwrap()
        .as_slice()
    else {
        panic!("one network");
    };
    assert_eq!(config["subnet"], "172.30.0.0/24");
    assert_eq!(config["ip_range"], "172.30.0.128/25");
    let services = &compose.services;
    let address = &services["gateway"].networks["default"]["ipv4_address"];
    assert_eq!(address, "172.30.0.10");
    assert_eq!(
        services["command-api"].environment["MILLRACE_PROXIES"],
        "172.30.0.10/32"
    );
    let advertised = &services["gateway"].environment["MILLRACE_ADVERTISE"];
    assert_eq!(advertised, "http://172.30.0.10:8080");
}

#[test]
fn the_secrets_of_compose_go_into_no_commit_and_no_image() {
    for (ignoring, line) in [(".gitignore", "/.env"), (".dockerignore", ".env")] {
        assert!(file(ignoring).lines().any(|it| it == line), "{ignoring}");
    }
}

/// Where a role says how it is, if it does: a variable of its own.
pub(crate) fn listens(role: &str) -> Option<&'static str> {
    let known = variables(role);
    let names = ["MILLRACE_LISTEN", "MILLRACE_HEALTH_LISTEN"];
    names.into_iter().find(|name| known.contains(*name))
}

/// Nobody builds the image here: that it is built by a profile that there is, and holds what was built, is read.
#[test]
fn the_image_holds_what_it_was_built_to_hold() {
    let image = file("Dockerfile");
    let word_after = |words: &str| {
        let (_, rest) = image.split_once(words).unwrap();
        rest.split([' ', '/']).next().unwrap()
    };
    let profile = word_after("--profile ");
    assert_eq!(word_after("&& cp target/"), profile);
    let manifest = file("Cargo.toml");
    assert!(
        manifest.contains(&format!("[profile.{profile}]")),
        "{profile}"
    );
    for document in ["README.md", "docs/operate.md"] {
        let measured = format!("cargo run --profile {profile} -p bench");
        assert!(file(document).contains(&measured), "{document}");
    }
}

/// The health check is given no address: it takes the one that the role is given.
#[test]
fn every_role_that_says_how_it_is_is_asked_where_it_listens() {
    let command = json!(["CMD", "/usr/local/bin/millrace", "health"]);
    let image = file("Dockerfile");
    let of_the_image = image.lines().find(|line| line.starts_with("HEALTHCHECK"));
    let (_, asked) = of_the_image.unwrap().split_once("CMD ").unwrap();
    let asked: Vec<String> = serde_json::from_str(asked).unwrap();
    assert_eq!(json!(asked), json!(command.as_array().unwrap()[1..]));
    let compose = compose();
    let mut told = BTreeSet::new();
    let services = compose.services.iter();
    for (role, service) in services.filter(|(_, service)| is_ours(service)) {
        let Some(variable) = listens(role) else {
            assert_eq!(service.healthcheck["disable"], true, "{role}");
            continue;
        };
        assert!(service.environment.contains_key(variable), "{role}");
        assert_eq!(service.healthcheck["test"], command, "{role}");
        told.insert(role.as_str());
    }
    let roles = [
        "command-api",
        "gateway",
        "projector",
        "query-api",
        "reactor",
        "saga",
    ];
    assert_eq!(told, roles.into());
}

#[test]
fn the_example_environment_has_every_secret_and_nothing_else() {
    let text = file("docker-compose.yml");
    let asked: BTreeSet<&str> = text
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split(":?}").next())
        .filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect();
    let example = file(".env.example");
    let given: BTreeSet<&str> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('=').next())
        .collect();
    assert_eq!(asked, given);
    // What may be left out stands there as an example.
    for name in text.split("${").skip(1) {
        let Some((name, _)) = name.split_once('}').unwrap().0.split_once(":-") else {
            continue;
        };
        assert!(example.contains(&format!("\n# {name}=")), "{name}");
    }
}

#[test]
fn nats_conf_reads_only_what_it_is_given() {
    let text = file("nats.conf") + &file("nats-cluster.conf");
    for line in text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
    {
        for name in line.split('$').skip(1) {
            let name: String = name
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || *c == '_')
                .collect();
            if !name.starts_with("MILLRACE_") {
                continue;
            }
            let given = NATS_VARIABLES.contains(&name.as_str())
                || CLUSTER_VARIABLES.contains(&name.as_str())
                || (name.starts_with("MILLRACE_NATS_") && name.ends_with("_PASSWORD"));
            assert!(given, "nats.conf reads {name}");
        }
    }
}

#[test]
fn help_of_every_command_teaches() {
    for command in Cli::command()
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
    {
        let output = Command::new(crate::app::program())
            .args([command.get_name(), "--help"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", command.get_name());
        for argument in command.get_arguments().filter(|a| a.get_id() != "help") {
            assert!(
                argument.get_help().is_some(),
                "{} {}",
                command.get_name(),
                argument.get_id()
            );
        }
    }
}
