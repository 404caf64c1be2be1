//! What the loop shows of itself: inner types turned by hand into those of [`crate::view`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tidegate_abi::{Counter, Traffic};
use tidegate_bgp::fsm::Direction;
use tidegate_bgp::rib::Counts;
use tidegate_bgp::speaker::{PeerStatus, State};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::{Family, HoldTime};
use tidegate_config::desired::{ForwardingMode, Protocol, ServiceAddr};
use tidegate_plan::{BackendView, VipState};

use crate::bgp_io::Queued;
use crate::bmp_io::StationStatus;
use crate::bpf_io;
use crate::journal::{self, down_cause};
use crate::mrt_io::MrtStatus;
use crate::view::change::Standing;
use crate::view::export::{Files, Station};
use crate::view::{
    self, API_VERSION, Backend, CounterRow, Interface, Peer, Scope, Status, Tally, View, Vip,
};

use super::memory::Since;
use super::pages::active;
use super::{Reconciler, told};

impl Reconciler {
    /// What is asked for, at this moment; an error when the maps cannot be read.
    pub(super) fn view(&self, scope: &Scope) -> Result<View, bpf_io::Error> {
        let (vips, next) = self.services(scope)?;
        let mut peers: Vec<Peer> = {
            // Let go before it is asked for again: the speaker may be waiting to write it in between,
            // and then both wait for each other, for ever.
            let snapshot = self.snapshot.borrow();
            snapshot.peers.iter().map(|peer| self.peer(peer, &snapshot.queued)).collect()
        };
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(View { status: self.status(&peers)?, peers, vips, next, rpki: self.rpki() })
    }

    /// Leaves how the node stands where the API finds it during the look that comes. Only for a look
    /// by itself: what was asked for shows in none but its own.
    pub(super) fn show_before(&self) {
        self.parts.questions.before.send_replace(self.view(&Scope::Node).ok());
    }

    /// Keeps the line that `systemctl status` shows up to date.
    pub(super) fn show(&mut self) {
        let vips = self.vip_tally();
        let established = |peer: &&PeerStatus| peer.state == State::Established;
        let snapshot = self.snapshot.borrow();
        let mut text = format!(
            "{} of {} services announced, {} of {} peers established, configuration {}",
            vips.up,
            vips.configured,
            snapshot.peers.iter().filter(established).count(),
            snapshot.peers.len(),
            self.control.generation,
        );
        drop(snapshot);
        if self.control.refused.is_some() {
            text += "; the last reload was refused";
        }
        if self.unconfirmed.is_some() {
            text += "; it waits to be confirmed";
        }
        if let Some(problem) = &self.problem {
            text += "; ";
            text += problem;
        }
        if text != self.shown {
            journal::status(&text);
            self.shown = text;
        }
    }

    fn status(&self, peers: &[Peer]) -> Result<Status, bpf_io::Error> {
        let router = &self.config.desired.router;
        let uptime = self.clock.now() - Timestamp::default();
        let started = SystemTime::now() - uptime;
        let established = peers.iter().filter(|peer| peer.state == State::Established.name());
        Ok(Status {
            api_version: API_VERSION.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            generation: self.control.generation,
            config_file: self.config.path.display().to_string(),
            config_refused: self.control.refused.clone(),
            standing: self.standing(),
            map_writes: self.map_writes,
            drains: self.drains_view(),
            converged: self.problem.is_none() && self.last.steps.is_empty(),
            problem: self.problem.clone(),
            warnings: self.origins.warnings(),
            stations: self.parts.bmp.status().into_iter().map(station).collect(),
            mrt: self
                .parts
                .mrt
                .status()
                .map(|MrtStatus { records, dropped }| Files { records, dropped }),
            rpki_caches: self.rpki_caches(),
            started_at: rfc3339(started),
            uptime_secs: uptime.as_secs(),
            taken_over: self.taken_over,
            asn: router.asn.get(),
            router_id: router.router_id.to_string(),
            interfaces: self.interfaces(),
            peers: Tally { up: established.count(), configured: peers.len() },
            vips: self.vip_tally(),
            backends: self.backend_tally(),
            timer_lateness_max_us: micros(self.snapshot.borrow().timer_lateness_max),
            check_lateness_max_us: micros(self.parts.checks.lateness_max()),
            proof_packets: self.proofs.runs(),
            nat_connections: self.all_nat_connections(),
            maps: self.maps(),
            flows: self.flows_told()?,
            counters: self.counters()?,
        })
    }

