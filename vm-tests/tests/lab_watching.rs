//! What people and Prometheus see of a network: the page at `/` in a real browser, for eyes,
//! keyboards and screen readers, on a desk and on a phone; `tidegate top` on a real terminal; and a
//! Prometheus that scrapes, with our alert rules. The pictures in the documentation are taken here
//! (`UPDATE_GOLDEN=1`).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tidegate_vm_tests::lab::chromium::Chromium;
use tidegate_vm_tests::lab::main_job::{API, BACKENDS, MainJob, SOON, VIP_V4, VIP_V6, Variant};
use tidegate_vm_tests::lab::program;

/// Text and background that do not differ enough to be read (WCAG 2.2, 1.4.3: 4.5 to 1).
const FAINT: &str = r#"(() => {
    const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = (c) => { const [r, g, b] = parts(c).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const paper = (at) => { for (; at; at = at.parentElement) { const c = getComputedStyle(at).backgroundColor; const p = parts(c); if (p.length < 4 || p[3] > 0) return c; } return "rgb(255, 255, 255)"; };
    const faint = [];
    for (const at of document.body.querySelectorAll("*")) {
        const own = [...at.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || !at.getClientRects().length || at.tagName === "SCRIPT") continue;
        const a = light(getComputedStyle(at).color), b = light(paper(at));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) faint.push(at.textContent.slice(0, 40) + ": " + ratio.toFixed(2));
    }
    return faint;
})()"#;

/// Draws ten thousand services: how many rows there are, what is said of the rest, and how long it
/// took, in milliseconds.
const MANY: &str = r#"(() => {
    const [vip] = latest.vips, many = Object.assign({}, latest, { vips: [] });
    for (let i = 0; i < 10000; i++)
        many.vips.push(Object.assign({}, vip, { service: "s" + i, backends: vip.backends.map((b) => Object.assign({}, b)) }));
    const began = performance.now();
    draw(many, began);
    return { took: performance.now() - began, rows: document.querySelectorAll("details").length, said: document.getElementById("shown").textContent, nodes: document.querySelectorAll("*").length };
})()"#;

struct Page {
    job: MainJob,
    browser: Chromium,
}

impl Page {
    fn open() -> Self {
        let job = MainJob::announced(Variant::default()).unwrap();
        let mut browser = Chromium::start(&job.lab, "edge").unwrap();
        browser.look(1060, 820, "light").unwrap();
        browser.open(&format!("http://{API}/")).unwrap();
        Self { job, browser }
    }

    fn value(&mut self, expression: &str) -> Value {
        self.browser.value(expression).unwrap()
    }

    /// Waits until an expression is true.
    fn wait(&mut self, what: &str, expression: &str) {
        let seen = self.job.lab.wait_for(what, SOON, || {
            let seen = self.browser.value(expression)?;
            let body = self.browser.value("document.body.innerText")?;
            ensure!(
                seen == true,
                "{expression} is {seen} in\n{}",
                body.as_str().unwrap_or_default()
            );
            Ok(())
        });
        seen.unwrap();
    }

    /// Waits until the text of an element holds these words.
    fn wait_for_text(&mut self, id: &str, words: &str) {
        let words = words.replace('"', "\\\"");
        let seen = format!("document.getElementById('{id}').innerText.includes(\"{words}\")");
        self.wait(&format!("#{id} to say {words}"), &seen);
    }

    fn key(&mut self, key: &str) {
        let text = if key.len() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let press = json!({ "type": kind, "key": key, "text": text });
            self.browser.ask("Input.dispatchKeyEvent", &press).unwrap();
        }
    }

    fn assert_content(&mut self) {
        assert_eq!(self.browser.complaints().unwrap(), Vec::<Value>::new());
        let faint = self.value(FAINT);
        assert_eq!(faint, json!([]), "too faint to be read");
    }

    /// A picture for the documentation.
    fn picture(&mut self, name: &str) {
        let picture = self.browser.picture().unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide");
            std::fs::write(docs.join(name), &picture).unwrap();
        }
    }
}

