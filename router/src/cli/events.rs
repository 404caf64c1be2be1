//! `tidegate events`: what has happened, and what happens from now on.

use std::time::Duration;

use clap::Args;

use super::client::{Answer, Line, follow, get};
use super::commands::{print, show};
use super::{Failure, Output, Read};
use crate::view::event::{Event, Events};

const HELP: &str = "\
The daemon keeps the latest thousand since its start; the journal has all of
them ('journalctl -u tidegate').

Examples:
  tidegate events --since 10m
  tidegate events --follow --kind vip-withdrawn
  tidegate events --follow -o json | jq -r .text";

/// Which events.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct EventsArgs {
    /// Go on with those that come, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Of this kind only, such as vip-withdrawn, backend-down, peer-down or config-applied
    #[arg(short, long, value_name = "KIND")]
    kind: Option<String>,
    /// Of the last so many minutes or hours only, such as 10m
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,
    #[command(flatten)]
    read: Read,
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("no time such as 10m: {error}"))
}

pub(super) async fn events(args: EventsArgs) -> Result<(), Failure> {
    let kind = args.kind.as_deref().map(super::client::escaped);
    let path = match kind {
        Some(kind) => format!("/api/v1/events?kind={kind}"),
        None => "/api/v1/events".to_owned(),
    };
    let from = args.since.and_then(|since| std::time::SystemTime::now().checked_sub(since));
    let is_wanted = |event: &Event| {
        let at = humantime::parse_rfc3339(&event.at).ok();
        from.zip(at).is_none_or(|(from, at)| at >= from)
    };
    if !args.follow {
        let mut answer: Answer<Events> = get(&args.read.node, &path).await?;
        if from.is_some() {
            answer.value.events.retain(is_wanted);
            answer.text = serde_json::to_string(&answer.value).map_err(Failure::new)?;
        }
        return show(args.read.output, &answer, text);
    }
    let output = args.read.output;
    follow(&args.read.node, &path, |line| match line {
        Line::Event(text) => {
            let event: Event = serde_json::from_str(text).map_err(Failure::new)?;
            if !is_wanted(&event) {
                return Ok(());
            }
            match output {
                Output::Json => print(text),
                _ => print(&row(&event)),
            }
        }
        Line::Missed(missed) => {
            super::complain(&format!("tidegate: {missed} events were missed: they come too fast"));
            Ok(())
        }
    })
    .await
}

fn text(events: &Events) -> String {
    if events.events.is_empty() {
        return "nothing has happened".to_owned();
    }
    events.events.iter().map(|event| row(event) + "\n").collect()
}

/// `2026-11-26T15:35:22Z  vip-withdrawn     web  VIP withdrawn: too few healthy backends`
fn row(event: &Event) -> String {
    let at = event.at.split(['.', 'Z']).next().unwrap_or_default();
    let object = event.object.as_deref().unwrap_or("-");
    let text = event.text.replace('\n', " ");
    format!("{}Z  {:<17} {object}  {text}", at.replacen('T', " ", 1), event.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let event = Event {
            id: 7,
            at: "2026-11-26T15:35:22.123Z".into(),
            kind: "vip-withdrawn".into(),
            object: Some("web".into()),
            text: "VIP withdrawn: too few healthy backends".into(),
            ..Event::default()
        };
        let started = Event {
            at: "2026-11-26T15:35:20Z".into(),
            kind: "started".into(),
            text: "two\nlines".into(),
            ..Event::default()
        };
        let wanted = "\
2026-11-26 15:35:20Z  started           -  two lines
2026-11-26 15:35:22Z  vip-withdrawn     web  VIP withdrawn: too few healthy backends
";
        assert_eq!(text(&Events { events: vec![started, event], ..Events::default() }), wanted);
    }
}
