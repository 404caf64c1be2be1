//! The maps. Their names are the ABI's; the daemon looks them up by name.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{
    Array, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf,
};
use aya_ebpf::macros::btf_map;
use tidegate_abi::{
    BACKENDS_MAX, Backend, Buckets, CaptureDraft, Captured, Counter, DEVICES_MAX, DatagramKey,
    FLOW_KINDS, FLOWS_MAX, FRAGMENTS_MAX, FlowDraft, FlowKey, Limit, NAT_FLOWS_MAX, NatAnswer,
    NatFlow, PREFIXES_ROOM, Ports, QUIC_SERVERS_ROOM, QuicKey, RING_SLOTS_MAX, Rates, SERVICES_MAX,
    Service, ServiceKeyV4, ServiceKeyV6, Slot, Told, Traffic, UDP_FLOWS_MAX, rare,
};

use crate::nat::Draft;

#[btf_map]
pub(crate) static SERVICES_V4: HashMap<ServiceKeyV4, Service, { SERVICES_MAX as usize }> =
    HashMap::new();
#[btf_map]
pub(crate) static SERVICES_V6: HashMap<ServiceKeyV6, Service, { SERVICES_MAX as usize }> =
    HashMap::new();
#[btf_map]
pub(crate) static RING_SLOTS: Array<
    Slot,
    { RING_SLOTS_MAX as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();
#[btf_map]
pub(crate) static BACKENDS: Array<Backend, { BACKENDS_MAX as usize }> = Array::new();
/// Not an LRU: a flood of new flows must not push out one that lives.
#[btf_map]
pub(crate) static FLOWS: HashMap<FlowKey, u32, { FLOWS_MAX as usize }> = HashMap::new();
/// An LRU: nothing says when a UDP flow is over. One that is pushed out goes by the hash.
#[btf_map]
pub(crate) static UDP_FLOWS: LruHashMap<FlowKey, u32, { UDP_FLOWS_MAX as usize }> =
    LruHashMap::new();
/// Of what the configuration says alone: no packet adds to it.
#[btf_map]
pub(crate) static QUIC_SERVERS: HashMap<
    QuicKey,
    u32,
    { QUIC_SERVERS_ROOM as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
/// An LRU: a datagram is over in a moment, and whose parts are on their way does not matter later.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<DatagramKey, Ports, { FRAGMENTS_MAX as usize }> =
    LruHashMap::new();
/// Not an LRU: a connection that lives is never pushed out. Memory only for those that there are.
#[btf_map]
pub(crate) static NAT_FLOWS: HashMap<
    FlowKey,
    NatFlow,
    { NAT_FLOWS_MAX as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
#[btf_map]
pub(crate) static NAT_ANSWERS: HashMap<
    FlowKey,
    NatAnswer,
    { NAT_FLOWS_MAX as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();
/// Where a new connection is put together. Not pinned: nothing stays in it.
#[btf_map]
pub(crate) static NAT_DRAFT: PerCpuArray<Draft, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static SERVICE_TRAFFIC: PerCpuArray<Traffic, { SERVICES_MAX as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static BACKEND_TRAFFIC: PerCpuArray<Traffic, { BACKENDS_MAX as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { Counter::COUNT as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static DEVICES: DevMapHash<{ DEVICES_MAX as usize }> = DevMapHash::new();
#[btf_map]
pub(crate) static LIMITS: PerCpuArray<u64, { Limit::COUNT as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static RARE: ProgramArray<{ rare::COUNT as usize }> = ProgramArray::new();
#[btf_map]
pub(crate) static PREFIXES_V4: LpmTrie<[u8; 4], u32, { PREFIXES_ROOM as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static PREFIXES_V6: LpmTrie<[u8; 16], u32, { PREFIXES_ROOM as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static RATES: Array<Rates, { SERVICES_MAX as usize }> = Array::new();
#[btf_map]
pub(crate) static SERVICE_BUCKETS: Array<Buckets, { SERVICES_MAX as usize }> = Array::new();
/// The loader makes it larger where sources have limits.
#[btf_map]
pub(crate) static SOURCE_BUCKETS: Array<Buckets, 1> = Array::new();
/// Of `FlowRecord`, which must not stand here: libbpf takes a ring for one of values without a size.
/// The loader makes it larger where packets are told of.
#[btf_map]
pub(crate) static FLOW_RECORDS: RingBuf<[u8; 0], 4_096> = RingBuf::new();
#[btf_map]
pub(crate) static FLOW_COUNTS: PerCpuArray<u64, { Told::COUNT as usize }> = PerCpuArray::new();
/// Programs of two versions meet in it while one replaces the other.
#[btf_map]
pub(crate) static FLOW_DRAFT: PerCpuArray<FlowDraft, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static FLOW_LIMITS: PerCpuArray<u64, { FLOW_KINDS as usize }> = PerCpuArray::new();
/// Each program has its own, from here on; the loader makes this one larger while somebody captures.
#[btf_map]
pub(crate) static CAPTURE_RECORDS: RingBuf<[u8; 0], 4_096> = RingBuf::new();
#[btf_map]
pub(crate) static CAPTURE_DRAFT: PerCpuArray<CaptureDraft, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static CAPTURE_COUNTS: PerCpuArray<u64, { Captured::COUNT as usize }> =
    PerCpuArray::new();
