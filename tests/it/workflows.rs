//! .github/workflows: every service is checked when what it is built of changes, and then alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::deploy::{file, root, services_of_ours};
use crate::documents::sources;

const FOLDER: &str = ".github/workflows";

/// The whole project, what it is built with, and what the workflows of services call.
const OF_NO_SERVICE: [&str; 3] = ["advisories", "ci", "service"];

/// Each role, the workflow that checks it, and the crate it is.
const ROLES: [(&str, &str, &str); 9] = [
    ("command-api", "command-api", "command-api"),
    ("gateway", "gateway", "gateway"),
    ("mail-sink", "devstack", "devstack"),
    ("payment-simulator", "devstack", "devstack"),
    ("projector", "projector", "projections"),
    // It makes the databases of the one and the streams of the other.
    ("provision", "projector", "projections"),
    ("query-api", "query-api", "query-api"),
    ("reactor", "reactor", "reactors"),
    ("saga", "saga", "sagas"),
];

/// What every crate is built with.
const ALWAYS: [&str; 5] = [
    ".github/workflows/service.yml",
    "Cargo.lock",
    "Cargo.toml",
    "clippy.toml",
    "rust-toolchain.toml",
];

fn workflow(name: &str) -> Value {
    serde_saphyr::from_str(&file(&format!("{FOLDER}/{name}.yml"))).unwrap()
}

/// A crate of ours: its folder, and those that it depends on, also in tests.
struct Crate {
    folder: String,
    needs: Vec<String>,
}

/// Every crate of the workspace, as cargo knows it.
fn crates() -> BTreeMap<String, Crate> {
    let output = Command::new("cargo")
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--locked",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages = packages.map(|package| {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
        let needs = package["dependencies"].as_array().unwrap().iter();
        let ours = needs.filter(|needed| needed["path"].is_string());
        let needs = ours.map(|needed| text(&needed["name"])).collect();
        let folder = folder.display().to_string();
        (text(&package["name"]), Crate { folder, needs })
    });
    packages.collect()
}

/// The crate, and all of ours below it.
fn with_all_below<'a>(crates: &'a BTreeMap<String, Crate>, name: &'a str) -> BTreeSet<&'a str> {
    let (mut found, mut open) = (BTreeSet::new(), vec![name]);
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(crates[name].needs.iter().map(String::as_str));
        }
    }
    found
}

/// The files at the root, or below another folder of it, that code in `folder` takes in or looks at.
fn files_from_elsewhere(folder: &Path) -> BTreeSet<String> {
    let mut text = String::new();
    sources(folder, &mut text);
    let named = text.split("../").skip(1);
    let named = named.filter_map(|rest| rest.split('"').next());
    let is_there = |name: &&str| !name.is_empty() && root().join(name).is_file();
    named.filter(is_there).map(str::to_owned).collect()
}

/// What a change of which is a change of these crates, as GitHub's filter names it.
fn paths(crates: &BTreeMap<String, Crate>, names: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut paths: BTreeSet<String> = ALWAYS.map(str::to_owned).into();
    let folders: Vec<&str> = names
        .iter()
        .map(|name| crates[*name].folder.as_str())
        .collect();
    for folder in &folders {
        paths.extend(files_from_elsewhere(&root().join(folder)));
        // A crate that holds crates brings them.
        let outer = folder.split_once('/').map(|(outer, _)| outer);
        if outer.is_some_and(|outer| folders.contains(&outer)) {
            continue;
        }
        paths.insert(format!("{folder}/**"));
        let clippy = outer.map(|outer| format!("{outer}/clippy.toml"));
        paths.extend(clippy.filter(|name| root().join(name).is_file()));
    }
    paths
}

#[test]
fn every_service_is_checked_when_what_it_is_built_of_changes() {
    let crates = crates();
    for (role, name, of) in ROLES {
        let workflow = workflow(name);
        let names = with_all_below(&crates, of);
        let mut wanted = paths(&crates, &names);
        wanted.insert(format!("{FOLDER}/{name}.yml"));
        let listed = workflow["on"]["pull_request"]["paths"].as_array().unwrap();
        let listed = listed.iter().map(|path| path.as_str().unwrap().to_owned());
        assert_eq!(
            listed.collect::<BTreeSet<_>>(),
            wanted,
            "{role}: {name}.yml"
        );
        let job = &workflow["jobs"][name];
        assert_eq!(job["uses"], format!("./{FOLDER}/service.yml"), "{name}.yml");
        let packages = job["with"]["packages"].as_str().unwrap().split(' ');
        assert_eq!(packages.collect::<BTreeSet<_>>(), names, "{name}.yml");
    }
}

#[test]
fn every_role_has_a_workflow_and_every_workflow_a_role() {
    let roles: BTreeSet<String> = ROLES.map(|(role, ..)| role.to_owned()).into();
    assert_eq!(roles, services_of_ours());
    let wanted = ROLES
        .map(|(_, name, _)| name)
        .into_iter()
        .chain(OF_NO_SERVICE);
    let there = std::fs::read_dir(root().join(FOLDER)).unwrap().flatten();
    let there = there.map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(
        there.collect::<BTreeSet<_>>(),
        wanted.map(|name| format!("{name}.yml")).collect()
    );
}

#[test]
fn workflows_may_only_read_and_know_no_secret() {
    for name in ROLES
        .map(|(_, name, _)| name)
        .into_iter()
        .chain(OF_NO_SERVICE)
    {
        assert_eq!(
            workflow(name)["permissions"],
            serde_json::json!({ "contents": "read" })
        );
        let text = file(&format!("{FOLDER}/{name}.yml"));
        assert!(!text.contains("secrets"), "{name}.yml");
        for action in text.split("uses: ").skip(1) {
            let action = action.lines().next().unwrap();
            let version = action.split_once("@v").map(|(_, version)| version);
            let pinned = version.is_some_and(|version| version.split('.').count() == 3);
            assert!(pinned || action.starts_with("./"), "{name}.yml: {action}");
        }
    }
    assert!(runs("ci", "all", ".ci/run"));
}

fn runs(name: &str, job: &str, command: &str) -> bool {
    let steps = &workflow(name)["jobs"][job]["steps"];
    let mut steps = steps.as_array().unwrap().iter();
    steps.any(|step| step["run"] == command)
}

#[test]
fn what_is_linked_is_held_against_the_advisories_every_day() {
    let command = ".ci/deny advisories";
    assert!(runs("advisories", "advisories", command));
    let on = &workflow("advisories")["on"];
    let at = on["schedule"][0]["cron"].as_str().unwrap();
    assert!(at.ends_with(" * * *"), "{at}");
    let asked = on["pull_request"].is_null() && on.get("pull_request").is_some();
    assert!(asked, "whatever a change touches");
}
