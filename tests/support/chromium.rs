//! A headless Chromium with one tab, told what to do over its debugging pipe (Chrome DevTools
//! Protocol). Messages are JSON that ends in a NUL byte.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use super::folder::Folder;

/// A tab. Dropping it ends the browser.
pub(crate) struct Chromium {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    /// What the page complained of: errors, and what its policy forbade.
    complaints: Vec<String>,
    _folder: Folder,
}

impl Chromium {
    /// Opens an address.
    pub(crate) async fn open(url: &str) -> Self {
        let mut tab = Self::start();
        let target = tab.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = target.await["targetId"].clone();
        let attach = json!({"targetId": target, "flatten": true});
        let attached = tab.call("Target.attachToTarget", attach).await;
        tab.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab.size(1440, 900).await;
        tab.call("Page.navigate", json!({"url": url})).await;
        tab
    }

    /// The pipe is two descriptors beside the standard ones, which a shell can place. In a
    /// container there is no room for its sandbox, and it opens pages of ours alone.
    fn start() -> Self {
        let folder = Folder::new("chromium");
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"])
            .args([&program, "--headless=new", "--remote-debugging-pipe"])
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--hide-scrollbars", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", folder.0.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium: tests/run.sh sets it up");
        Self {
            stdin: child.stdin.take().expect("a pipe"),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            session: None,
            calls: 0,
            complaints: Vec::new(),
            _folder: folder,
        }
    }

    /// The size of the window; below 700 it is that of a phone.
    pub(crate) async fn size(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700,
        });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// What an expression is worth.
    pub(crate) async fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let answer = self.call("Runtime.evaluate", asked).await;
        let failed = answer.get("exceptionDetails");
        assert!(failed.is_none(), "{expression}: {failed:?}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, what: &str, expression: &str) {
        let reached = async {
            while self.eval(expression).await != Value::Bool(true) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(LATE, reached).await.is_err() {
            let text = self.eval("document.body.innerText").await;
            let text = text.as_str().unwrap_or_default();
            panic!("not in time: {what}\n{text}\n{:?}", self.complaints);
        }
    }

    /// Presses and lets go a key, by its name.
    pub(crate) async fn key(&mut self, key: &str) {
        let (text, code) = match key {
            "ArrowDown" => ("", 40),
            "ArrowRight" => ("", 39),
            "Escape" => ("", 27),
            _ => (key, 0),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types a text where the focus is.
    pub(crate) async fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// A picture, PNG.
    pub(crate) async fn screenshot(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let picture = picture.await;
        let data = picture["data"].as_str().expect("a picture");
        STANDARD.decode(data).expect("base64")
    }

    /// What the page complained of so far.
    pub(crate) async fn complaints(&mut self) -> Vec<String> {
        // What was said before the answer to this has been read with it.
        self.eval("0").await;
        self.complaints.clone()
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let answered = async {
            let message = format!("{message}\0");
            let written = self.stdin.write_all(message.as_bytes()).await;
            written.expect("a browser that runs");
            loop {
                let message = self.read().await;
                if message["id"] == self.calls {
                    return message;
                }
                self.listen(&message);
            }
        };
        let answer = timeout(LATE, answered).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method} is not answered"));
        assert!(
            answer.get("error").is_none(),
            "{method}: {}",
            answer["error"]
        );
        answer["result"].clone()
    }

    async fn read(&mut self) -> Value {
        let mut message = Vec::new();
        let read = self.stdout.read_until(0, &mut message).await;
        let read = read.expect("a browser that runs");
        let ended = self.child.try_wait();
        assert!(read > 0, "chromium ended: {ended:?}");
        message.pop();
        serde_json::from_slice(&message).expect("JSON")
    }

    fn listen(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params.to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }
}

/// A browser that starts on a busy machine takes a while.
const LATE: Duration = Duration::from_secs(40);