/// What the API's socket answers, headers and all.
fn asked(job: &MainJob, path: &str) -> String {
    let mut stream = UnixStream::connect(job.api_socket()).unwrap();
    // HTTP/1.0: the answer is not in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: tidegate\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// All rows of a list, page by page, and how many pages that took.
fn listed(job: &MainJob, list: &str, limit: usize) -> (Vec<Value>, usize) {
    let (mut rows, mut pages, mut from) = (Vec::new(), 0, String::new());
    loop {
        let answer = asked(job, &format!("/api/v1/{list}?limit={limit}&from={from}"));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut page: Value = serde_json::from_str(body).unwrap();
        let more = page[list].as_array_mut().unwrap();
        assert!(more.len() <= limit, "{page}");
        rows.append(more);
        pages += 1;
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut from),
            None => return (rows, pages),
        }
    }
}

/// Two services of three backends each, in any portions.
fn lists_come_by_pages(job: &MainJob) {
    let named = |rows: &[Value]| -> Vec<Value> {
        rows.iter().map(|row| json!([row["service"], row["address"]])).collect()
    };
    for (list, cases) in
        [("vips", [(1, 2), (2, 1), (100, 1)]), ("backends", [(1, 6), (2, 3), (4, 2)])]
    {
        let (all, _) = listed(job, list, 1_000);
        for (limit, wanted) in cases {
            let (rows, pages) = listed(job, list, limit);
            assert_eq!(named(&rows), named(&all), "{list} by {limit}");
            assert_eq!(pages, wanted, "{list} by {limit}");
        }
    }
    let bad = asked(job, "/api/v1/backends?from=web/nobody");
    assert!(bad.starts_with("HTTP/1.0 400") && bad.contains("web/10.0.0.11"), "{bad}");
}

/// Who has no TCP listener reaches it through the socket (`ssh -L`).
fn the_socket_serves_it_too(page: &Page) {
    let answer = asked(&page.job, "/");
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    assert!(answer.contains("<title>tidegate</title>"), "{answer}");
}

/// On a terminal of its own, which has the attributes that it had when `top` has ended, however.
fn top_is_drawn_and_leaves_the_terminal_as_it_was(job: &MainJob) {
    for (end, name) in [(b"q".as_slice(), "q"), (b"\x03", "Ctrl-C"), (b"", "SIGTERM")] {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).unwrap();
        let before = tcgetattr(&terminal.slave).unwrap();
        let stdio = || Stdio::from(terminal.slave.try_clone().unwrap());
        let mut top = Command::new(program("tidegate").unwrap())
            .args(["top", "--interval", "200ms", "--socket"])
            .arg(job.api_socket())
            .env("TERM", "xterm-256color")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let drawn = reader(terminal.master.try_clone().unwrap());
        let wait = |what: &str| {
            let seen = job.lab.wait_for(&format!("top to show {what:?}"), SOON, || {
                let drawn = String::from_utf8_lossy(&drawn.lock().unwrap()).into_owned();
                ensure!(drawn.contains(what), "{drawn:?}");
                Ok(())
            });
            seen.unwrap();
        };
        wait("web-v4");
        wait("Established");
        wait("quit");
        let mut keys = std::fs::File::from(terminal.master.try_clone().unwrap());
        match end {
            b"" => kill(Pid::from_raw(top.id().cast_signed()), Signal::SIGTERM).unwrap(),
            end => keys.write_all(end).unwrap(),
        }
        let ended = job.lab.wait_for("top to end", SOON, || top.try_wait()?.context("it runs"));
        assert_eq!(ended.unwrap().code(), Some(0), "{name}");
        wait("\u{1b}[?1049l"); // Back to the screen that was there before.
        wait("\u{1b}[?25h"); // With its cursor.
        assert!(tcgetattr(&terminal.slave).unwrap() == before, "{name}: the terminal is another");
    }
    let refused = job.tidegate(&["top"]).unwrap_err().to_string();
    assert!(refused.contains("this is none: run it in one, or use 'tidegate vips'"), "{refused}");
}

