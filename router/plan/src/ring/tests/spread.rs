//! Whether flows that are neighbours, as a client's connections are, spread over the backends of a
//! ring as chance would.

use tidegate_abi::{flow_hash_v4, flow_hash_v6, ring_size, slot_of};

use super::{SEED, base, equal};

const TCP: u8 = 6;
const VIP: u32 = 0xc000_020a;
/// As many throws as a client makes that opens some connections: this is where structure shows,
/// because over all ports even a straight line comes round evenly.
const THROWS: u32 = 32;
const SAMPLES: u32 = 400;

/// Client and client port of a throw.
type Flow = (u32, u32);

fn v4((client, port): Flow) -> u32 {
    let addrs = u64::from(client) << 32 | u64::from(VIP);
    flow_hash_v4(SEED, addrs, port << 16 | 0x1bb, TCP)
}

fn v4_client((client, _): Flow) -> u32 {
    flow_hash_v4(SEED, u64::from(client) << 32, 0, 0)
}

const PREFIX: u64 = 0x2001_0db8_0000_0000;

fn v6((client, port): Flow) -> u32 {
    let src = [PREFIX + 1, u64::from(client)];
    flow_hash_v6(SEED, src, [PREFIX, 10], port << 16 | 0x1bb, TCP)
}

/// Clients of one network each, as providers hand them out.
fn v6_networks((client, port): Flow) -> u32 {
    let src = [PREFIX + u64::from(client), 1];
    flow_hash_v6(SEED, src, [PREFIX, 10], port << 16 | 0x1bb, TCP)
}

fn v6_client((client, _): Flow) -> u32 {
    flow_hash_v6(SEED, [PREFIX + u64::from(client), 0], [0; 2], 0, 0)
}

/// The mean over all samples of chi-square by its degrees of freedom: 1 for chance, more where
/// throws gather, less where they go round in turn.
fn unevenness(backends: u32, hash: fn(Flow) -> u32, flow: fn(u32, u32) -> Flow) -> f64 {
    let members = equal(backends);
    let size = ring_size(backends);
    let ring = base(SEED, &members, size);
    let mut sum = 0.0;
    for sample in 0..SAMPLES {
        let mut hits = vec![0_u32; backends as usize];
        for throw in 0..THROWS {
            let slot = slot_of(hash(flow(sample, throw)), size);
            hits[ring[slot as usize].unwrap().index()] += 1;
        }
        let expected = f64::from(THROWS) / f64::from(backends);
        sum += hits.iter().map(|&hit| (f64::from(hit) - expected).powi(2) / expected).sum::<f64>();
    }
    sum / f64::from(SAMPLES) / f64::from(backends - 1)
}

type Flows = fn(sample: u32, throw: u32) -> Flow;

fn client(sample: u32) -> u32 {
    0x0a00_0000 + sample * 0x0001_0003
}

const ONE_CLIENT: [(&str, Flows); 4] = [
    ("ports one by one", |sample, n| (0x0a00_0001, 1_024 + sample * 97 + n)),
    ("ports by two, as Linux takes them", |sample, n| (0x0a00_0001, 1_024 + sample * 97 + 2 * n)),
    ("the first ports of a client, by two", |sample, n| (client(sample), 32_768 + 2 * n)),
    ("clients and their ports", |sample, n| (client(sample) + n % 4, 32_768 + 2 * (n / 4))),
];

const CLIENTS: [(&str, Flows); 2] = [
    ("clients one by one", |sample, n| (client(sample) + n, 40_000)),
    ("clients by 256", |sample, n| (client(sample) + 256 * n, 40_000)),
];

type Hashes = [(&'static str, fn(Flow) -> u32)];

#[test]
fn neighbouring_flows_spread_over_the_backends_as_chance_would() {
    let hashes: &Hashes = &[("v4", v4), ("v6", v6), ("v6 networks", v6_networks)];
    let by_client: &Hashes = &[("v4 by client", v4_client), ("v6 by client", v6_client)];
    let of = |flows: &'static [(&str, Flows)], hashes: &Hashes| {
        let pairs = flows.iter().flat_map(|&flows| hashes.iter().map(move |&hash| (flows, hash)));
        pairs.collect::<Vec<_>>()
    };
    let cases = [of(&ONE_CLIENT, hashes), of(&CLIENTS, hashes), of(&CLIENTS, by_client)];
    for ((flows_name, flows), (hash_name, hash)) in cases.concat() {
        for backends in 2..=10 {
            let found = unevenness(backends, hash, flows);
            let name = format!("{hash_name}, {flows_name}, {backends} backends: {found:.2}");
            assert!((0.7..1.35).contains(&found), "{name}, of chance's 1.00");
        }
    }
}