    /// What is special about the configuration in force.
    fn standing(&self) -> Standing {
        let now = self.clock.now();
        let unconfirmed = self.unconfirmed.as_ref().map(|waiting| view::change::Unconfirmed {
            generation: self.control.generation,
            who: waiting.who.clone(),
            back_to: waiting.back_to,
            left_secs: waiting.until.since(now).as_secs(),
            guards: waiting.guards.iter().map(|guard| guard.name().into()).collect(),
            changes: waiting.changes.clone(),
        });
        Standing {
            unconfirmed,
            undone: self.control.undone.clone(),
            overlay: told::covered(&self.config.overlay, &self.config.text),
            state_problem: self.control.state_problem.clone(),
        }
    }

    fn interfaces(&self) -> Vec<Interface> {
        let datapath = &self.parts.datapath;
        datapath
            .links()
            .iter()
            .map(|link| Interface {
                name: link.interface.clone(),
                mode: if datapath.runs(link) { link.mode.name().into() } else { "detached".into() },
                note: link.why_not_native.clone(),
            })
            .collect()
    }

    /// How full the maps were at the last look, and NAT's now.
    fn maps(&self) -> Vec<view::Map> {
        let nat = self.all_nat_connections().map(|entries| view::Map {
            name: "nat_flows".into(),
            entries,
            capacity: tidegate_abi::NAT_FLOWS_MAX.into(),
        });
        self.maps_seen.iter().cloned().chain(nat).collect()
    }

    fn counters(&self) -> Result<Vec<CounterRow>, bpf_io::Error> {
        let row = |(counter, packets): (Counter, u64)| CounterRow {
            name: counter.name().into(),
            packets,
            help: counter.help().trim().into(),
            remedy: tidegate_plan::why::remedy(counter).map(str::to_owned),
        };
        Ok(self.parts.datapath.counters()?.into_iter().map(row).collect())
    }

    fn peer(&self, peer: &PeerStatus, queued: &BTreeMap<IpAddr, Queued>) -> Peer {
        let Queued { received, to_send } =
            queued.get(&peer.remote.ip()).copied().unwrap_or_default();
        let age = self.clock.now() - peer.since;
        let bfd = self.parts.bfd.snapshot().borrow().get(&peer.name).copied();
        let detect = bfd.and_then(|bfd| bfd.detection_time);
        Peer {
            bfd: bfd.map(|bfd| bfd.state.name().into()),
            bfd_detect_us: detect.and_then(|time| u64::try_from(time.as_micros()).ok()),
            name: peer.name.to_string(),
            remote: peer.remote,
            asn: peer.remote_as.get(),
            state: peer.state.name().into(),
            since: rfc3339(SystemTime::now() - age),
            since_secs: age.as_secs(),
            router_id: peer.router_id.map(|id| id.to_string()),
            hold_time_secs: peer.hold_time.map(HoldTime::as_secs),
            families: peer.families.iter().map(ToString::to_string).collect(),
            stale_families: peer.stale.iter().map(ToString::to_string).collect(),
            messages_received: peer.messages_received,
            messages_sent: peer.messages_sent,
            queued_received_bytes: u64::try_from(received).unwrap_or(u64::MAX),
            queued_to_send_bytes: u64::try_from(to_send).unwrap_or(u64::MAX),
            prefixes_received: peer.prefixes_received,
            prefixes_advertised: peer.prefixes_advertised,
            prefixes: peer.counts.iter().map(family_prefixes).collect(),
            notifications: peer.notifications.iter().map(notifications).collect(),
            malformed_discarded: peer.malformed.attributes_discarded,
            malformed_withdrawn: peer.malformed.routes_withdrawn,
            malformed_families: peer.malformed.families_disabled,
            flaps: peer.flaps,
            last_down: peer.last_down.as_ref().map(down_cause),
        }
    }