/// Collects what comes out of a terminal until it is closed.
fn reader(from: OwnedFd) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&all);
    std::thread::spawn(move || {
        let mut from = std::fs::File::from(from);
        let mut part = [0; 4096];
        while let Ok(len @ 1..) = from.read(&mut part) {
            kept.lock().unwrap().extend_from_slice(&part[..len]);
        }
    });
    all
}

/// With the alert rules that we ship, which it evaluates without an error.
fn prometheus_scrapes_it(job: &MainJob) {
    let rules =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/prometheus/tidegate.rules.yml");
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n- job_name: tidegate\n  static_configs: [{{targets: ['{API}']}}]\n",
        rules.canonicalize().unwrap().display()
    );
    let config = job.lab.write("prometheus.yml", &config).unwrap();
    let (config, data) = (config.display(), job.lab.dir().join("prometheus"));
    let flags = [
        format!("--config.file={config}"),
        format!("--storage.tsdb.path={}", data.display()),
        "--web.listen-address=127.0.0.1:9090".to_owned(),
    ];
    let mut command = vec!["prometheus"];
    command.extend(flags.iter().map(String::as_str));
    let _prometheus = job.lab.start("edge", "prometheus", &command).unwrap();
    let value = |query: &str| {
        job.lab.run("edge", &["promtool", "query", "instant", "http://127.0.0.1:9090", query])
    };
    let wait = |query: &str, wanted: &str| {
        let seen = job.lab.wait_for(&format!("{query} to be {wanted}"), SOON, || {
            let seen = value(query)?;
            ensure!(seen.contains(wanted), "{seen}");
            Ok(())
        });
        seen.unwrap();
    };
    wait("up{job='tidegate'}", " => 1 ");
    wait("sum(tidegate_vip_announced)", " => 2 ");
    wait("sum(scrape_samples_scraped{job='tidegate'} > 0) > bool 100", " => 1 ");
    // One backend was killed, and of another somebody said that it is down.
    wait("count(ALERTS{alertname='TidegateBackendDown'})", " => 3 ");
    wait("sum(prometheus_rule_evaluation_failures_total) or vector(0)", " => 0 ");
    let answer = asked(job, "/metrics");
    let (_, exposition) = answer.split_once("\r\n\r\n").unwrap();
    let exposition = job.lab.write("metrics.txt", exposition).unwrap();
    let lint = format!("exec promtool check metrics <{} 2>&1", exposition.display());
    assert_eq!(job.lab.run("edge", &["sh", "-ec", &lint]).unwrap(), "");
}

#[test]
fn the_page_shows_the_network_and_follows_it() {
    let mut page = Page::open();
    the_socket_serves_it_too(&page);
    lists_come_by_pages(&page.job);
    page.value("window.same = true");
    page.wait_for_text("node", "AS 64513");
    page.wait_for_text("chips", "converged");
    page.wait_for_text("t-peers", "router");
    for vip in [VIP_V4, VIP_V6] {
        page.wait_for_text("t-vips", vip.service);
        page.wait_for_text("services", vip.addr);
    }
    // Weights of 10, 5 and 1.
    page.wait_for_text("services", "62.50 %");
    page.wait_for_text("peers", "Established");
    assert_eq!(page.value("document.querySelectorAll('#t-backends li').length"), 6);
    assert_eq!(page.value("document.querySelectorAll('path.flow').length"), 2 + 6);

    page.job.load(VIP_V4, 500, 20).unwrap();
    page.wait("a rate", "!/^(0|–)/.test(document.querySelector('#tiles dd').textContent)");
    page.picture("page-light.png");
    page.assert_content();
    named_for_everybody(&mut page);
    a_keyboard_filters(&mut page);
    backends_die(&mut page);
    a_change_counts_down(&mut page);
    top_is_drawn_and_leaves_the_terminal_as_it_was(&page.job);
    prometheus_scrapes_it(&page.job);

    let many = page.value(MANY);
    assert_eq!(
        (&many["rows"], &many["said"]),
        (&json!(200), &json!("200 shown, 9,800 more: narrow the filter"))
    );
    assert!(many["nodes"].as_u64().unwrap() < 6_000, "{many}");
    page.wait_for_text("shown", "2 of 2");
    page.wait("rates again", "!/–/.test(document.querySelector('#tiles dd').textContent)");

    page.browser.look(390, 844, "dark").unwrap();
    assert_eq!(page.value("getComputedStyle(document.body).backgroundColor"), "rgb(16, 22, 28)");
    let width = page.value("document.documentElement.scrollWidth");
    assert_eq!(width, 390, "it can be scrolled sideways");
    page.picture("page-phone.png");
    page.assert_content();
    assert_eq!(page.value("window.same"), true, "the page was loaded again");
}

