//! `tidegate why`: where a packet goes, and why.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::change::folded;
use super::client::{Answer, post};
use super::commands::show;
use super::{EXIT_FAILED, Failure, Read};
use crate::view::why::{Asked, Program, Why};

const HELP: &str = "\
The packet is not sent: a copy of the loaded program decides about it with the
maps as they are, and what it says is compared with what the maps should make
of it. No counter moves and nothing is remembered.

Ends with 1 if the packet reaches no backend, or if the two disagree.

Examples:
  tidegate why 198.51.100.7 192.0.2.10:80
  tidegate why 198.51.100.7:40000 192.0.2.10:53 udp
  tidegate why 198.51.100.7:40000 192.0.2.10:80 --established
  tidegate why 198.51.100.7 192.0.2.10:80 --config new.toml
  tidegate why --pcap lost.pcap --number 3";

/// Which packet.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct WhyArgs {
    /// The client, with a port or without
    #[arg(value_name = "SRC[:PORT]", value_parser = end, required_unless_present = "pcap")]
    from: Option<End>,
    /// Where it wants to go, with the port
    #[arg(value_name = "DST:PORT", value_parser = end, required_unless_present = "pcap")]
    to: Option<End>,
    /// What it speaks
    #[arg(value_name = "PROTOCOL", default_value = "tcp")]
    protocol: Protocol,
    /// A packet of a flow that there is already
    #[arg(long)]
    established: bool,
    /// Octets of the IP packet
    #[arg(long, value_name = "OCTETS")]
    length: Option<u16>,
    /// A packet of this capture (pcap) instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "established", "length"])]
    pcap: Option<PathBuf>,
    /// Which one of it, from 1 on
    #[arg(long, value_name = "N", default_value_t = 1, requires = "pcap")]
    number: usize,
    /// The interface that it comes in by, one of the packet path
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// By this configuration instead of the one in force
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    read: Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// An address, with its port if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    addr: IpAddr,
    port: Option<u16>,
}

fn end(text: &str) -> Result<End, String> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(End { addr: socket.ip(), port: Some(socket.port()) });
    }
    let addr = text.trim_start_matches('[').trim_end_matches(']').parse();
    addr.map(|addr| End { addr, port: None }).map_err(|_not_an_address| {
        "it is no address such as 198.51.100.7, 198.51.100.7:40000 or [2001:db8::7]:40000".into()
    })
}

/// A client's port, if nobody cares which.
const CLIENT_PORT: u16 = 40_000;

pub(super) async fn why(args: WhyArgs) -> Result<(), Failure> {
    let asked = asked(&args)?;
    let answer: Answer<Why> = post(&args.read.node, "/api/v1/why", Some(&asked)).await?;
    show(args.read.output, &answer, text)?;
    match answer.value.program {
        Program::Disagrees => Err(Failure::new(
            "the loaded program does not do what the maps say: one of the two is wrong. Keep the \
             output of this command with -o json, and restart the daemon with 'tidegate upgrade'",
        )),
        Program::NotRun => Err(Failure::new(
            "the kernel does not run the packet path: 'tidegate status' and the journal say whether \
             it is attached",
        )),
        Program::Agrees | Program::NotAsked if !answer.value.sent => {
            Err(Failure::silent(EXIT_FAILED))
        }
        Program::Agrees | Program::NotAsked => Ok(()),
    }
}

fn asked(args: &WhyArgs) -> Result<Asked, Failure> {
    let mut asked = Asked { interface: args.interface.clone(), ..Asked::default() };
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(format_args!("{} cannot be read: {error}", path.display()))
        })?;
        asked.text = Some(text);
        asked.name = Some(path.display().to_string());
    }
    if let Some(path) = &args.pcap {
        let octets = std::fs::read(path).map_err(|error| {
            Failure::new(format_args!("{} cannot be read: {error}", path.display()))
        })?;
        let frame = nth_frame(&octets, args.number)
            .map_err(|why| Failure::new(format_args!("{}: {why}", path.display())))?;
        asked.frame = Some(frame.iter().fold(String::new(), |mut digits, octet| {
            _ = write!(digits, "{octet:02x}"); // A string takes everything.
            digits
        }));
        return Ok(asked);
    }
    let (Some(from), Some(to)) = (args.from, args.to) else {
        return Err(Failure::new("say from where to where, or give a capture with --pcap"));
    };
    let Some(port) = to.port else {
        return Err(Failure::new(format_args!(
            "{} needs a port: write it as in {}",
            to.addr,
            SocketAddr::new(to.addr, 80)
        )));
    };
    asked.from = Some(SocketAddr::new(from.addr, from.port.unwrap_or(CLIENT_PORT)));
    asked.to = Some(SocketAddr::new(to.addr, port));
    let protocol = match args.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    asked.protocol = Some(protocol.into());
    asked.established = args.established;
    asked.length = args.length;
    Ok(asked)
}

