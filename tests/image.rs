//! The image, where none can be built: the Dockerfile is read, and the root that it would have is
//! assembled by the same script, and run in a chroot as the image's user.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::demo::ports;
use osvc_igw::demo::stage::Stage;
use osvc_igw::sim::Sim;
use tokio::time::{sleep, timeout};

use crate::support::envoy::Envoy;
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions of the Dockerfile: the word and the rest, by stage.
fn stages() -> Vec<(String, Vec<(String, String)>)> {
    let text = fs::read_to_string(root().join("Dockerfile")).expect("a Dockerfile");
    let mut stages: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((word, rest)) = line.split_once(' ') else {
            continue;
        };
        if word == "FROM" {
            let name = rest.split(" AS ").nth(1).expect("a name for each stage");
            stages.push((name.to_owned(), Vec::new()));
        }
        let (_, instructions) = stages.last_mut().expect("FROM comes first");
        instructions.push((word.to_owned(), rest.to_owned()));
    }
    stages
}

#[test]
fn what_the_dockerfile_copies_is_there_and_may_be_sent() {
    let ignore = fs::read_to_string(root().join(".dockerignore")).expect("a .dockerignore");
    let sent: BTreeSet<&str> = ignore
        .lines()
        .filter_map(|it| it.strip_prefix('!'))
        .collect();
    let mut known = BTreeSet::new();
    let mut copied = 0;
    for (name, instructions) in stages() {
        for (word, rest) in instructions {
            let words: Vec<&str> = rest.split(' ').collect();
            match (word.as_str(), &words[..]) {
                ("FROM", [from, ..]) => {
                    let remote = from.contains('/') || *from == "scratch";
                    assert!(remote || known.contains(*from), "{name}: FROM {from}");
                }
                ("COPY", [from, _, _]) if from.starts_with("--from=") => {
                    let from = from.trim_start_matches("--from=");
                    assert!(known.contains(from), "{name}: COPY --from={from}");
                }
                ("COPY", [sources @ .., _]) => {
                    for source in sources {
                        assert!(root().join(source).exists(), "{source} is copied");
                        assert!(sent.contains(source), "{source} is not sent");
                        copied += 1;
                    }
                }
                _ => {}
            }
        }
        known.insert(name);
    }
    assert_eq!(copied, sent.len(), "what is sent is copied");
}

