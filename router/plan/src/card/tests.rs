use super::device::{Device, Instruction, MapShape, NETDEVSIM, NFP, Needs, Object, objections};
use super::*;

const HASH: u32 = 1;
const LRU_HASH: u32 = 9;

fn instruction(code: u8, src: u8, imm: i32) -> Instruction {
    Instruction { code, dst: 1, src, off: 0, imm }
}

fn map(kind: u32, key_bytes: u32, value_bytes: u32) -> MapShape {
    let name = "MAP".to_owned();
    MapShape { name, kind, key_bytes, value_bytes, entries: 10, flags: 0, is_global: false }
}

/// What a device has against one instruction.
fn against(it: Instruction, device: &Device) -> Vec<String> {
    let object = Object { instructions: vec![it], ..Object::default() };
    objections(&object, device).iter().map(ToString::to_string).collect()
}

#[test]
fn a_card_names_what_it_does_not_have() {
    let of = instruction;
    let cases = [
        ("an addition", of(0x0f, 2, 0), ""),
        ("a look-up", of(0x85, 0, 1), ""),
        ("a redirect", of(0x85, 0, 23), "helper 23"),
        ("a function of its own", of(0x85, 1, 5), ""),
        ("a kernel function", of(0x85, 2, 5), "kernel function"),
        ("a small product", of(0x27, 0, 3), ""),
        ("a negative product", of(0x27, 0, -3), "more than 32 bits"),
        ("a product of registers", of(0x2f, 2, 0), ""),
        ("a remainder", of(0x97, 0, 3), "remainder"),
        ("a division by a register", of(0x3f, 2, 0), "no constant"),
        ("network order", of(0xdc, 0, 16), ""),
        ("the other order", of(0xd4, 0, 16), "byte order"),
        ("swapped", of(0xd7, 0, 16), "byte order"),
        ("an atomic addition", of(0xdb, 2, 0), ""),
        ("one that asks for what was there", of(0xdb, 2, 1), "atomic"),
        ("a stored immediate", of(0x7a, 0, 1), "immediate"),
        ("a load with sign extension", of(0x91, 2, 0), "sign extension"),
        ("a move with sign extension", Instruction { off: 8, ..of(0xbf, 2, 0) }, "sign extension"),
        ("a long jump", of(0x06, 0, 1), "long jump"),
        ("an address of data", of(0x18, 2, 1), "address"),
        ("an answer that is an abort", Instruction { dst: 0, ..of(0xb7, 0, 4) }, "XDP_REDIRECT"),
        ("another answer", Instruction { dst: 0, ..of(0xb7, 0, 3) }, ""),
    ];
    for (name, it, wanted) in cases {
        let found = against(it, &NFP).join("; ");
        assert_eq!(found.is_empty(), wanted.is_empty(), "{name}: {found}");
        assert!(found.contains(wanted), "{name}: {found}");
    }
    // The kernel's device for tests runs all that the kernel does.
    assert_eq!(against(instruction(0x97, 0, 3), &NETDEVSIM), Vec::<String>::new());
    assert_eq!(against(instruction(0x85, 2, 5), &NETDEVSIM).len(), 1);
}

#[test]
fn the_second_half_of_a_long_immediate_is_no_instruction() {
    let halves = vec![instruction(0x18, 0, 1), instruction(0x97, 0, 0), instruction(0x95, 0, 0)];
    let object = Object { instructions: halves, ..Object::default() };
    assert_eq!(objections(&object, &NFP), []);
}

#[test]
fn a_card_names_the_maps_that_do_not_fit() {
    let cases = [
        ("a hash", map(HASH, 20, 16), ""),
        ("all that there is room for", map(HASH, 8, 56), ""),
        ("a byte more", map(HASH, 9, 56), "takes 72 bytes"),
        ("a cache", map(LRU_HASH, 8, 8), "type 9"),
        ("flags", MapShape { flags: 1, ..map(HASH, 8, 8) }, "flags 0x1"),
        ("constants", MapShape { is_global: true, ..map(2, 4, 64) }, "global data"),
    ];
    for (name, map, wanted) in cases {
        let object = Object { maps: vec![map], ..Object::default() };
        let found: Vec<String> =
            objections(&object, &NFP).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), usize::from(!wanted.is_empty()), "{name}: {found:?}");
        assert!(found.iter().all(|it| it.contains(wanted)), "{name}: {found:?}");
    }
}

