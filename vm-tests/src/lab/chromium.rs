//! A real browser in a lab: Chromium without a window, driven over the DevTools protocol.
//!
//! The protocol goes over two pipes of its own (`--remote-debugging-pipe`), one JSON text and a zero
//! at a time, so that no port is open. Chromium ends when the pipes do.

#![expect(clippy::indexing_slicing, reason = "a JSON value without that field is null there")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::Lab;

/// It is ended after this long, so that no read of its answers hangs for ever.
const SECS_MAX: &str = "120";

/// Without the switches of a sandbox, which root may not have; without a word to anybody outside.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
    --no-first-run --no-proxy-server --disable-extensions --disable-background-networking \
    --disable-component-update --remote-debugging-pipe";

/// A browser with one page.
pub struct Chromium {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    next: u64,
    session: Option<String>,
    /// What it told without being asked.
    told: Vec<Value>,
}

impl Chromium {
    /// Starts one on `host`, with an empty page.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start(lab: &Lab, host: &str) -> Result<Self> {
        let (profile, log) = (lab.dir().join("chromium"), lab.dir().join("logs/chromium.log"));
        // Its commands come in as file 3, its answers go out as file 4.
        let script = format!(
            "exec chromium {FLAGS} --user-data-dir={} about:blank 3<&0 4>&1 0</dev/null >{} 2>&1",
            profile.display(),
            log.display(),
        );
        let mut child = Command::new("timeout")
            .args(["--kill-after=5", SECS_MAX, "nsenter"])
            .arg(lab.net_flag(host))
            .args(["--", "sh", "-c", &script])
            .env("HOME", lab.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start Chromium")?;
        let to = child.stdin.take().context("no pipe to Chromium")?;
        let from = BufReader::new(child.stdout.take().context("no pipe from Chromium")?);
        let mut browser = Self { child, to, from, next: 1, session: None, told: Vec::new() };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", &attach)?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.ask(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// When Chromium refuses it or has ended.
    pub fn ask(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        let id = self.next;
        self.next += 1;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{command}\0").as_bytes())?;
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer)?;
            ensure!(answer.pop() == Some(0), "Chromium has ended; is it installed (make setup)?");
            let mut answer: Value = serde_json::from_slice(&answer)?;
            if answer["id"] != id {
                self.told.push(answer);
                continue;
            }
            ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
            return Ok(answer["result"].take());
        }
    }

    /// A page of this size in pixels, in a scheme that is `light` or `dark`.
    ///
    /// # Errors
    /// As [`Chromium::ask`].
    pub fn look(&mut self, width: u32, height: u32, scheme: &str) -> Result<()> {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", &scheme).map(drop)
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let went = self.ask("Page.navigate", &json!({ "url": url }))?;
        ensure!(went["errorText"].is_null(), "{url}: {}", went["errorText"]);
        Ok(())
    }

    /// The value of an expression of JavaScript in the page.
    ///
    /// # Errors
    /// When it throws.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.ask("Runtime.evaluate", &ask)?;
        if !answer["exceptionDetails"].is_null() {
            bail!("{expression}: {}", answer["exceptionDetails"]);
        }
        Ok(answer["result"]["value"].take())
    }

    /// What the page complains of since it was asked last: exceptions, warnings and errors on the
    /// console, what its policy has stopped.
    ///
    /// # Errors
    /// As [`Chromium::ask`].
    pub fn complaints(&mut self) -> Result<Vec<Value>> {
        // What was told before this answer has been read by then.
        self.value("0")?;
        let is_complaint = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => ["error", "warning", "assert"]
                .contains(&event["params"]["type"].as_str().unwrap_or("")),
            Some("Log.entryAdded") => ["error", "warning"]
                .contains(&event["params"]["entry"]["level"].as_str().unwrap_or("")),
            _ => false,
        };
        Ok(self.told.drain(..).filter(is_complaint).collect())
    }

    /// A picture of what is in sight of the page, as PNG.
    ///
    /// # Errors
    /// As [`Chromium::ask`].
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let answer = self.ask("Page.captureScreenshot", &json!({ "format": "png" }))?;
        Ok(BASE64_STANDARD.decode(answer["data"].as_str().context("no picture")?)?)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It has no state that is worth a good end; what is left of it goes with the lab.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
