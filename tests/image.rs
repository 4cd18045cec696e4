//! The image, where none can be built: the Dockerfile is read, and the root that it would have is
//! assembled by the same script, and run in a chroot as the image's user.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::demo::stage::Stage;
use tokio::time::{sleep, timeout};

use crate::support::folder::Folder;

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

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
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

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_the_image_runs_with_the_janitor_s_arguments() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new("image");
    let image = folder.0.join("root");
    let assembled = Command::new(root().join(".ci/root"))
        .arg(&image)
        .arg(env!("CARGO_BIN_EXE_osvc-igw"))
        .status();
    assert!(assembled.expect("a shell").success());
    for file in [
        "etc/ssl/certs/ca-certificates.crt",
        "etc/passwd",
        "var/run/xds",
    ] {
        assert!(image.join(file).exists(), "{file}");
    }
    assert!(!image.join("bin").exists(), "there is no shell");

    // The janitor's container has the folder of the daemon's socket at this place.
    let lsnr = image.join("var/run/lsnr");
    fs::create_dir_all(&lsnr).expect("a folder");
    let _stage = Stage::start(&lsnr.join("lsnr.sock"))
        .await
        .expect("a stage");
    for entry in fs::read_dir(&lsnr).expect("a folder") {
        let socket = entry.expect("an entry").path();
        fs::set_permissions(socket, Permissions::from_mode(0o777)).expect("permissions");
    }
    let free = || ports::free().expect("a free port").to_string();
    let (port, admin) = (free(), format!("127.0.0.1:{}", free()));
    let log = fs::File::create(folder.0.join("log")).expect("a log");
    let child = inside(&image)
        .args(["--sock", "/var/run/lsnr/lsnr.sock", "--name", "igw1"])
        .args(["--port", &port, "--admin-address", &admin])
        .args(["--state-dir", "/var/lib/osvc-igw"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _process = Process(child.expect("the program in its root"));
    let healthy = async {
        loop {
            let mut health = inside(&image);
            health.args(["health", "--ready", "--admin-address", &admin]);
            let output = health.output().expect("the program in its root");
            if output.status.success() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let healthy = timeout(Duration::from_secs(20), healthy).await;
    let log = fs::read_to_string(folder.0.join("log")).unwrap_or_default();
    assert!(healthy.is_ok(), "{log}");
    assert!(image.join("var/run/xds/xds.sock").exists(), "{log}");
}
