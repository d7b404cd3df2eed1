//! deploy/kubernetes names what the binary has, and nothing else; every role is there, and guarded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::deploy::{file, listens, services_of_ours, variables};

const FOLDER: &str = "deploy/kubernetes";

/// Of the roles in docker-compose.yml, those of a laptop: there is none of them in production.
const OF_A_LAPTOP: [&str; 2] = ["mail-sink", "payment-simulator"];

/// Where a role may be told to listen.
const LISTENS: [&str; 3] = [
    "MILLRACE_LISTEN",
    "MILLRACE_HEALTH_LISTEN",
    "MILLRACE_METRICS_LISTEN",
];

/// What lies beside the objects: of Helm, not of kustomize (`chart.rs`), and of another namespace.
const NOT_APPLIED: [&str; 3] = ["kustomization.yaml", "nats-values.yaml", "postgres.yaml"];

/// What a pod is told of itself.
const OF_THE_POD: &str = "POD_IP";

/// Does it serve HTTP to others than those who look after it?
fn is_api(role: &str) -> bool {
    listens(role) == Some("MILLRACE_LISTEN")
}

/// The ports of a pod, as the container names them.
fn ports(pod: &Value) -> Vec<u64> {
    let ports = pod["containers"][0]["ports"].as_array();
    let ports = ports.into_iter().flatten();
    ports
        .map(|port| port["containerPort"].as_u64().unwrap())
        .collect()
}

/// Every object that `kubectl apply -k` would make.
fn objects() -> Vec<Value> {
    let kustomization: Value = parse(&file(&format!("{FOLDER}/kustomization.yaml")));
    let listed = kustomization["resources"].as_array().unwrap().iter();
    let listed: BTreeSet<&str> = listed.map(|name| name.as_str().unwrap()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !NOT_APPLIED.contains(&name.as_str()))
        .collect();
    assert_eq!(listed, there.iter().map(String::as_str).collect());
    listed.into_iter().flat_map(objects_of).collect()
}

fn objects_of(name: &str) -> Vec<Value> {
    let text = file(&format!("{FOLDER}/{name}"));
    text.split("\n---\n").map(parse).collect()
}

fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<(&'a str, &'a Value)> {
    let same = objects.iter().filter(|object| object["kind"] == kind);
    same.map(|object| (object["metadata"]["name"].as_str().unwrap(), object))
        .collect()
}

/// Each role, and its pod.
fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    let pods = of_kind(objects, "Deployment")
        .into_iter()
        .chain(of_kind(objects, "Job"));
    pods.map(|(name, object)| (name, &object["spec"]["template"]["spec"]))
        .collect()
}

#[test]
fn every_role_and_every_variable_of_it_exists_and_every_secret_is_given() {
    let objects = objects();
    let pods = pods(&objects);
    let roles: BTreeSet<String> = pods.iter().map(|(role, _)| (*role).to_owned()).collect();
    let on_laptops = OF_A_LAPTOP.map(str::to_owned).into();
    assert_eq!(roles, &services_of_ours() - &on_laptops);
    let example = file(".env.example");
    let settings = &of_kind(&objects, "ConfigMap")[0].1["data"];
    let mut used = BTreeSet::new();
    for (role, pod) in pods {
        let container = &pod["containers"][0];
        assert_eq!(container["args"][0], role);
        let known = variables(role);
        let mut given = BTreeSet::new();
        for variable in container["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            assert!(
                known.contains(name) || name == OF_THE_POD,
                "{role} does not read {name}"
            );
            given.insert(name.to_owned());
            let from = &variable["valueFrom"];
            if from["secretKeyRef"].is_object() {
                assert_eq!(from["secretKeyRef"]["name"], "millrace", "{name}");
                assert_eq!(from["secretKeyRef"]["key"], name);
                assert!(example.contains(&format!("{name}=")), "{name}");
            } else if from["configMapKeyRef"].is_object() {
                assert!(settings[name].is_string(), "the settings lack {name}");
                used.insert(name.to_owned());
            }
        }
        for secret in millrace::settings::secrets_of(role) {
            assert!(given.contains(&secret), "{role} is not given {secret}");
        }
    }
    let set: BTreeSet<String> = settings.as_object().unwrap().keys().cloned().collect();
    assert_eq!(set, used, "nobody reads the rest");
}

