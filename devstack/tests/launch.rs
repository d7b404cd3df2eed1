//! The launcher and its children, with real processes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use devstack::launch::{Launcher, Signal, Spawner, Spec, User};
use tokio::process::Command;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_devstack-run");
/// What the launcher exits with when it fails itself.
const LAUNCHER_FAILED: i32 = 125;

fn sh(script: &str, log: &Path) -> Spec {
    let mut spec = Spec::new("/bin/sh").args(["-c", script]);
    spec.log = Some(log.to_owned());
    spec
}

#[tokio::test]
async fn a_child_gets_its_arguments_environment_and_folder_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut spec = sh("pwd; echo \"$A-$CARGO_MANIFEST_DIR-$1\"", &log)
        .args(["sh", "one two"])
        .env("A", "b");
    spec.folder = folder.path().canonicalize().unwrap();
    let spawner = Spawner::start().unwrap();
    let exit = spawner.run(&Launcher::new(LAUNCHER), &spec).await.unwrap();
    assert!(exit.success(), "{exit}");
    let expected = format!("{}\nb--one two\n", spec.folder.display());
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
}

#[tokio::test]
async fn a_program_that_cannot_run_says_so_in_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = Spec::new("/nowhere/program");
    spec.log = Some(folder.path().join("log"));
    let spawner = Spawner::start().unwrap();
    let exit = spawner.run(&Launcher::new(LAUNCHER), &spec).await.unwrap();
    assert!(!exit.success());
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("cannot run /nowhere/program"), "{log}");
}

#[tokio::test]
async fn a_launcher_whose_parent_is_gone_runs_nothing() {
    // Process 1 is not our parent: as if the real one had ended and the child been adopted.
    let output = Command::new(LAUNCHER)
        .args(["__exec", "--parent", "1", "--", "/bin/echo", "ran"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(LAUNCHER_FAILED));
    assert!(output.stdout.is_empty());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("the parent 1 is already gone"), "{words}");
}

#[tokio::test]
async fn a_child_of_root_becomes_the_user_with_no_other_groups_and_nobody_else_can() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut spec = sh("id -u; id -g; id -G", &log);
    spec.user = Some(User {
        uid: 65534,
        gid: 65533,
    });
    let spawner = Spawner::start().unwrap();
    let exit = spawner.run(&Launcher::new(LAUNCHER), &spec).await.unwrap();
    let log = fs::read_to_string(&log).unwrap();
    if rustix::process::geteuid().is_root() {
        assert!(exit.success(), "{exit}: {log}");
        assert_eq!(log, "65534\n65533\n65533\n");
    } else {
        assert!(!exit.success());
        assert!(log.contains("cannot become user 65534"), "{log}");
    }
}

#[tokio::test]
async fn a_child_outlives_the_spawner_handle_and_ends_with_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let launcher = Launcher::new(LAUNCHER);
    let spawner = Spawner::start().unwrap();
    let spec = sh("echo up; exec sleep 1000", &log);
    let child = spawner.spawn(&launcher, &spec).await.unwrap();
    drop(spawner);
    until(|| fs::read_to_string(&log).is_ok_and(|log| log == "up\n")).await;
    assert_eq!(child.exited(), None);
    let end = child.end();
    drop(child);
    let exit = tokio::time::timeout(Duration::from_secs(10), end)
        .await
        .unwrap();
    assert_eq!(exit.to_string(), "signal: 15 (SIGTERM)");
}

#[tokio::test]
async fn a_child_that_ignores_the_signal_is_killed_after_the_patience() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let spec = sh(
        "trap '' TERM; echo up; while true; do sleep 0.1; done",
        &log,
    );
    let spawner = Spawner::start().unwrap();
    let child = spawner
        .spawn(&Launcher::new(LAUNCHER), &spec)
        .await
        .unwrap();
    until(|| fs::read_to_string(&log).is_ok_and(|log| log == "up\n")).await;
    let orderly = child.stop(Signal::TERM, Duration::from_millis(200)).await;
    assert!(!orderly.unwrap());
    assert_eq!(child.exited().unwrap().to_string(), "signal: 9 (SIGKILL)");
    // The number may belong to somebody else by now: this must reach nobody.
    child.signaller().send(Signal::KILL).unwrap();
}

async fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "never came true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
