//! EDGE: has a program write records. It is one of the folder that whoever started the operator
//! named, is told a name and a text, and gets nothing else: no shell, no environment.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Runs one program for one action, `present` or `cleanup`, and ends it, with all that it
/// started, when it takes too long.
///
/// # Errors
/// Why it did not succeed, as a sentence with the last that it said of it.
pub async fn run(
    folder: &Path,
    program: &str,
    words: [&str; 3],
    longest: Duration,
) -> Result<(), String> {
    let [action, ..] = words;
    let found = tokio::fs::canonicalize(folder).await;
    let folder = found.map_err(|error| format!("the folder of programs: {error}"))?;
    let mut command = Command::new(folder.join(program));
    command
        .args(words)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let started = command.spawn();
    let mut child = started.map_err(|error| format!("{program} cannot be run: {error}"))?;
    let mut group = Group::of(child.id());
    let mut said = Vec::new();
    let stderr = child.stderr.take();
    let ended = async {
        let listen = async {
            if let Some(stderr) = stderr {
                last_of(stderr, &mut said).await;
            }
        };
        tokio::pin!(listen);
        tokio::select! {
            () = &mut listen => child.wait().await,
            ended = child.wait() => {
                // Something that it left behind may keep the pipe open for as long as it likes.
                let _ = timeout(REST_MAX, listen).await;
                ended
            }
        }
    };
    let ended = timeout(longest, ended).await;
    let Ok(ended) = ended else {
        drop(group);
        // So that no process is left to be waited for.
        let _ = child.wait().await;
        let seconds = longest.as_secs();
        return Err(format!(
            "{program} {action} did not end in {seconds} s{}",
            told(&said)
        ));
    };
    group.0 = None;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {action}: {status}{}", told(&said))),
        Err(error) => Err(format!("{program} {action}: {error}")),
    }
}

/// The processes that a program started, which end when this is dropped, whoever drops it.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        let leader = leader.and_then(|id| i32::try_from(id).ok());
        Self(leader.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads to the end and keeps the end.
async fn last_of(mut from: impl AsyncRead + Unpin, said: &mut Vec<u8>) {
    let mut buffer = [0; 1_024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        said.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let over = said.len().saturating_sub(SAID_BYTES_MAX);
        said.drain(..over);
    }
}

/// The last line, as the end of a sentence.
fn told(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    let shown = |line: &str| -> String {
        let chars = line.chars().filter(|c| !c.is_control());
        chars.take(TOLD_CHARS_MAX).collect()
    };
    last.map(|line| format!(": {}", shown(line)))
        .unwrap_or_default()
}

/// What was said before the end is there at once.
const REST_MAX: Duration = Duration::from_millis(500);
const SAID_BYTES_MAX: usize = 4_096;
const TOLD_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_told() {
        assert_eq!(told(b""), "");
        assert_eq!(told(b"one\n two\x1b[31m \n\n"), ": two[31m");
        assert_eq!(told(&[b'x'; 1_000]).len(), 2 + TOLD_CHARS_MAX);
    }
}
