//! `tidegate flows`: packets that were told of, and with `--follow` those that are.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::client::{Answer, Line, follow, get};
use super::commands::{print, show};
use super::{Failure, Output, Read};
use crate::view::flow::{Flow, Flows, Ip, L4, Wanted};

const HELP: &str = "\
Packets are told of while 'sample' in [flows] is not 0: one in so many by
chance, and all that are dropped, open a connection or end one, up to 'rate'
of each kind. 'tidegate drops' counts drops without any of this.

Examples:
  tidegate flows --verdict dropped --since 5m
  tidegate flows --follow --vip web --from 198.51.100.0/24
  tidegate flows --follow -o json > flows.json
  tidegate flows --input flows.json --verdict dropped";

/// Which packets.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct FlowsArgs {
    /// Go on with those that come, until interrupted
    #[arg(short, long, conflicts_with = "input")]
    follow: bool,
    /// So many at most, the latest (without --follow: 20)
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
    /// Of the last so many minutes or hours only, such as 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,
    /// With this verdict only: forwarded, dropped, answered or passed
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<String>,
    /// Dropped for this reason only, such as no_service
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Of this service, by name, or to this address
    #[arg(long, value_name = "NAME|ADDRESS")]
    vip: Option<String>,
    /// To this backend
    #[arg(long, value_name = "ADDRESS")]
    backend: Option<IpAddr>,
    /// From this address or prefix
    #[arg(long, value_name = "ADDRESS|PREFIX")]
    from: Option<String>,
    /// Of this protocol only: tcp, udp or sctp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// To this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Read what '-o json' has written, not the daemon; '-' is standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    read: Read,
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("no time such as 5m: {error}"))
}

pub(super) async fn flows(args: FlowsArgs) -> Result<(), Failure> {
    let wanted = Wanted {
        after: None,
        last: args.last,
        since: args.since.map(|since| since.as_secs().max(1)),
        verdict: args.verdict,
        counter: args.reason.map(|it| format!("drop_{}", it.trim_start_matches("drop_"))),
        vip: args.vip,
        backend: args.backend,
        from: args.from,
        protocol: args.protocol,
        port: args.port,
    };
    if let Some((_, sentence)) = wanted.mistake() {
        return Err(Failure::new(sentence));
    }
    let output = args.read.output;
    if let Some(file) = args.input {
        return written(&file, &wanted, output);
    }
    let path = path("/api/v1/flows", &wanted)?;
    if !args.follow {
        let answer: Answer<Flows> = get(&args.read.node, &path).await?;
        return match output {
            Output::Json => answer.value.flows.iter().try_for_each(line),
            output => show(output, &answer, text),
        };
    }
    follow(&args.read.node, &path, |followed| match followed {
        Line::Event(text) => one(&serde_json::from_str(text).map_err(Failure::new)?, output),
        Line::Missed(missed) => {
            super::complain(&format!("tidegate: {missed} packets were missed: they come too fast"));
            Ok(())
        }
    })
    .await
}

/// Where the daemon answers that.
pub(super) fn path(at: &str, wanted: &impl serde::Serialize) -> Result<String, Failure> {
    let value = serde_json::to_value(wanted).map_err(Failure::new)?;
    let pairs = value.as_object().into_iter().flatten().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", super::client::escaped(&text))
    });
    Ok(format!("{at}?{}", pairs.collect::<Vec<_>>().join("&")))
}

/// A packet on a line of its own.
fn one(flow: &Flow, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => line(flow),
        _ => print(&row(flow)),
    }
}

/// `{"flow":{…}}`, as Hubble writes it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    flow: Flow,
}

fn line(flow: &Flow) -> Result<(), Failure> {
    print(&serde_json::to_string(&Written { flow: flow.clone() }).map_err(Failure::new)?)
}

/// What was written before, and is wanted.
fn written(file: &std::path::Path, wanted: &Wanted, output: Output) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot read {}: {error}", file.display()));
    let reader: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let since = wanted.since.map(Duration::from_secs);
    let from = since.and_then(|since| SystemTime::now().checked_sub(since));
    for (number, text) in (1..).zip(BufReader::new(reader).lines()) {
        let text = text.map_err(failed)?;
        if text.trim().is_empty() {
            continue;
        }
        let Written { flow } = serde_json::from_str(&text).map_err(|error| {
            Failure::new(format!("{}, line {number}: no packet: {error}", file.display()))
        })?;
        let at = humantime::parse_rfc3339(&flow.time).ok();
        let is_new = from.zip(at).is_none_or(|(from, at)| at >= from);
        if is_new && wanted.takes(&flow) {
            one(&flow, output)?;
        }
    }
    Ok(())
}