#[test]
fn each_image_runs_the_program_as_its_user_and_asks_for_its_health() {
    let stages = stages();
    let finals: Vec<_> = stages
        .iter()
        .filter(|(_, it)| it[0].1.starts_with("scratch"))
        .collect();
    let names: Vec<&str> = finals.iter().map(|(name, _)| name.as_str()).collect();
    // The last one is what is built where none is named.
    assert_eq!(names, ["gateway", "controller"]);
    assert_eq!(
        stages.last().map(|(name, _)| name.as_str()),
        Some("controller")
    );
    for (name, instructions) in finals {
        let has = |word: &str, rest: &str| {
            let mut all = instructions.iter().filter(|(it, _)| it == word);
            assert!(
                all.any(|(_, it)| it.ends_with(rest)),
                "{name}: {word} {rest}"
            );
        };
        has("USER", "65532:65532");
        has("ENTRYPOINT", r#"["/osvc-igw"]"#);
        has("HEALTHCHECK", r#"CMD ["/osvc-igw", "health"]"#);
    }
}

#[test]
fn each_image_is_what_the_script_assembles_from_the_locked_build() {
    let stages = stages();
    let of = |stage: &str, word: &str| -> Vec<String> {
        let found = stages.iter().find(|(name, _)| name == stage);
        let (_, instructions) = found.unwrap_or_else(|| panic!("a stage {stage}"));
        let chosen = instructions.iter().filter(|(it, _)| it == word);
        chosen.map(|(_, rest)| rest.clone()).collect()
    };
    let (program, envoy) = ("/osvc-igw", "/usr/local/bin/envoy");
    let built = format!(".ci/build {program}");
    assert!(of("build", "RUN").contains(&built));
    let build = fs::read_to_string(root().join(".ci/build")).expect("a script");
    assert!(build.contains("cargo build --release --locked --bin osvc-igw"));
    for (stage, from, folder, script) in [
        ("controller", "build", "/image", format!("/image {program}")),
        (
            "gateway",
            "both",
            "/both",
            format!("/both {program} {envoy}"),
        ),
    ] {
        assert_eq!(of(stage, "COPY"), [format!("--from={from} {folder} /")]);
        assert!(
            of(from, "RUN")
                .iter()
                .any(|it| *it == format!(".ci/root {script}"))
        );
    }
    // Where the script puts Envoy, and where it comes from.
    assert_eq!(of("gateway", "ENV"), [format!("OSVC_IGW_ENVOY={envoy}")]);
    assert_eq!(
        of("both", "COPY"),
        [format!("--from=envoy {envoy} {envoy}")]
    );
    assert!(of("controller", "ENV").is_empty());
}

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has to end its Envoy first.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        for _ in 0..100 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command in the root of the image, as its user; where the tests do not run as root, as the
/// only user there is.
fn inside(image: &Path) -> Command {
    let mut command = match fs::metadata("/proc/self").expect("/proc").uid() {
        0 => Command::new("chroot"),
        _ => {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "chroot"]);
            command
        }
    };
    if fs::metadata("/proc/self").expect("/proc").uid() == 0 {
        command.arg("--userspec=65532:65532");
    }
    command.arg(image).arg("/osvc-igw").env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// An image that runs.
struct Image {
    root: PathBuf,
    log: PathBuf,
    admin: String,
    _process: Process,
    _stage: Stage,
    _folder: Folder,
}

impl Image {
    /// Assembles the root and starts the program with the janitor's arguments and more.
    async fn start(envoy: Option<&Path>, more: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = Folder::new("image");
        let image = assembled(&folder, envoy);
        let lsnr = image.join("var/run/lsnr");
        let stage = Stage::start(&lsnr.join("lsnr.sock")).await;
        open_all(&lsnr);
        let free = || ports::free().expect("a free port").to_string();
        let (port, admin) = (free(), format!("127.0.0.1:{}", free()));
        let log = folder.0.join("log");
        let child = inside(&image)
            .args(["--sock", "/var/run/lsnr/lsnr.sock", "--name", "igw1"])
            .args(["--port", &port, "--admin-address", &admin])
            .args(["--state-dir", "/var/lib/osvc-igw"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn();
        Self {
            root: image,
            log,
            admin,
            _process: Process(child.expect("the program in its root")),
            _stage: stage.expect("a stage"),
            _folder: folder,
        }
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let holding = async {
            while !holds().await {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let held = timeout(Duration::from_secs(20), holding).await;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        assert!(held.is_ok(), "{what}: {log}");
    }
}

/// The root, as the Dockerfile's steps make it, with what a container adds.
fn assembled(folder: &Folder, envoy: Option<&Path>) -> PathBuf {
    let image = folder.0.join("root");
    let assembled = Command::new(root().join(".ci/root"))
        .arg(&image)
        .arg(env!("CARGO_BIN_EXE_osvc-igw"))
        .args(envoy)
        .status();
    assert!(assembled.expect("a shell").success());
    // A container has devices; this one is all that is opened.
    fs::create_dir(image.join("dev")).expect("a folder");
    fs::write(image.join("dev/null"), "").expect("a file");
    open(&image.join("dev/null"));
    // The janitor's container has the folder of the daemon's socket at this place.
    fs::create_dir_all(image.join("var/run/lsnr")).expect("a folder");
    image
}

fn open_all(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        open(&entry.expect("an entry").path());
    }
}

/// Lets everybody read and write.
fn open(file: &Path) {
    fs::set_permissions(file, Permissions::from_mode(0o666)).expect("permissions");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_the_image_runs_with_the_janitor_s_arguments() {
    let image = Image::start(None, &[]).await;
    for file in [
        "etc/ssl/certs/ca-certificates.crt",
        "etc/passwd",
        "var/run/xds",
    ] {
        assert!(image.root.join(file).exists(), "{file}");
    }
    assert!(!image.root.join("bin").exists(), "there is no shell");
    image
        .until("it is healthy", async || {
            let mut health = inside(&image.root);
            health.args(["health", "--ready", "--admin-address", &image.admin]);
            let output = health.output().expect("the program in its root");
            output.status.success()
        })
        .await;
    assert!(image.root.join("var/run/xds/xds.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_the_gateway_has_an_envoy_that_gets_ready() {
    // Where the tests' Envoy is started by a script, this is what the script starts.
    let running = Envoy::start(&Bootstrap {
        node_id: "image".to_owned(),
        node_cluster: "envoy".to_owned(),
        xds: XdsAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 1,
        },
        admin: ([127, 0, 0, 1], 0).into(),
    })
    .await;
    let program = fs::read_link(format!("/proc/{}/exe", running.id())).expect("its program");
    drop(running);
    let envoy = ports::free().expect("a free port").to_string();
    // Without /dev/stdout there is nothing to write an access log to.
    let more = [
        "--envoy",
        "/usr/local/bin/envoy",
        "--envoy-port",
        &envoy,
        "--access-log",
        "none",
    ];
    let image = Image::start(Some(&program), &more).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    image
        .until("Envoy is ready", async || {
            let asked = client
                .get(format!("http://127.0.0.1:{envoy}/ready"))
                .send()
                .await;
            asked.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
}

/// Whether the program reads the roots at the place where the image has them: an authority that is
/// put beside them is believed.
#[tokio::test(flavor = "multi_thread")]
async fn the_roots_of_the_image_are_those_that_authorities_are_believed_by() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new("roots");
    let image = assembled(&folder, None);
    let roots = image.join("etc/ssl/certs/ca-certificates.crt");
    let public = fs::read_to_string(&roots).expect("roots");
    assert!(public.matches("-----BEGIN CERTIFICATE-----").count() > 50);
    assert!(!public.contains("PRIVATE KEY"));
    let pebble = Pebble::start();
    // The file is a link to that of this machine.
    fs::remove_file(&roots).expect("a file less");
    fs::write(&roots, format!("{public}\n{}", pebble.ca_pem())).expect("a file");
    let lsnr = image.join("var/run/lsnr");
    let sim = Sim::start(&lsnr.join("lsnr.sock"), &["n1"]).expect("a daemon");
    open_all(&lsnr);
    sim.create("test/sec/ca", "").expect("an object");
    sim.set_key("test/sec/ca", "directory", &pebble.directory())
        .expect("a key");
    let object = "[DEFAULT]\ncn = www.acme.org\nca = test/sec/ca\n";
    sim.create("test/sec/front", object).expect("an object");
    let log = fs::File::create(folder.0.join("log")).expect("a log");
    let child = inside(&image)
        .args(["acme", "run", "--sock", "/var/run/lsnr/lsnr.sock"])
        .args(["--acme-gateways", "127.0.0.1"])
        .stdin(Stdio::null())
        .stderr(log)
        .spawn();
    let _process = Process(child.expect("the program in its root"));
    let registered = async {
        while !pebble.log().contains("accounts in memory") {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let registered = timeout(Duration::from_secs(60), registered).await;
    let log = fs::read_to_string(folder.0.join("log")).unwrap_or_default();
    assert!(registered.is_ok(), "{log}");
}