#[test]
fn every_port_is_one_that_the_role_listens_on_and_is_asked_whether_it_is_ready() {
    let objects = objects();
    for (role, pod) in pods(&objects) {
        let container = &pod["containers"][0];
        let variables = container["env"].as_array().unwrap().iter();
        let listened = variables.clone().filter_map(|variable| {
            let name = variable["name"].as_str().unwrap();
            let port = variable["value"].as_str()?.strip_prefix("0.0.0.0:")?;
            LISTENS
                .contains(&name)
                .then(|| (name, port.parse().unwrap()))
        });
        let listened: BTreeMap<&str, u64> = listened.collect();
        let ports = ports(pod);
        let named: BTreeSet<&u64> = ports.iter().collect();
        assert_eq!(listened.values().collect::<BTreeSet<_>>(), named, "{role}");
        // It runs to its end.
        let Some(name) = listens(role) else {
            assert!(role == "provision" && ports.is_empty(), "{role}");
            continue;
        };
        let (is_api, port) = (is_api(role), ports[0]);
        assert_eq!(listened.get(name), Some(&port), "{role}");
        // The ingress brings TLS to the gateway.
        let shows = |name| variables.clone().any(|variable| variable["name"] == name);
        let encrypted = shows("MILLRACE_TLS_CERT") && shows("MILLRACE_TLS_KEY");
        assert_eq!(encrypted, is_api && role != "gateway", "{role}");
        let scheme = if encrypted { "https" } else { "http" };
        for (probe, path) in [
            ("startupProbe", "/livez"),
            ("readinessProbe", "/readyz"),
            ("livenessProbe", "/livez"),
        ] {
            let asked = &container[probe]["httpGet"];
            assert_eq!(asked["path"], path, "{role}: {probe}");
            let asked = asked["scheme"].as_str().unwrap_or("HTTP");
            assert_eq!(asked.to_lowercase(), scheme, "{role}: {probe}");
        }
        if !is_api {
            continue;
        }
        let mut advertise = variables.filter(|variable| variable["name"] == "MILLRACE_ADVERTISE");
        assert_eq!(
            advertise.next().unwrap()["value"],
            format!("{scheme}://$(POD_IP):{port}")
        );
        let services = of_kind(&objects, "Service");
        let service = services.iter().find(|(name, _)| *name == role).unwrap().1;
        assert_eq!(service["spec"]["ports"][0]["port"], port);
        assert_eq!(service["spec"]["selector"]["role"], role);
    }
}

#[test]
fn clients_reach_the_api_and_neither_metrics_nor_probes() {
    let objects = objects();
    let ingress = &of_kind(&objects, "Ingress")[0].1["spec"];
    let rule = &ingress["rules"][0];
    let settings = &of_kind(&objects, "ConfigMap")[0].1["data"];
    assert_eq!(rule["host"], settings["MILLRACE_HOSTS"]);
    assert_eq!(ingress["tls"][0]["hosts"][0], rule["host"]);
    let paths = rule["http"]["paths"].as_array().unwrap();
    for path in paths {
        let service = &path["backend"]["service"];
        assert_eq!(service["name"], "gateway");
        assert_eq!(service["port"]["name"], "http");
    }
    let passes = |asked: &str| {
        paths.iter().any(|path| {
            let rest = asked.strip_prefix(path["path"].as_str().unwrap());
            let within = path["pathType"] == "Prefix";
            rest.is_some_and(|rest| rest.is_empty() || within && rest.starts_with('/'))
        })
    };
    let own = ["/metrics", "/livez", "/readyz"];
    for asked in own.into_iter().chain(["/", "/v1metrics"]) {
        assert!(!passes(asked), "{asked}");
    }
    let document: Value = serde_json::from_str(&file("openapi.json")).unwrap();
    let called = document["paths"].as_object().unwrap().keys();
    let called = called
        .map(String::as_str)
        .filter(|path| !own.contains(path));
    let pages = ["/openapi.json", "/reference", "/problems/unavailable"];
    for asked in called.chain(pages) {
        assert!(passes(asked), "{asked}");
    }
}

