//! `make demo`: the main job told step by step, on a network of namespaces. Every step is
//! checked; the first that does not hold ends the demo with exit code 1.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tidegate_vm_tests::lab::http::Load;
use tidegate_vm_tests::lab::main_job::{
    API, BACKENDS, CLIENT, EDGE, MainJob, SOON, VIP_V4, VIPS, Variant, Vip,
};
use tidegate_vm_tests::lab::{program, relay};

fn main() -> ExitCode {
    let mut story = Story::new();
    let told = tell(&mut story);
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell if this fails too.
            writeln!(io::stderr(), "\nThe demo failed: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn tell(story: &mut Story) -> Result<()> {
    let keep = env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0");
    story.say(PICTURE)?;
    story.say("Making the network, starting BIRD on the router, a web server on each backend…")?;
    let mut job = MainJob::new(Variant::default())?;
    let outcome = steps(story, &mut job);
    if keep {
        // Also after a failure: that is when one wants to look.
        walk_in(story, &mut job, outcome.is_ok())?;
        job.keep()?;
    } else {
        drop(job);
        story.say("The network is gone again. `make demo KEEP=1` leaves it up, to look around.")?;
    }
    outcome
}

fn steps(story: &mut Story, job: &mut MainJob) -> Result<()> {
    session_comes_up(story, job)?;
    requests_are_spread(story, job)?;
    one_backend_dies(story, job)?;
    all_backends_die(story, job)?;
    one_comes_back(story, job)?;
    counters(story, job)?;
    story.say(&format!(
        "That was the main job in {} seconds: announced while it worked, spread by\n\
         weight, withdrawn when it did not work, announced again when it did.",
        story.start.elapsed().as_secs()
    ))
}

fn session_comes_up(story: &mut Story, job: &mut MainJob) -> Result<()> {
    story.step("A session comes up, and the router learns two addresses")?;
    story.say(
        "tidegate starts on the edge. It attaches its XDP program, asks the backends how\n\
         they are, fills its maps, and announces a VIP only once the maps hold it.",
    )?;
    job.start_edge()?;
    job.wait_for_routes()?;
    job.wait_until_all_active()?;
    story.birdc(job, "show protocols edge")?;
    story.tidegate(job, "peers")?;
    story.say("Both ends agree. One session carries IPv4 and IPv6:")?;
    for vip in VIPS {
        story.birdc(job, &format!("show route {}", vip.prefix))?;
    }
    story.say("The same seen from the edge: shares of the ring are the weights, exactly.")?;
    story.tidegate(job, "vips")?;
    for (vip, next_hop) in VIPS.into_iter().zip(EDGE) {
        let route = job.bird.route(&job.lab, vip.prefix)?;
        let attributes = ["BGP.as_path: 64513 64513", "BGP.med: 50", "BGP.community: (64513,80)"];
        for part in attributes {
            ensure!(route.contains(part), "{part} is missing:\n{route}");
        }
        ensure!(route.contains(&format!("BGP.next_hop: {next_hop}")), "wrong next hop:\n{route}");
    }
    story.well("each VIP has its community, MED and prepend, and a next hop of its own family")
}

fn requests_are_spread(story: &mut Story, job: &MainJob) -> Result<()> {
    const REQUESTS: usize = 10_000;
    story.step("Requests are spread over the backends by weight")?;
    story.say(&format!(
        "The client makes {REQUESTS} requests to each VIP, 50 at a time. The weights are\n{}.",
        story_weights()
    ))?;
    for (vip, client) in VIPS.into_iter().zip(CLIENT) {
        wait_until_served(job, vip, &[0, 1, 2])?;
        let load = job.load(vip, REQUESTS, 50)?;
        story.chart(&shares(vip, &load, &[0, 1, 2]))?;
        ensure!(load.failed.is_empty(), "requests failed: {:?}", load.failed);
        let clients: Vec<_> = load.clients.keys().map(ToString::to_string).collect();
        ensure!(clients == [client], "backends saw {clients:?} instead of {client}");
        story.well(&format!("none failed; every backend saw the client itself, {client}"))?;
    }
    story.say(
        "The request came through the edge, the answer did not: it went from the backend\n\
         straight back to the client (direct server return).",
    )
}

/// One line per backend: what it got, what its weight asks for among those `alive`, a bar.
fn shares(vip: Vip, load: &Load, alive: &[usize]) -> String {
    let mut weights = Variant::default().weights;
    for (backend, weight) in weights.iter_mut().enumerate() {
        *weight *= u16::from(alive.contains(&backend));
    }
    let total: u16 = weights.iter().sum();
    let mut lines = format!("  {}\n", vip.addr);
    for ((name, _), weight) in BACKENDS.into_iter().zip(weights) {
        let got = load.backends.get(name).copied().unwrap_or(0);
        let wanted = load.answered * usize::from(weight) / usize::from(total.max(1));
        let bar = "█".repeat((got * 40).div_ceil(load.answered.max(1)));
        let line = format!("    {name}  {got:>5} of {wanted:>5} expected  {bar}");
        // Writing to a string cannot fail.
        writeln!(lines, "{}", line.trim_end()).ok();
    }
    let (median, p99) = (millis(load.median_micros), millis(load.p99_micros));
    lines + &format!("    half within {median} ms, 99 of 100 within {p99} ms")
}

fn millis(micros: u64) -> String {
    format!("{}.{}", micros / 1000, micros % 1000 / 100)
}

fn story_weights() -> String {
    let weights = Variant::default().weights.into_iter().zip(BACKENDS);
    let weights: Vec<_> = weights.map(|(weight, (name, _))| format!("{name} {weight}")).collect();
    weights.join(", ")
}

fn one_backend_dies(story: &mut Story, job: &mut MainJob) -> Result<()> {
    story.step("One backend dies, and traffic leaves it")?;
    story.say("The web server on b1, which has most of the weight, is killed. Requests go on.")?;
    job.kill_server(0)?;
    let died = Instant::now();
    let lost = lost_until_served(job, VIP_V4, &[1, 2])?;
    story.say(&format!(
        "{} ms later b2 and b3 answer everything; {lost} requests had failed by then. The\n\
         health check asks every second and believes the second failure.",
        died.elapsed().as_millis()
    ))?;
    for vip in VIPS {
        wait_until_served(job, vip, &[1, 2])?;
        let load = job.load(vip, 1_000, 50)?;
        story.chart(&shares(vip, &load, &[1, 2]))?;
        ensure!(load.failed.is_empty(), "requests failed: {:?}", load.failed);
    }
    story.tidegate(job, "backends")?;
    story.well("b2 and b3 share the work by their weights, and no request fails any more")
}

fn all_backends_die(story: &mut Story, job: &mut MainJob) -> Result<()> {
    story.step("All backends die, and the routes leave the router")?;
    job.kill_server(1)?;
    job.kill_server(2)?;
    let died = Instant::now();
    job.wait_for_no_routes()?;
    let withdrawn_after = died.elapsed();
    job.wait_until_none_announced()?;
    story.say(&format!(
        "{} ms after the last server died the router has no route to the VIPs any more,\n\
         so another site could take over. The session itself stays up:",
        withdrawn_after.as_millis()
    ))?;
    story.birdc(job, "show route protocol edge")?;
    story.birdc(job, "show protocols edge")?;
    story.tidegate(job, "vips")?;
    job.bird.established(&job.lab, "edge")?;
    story.well("an address that does not work is not announced, and tidegate says why")
}

fn one_comes_back(story: &mut Story, job: &mut MainJob) -> Result<()> {
    story.step("One backend comes back, and the routes with it")?;
    job.start_server(1)?;
    let back = Instant::now();
    job.wait_for_routes()?;
    story.say(&format!(
        "{} ms after the web server on b2 answered again the routes are back:",
        back.elapsed().as_millis()
    ))?;
    for vip in VIPS {
        story.birdc(job, &format!("show route {}", vip.prefix))?;
        wait_until_served(job, vip, &[1])?;
        let load = job.load(vip, 200, 20)?;
        ensure!(load.failed.is_empty(), "requests failed: {:?}", load.failed);
    }
    story.well("b2 answers for both VIPs, alone")
}

fn counters(story: &mut Story, job: &MainJob) -> Result<()> {
    story.step("What it all looks like from the edge")?;
    story.say("Every packet got one verdict, and every verdict has a counter:")?;
    story.tidegate(job, "status")
}

/// Waits until requests are answered by all of these backends and by no other.
fn wait_until_served(job: &MainJob, vip: Vip, backends: &[usize]) -> Result<()> {
    lost_until_served(job, vip, backends).map(|_lost| ())
}

/// Asks until 100 requests in a row are answered by these backends alone: how many requests
/// failed until then.
fn lost_until_served(job: &MainJob, vip: Vip, backends: &[usize]) -> Result<usize> {
    let hosts = backends.iter().map(|backend| BACKENDS.get(*backend).map(|(name, _)| *name));
    let wanted: Vec<_> = hosts.collect::<Option<_>>().context("no such backend")?;
    let mut lost = 0;
    job.lab.wait_for(&format!("{} to be served by {wanted:?} alone", vip.addr), SOON, || {
        let load = job.load(vip, 100, 20)?;
        lost += load.failed.values().sum::<usize>();
        ensure!(load.failed.is_empty(), "{load:?}");
        ensure!(load.backends.keys().all(|name| wanted.contains(&&**name)), "{load:?}");
        Ok(())
    })?;
    Ok(lost)
}

/// How to look around in the lab that stays.
fn walk_in(story: &mut Story, job: &mut MainJob, well: bool) -> Result<()> {
    if well {
        for backend in [0, 2] {
            job.start_server(backend)?;
        }
        job.wait_until_all_active()?;
    }
    let tidegate = program("tidegate")?.display().to_string();
    let load = program("lab-http")?.display().to_string();
    let enter = |host: &str| format!("nsenter --net=/run/netns/{}", job.lab.namespace(host));
    let vip = VIP_V4.socket()?;
    let page = relay::start(&job.lab, "edge", API, API)?;
    story.step("The network stays up")?;
    story.say(&format!(
        "In a browser on this machine:\n  http://{page}/\n\n\
         A shell on the edge (client, router, b1, b2, b3 are made the same way):\n  {edge}\n\n\
         On the edge:\n  \
           export TIDEGATE_SOCKET={socket}\n  \
           {tidegate} vips\n  \
           bpftool net show\n  \
           bpftool map dump pinned {pins}/SERVICES_V4\n\n\
         On the router:\n  {bird}\n\n\
         On the client:\n  {load} load {vip} --requests 1000 --concurrency 20\n\n\
         Configuration, logs, sockets:\n  {dir}\n\n\
         Remove it:\n  make clean-labs",
        edge = enter("edge"),
        socket = job.api_socket().display(),
        pins = job.pin_dir().display(),
        bird = job.bird.shown_command("show route all"),
        dir = job.lab.dir().display(),
    ))
}

/// Prints the story: at most 80 columns of our own words, colours only on a terminal.
struct Story {
    out: io::Stdout,
    colours: bool,
    steps: u32,
    /// What was printed last was a command's output, not our own words.
    after_output: bool,
    start: Instant,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";

impl Story {
    fn new() -> Self {
        let out = io::stdout();
        let colours = out.is_terminal() && env::var_os("NO_COLOR").is_none();
        Self { out, colours, steps: 0, after_output: false, start: Instant::now() }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let gap = if std::mem::take(&mut self.after_output) { "\n" } else { "" };
        writeln!(self.out, "{gap}{text}")?;
        Ok(self.out.flush()?)
    }

    fn step(&mut self, title: &str) -> Result<()> {
        self.steps += 1;
        let title = self.paint(BOLD, &format!("{}. {title}", self.steps));
        let line = self.paint(DIM, &"─".repeat(80));
        self.after_output = true;
        self.say(&format!("{line}\n{title}\n"))
    }

    fn well(&mut self, text: &str) -> Result<()> {
        let mark = self.paint(GREEN, "✓");
        self.say(&format!("{mark} {text}"))
    }

    /// A command, and what it printed.
    fn show(&mut self, host: &str, command: &str, printed: &str) -> Result<()> {
        let prompt = self.paint(DIM, &format!("{host}# "));
        let command = self.paint(BOLD, command);
        self.after_output = true;
        self.say(&format!("{prompt}{command}"))?;
        let printed = if printed.trim().is_empty() { "(nothing)" } else { printed.trim_end() };
        self.say(printed)?;
        self.after_output = true;
        Ok(())
    }

    fn chart(&mut self, lines: &str) -> Result<()> {
        self.after_output = true;
        self.say(lines)?;
        self.after_output = true;
        Ok(())
    }

    fn birdc(&mut self, job: &MainJob, question: &str) -> Result<()> {
        let printed = job.bird.ask(&job.lab, question)?;
        self.show("router", &format!("birdc {question}"), &printed)
    }

    fn tidegate(&mut self, job: &MainJob, command: &str) -> Result<()> {
        let printed = job.tidegate(&[command])?;
        self.show("edge", &format!("tidegate {command}"), &printed)
    }
}

const PICTURE: &str = "
tidegate: an address is announced while it works

                             BGP
                    ┌───────────────────┐
  client ──────── router ════════════ edge ═══════╗   ═ requests, to the VIP
     ▲            (BIRD)           (tidegate)     ║
     │                                            ▼
     └──────────────────────────────────── b1, b2, b3   ─ answers, straight back
";
