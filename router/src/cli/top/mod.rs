//! `tidegate top`: the daemon on a terminal, live.
//!
//! What is shown is decided in `state` and `draw`, which know neither terminal nor clock; this file
//! asks the daemon, listens to keys and signals, and leaves the terminal as it was.

mod draw;
mod state;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::view::{Peers, Status, Vips};

use super::Failure;
use super::client::{Answer, get, get_all};
use super::node::Node;
use state::{Seen, Top};

/// Keys are looked for this often, to notice that nobody wants them any more.
const KEYS_EVERY: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    node: Node,
    /// Ask the daemon this often
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_millis(200)..=Duration::from_mins(1)).contains(&time) => {
            Ok(time)
        }
        Ok(_) => Err("from 200ms to 1m".into()),
        Err(error) => Err(format!("no time such as 2s: {error}")),
    }
}

pub(super) async fn top(args: TopArgs) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            "top draws on a terminal, and this is none: run it in one, or use 'tidegate vips' and \
             'tidegate peers', with -o json for programs",
        ));
    }
    // Before the screen is taken: what is wrong is then said in a line as by any other command.
    let first = seen(&args.node).await?;
    let mut top = Top::new(first);
    let mut terminal = ratatui::try_init().map_err(Failure::new)?;
    let ran = run(&mut terminal, &mut top, &args).await;
    ratatui::try_restore().map_err(Failure::new)?;
    ran.map_err(Failure::new)
}

/// Until somebody has had enough.
async fn run(terminal: &mut DefaultTerminal, top: &mut Top, args: &TopArgs) -> std::io::Result<()> {
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    let [terminated, hung_up] = &mut ends;
    let (mut answers, mut keys) = (ask(args), listen());
    let start = Instant::now();
    loop {
        terminal.draw(|frame| draw::screen(frame, top))?;
        tokio::select! {
            Some(answer) = answers.recv() => match answer {
                Ok(seen) => top.saw(seen, start.elapsed()),
                Err(failure) => top.missed(failure.message.trim_start_matches("tidegate: ")),
            },
            // A resize is no key, and is answered like one: by drawing again.
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.is_press() => top.press(key),
                Some(_) => {}
                None => return Ok(()), // The terminal is gone.
            },
            _ = terminated.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
        }
        if top.is_over() {
            return Ok(());
        }
    }
}

/// Asks the daemon again and again. Full: nobody has looked at the last answer yet, so there is no
/// hurry.
fn ask(args: &TopArgs) -> mpsc::Receiver<Result<Seen, Failure>> {
    let (answers, inbox) = mpsc::channel(1);
    let (node, interval) = (args.node.clone(), args.interval);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            if answers.send(seen(&node).await).await.is_err() {
                return;
            }
        }
    });
    inbox
}

async fn seen(node: &Node) -> Result<Seen, Failure> {
    let status: Answer<Status> = get(node, "/api/v1/status").await?;
    let peers: Answer<Peers> = get(node, "/api/v1/peers").await?;
    let vips: Answer<Vips> = get_all(node, "/api/v1/vips", "vips").await?;
    Ok(Seen { status: status.value, peers: peers.value.peers, vips: vips.value.vips })
}

/// Keys and resizes. Full: the terminal holds them back.
fn listen() -> mpsc::Receiver<Event> {
    let (keys, inbox) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !keys.is_closed() {
            match event::poll(KEYS_EVERY) {
                Ok(false) => {}
                Ok(true) => {
                    let Ok(event) = event::read() else { return };
                    if keys.blocking_send(event).is_err() {
                        return;
                    }
                }
                Err(_gone) => return,
            }
        }
    });
    inbox
}