#[test]
fn length_and_stack_are_counted() {
    let store = Instruction { code: 0x7b, dst: 10, src: 1, off: -520, imm: 0 };
    let copied = Instruction { code: 0xbf, dst: 2, src: 10, off: 0, imm: 0 };
    let moved = Instruction { code: 0x07, dst: 2, src: 0, off: 0, imm: -600 };
    let mut object =
        Object { instructions: vec![store], maps: vec![map(HASH, 4, 4)], ..Object::default() };
    let needs = Needs::of(&object);
    assert_eq!((needs.stack_bytes, needs.entries, needs.bytes), (520, 10, 160));
    assert_eq!(objections(&object, &NFP).len(), 1);
    object.instructions = vec![copied, moved];
    assert_eq!(Needs::of(&object).stack_bytes, 600);
    object.instructions = vec![instruction(0x0f, 2, 0); NFP.instructions_max + 1];
    assert_eq!(objections(&object, &NFP).len(), 1);
}

fn desired(more: &str) -> Desired {
    let text = format!(
        "[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"eth0\"]\n\
         [[service]]\nname = \"web\"\nvip = \"192.0.2.10\"\n{more}\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\n"
    );
    tidegate_config::check("tidegate.toml", &text).unwrap().desired
}

#[test]
fn what_a_service_asks_for_says_whether_the_card_has_it() {
    let cases = [
        ("plain", "port = 80", ""),
        ("by client", "port = 80\naffinity = \"client-address\"", ""),
        ("l2", "port = 80\nmode = \"l2\"", ""),
        ("gue", "port = 80\nmode = \"gue\"", "gue"),
        ("nat", "port = 80\nmode = \"nat\"", "connections"),
        ("remembered", "port = 53\nprotocol = \"udp\"\nudp = \"flow\"", "flows"),
        ("sctp", "port = 80\nprotocol = \"sctp\"", "SCTP"),
        ("limited", "port = 80\nguard = { service-rate = 1000 }", "rates"),
    ];
    for (name, more, wanted) in cases {
        let why = why_up("web", &desired(more)).join("; ");
        assert_eq!(why.is_empty(), wanted.is_empty(), "{name}: {why}");
        assert!(why.contains(wanted), "{name}: {why}");
    }
    assert!(!why_up("dns", &desired("port = 80")).is_empty());
}

#[test]
fn what_the_card_cannot_serve_is_left_to_the_host() {
    let key = |port: u16, proto, prefix_len| ServiceKeyV4 {
        addr: [192, 0, 2, 10],
        port: port.to_be_bytes(),
        proto,
        prefix_len,
    };
    let entry = |flags| Entry { ring_offset: 1_024, ring_size: 1_024, index: 7, flags };
    let (vip, web, dns, prefix) = (key(0, 0, 0), key(80, 6, 0), key(53, 17, 0), key(80, 6, 28));
    let mut maps = Datapath {
        services_v4: [
            (vip, Entry { flags: service_flags::ECHO, ..Entry::default() }),
            (web, entry(0)),
            (dns, entry(service_flags::UDP_FLOWS)),
            (prefix, entry(0)),
        ]
        .into(),
        ..Datapath::default()
    };
    let constants = DatapathConfig { hash_seed: 0x1_0000_0002, ..DatapathConfig::default() };
    let on_card = image(&maps, &constants, 3);
    let up = Entry { index: 7, ..Entry::default() };
    assert_eq!(on_card.services_v4, [(vip, Entry::default()), (web, entry(0)), (dns, up)].into());
    assert_eq!(on_card.config, CardConfig { seed_low: 2, seed_high: 1 });

    // A service of all ports: of no packet for the VIP is it known that nobody wants it.
    maps.services_v4.insert(key(0, 6, 0), entry(0));
    let asks = Entry { flags: service_flags::ASK_HOST, ..Entry::default() };
    assert_eq!(image(&maps, &constants, 3).services_v4[&vip], asks);
    assert_eq!(image(&maps, &constants, 3).services_v4[&web], entry(0));

    // Clients that are denied: of no packet is it known that it may pass.
    let constants = DatapathConfig { features: features::PREFIXES_V4, ..constants };
    assert_eq!(image(&maps, &constants, 3).services_v4[&web], up);
}