    /// A service with some of its backends.
    pub(super) fn vip<'a>(
        &self,
        addr: ServiceAddr,
        state: &VipState,
        backends: impl Iterator<Item = (&'a IpAddr, &'a BackendView)>,
    ) -> Result<Vip, bpf_io::Error> {
        let seen = self.seen.vip(&addr);
        let (since, since_secs) = age(seen);
        let announced = seen.is_some_and(|seen| seen.state.announced);
        let withheld = if announced { None } else { state.withheld };
        let service = self.config.desired.services.get(&state.name);
        let Traffic { packets, bytes } = match state.programmed {
            Some(programmed) => self.parts.datapath.service_traffic(programmed.index)?,
            None => Traffic::default(),
        };
        let ring_size = state.programmed.map_or(0, |programmed| programmed.ring_size);
        let backends = backends.map(|(to, view)| self.backend(addr, *to, view, ring_size));
        Ok(Vip {
            service: state.name.clone(),
            address: addr.addr(),
            prefix_len: addr.prefix_len(),
            port: addr.port,
            last_port: service.map(|it| it.last_port).filter(|&last| last != addr.port),
            protocol: protocol_name(addr.protocol).into(),
            mode: service.map_or("", |service| mode_name(service.mode)).into(),
            announced,
            rpki: self.origins.of(addr.addrs).map(|(validity, _)| validity.name().into()),
            proof: state.proof.name().into(),
            life: state.life.name().into(),
            drain: self.imposed.vip(addr.addrs).map(|phase| phase.name().into()),
            held_down_secs: state.held_until.map(|until| (until - self.clock.now()).as_secs() + 1),
            fails_open: state.fails_open,
            reason: withheld.map(|reason| reason.name().into()),
            reason_text: withheld.map(|reason| reason.to_string()),
            since,
            since_secs,
            packets,
            bytes,
            slots_in_transition: state.programmed.map_or(0, |programmed| programmed.unsettled),
            active_backends: active(state.backends.iter()),
            backends: backends.collect::<Result<_, _>>()?,
        })
    }

    fn backend(
        &self,
        service: ServiceAddr,
        address: IpAddr,
        view: &BackendView,
        ring_size: u32,
    ) -> Result<Backend, bpf_io::Error> {
        let seen = self.seen.backend(&(service, address));
        let (since, since_secs) = age(seen);
        let Traffic { packets, bytes } = match view.index {
            Some(index) => self.parts.datapath.backend_traffic(index)?,
            None => Traffic::default(),
        };
        let ring_size = u64::from(ring_size);
        // Rounded, so that three thirds look like a whole.
        let share = (u64::from(view.slots) * 10_000 + ring_size / 2).checked_div(ring_size);
        Ok(Backend {
            address,
            weight: view.weight,
            state: view.state.name().into(),
            reason: seen.and_then(|seen| seen.state.reason.clone()),
            since,
            since_secs,
            share: share.and_then(|share| u32::try_from(share).ok()).unwrap_or(0),
            packets,
            bytes,
            connections: self.nat_connections(service, view.index),
        })
    }
}

/// How full the maps are.
pub(super) fn maps(datapath: &tidegate_plan::observed::Datapath) -> Vec<view::Map> {
    let maps = [
        ("services_v4", datapath.services_v4.len(), tidegate_abi::SERVICES_MAX),
        ("services_v6", datapath.services_v6.len(), tidegate_abi::SERVICES_MAX),
        ("backends", datapath.backends.len(), tidegate_abi::BACKENDS_MAX),
        ("ring_slots", datapath.slots.len(), tidegate_abi::RING_SLOTS_MAX),
        ("prefixes", datapath.prefixes.len(), tidegate_abi::PREFIXES_MAX),
        ("quic_servers", datapath.quic_servers.len(), tidegate_abi::QUIC_SERVERS_MAX),
    ];
    let map = |(name, entries, capacity): (&str, usize, u32)| view::Map {
        name: name.into(),
        entries: entries as u64,
        capacity: capacity.into(),
    };
    maps.map(map).into()
}

fn family_prefixes((family, counts): &(Family, Counts)) -> view::FamilyPrefixes {
    view::FamilyPrefixes {
        family: family.name().into(),
        received: counts.received as u64,
        accepted: counts.accepted as u64,
        filtered: counts.received.saturating_sub(counts.accepted) as u64,
        advertised: counts.advertised as u64,
    }
}

fn notifications((kind, messages): (&(Direction, u8, u8), &u64)) -> view::Notifications {
    let (direction, code, subcode) = *kind;
    let direction = match direction {
        Direction::Received => "received",
        Direction::Sent => "sent",
    };
    view::Notifications { direction: direction.into(), code, subcode, messages: *messages }
}

fn station(status: StationStatus) -> Station {
    let StationStatus { name, remote, up, since, sent_bytes, lost, problem } = status;
    let since_secs = since.elapsed().unwrap_or_default().as_secs();
    let since = rfc3339(since);
    Station { name, remote, up, since, since_secs, sent_bytes, lost, problem }
}

fn age<T>(seen: Option<&Since<T>>) -> (String, u64) {
    let since = seen.map_or_else(SystemTime::now, |seen| seen.since);
    let age = since.elapsed().unwrap_or(Duration::ZERO); // A clock set back: it is new.
    (rfc3339(since), age.as_secs())
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

pub(super) const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

const fn mode_name(mode: ForwardingMode) -> &'static str {
    match mode {
        ForwardingMode::Ipip => "ipip",
        ForwardingMode::Gue => "gue",
        ForwardingMode::L2 => "l2",
        ForwardingMode::Nat => "nat",
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