fn text(flows: &Flows) -> String {
    let mut out: String = flows.flows.iter().map(|flow| row(flow) + "\n").collect();
    if flows.flows.is_empty() {
        out.push_str(match flows.sampled_one_in {
            0 => "packets are not told of: write sample = 1000, or another number, in [flows]\n",
            _ => "no such packet was told of\n",
        });
    }
    if flows.told.lost > 0 {
        let lost = flows.told.lost.to_string();
        out += &[&*lost, " packets are not in the list: they came too fast\n"].concat();
    }
    out
}

/// `2026-11-26 15:35:22.123456Z  198.51.100.7:40000 -> 192.0.2.10:80 web/10.0.0.2 FORWARDED (TCP Flags: SYN) AS65010`
fn row(flow: &Flow) -> String {
    let time = flow.time.replacen('T', " ", 1);
    let packet = match &flow.ip {
        Some(Ip { source, destination, .. }) => {
            let (from, to) = ports(flow.l4.as_ref());
            format!("{} -> {}", socket(*source, from), socket(*destination, to))
        }
        None => "-".into(),
    };
    let to = match (&flow.service, flow.backend) {
        (Some(service), Some(backend)) => format!(" {service}/{backend}"),
        (None, Some(backend)) => format!(" to {backend}"),
        (Some(service), None) => format!(" {service}"),
        (None, None) => String::new(),
    };
    let reason = flow.drop_reason_desc.as_deref().map(|it| format!(" {}", it.to_lowercase()));
    let origin = flow.origin.as_ref().map(|origin| {
        let asn =
            origin.asn.as_deref().map_or_else(|| origin.peer.clone(), |asn| format!("AS{asn}"));
        let communities = origin.communities.join(" ");
        format!(" {asn} {communities}").trim_end().to_owned()
    });
    let sets = match flow.source_sets.as_slice() {
        [] => String::new(),
        sets => format!(" from {}", sets.join(", ")),
    };
    format!(
        "{time}  {packet}{to} {}{} ({}){}{sets}",
        flow.verdict,
        reason.unwrap_or_default(),
        flow.summary,
        origin.unwrap_or_default()
    )
}

const fn ports(l4: Option<&L4>) -> (Option<u16>, Option<u16>) {
    match l4 {
        Some(L4::TCP(tcp)) => (Some(tcp.source_port), Some(tcp.destination_port)),
        Some(L4::UDP(it) | L4::SCTP(it)) => (Some(it.source_port), Some(it.destination_port)),
        Some(L4::Protocol(_)) | None => (None, None),
    }
}

fn socket(addr: IpAddr, port: Option<u16>) -> String {
    match (addr, port) {
        (addr, None) => addr.to_string(),
        (IpAddr::V4(addr), Some(port)) => format!("{addr}:{port}"),
        (IpAddr::V6(addr), Some(port)) => format!("[{addr}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::flow::{Origin, Tcp, Told};

    fn flow() -> Flow {
        let flags = [("SYN".to_owned(), true.into())].into_iter().collect();
        Flow {
            time: "2026-11-26T15:35:22.123456Z".into(),
            verdict: "FORWARDED".into(),
            ip: Some(Ip {
                source: "198.51.100.7".parse().unwrap(),
                destination: "192.0.2.10".parse().unwrap(),
                version: "IPv4".into(),
            }),
            l4: Some(L4::TCP(Tcp { source_port: 40_000, destination_port: 80, flags })),
            summary: "TCP Flags: SYN".into(),
            service: Some("web".into()),
            backend: Some("10.0.0.2".parse().unwrap()),
            source_sets: vec!["customers".into()],
            origin: Some(Origin {
                asn: Some("65010".into()),
                communities: vec!["65010:1".into()],
                ..Origin::default()
            }),
            ..Flow::default()
        }
    }

    #[test]
    fn one_line_each() {
        let dropped = Flow {
            verdict: "DROPPED".into(),
            drop_reason_desc: Some("NO_SERVICE".into()),
            service: None,
            backend: None,
            source_sets: Vec::new(),
            origin: None,
            ..flow()
        };
        let other = Flow { ip: None, l4: None, summary: "ARP".into(), ..dropped.clone() };
        let told = Told { lost: 3, ..Told::default() };
        let flows = Flows { flows: vec![flow(), dropped, other], told, ..Flows::default() };
        let wanted = "\
2026-11-26 15:35:22.123456Z  198.51.100.7:40000 -> 192.0.2.10:80 web/10.0.0.2 FORWARDED (TCP Flags: SYN) AS65010 65010:1 from customers
2026-11-26 15:35:22.123456Z  198.51.100.7:40000 -> 192.0.2.10:80 DROPPED no_service (TCP Flags: SYN)
2026-11-26 15:35:22.123456Z  - DROPPED no_service (ARP)
3 packets are not in the list: they came too fast
";
        assert_eq!(text(&flows), wanted);
        assert!(text(&Flows::default()).contains("in [flows]"));
        let quiet = Flows { sampled_one_in: 9, ..Flows::default() };
        assert_eq!(text(&quiet), "no such packet was told of\n");
    }
}
