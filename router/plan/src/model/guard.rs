//! Who may come in, and how often: in a world whose clock stands still.

use tidegate_abi::source_bucket;
use tidegate_abi::{Buckets, Counter, Rates, Service, admissions, features, service_flags};

use super::{Addr, Model, Packet, Transport};
use crate::admission::longest;

impl Model<'_> {
    /// Whether a client's address lies in a prefix that is denied.
    pub(super) fn is_denied(&self, client: Addr) -> bool {
        let feature = if client.is_ipv4() { features::PREFIXES_V4 } else { features::PREFIXES_V6 };
        self.constants.features & feature != 0
            && longest(&self.maps.prefixes, client) == Some(admissions::DENY)
    }

    /// Takes the packet's tokens, those of its source first.
    pub(super) fn limit(&mut self, packet: &Packet, service: Service) -> Result<(), Counter> {
        let has = |feature| self.constants.features & feature != 0;
        if !has(features::RATES) || service.flags & service_flags::RATED == 0 {
            return Ok(());
        }
        let Some(&rates) = self.maps.rates.get(&service.index) else { return Ok(()) };
        let opens = packet.transport == Transport::Ports { opens: true };
        let Rates { source_ns, source_syn_ns, service_ns, service_syn_ns } = rates;
        let burst = self.constants.burst_ns;
        if has(features::SOURCE_RATES) {
            let row = self.source(packet.flow.src, service.index);
            let buckets = self.source_buckets.entry(row).or_default();
            if opens && !take(&mut buckets.syns_ns, source_syn_ns, burst) {
                return Err(Counter::DropSourceSynRate);
            }
            if !take(&mut buckets.packets_ns, source_ns, burst) {
                return Err(Counter::DropSourceRate);
            }
        }
        let buckets: &mut Buckets = self.service_buckets.entry(service.index).or_default();
        if opens && !take(&mut buckets.syns_ns, service_syn_ns, burst) {
            return Err(Counter::DropServiceSynRate);
        }
        if !take(&mut buckets.packets_ns, service_ns, burst) {
            return Err(Counter::DropServiceRate);
        }
        Ok(())
    }

    fn source(&self, client: Addr, service: u32) -> u32 {
        let source = match client {
            Addr::V4(addr) => u64::from(addr.to_bits()) >> self.constants.source_open_v4,
            Addr::V6(addr) => {
                let [a, b, c, d, ..] = addr.segments();
                let high = [a, b, c, d].into_iter().fold(0, |all, it| all << 16 | u64::from(it));
                high >> self.constants.source_open_v6
            }
        };
        source_bucket(self.constants.hash_seed, service, source)
    }
}

/// A bucket holds what comes in `burst`, and one at least. Here it is kept as the time that its
/// tokens are worth which were taken: none comes back.
fn take(taken: &mut u64, interval: u64, burst: u64) -> bool {
    if interval == 0 {
        return true;
    }
    let has_one = *taken + interval <= burst.max(interval);
    if has_one {
        *taken += interval;
    }
    has_one
}
