//! A reader at a shell: types the lines of a page, and sees what comes of each.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use osvc_igw::demo::ports;

use super::envoy;
use super::folder::Folder;
use super::page::file;

/// A shell in a folder that looks like a clone in which everything is built. What is started
/// there ends with it.
pub(crate) struct Session {
    shell: Child,
    input: ChildStdin,
    output: Receiver<String>,
    pub(crate) folder: Folder,
}

impl Session {
    /// A shell with ports of its own in the place of the documented ones; they are given to the
    /// programs in the environment, so that a line can be typed as it stands in the page.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let folder = Folder::new("reader");
        clone(&folder.0);
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", folder.0.join("bin").display());
        let free = || ports::free().expect("a free port");
        let (xds, envoy) = (free(), free());
        let mut shell = Command::new("sh")
            .current_dir(&folder.0)
            .env("PATH", path)
            .env("ENVOY", folder.0.join("target/venv/bin/envoy"))
            .env("CARGO_TARGET_DIR", folder.0.join("target"))
            .env("NO_COLOR", "1")
            .env("CURL_HOME", &folder.0)
            .env("OSVC_IGW_PORT", xds.to_string())
            .env("OSVC_IGW_ADDRESS", format!("127.0.0.1:{xds}"))
            .env("OSVC_IGW_ENVOY_PORT", envoy.to_string())
            .env("OSVC_IGW_ADMIN_ADDRESS", format!("127.0.0.1:{}", free()))
            .env("OSVC_IGW_JANITOR_SOCKET", "none")
            .envs(environment.iter().copied())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let input = shell.stdin.take().expect("a pipe");
        let (lines, output) = channel();
        let reader = BufReader::new(shell.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let mut session = Self {
            shell,
            input,
            output,
            folder,
        };
        session.run("exec 2>&1");
        session
    }

    /// Types a line; returns its exit code and what was printed until then.
    pub(crate) fn run(&mut self, line: &str) -> (i32, String) {
        writeln!(self.input, "{line}\nprintf '\\n{MARK}%s\\n' $?").expect("the shell reads");
        let (mut told, end) = (String::new(), Instant::now() + LATE);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(next) = self.output.recv_timeout(left) else {
                panic!("no end of: {line}\n{told}");
            };
            if let Some(code) = next.strip_prefix(MARK) {
                // The mark begins a line of its own.
                let told = told.strip_suffix('\n').unwrap_or(&told);
                return (code.parse().expect("an exit code"), told.to_owned());
            }
            told.push_str(&next);
            told.push('\n');
        }
    }

    /// Types a line that has to work.
    #[track_caller]
    pub(crate) fn works(&mut self, line: &str) -> String {
        let (code, told) = self.run(line);
        assert_eq!(code, 0, "{line}\n{told}");
        told
    }

    /// Types a line again and again until it ends as it should, as who waits for it does.
    #[track_caller]
    pub(crate) fn until(&mut self, line: &str, right: impl Fn(i32, &str) -> bool) -> String {
        let (end, mut last) = (Instant::now() + LATE, String::new());
        while Instant::now() < end {
            let (code, told) = self.run(line);
            if right(code, &told) {
                return told;
            }
            last = told;
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("never as it should be: {line}\n{last}");
    }

    /// Starts a line in the background, as in a second terminal; what it prints goes to a file
    /// in the folder, which is named here.
    #[track_caller]
    pub(crate) fn behind(&mut self, line: &str, log: &str) {
        self.works(&format!("{{ {line}\n}} >{log} 2>&1 &"));
    }

    /// Waits until a file in the folder has these words; returns all of it.
    #[track_caller]
    pub(crate) fn until_file(&self, name: &str, words: &str) -> String {
        let (path, end) = (self.folder.0.join(name), Instant::now() + LATE);
        loop {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text.contains(words) {
                return text;
            }
            assert!(Instant::now() < end, "{name} never has {words:?}:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let group = format!("-{}", self.shell.id());
        let signal = |name: &str| {
            let sent = Command::new("kill")
                .args(["-s", name, "--", &group])
                .stderr(Stdio::null())
                .status();
            sent.is_ok_and(|status| status.success())
        };
        // Who is asked to end removes what it has made; who does not end is made to.
        signal("TERM");
        let _ = self.shell.wait();
        for _ in 0..50 {
            if !signal("0") {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        signal("KILL");
    }
}

/// What a clone has after the demo: the program, which is the one under test, and Envoy. A
/// `cargo` that builds nothing takes the only command that the pages have for it.
fn clone(folder: &Path) {
    for name in ["bin", "target/release", "target/venv/bin"] {
        fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    let link = |from: &Path, to: &str| symlink(from, folder.join(to)).expect("a link");
    for name in ["examples", "tests", "charts", "README.md"] {
        link(&file(name), name);
    }
    let program = Path::new(env!("CARGO_BIN_EXE_osvc-igw"));
    link(program, "target/release/osvc-igw");
    link(program, "bin/osvc-igw");
    let cargo = "#!/bin/sh\n[ \"$*\" = 'build --release --locked' ] || exit 99\n";
    script(&folder.join("bin/cargo"), cargo);
    // Envoys that share a machine without knowing of each other must not share memory.
    let envoy = envoy::binary().display().to_string();
    let envoy = format!(
        "#!/bin/sh\ncase \"$*\" in *--disable-hot-restart*) exec {envoy} \"$@\" ;; esac\n\
         exec {envoy} --disable-hot-restart --concurrency 1 \"$@\"\n"
    );
    script(&folder.join("target/venv/bin/envoy"), &envoy);
    link(&folder.join("target/venv/bin/envoy"), "bin/envoy");
    // At a terminal curl shows no meter.
    fs::write(
        folder.join(".curlrc"),
        "silent\nshow-error\nnoproxy = \"*\"\n",
    )
    .expect("a file");
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("permissions");
}

const MARK: &str = "@@ ended with ";
/// Long enough for a machine that is busy with other tests.
const LATE: Duration = Duration::from_secs(120);