/// A frame of a capture in the classic format (draft-ietf-opsawg-pcap).
fn nth_frame(octets: &[u8], number: usize) -> Result<&[u8], String> {
    const ETHERNET: u32 = 1;
    let header = octets.first_chunk::<24>().ok_or("it is too short for a capture")?;
    let [m0, m1, m2, m3, .., n0, n1, n2, n3] = *header;
    let word: fn([u8; 4]) -> u32 = match [m0, m1, m2, m3] {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => u32::from_le_bytes,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => u32::from_be_bytes,
        [0x0a, 0x0d, 0x0d, 0x0a] => {
            return Err("it is pcapng: make a pcap of it with \
                        'editcap -F pcap OLD NEW' or 'tcpdump -r OLD -w NEW'"
                .into());
        }
        _ => return Err("it is no capture in the format of pcap".into()),
    };
    // The upper bits are about checksums of the frames.
    if word([n0, n1, n2, n3]) & 0xffff != ETHERNET {
        return Err("its frames are not Ethernet's".into());
    }
    let mut rest = octets.get(24..).unwrap_or_default();
    let mut found = 0;
    while let Some((record, after)) = rest.split_first_chunk::<16>() {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *record;
        let len = usize::try_from(word([a, b, c, d])).unwrap_or(usize::MAX);
        let (frame, after) = after.split_at_checked(len).ok_or("it is cut off")?;
        found += 1;
        if found == number {
            return Ok(frame);
        }
        rest = after;
    }
    Err(format!("it has {found} packets, there is no number {number}"))
}

fn text(why: &Why) -> String {
    let mut lines = vec![why.packet.clone()];
    let indent = " ".repeat(14);
    let line = |name: &str, text: &str| format!("  {name:<12}{}", folded(text, &indent));
    lines.extend(why.stages.iter().map(|stage| line(&stage.name, &stage.text)));
    let verdict = format!("{}: {}", why.verdict, lower(&why.verdict_text));
    lines.push(line("verdict", &verdict));
    if let Some(remedy) = &why.remedy {
        lines.push(line("remedy", remedy));
    }
    lines.push(line("counts", &why.counters.join(", ")));
    let program = match (&why.program, &why.program_said) {
        (Program::Agrees, _) => "the loaded program says the same".to_owned(),
        (Program::Disagrees, said) => {
            let said = said.as_deref().unwrap_or("nothing that is known");
            format!("THE LOADED PROGRAM SAYS SOMETHING ELSE: {said}")
        }
        (Program::NotRun, _) => "THE KERNEL DID NOT RUN THE LOADED PROGRAM".to_owned(),
        (Program::NotAsked, _) => "by the maps alone; the loaded program was not asked".to_owned(),
    };
    lines.push(line("checked", &program));
    lines.join("\n")
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::why::Stage;

    #[test]
    fn an_end_is_an_address_with_or_without_a_port() {
        let v4: IpAddr = "198.51.100.7".parse().unwrap();
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        let cases = [
            ("198.51.100.7", v4, None),
            ("198.51.100.7:53", v4, Some(53)),
            ("2001:db8::7", v6, None),
            ("[2001:db8::7]", v6, None),
            ("[2001:db8::7]:53", v6, Some(53)),
        ];
        for (text, addr, port) in cases {
            assert_eq!(end(text), Ok(End { addr, port }), "{text}");
        }
        for bad in ["", "web", "198.51.100.7:", "198.51.100.7:70000", "1.2.3"] {
            assert!(end(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_capture_gives_its_frames_and_says_what_it_is_otherwise() {
        let mut capture = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        capture.extend([0; 8]);
        capture.extend(65_535_u32.to_le_bytes());
        capture.extend(1_u32.to_le_bytes());
        for frame in [&b"first"[..], b"second"] {
            let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
            capture.extend([0; 8]);
            capture.extend(len);
            capture.extend(len);
            capture.extend(frame);
        }
        assert_eq!(nth_frame(&capture, 1), Ok(&b"first"[..]));
        assert_eq!(nth_frame(&capture, 2), Ok(&b"second"[..]));
        assert!(nth_frame(&capture, 3).unwrap_err().contains("2 packets"));
        for cut in 0..capture.len() {
            assert!(nth_frame(&capture[..cut], 2).is_err(), "{cut}");
        }
        let mut next_generation = capture.clone();
        next_generation[..4].copy_from_slice(&[0x0a, 0x0d, 0x0d, 0x0a]);
        assert!(nth_frame(&next_generation, 1).unwrap_err().contains("editcap"));
    }

    #[test]
    fn the_story_fits_a_terminal() {
        let stage = |name: &str, text: &str| Stage { name: name.into(), text: text.into() };
        let why = Why {
            packet: "tcp 198.51.100.7:40000 -> 192.0.2.10:80, the first packet (SYN), 60 octets"
                .into(),
            stages: vec![
                stage("announced", "192.0.2.10/32 to tor-1, next hop 198.51.100.2, MED 50"),
                stage("service", "web, 192.0.2.10:80/tcp, announced, proven"),
                stage(
                    "slot",
                    "731 of 1024, by addresses and ports: in transition, new flows to \
                     203.0.113.12, older ones to 203.0.113.11; this flow is not remembered",
                ),
            ],
            verdict: "forward_tx".into(),
            verdict_text: "Sent to a backend through the interface it came in by.".into(),
            sent: true,
            counters: vec!["forward_tx".into(), "service web".into()],
            program: Program::Agrees,
            ..Why::default()
        };
        let wanted = "\
tcp 198.51.100.7:40000 -> 192.0.2.10:80, the first packet (SYN), 60 octets
  announced   192.0.2.10/32 to tor-1, next hop 198.51.100.2, MED 50
  service     web, 192.0.2.10:80/tcp, announced, proven
  slot        731 of 1024, by addresses and ports: in transition, new flows to
              203.0.113.12, older ones to 203.0.113.11; this flow is not
              remembered
  verdict     forward_tx: sent to a backend through the interface it came in by.
  counts      forward_tx, service web
  checked     the loaded program says the same";
        assert_eq!(text(&why), wanted);
        assert!(wanted.lines().all(|line| line.len() <= 80));
    }
}
