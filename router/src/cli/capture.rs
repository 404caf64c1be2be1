//! `tidegate capture`: packets as they come and as they leave, into a file for Wireshark.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use tidegate_plan::export::pcapng::{Block, Blocks};
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Octets, octets};
use super::table::count;
use super::{Failure, complain, node};
use crate::view::capture::{SECONDS, Wanted};

const HELP: &str = "\
Each packet is in the file as it came and, unless it was dropped or is for this
host, as it left: with the same number (epb_packetid), and a comment that says
what was decided, why, and for which service and backend (frame.comment). Until
the capture ends another program is in the packet path; no packet is lost by
that.

Examples:
  tidegate capture --vip web --drops --seconds 10 -w out.pcapng
  tidegate capture --from 198.51.100.0/24 --port 443 --count 100 -w out.pcapng
  tidegate capture --vip web -w - | tshark -r - -T fields -e frame.comment";

/// Which packets, and where they go.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct CaptureArgs {
    /// File to write (pcapng); '-' is standard output
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// To the address of this service, by name, or to this VIP; and answers from it
    #[arg(long, value_name = "NAME|ADDRESS", conflicts_with = "to")]
    vip: Option<String>,
    /// To this address or prefix, a VIP or not
    #[arg(long, value_name = "ADDRESS|PREFIX")]
    to: Option<String>,
    /// From this address or prefix
    #[arg(long, value_name = "ADDRESS|PREFIX")]
    from: Option<String>,
    /// Of this protocol only: tcp, udp, sctp, icmp or icmpv6
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// To this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Those that are dropped only
    #[arg(long, conflicts_with = "verdict")]
    drops: bool,
    /// With this verdict only: forwarded, dropped, answered or passed
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<String>,
    /// Dropped for this reason only, such as no_service
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// For so long, 3600 at most
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS)]
    seconds: u32,
    /// So many packets at most (without: 10000)
    #[arg(short, long, value_name = "NUMBER")]
    count: Option<u64>,
    /// The first bytes of each frame, 4096 at most (without: 256)
    #[arg(long, value_name = "BYTES")]
    snap: Option<u32>,
    #[command(flatten)]
    node: node::Node,
}

pub(super) async fn capture(args: CaptureArgs) -> Result<(), Failure> {
    let wanted = Wanted {
        vip: args.vip,
        to: args.to,
        from: args.from,
        protocol: args.protocol,
        port: args.port,
        verdict: if args.drops { Some("dropped".into()) } else { args.verdict },
        counter: args.reason.map(|it| format!("drop_{}", it.trim_start_matches("drop_"))),
        seconds: Some(args.seconds),
        count: args.count,
        snap: args.snap,
    };
    let asked = wanted.asked().map_err(Failure::new)?;
    may_write(&args.write, args.force)?;
    let path = super::flows::path("/api/v1/capture", &wanted)?;
    // What is refused leaves no file, and touches none.
    let body = octets(&args.node, &path).await?;
    let mut file = Written::open(&args.write, args.force)?;
    let ended = packets(body, &mut file, asked.within).await;
    let finished = file.finish();
    if file.tells_progress {
        eprint_as_is("\r\x1b[K");
    }
    complain(&file.summary());
    ended.and(finished)
}

/// Writes what the daemon answers until it is all, or somebody interrupts.
async fn packets(mut body: Octets, file: &mut Written, within: Duration) -> Result<(), Failure> {
    let broken = |error| Failure::new(format!("cannot listen for signals: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(broken)?;
    let (mut blocks, until) = (Blocks::default(), Instant::now() + within);
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece?,
            _ = interrupts.recv() => return Ok(()),
            _ = terminations.recv() => return Ok(()),
        };
        let Some(piece) = piece else { return Ok(()) };
        blocks.push(&piece);
        let other = |error| Failure::new(format!("the daemon's answer is no capture: {error}"));
        while let Some(block) = blocks.next_block().map_err(other)? {
            if !file.add(block)? {
                return Ok(()); // Nobody reads it any more.
            }
        }
        file.flush()?;
        file.progress(until);
    }
}

/// The file, and what is in it.
struct Written {
    out: Box<dyn Write>,
    /// `None`: standard output.
    path: Option<PathBuf>,
    packets: u64,
    lost: u64,
    /// What is known of each interface, the latest: the end of the file.
    statistics: Vec<Block>,
    began: Instant,
    tells_progress: bool,
}

impl Written {
    fn open(path: &Path, force: bool) -> Result<Self, Failure> {
        let to_stdout = path.as_os_str() == "-";
        let out: Box<dyn Write> =
            if to_stdout { Box::new(std::io::stdout()) } else { Box::new(file(path, force)?) };
        Ok(Self {
            out,
            path: (!to_stdout).then(|| path.to_owned()),
            packets: 0,
            lost: 0,
            statistics: Vec::new(),
            began: Instant::now(),
            tells_progress: std::io::stderr().is_terminal(),
        })
    }

    /// Writes a block; false if nobody reads.
    fn add(&mut self, block: Block) -> Result<bool, Failure> {
        self.packets += u64::from(block.is_arrival());
        if block.is_statistics() {
            if let Some(lost) = block.lost() {
                self.lost = lost;
                self.statistics.clear(); // It is the first one of the next time.
            }
            self.statistics.push(block);
            return Ok(true);
        }
        self.put(block.bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self.out.write_all(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self.out.flush() {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(self.failed(&error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("cannot write {}: {error}", self.name()))
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or("standard output".into(), |path| path.display().to_string())
    }

    /// The end of the file.
    fn finish(&mut self) -> Result<(), Failure> {
        for block in core::mem::take(&mut self.statistics) {
            if !self.put(block.bytes())? {
                break;
            }
        }
        self.flush()
    }

    fn progress(&self, until: Instant) {
        if self.tells_progress {
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            eprint_as_is(&format!("\r\x1b[K{} packets, {left} s left", count(self.packets)));
        }
    }

    fn summary(&self) -> String {
        let (packets, seconds) = (count(self.packets), self.began.elapsed().as_secs_f64());
        let lost = match self.lost {
            0 => "none lost".into(),
            lost => format!("{} LOST for want of room: ask for fewer", count(lost)),
        };
        format!("{packets} packets in {}, {lost}, {seconds:.1} s", self.name())
    }
}

/// What clients send is in it: for nobody else to read.
fn file(path: &Path, force: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let failed = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    options.open(path).map_err(failed)
}

/// What can be known before anybody is asked for packets.
fn may_write(path: &Path, force: bool) -> Result<(), Failure> {
    let shown = path.display();
    if path.as_os_str() == "-" {
        return if std::io::stdout().is_terminal() {
            Err(Failure::new(
                "a capture is no text: write it into a file, or a pipe ('-w - | tshark -r -')",
            ))
        } else {
            Ok(())
        };
    }
    if !force && path.exists() {
        return Err(Failure::new(format!(
            "{shown} is there already: choose another name, or write over it with --force"
        )));
    }
    Ok(())
}

fn eprint_as_is(text: &str) {
    // A terminal that is gone has nobody left to tell.
    drop(std::io::stderr().write_all(text.as_bytes()));
}
