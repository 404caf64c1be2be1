//! Questions about ten thousand services.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::bench::table::markdown;
use tidegate_vm_tests::bench::usage::Usage;

use super::Report;
use super::edge::{BACKENDS, Edge, SERVICES};

/// Between two questions: they are spread over looks and what comes between.
const PAUSE: Duration = Duration::from_millis(130);

/// What is asked, and what it may cost.
struct Question {
    name: &'static str,
    /// All pages, if the answer has some under this key.
    path: &'static str,
    key: Option<&'static str>,
    within: Option<Duration>,
    grows_mib: Option<u64>,
}

const QUESTIONS: [Question; 5] = [
    Question {
        name: "status",
        path: "/api/v1/status",
        key: None,
        within: Some(Duration::from_millis(50)),
        grows_mib: None,
    },
    Question {
        name: "/metrics",
        path: "/metrics",
        key: None,
        within: Some(Duration::from_millis(200)),
        grows_mib: Some(100),
    },
    Question {
        name: "a page of 100 services",
        path: "/api/v1/vips?limit=100",
        key: None,
        within: None,
        grows_mib: None,
    },
    Question {
        name: "all services",
        path: "/api/v1/vips",
        key: Some("vips"),
        within: None,
        grows_mib: Some(100),
    },
    Question {
        name: "all backends",
        path: "/api/v1/backends",
        key: Some("backends"),
        within: None,
        grows_mib: Some(100),
    },
];

/// One answer, of as many pages as it takes.
#[derive(Default)]
struct Answered {
    took: Duration,
    bytes: usize,
    pages: u32,
    rows: u32,
}

/// Asks all of them so often.
///
/// # Errors
/// When one is not answered, or not wholly.
pub(crate) fn ask(edge: &Edge<'_>, rounds: usize, report: &mut Report) -> Result<()> {
    let mut rows = Vec::new();
    for question in &QUESTIONS {
        Usage::forget_peak(edge.pid())?;
        let before = edge.usage()?;
        let mut answers = Vec::new();
        for _ in 0..rounds.max(1) {
            answers.push(question.ask(edge)?);
            thread::sleep(PAUSE);
        }
        let grown = edge.usage()?.peak_kib.saturating_sub(before.now_kib);
        rows.push(question.judged(&answers, grown, report));
    }
    let head = ["", "median, ms", "worst, ms", "must", "pages", "KiB", "grows, KiB", "must"];
    report.say(&markdown(&head, &rows))?;
    Ok(())
}

impl Question {
    fn ask(&self, edge: &Edge<'_>) -> Result<Answered> {
        let mut all = Answered::default();
        let mut path = self.path.to_owned();
        loop {
            let answer = edge.get(&path)?;
            all.took += answer.took;
            all.bytes += answer.body().len();
            all.pages += 1;
            let Some(key) = self.key else { return Ok(all) };
            let page = answer.json()?;
            let rows = page.get(key).and_then(Value::as_array).map_or(0, Vec::len);
            all.rows += u32::try_from(rows)?;
            let Some(next) = page.get("next").and_then(Value::as_str) else { break };
            path = format!("{}?from={next}", self.path);
        }
        let wanted = if self.key == Some("vips") { SERVICES } else { SERVICES * BACKENDS };
        ensure!(all.rows == wanted, "{}: {} rows of {wanted}", self.path, all.rows);
        Ok(all)
    }

    fn judged(&self, answers: &[Answered], grown: u64, report: &mut Report) -> Vec<String> {
        let mut times: Vec<Duration> = answers.iter().map(|it| it.took).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let worst = times.last().copied().unwrap_or_default();
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        let last = answers.last();
        if let Some(within) = self.within {
            report.must(median < within, || format!("{}: {median:.1?}", self.name));
        }
        if let Some(most) = self.grows_mib {
            report.must(grown <= most << 10, || format!("{}: grows by {grown} KiB", self.name));
        }
        let most =
            self.grows_mib.map(|mib| mib << 10).map_or_else(String::new, |it| it.to_string());
        vec![
            self.name.to_owned(),
            ms(median),
            ms(worst),
            self.within.map_or_else(String::new, |it| it.as_millis().to_string()),
            last.map_or(0, |it| it.pages).to_string(),
            (last.map_or(0, |it| it.bytes) >> 10).to_string(),
            grown.to_string(),
            most,
        ]
    }
}