/// What can be used, and every region, has a name for those who do not see it.
fn named_for_everybody(page: &mut Page) {
    let tree = page.browser.ask("Accessibility.getFullAXTree", &json!({})).unwrap();
    let mut seen = Vec::new();
    for node in tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] != true) {
        let (role, name) = (node["role"]["value"].as_str(), node["name"]["value"].as_str());
        let role = role.unwrap_or_default();
        let wanted =
            ["searchbox", "region", "button", "DisclosureTriangle", "heading", "columnheader"];
        if wanted.contains(&role) {
            assert!(name.is_some_and(|name| !name.is_empty()) || role == "columnheader", "{node}");
            seen.push(role.to_owned());
        }
    }
    for role in ["searchbox", "region", "DisclosureTriangle", "heading"] {
        assert!(seen.iter().any(|found| found == role), "no {role} in {seen:?}");
    }
}

fn a_keyboard_filters(page: &mut Page) {
    page.key("/");
    assert_eq!(page.value("document.activeElement.id"), "filter");
    page.browser.ask("Input.insertText", &json!({ "text": "WEB-V6" })).unwrap();
    page.wait_for_text("shown", "1 of 2");
    assert_eq!(page.value("document.querySelectorAll('details').length"), 1);
    page.key("Escape");
    page.wait_for_text("shown", "2 of 2");
}

/// One by itself, one by somebody's word, which is text and stays text.
fn backends_die(page: &mut Page) {
    page.job.kill_server(0).unwrap();
    page.wait_for_text("services", "connection refused");
    page.wait_for_text("t-backends", "down");
    page.wait_for_text("events", "down");
    page.wait_for_text("services", "announced, 2/3");
    let (service, addr) = (VIP_V4.service, BACKENDS[1].1[0]);
    let markup = "<b id=owned>x</b><img src=x onerror=alert(1)>";
    let say = ["health", "set", service, addr, "down", "--ttl", "1h", "--reason", markup];
    page.job.tidegate(&say).unwrap();
    page.wait_for_text("services", markup);
    assert_eq!(page.value("document.getElementById('owned')"), Value::Null);
    page.assert_content();
}

fn a_change_counts_down(page: &mut Page) {
    let config = page.job.edge_config().replace("weight = 5", "weight = 6");
    let file = page.job.lab.write("other.toml", &config).unwrap();
    let file = file.display().to_string();
    page.job.tidegate(&["apply", &file, "--confirm", "10m"]).unwrap();
    page.wait_for_text("waiting", "Generation 2 waits to be confirmed");
    page.wait(
        "the countdown",
        "/back in 9m\\d\\ds/.test(document.getElementById('countdown').innerText)",
    );
    page.wait_for_text("waiting-plan", VIP_V4.service);
    page.job.tidegate(&["confirm"]).unwrap();
    page.wait("the end of it", "document.getElementById('waiting').hidden");
}