#[test]
fn every_pod_is_bounded_unprivileged_and_may_go_away_one_at_a_time() {
    let objects = objects();
    let names = |kind: &str| {
        of_kind(&objects, kind)
            .into_iter()
            .map(|(name, _)| name)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        names("HorizontalPodAutoscaler"),
        ["command-api", "query-api", "saga"].into()
    );
    assert_eq!(names("PodDisruptionBudget"), names("Deployment"));
    // What is applied again must not undo what an autoscaler has decided.
    for (role, deployment) in of_kind(&objects, "Deployment") {
        let replicas = &deployment["spec"]["replicas"];
        let scaled = names("HorizontalPodAutoscaler").contains(role);
        assert_eq!(replicas.as_u64(), (!scaled).then_some(2), "{role}");
    }
    for (role, pod) in pods(&objects) {
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{role}");
        assert_eq!(
            container["securityContext"]["readOnlyRootFilesystem"], true,
            "{role}"
        );
        assert_eq!(
            container["securityContext"]["allowPrivilegeEscalation"], false,
            "{role}"
        );
        for bound in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            assert!(
                container["resources"].pointer(bound).is_some(),
                "{role}: {bound}"
            );
        }
    }
    let policies = of_kind(&objects, "NetworkPolicy");
    let nobody = policies
        .iter()
        .find(|(name, _)| *name == "nobody")
        .unwrap()
        .1;
    assert_eq!(nobody["spec"]["podSelector"], serde_json::json!({}));
    assert_eq!(
        nobody["spec"]["policyTypes"],
        serde_json::json!(["Ingress", "Egress"])
    );
    // Each API is let in at its own port, and nobody at a port that none has.
    for (name, policy) in policies.iter().filter(|(name, _)| name.starts_with("to-")) {
        let role = name.trim_start_matches("to-");
        if let Some((_, pod)) = pods(&objects).into_iter().find(|(name, _)| *name == role) {
            let port = &policy["spec"]["ingress"][0]["ports"][0]["port"];
            assert_eq!(*port, ports(pod)[0], "{name}");
        }
    }
    // Where each tells its numbers: the gateway apart from what its clients reach.
    let (_, measured) = policies
        .iter()
        .find(|(name, _)| *name == "measured")
        .unwrap();
    let measured = measured["spec"]["ingress"][0]["ports"].as_array().unwrap();
    let measured = measured.iter().map(|port| port["port"].as_u64().unwrap());
    let pods = pods(&objects);
    let told = pods
        .iter()
        .filter_map(|(_, pod)| ports(pod).last().copied());
    assert_eq!(measured.collect::<BTreeSet<_>>(), told.collect());
}

/// The namespace of Postgres is not kustomize's, so nothing else holds the two together.
#[test]
fn postgres_is_where_the_roles_look_for_it_and_lets_in_those_who_go_there() {
    let (ours, objects) = (objects(), objects_of("postgres.yaml"));
    let (name, cluster) = of_kind(&objects, "Cluster")[0];
    let namespace = of_kind(&objects, "Namespace")[0].0;
    let settings = &of_kind(&ours, "ConfigMap")[0].1["data"];
    let at = format!("{name}-rw.{namespace}.svc:5432");
    assert_eq!(settings["MILLRACE_POSTGRES"], at);
    for (name, object) in of_kind(&objects, "Cluster")
        .into_iter()
        .chain(of_kind(&objects, "NetworkPolicy"))
    {
        assert_eq!(object["metadata"]["namespace"], namespace, "{name}");
    }

    let policy = |objects, wanted| {
        let mut policies = of_kind(objects, "NetworkPolicy").into_iter();
        policies.find(|(name, _)| *name == wanted).unwrap().1["spec"].clone()
    };
    let (out, into) = (policy(&ours, "to-postgres"), policy(&objects, name));
    assert_eq!(into["ingress"][0]["ports"], out["egress"][0]["ports"]);
    let from = &into["ingress"][0]["from"][0];
    assert_eq!(from["podSelector"], out["podSelector"]);
    let label = "kubernetes.io/metadata.name";
    let to = &out["egress"][0]["to"][0]["namespaceSelector"]["matchLabels"];
    assert_eq!(to[label], namespace);
    let from = &from["namespaceSelector"]["matchLabels"];
    assert_eq!(from[label], of_kind(&ours, "Namespace")[0].0);

    let spec = &cluster["spec"];
    assert_eq!(spec["instances"], 3);
    assert_eq!(
        spec["postgresql"]["pg_hba"][0],
        "hostnossl all all all reject"
    );
    let roles = spec["managed"]["roles"].as_array().unwrap();
    // As whom the test of a hosted Postgres provisions it (`hosted.rs`).
    let admin = serde_json::json!({
        "name": millrace::settings::POSTGRES_ADMIN, "login": true, "createdb": true, "createrole": true,
        "passwordSecret": { "name": "millrace-admin" },
    });
    assert_eq!(roles, &[admin]);
    // What `provision` allows the roles of the contexts, and some more.
    let most = &spec["postgresql"]["parameters"]["max_connections"];
    let most: usize = most.as_str().unwrap().parse().unwrap();
    let contexts = projections::contexts().len();
    assert!(most > contexts * (20 + 60), "{most}");
}
