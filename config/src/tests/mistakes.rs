//! One mistake, one diagnostic; many mistakes, as many.

use core::fmt::Write as _;

use proptest::prelude::*;

use super::{BASE, SAMPLE, accepted, assert_golden};
use crate::{Severity, check};

const WEB_TLS: &str = "\n[[service]]\nname = \"web-tls\"\nvip = \"198.51.100.10\"\nport = 443\n\
    [[service.backend]]\naddress = \"10.0.0.11\"\n";

/// Name, what is replaced in [`BASE`] (its end, if empty), and by what.
const CASES: &[(&str, &str, &str)] = &[
    // Sessions.
    ("a range that is one peer", "\"192.0.2.254\"", "\"192.0.2.254/32\""),
    ("a range with bits too many", "\"192.0.2.254\"", "\"192.0.2.254/24\""),
    ("a range of no length", "\"192.0.2.254\"", "\"192.0.2.0/33\""),
    ("a limit without a range", "asn = 65000", "asn = 65000\nrange-limit = 5"),
    (
        "a range that nobody can connect to",
        "\"192.0.2.254\"",
        "\"2001:db8::/64\"\n[[peer]]\nname = \"x\"\naddress = \"192.0.2.254\"",
    ),
    ("two ways to be far away", "asn = 65000", "asn = 65000\nmultihop = 2\nttl-security = 1"),
    ("FRR's word for it", "asn = 65000", "asn = 65000\nebgp-multihop = 2"),
    ("a send-hold-time that is too short", "asn = 65000", "asn = 65000\nsend-hold-time = \"90s\""),
    ("a local AS that is ours", "asn = 65000", "asn = 65000\nlocal-asn = 65001"),
    ("a role that is none", "asn = 65000", "asn = 65000\nrole = \"client\""),
    ("a role inside the AS", "asn = 65000", "asn = 65001\nrole = \"peer\""),
    ("a role required of others only", "asn = 65000", "asn = 65000\nrole-required = true"),
    ("half a second to restart", "asn = 65000", "asn = 65000\ngraceful-restart = \"500ms\""),
    ("a shutdown without a word", "asn = 65000", "asn = 65000\nshutdown = \"\""),
    ("a shutdown of two lines", "asn = 65000", "asn = 65000\nshutdown = \"a\\nb\""),
    ("a limit of nothing", "asn = 65000", "asn = 65000\nmax-prefixes = {}"),
    (
        "a limit of a family that is not carried",
        "asn = 65000",
        "asn = 65000\nfamilies = [\"ipv4-unicast\"]\nmax-prefixes = { ipv6 = 5 }",
    ),
    (
        "several paths of a rule",
        "asn = 65000",
        "asn = 65000\nadd-path = { receive = [\"ipv4-flowspec\"] }",
    ),
    (
        "several paths of a family that is not carried",
        "asn = 65000",
        "asn = 65000\nfamilies = [\"ipv4-unicast\"]\nadd-path = { send = [\"ipv6-unicast\"] }",
    ),
    ("no path at all", "asn = 65000", "asn = 65000\nadd-path = { send-max = 0 }"),
    (
        "IPv6 next hops for IPv4 that is not carried",
        "asn = 65000",
        "asn = 65000\nfamilies = [\"ipv6-unicast\"]\nextended-next-hop = true",
    ),
    // The shape of the file.
    ("not TOML", "asn = 65001", "asn = "),
    ("an open string", "\"192.0.2.1\"", "\"192.0.2.1"),
    ("a key twice", "asn = 65001", "asn = 65001\nasn = 65002"),
    ("no router", "", "\u{0}"),
    ("another version", "[router]", "version = 2\n[router]"),
    ("a misspelt table", "[[peer]]", "[[peers]]"),
    ("one peer in single brackets", "[[peer]]", "[peer]"),
    ("several routers", "[router]", "[[router]]"),
    ("a value for a table", "[router]", "api = 1\n[router]"),
    ("a key outside its table", "[router]", "asn = 1\n[router]"),
    // Keys.
    ("a key in snake case", "router-id", "router_id"),
    ("a misspelt key", "interfaces", "interface-list"),
    ("a transposed key", "address = \"192", "adderss = \"192"),
    ("an unknown key", "asn = 65001", "asn = 65001\ncolour = \"red\""),
    ("a key that needs quotes", "asn = 65001", "asn = 65001\n\"a b\\u202e\" = 1"),
    ("a password in the file", "asn = 65000", "asn = 65000\npassword = \"secret\""),
    ("a keychain that is not there", "asn = 65000", "asn = 65000\nkeychain = \"core\""),
    (
        "a keychain without keys",
        "[[service]]",
        "[[keychain]]\nname = \"core\"\nkey = []\n[[service]]",
    ),
    (
        "two keys of one number, and a password beside the chain",
        "asn = 65000",
        "asn = 65000\npassword-file = \"/etc/p\"\nkeychain = \"core\"\n[[keychain]]\n\
         name = \"core\"\n[[keychain.key]]\nid = 1\nfile = \"/etc/a\"\n[[keychain.key]]\nid = 1\n\
         receive-id = 2\nfile = \"/etc/b\"",
    ),
    (
        "a key in the file",
        "[[service]]",
        "[[keychain]]\nname = \"core\"\n[[keychain.key]]\nid = 1\nsecret = \"abc\"\n[[service]]",
    ),
    ("a port of a backend", "address = \"10.0.0.11\"", "address = \"10.0.0.11\"\nport = 8080"),
    ("a missing key", "router-id = \"192.0.2.1\"\n", ""),
    ("a missing list of tables", "\n[[service.backend]]\naddress = \"10.0.0.11\"\n", ""),
    // Router.
    ("AS number zero", "asn = 65001", "asn = 0"),
    ("AS number too large", "asn = 65001", "asn = 4294967296"),
    ("asdot without quotes", "asn = 65001", "asn = 1.10"),
    ("router ID zero", "\"192.0.2.1\"", "\"0.0.0.0\""),
    ("router ID of IPv6", "\"192.0.2.1\"", "\"2001:db8::1\""),
    ("no interfaces", "[\"eth0\"]", "[]"),
    ("an interface twice", "[\"eth0\"]", "[\"eth0\", \"eth1\", \"eth0\"]"),
    ("an interface that cannot be", "[\"eth0\"]", "[\"a-very-long-interface\"]"),
    ("one interface without brackets", "[\"eth0\"]", "\"eth0\""),
    ("attach offload", "asn = 65001", "asn = 65001\nattach = \"offload\""),
    ("attach misspelt", "asn = 65001", "asn = 65001\nattach = \"nativ\""),
    (
        "a listen address twice",
        "asn = 65001",
        "asn = 65001\nlisten = [\"192.0.2.1\", \"192.0.2.1:179\"]",
    ),
    (
        "a listen address covered",
        "asn = 65001",
        "asn = 65001\nlisten = [\"0.0.0.0\", \"192.0.2.1\"]",
    ),
    ("a multicast listen address", "asn = 65001", "asn = 65001\nlisten = [\"224.0.0.1\"]"),
    ("a seed too long", "asn = 65001", "asn = 65001\nhash-seed = \"0x10000000000000000\""),
    ("a multicast source", "asn = 65001", "asn = 65001\nencap-source-v6 = \"ff02::1\""),
    ("a source of IPv6 for IPv4", "asn = 65001", "asn = 65001\nencap-source-v4 = \"2001:db8::1\""),
    ("a relative path", "asn = 65001", "asn = 65001\npin-dir = \"bpf\""),
    // API.
    ("an API for everybody", "[router]", "[api]\nlisten = \"0.0.0.0:9179\"\n[router]"),
    (
        "an API for everybody without TLS",
        "[router]",
        "[api]\nlisten = \"[::]:9179\"\ntoken-file = \"/etc/tokens\"\n[router]",
    ),
    (
        "an API for everybody without authentication",
        "[router]",
        "[api]\nlisten = \"[::]:9179\"\ntls-certificate = \"/etc/c\"\ntls-key = \"/etc/k\"\n\
         [router]",
    ),
    (
        "an API with a certificate and no key",
        "[router]",
        "[api]\ntls-certificate = \"/etc/c\"\n[router]",
    ),
    ("an API with a key and no certificate", "[router]", "[api]\ntls-key = \"/etc/k\"\n[router]"),
    ("certificates of clients without TLS", "[router]", "[api]\nclient-ca = \"/etc/ca\"\n[router]"),
    (
        "operators by a certificate that nobody signs",
        "[router]",
        "[api]\nclient-operators = [\"ops\"]\n[router]",
    ),
    (
        "a common name without letters",
        "[router]",
        "[api]\nclient-ca = \"/etc/ca\"\ntls-key = \"/k\"\ntls-certificate = \"/c\"\n\
         client-operators = [\"\"]\n[router]",
    ),
    ("a token in the configuration", "[router]", "[api]\ntoken = \"abc\"\n[router]"),
    ("a socket path too long", "[router]", "\u{3}"),
    ("an API without port", "[router]", "[api]\nlisten = \"127.0.0.1\"\n[router]"),
    // Peer.
    ("a name with a blank", "\"tor\"", "\"top of rack\""),
    ("a peer address with prefix length", "\"192.0.2.254\"", "\"192.0.2.254/24\""),
    ("a peer address with port", "\"192.0.2.254\"", "\"192.0.2.254:179\""),
    ("a peer address with zone", "\"192.0.2.254\"", "\"fe80::1%eth0\""),
    ("a peer by host name", "\"192.0.2.254\"", "\"tor.example.net\""),
    ("a link-local peer", "\"192.0.2.254\"", "\"fe80::1\""),
    ("a port as a string", "asn = 65000", "asn = 65000\nport = \"179\""),
    ("port zero", "asn = 65000", "asn = 65000\nport = 0"),
    ("a negative port", "asn = 65000", "asn = 65000\nport = -1"),
    ("another family", "asn = 65000", "asn = 65000\nlocal-address = \"2001:db8::1\""),
    ("a session with oneself", "asn = 65000", "asn = 65000\nlocal-address = \"192.0.2.254\""),
    ("a truth in quotes", "asn = 65000", "asn = 65000\npassive = \"yes\""),
    ("hold time of two seconds", "asn = 65000", "asn = 65000\nhold-time = \"2s\""),
    ("hold time with milliseconds", "asn = 65000", "asn = 65000\nhold-time = \"3500ms\""),
    ("a duration without unit", "asn = 65000", "asn = 65000\nhold-time = 90"),
    ("a duration of another kind", "asn = 65000", "asn = 65000\nconnect-retry = \"5 seconds\""),
    ("a duration too long", "asn = 65000", "asn = 65000\nconnect-retry = \"2h\""),
    (
        "a duration without end",
        "asn = 65000",
        "asn = 65000\nconnect-retry = \"99999999999999999999h\"",
    ),
    ("a peer that waits for nobody", "\n[[peer]]", "listen = [\"::\"]\n\n[[peer]]\npassive = true"),
    ("no family", "asn = 65000", "asn = 65000\nfamilies = []"),
    ("a family misspelt", "asn = 65000", "asn = 65000\nfamilies = [\"ipv4_unicast\"]"),
    (
        "a next hop of IPv4 for IPv6",
        "asn = 65000",
        "asn = 65000\nnext-hop-v6 = \"::ffff:192.0.2.1\"",
    ),
    (
        "a next hop nobody needs",
        "asn = 65000",
        "asn = 65000\nfamilies = [\"ipv4-unicast\"]\nnext-hop-v6 = \"2001:db8::1\"",
    ),
    ("a peer twice", "", "[[peer]]\nname = \"tor\"\naddress = \"192.0.2.253\"\nasn = 1\n"),
    (
        "a peer address twice",
        "",
        "[[peer]]\nname = \"other\"\naddress = \"192.0.2.254\"\nasn = 1\n",
    ),
    // Service.
    ("a VIP of IPv4 written as IPv6", "\"198.51.100.10\"", "\"::ffff:198.51.100.10\""),
    ("a multicast VIP", "\"198.51.100.10\"", "\"239.1.1.1\""),
    ("a loopback VIP", "\"198.51.100.10\"", "\"::1\""),
    ("a VIP of a peer", "\"198.51.100.10\"", "\"192.0.2.254\""),
    ("a prefix that is one address", "\"198.51.100.10\"", "\"198.51.100.10/32\""),
    ("a VIP with bits behind its prefix", "\"198.51.100.10\"", "\"198.51.100.10/28\""),
    ("a VIP that is half of the Internet", "\"198.51.100.10\"", "\"128.0.0.0/1\""),
    ("a VIP that a peer lies in", "\"198.51.100.10\"", "\"192.0.2.0/24\""),
    ("a VIP that its backend lies in", "\"198.51.100.10\"", "\"10.0.0.0/16\""),
    (
        "a VIP at our end of a session",
        "asn = 65000",
        "asn = 65000\nlocal-address = \"198.51.100.10\"",
    ),
    ("a VIP as next hop", "asn = 65000", "asn = 65000\nnext-hop-v4 = \"198.51.100.10\""),
    ("a VIP as source", "asn = 65001", "asn = 65001\nencap-source-v4 = \"198.51.100.10\""),
    ("a VIP where BGP listens", "asn = 65001", "asn = 65001\nlisten = [\"198.51.100.10\"]"),
    ("an unknown protocol", "port = 80", "port = 80\nprotocol = \"sctp\""),
    ("a protocol in capitals", "port = 80", "port = 80\nprotocol = \"UDP\""),
    (
        "a service twice",
        "",
        "[[service]]\nname = \"web\"\nvip = \"198.51.100.11\"\nport = 80\n[[service.backend]]\naddress = \"10.0.0.11\"\n",
    ),
    (
        "a VIP and port twice",
        "",
        "[[service]]\nname = \"www\"\nvip = \"198.51.100.10\"\nport = 80\n[[service.backend]]\naddress = \"10.0.0.11\"\n",
    ),
    ("a range of ports that ends before it starts", "port = 80", "port = \"8100-8000\""),
    ("a range of ports with port 0", "port = 80", "port = \"0-80\""),
    ("a word for a port", "port = 80", "port = \"http\""),
    (
        "a range of ports checked on none",
        "port = 80",
        "port = \"8000-8100\"\nhealth = { type = \"tcp\" }",
    ),
    (
        "a prefix whose addresses are all others'",
        "[[service]]",
        "[[service]]\nname = \"pool\"\nvip = \"198.51.100.8/30\"\nport = 80\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\n\
         [[service]]\nname = \"low\"\nvip = \"198.51.100.8/31\"\nport = 80\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\n\
         [[service]]\nname = \"last\"\nvip = \"198.51.100.11\"\nport = 80\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\n[[service]]",
    ),
    (
        "ports of two services overlap",
        "[[service]]",
        "[[service]]\nname = \"www\"\nvip = \"198.51.100.10\"\nport = \"79-90\"\n[[service.backend]]\naddress = \"10.0.0.11\"\n[[service]]",
    ),
    ("QUIC over TCP, with a server id too few", "port = 80", "port = 80\naffinity = \"quic\""),
    (
        "server ids that are none, twice the same, of two lengths",
        "[[service]]",
        "[[service]]\nname = \"h3\"\nvip = \"198.51.100.9\"\nport = 443\nprotocol = \"udp\"\naffinity = \"quic\"\nquic-config-id = 7\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\nserver-id = \"0a\"\n\
         [[service.backend]]\naddress = \"10.0.0.12\"\nserver-id = \"0A\"\n\
         [[service.backend]]\naddress = \"10.0.0.13\"\nserver-id = \"0a1f\"\n\
         [[service.backend]]\naddress = \"10.0.0.14\"\nserver-id = \"a\"\n[[service]]",
    ),
    (
        "a configuration of QUIC of before that is the one of now, with ids of two lengths",
        "[[service]]",
        "[[service]]\nname = \"h3\"\nvip = \"198.51.100.9\"\nport = 443\nprotocol = \"udp\"\naffinity = \"quic\"\n\
         quic-config-id = 3\nquic-former-config-id = 3\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\nserver-id = \"0a\"\nformer-server-id = \"0a\"\n\
         [[service.backend]]\naddress = \"10.0.0.12\"\nserver-id = \"0b\"\nformer-server-id = \"0a0b\"\n[[service]]",
    ),
    (
        "a configuration of QUIC of before that nobody has ids of",
        "[[service]]",
        "[[service]]\nname = \"h3\"\nvip = \"198.51.100.9\"\nport = 443\nprotocol = \"udp\"\naffinity = \"quic\"\n\
         quic-former-config-id = 3\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\nserver-id = \"0a\"\n\
         [[service]]\nname = \"h4\"\nvip = \"198.51.100.10\"\nport = 443\nprotocol = \"udp\"\naffinity = \"quic\"\n\
         [[service.backend]]\naddress = \"10.0.0.11\"\nserver-id = \"0a\"\nformer-server-id = \"0a\"\n[[service]]",
    ),
    (
        "QUIC in mode nat",
        "port = 80",
        "port = 80\nprotocol = \"udp\"\nmode = \"nat\"\naffinity = \"quic\"",
    ),
    ("a config id without QUIC", "port = 80", "port = 80\nquic-config-id = 3"),
    ("UDP flows of a TCP service", "port = 80", "port = 80\nudp = \"flow\""),
    ("drain too long", "port = 80", "port = 80\ndrain = \"25h\""),
    // Health.
    ("a check of unknown type", "port = 80", "port = 80\nhealth = { type = \"htps\" }"),
    ("a ping by its other name", "port = 80", "port = 80\nhealth = { type = \"ping\" }"),
    (
        "a check by a VIP that the backends do not have",
        "port = 80",
        "port = 80\nmode = \"nat\"\nhealth = { type = \"tcp\", via = \"tunnel\" }",
    ),
    (
        "statuses that are none",
        "port = 80",
        "port = 80\nhealth = { type = \"http\", status = [200, \"399-300\", 99] }",
    ),
    ("no status", "port = 80", "port = 80\nhealth = { type = \"http\", status = [] }"),
    (
        "a body of HEAD",
        "port = 80",
        "port = 80\nhealth = { type = \"http\", method = \"HEAD\", body = \"ok\" }",
    ),
    (
        "TLS of a check without",
        "port = 80",
        "port = 80\nhealth = { type = \"http\", server-name = \"a.example\", ca-file = \"/ca\" }",
    ),
    ("nothing to send", "port = 80", "port = 80\nhealth = { type = \"udp\", port = 7 }"),
    (
        "half a byte",
        "port = 80",
        "port = 80\nhealth = { type = \"udp\", port = 7, send = \"hex:123\" }",
    ),
    ("DNS on a TCP port", "port = 80", "port = 80\nhealth = { type = \"dns\", query = \"a\" }"),
    (
        "no name to ask for",
        "port = 80",
        "port = 80\nhealth = { type = \"dns\", port = 53, query = \"a..b\" }",
    ),
    ("nothing to ask for", "port = 80", "port = 80\nhealth = { type = \"dns\", port = 53 }"),
    ("a port of a ping", "port = 80", "port = 80\nhealth = { type = \"icmp\", port = 80 }"),
    ("a check without type", "port = 80", "port = 80\nhealth = { interval = \"1s\" }"),
    ("a path of a TCP check", "port = 80", "port = 80\nhealth = { type = \"tcp\", path = \"/\" }"),
    (
        "a path without slash",
        "port = 80",
        "port = 80\nhealth = { type = \"http\", path = \"healthz\" }",
    ),
    (
        "a path that smuggles",
        "port = 80",
        "port = 80\nhealth = { type = \"http\", path = \"/ HTTP/1.1\\r\\nX: y\" }",
    ),
    (
        "a host that smuggles",
        "port = 80",
        "port = 80\nhealth = { type = \"http\", host = \"a\\r\\nX: y\" }",
    ),
    (
        "a timeout over the interval",
        "port = 80",
        "port = 80\nhealth = { type = \"tcp\", timeout = \"3s\" }",
    ),
    (
        "an interval too short",
        "port = 80",
        "port = 80\nhealth = { type = \"tcp\", interval = \"10ms\" }",
    ),
    (
        "a check of a UDP service",
        "port = 80",
        "port = 80\nprotocol = \"udp\"\nhealth = { type = \"tcp\" }",
    ),
    // Advertise.
    ("advertise in words", "port = 80", "port = 80\nadvertise = \"yes\""),
    (
        "a bad community",
        "port = 80",
        "port = 80\nadvertise = { communities = [\"65001:80\", \"65536:1\"] }",
    ),
    (
        "a community twice",
        "port = 80",
        "port = 80\nadvertise = { communities = [\"1:2\", \"1:2\"] }",
    ),
    ("more communities than fit", "port = 80", "\u{2}"),
    (
        "a bad large community",
        "port = 80",
        "port = 80\nadvertise = { large-communities = [\"1:2\"] }",
    ),
    ("too much prepending", "port = 80", "port = 80\nadvertise = { prepend = 11 }"),
    ("more healthy than there are", "port = 80", "port = 80\nadvertise = { min-healthy = 2 }"),
    ("half a share", "port = 80", "port = 80\nadvertise = { min-healthy = \"0.5\" }"),
    ("more than all healthy", "port = 80", "port = 80\nadvertise = { min-healthy = \"101%\" }"),
    (
        "a hold-down that shrinks",
        "port = 80",
        "port = 80\nadvertise = { hold-down = \"2m\", hold-down-max = \"1m\" }",
    ),
    ("two routes of a VIP", "", "\u{1}advertise = { med = 5 }"),
    ("two answers to a ping", "", "\u{1}echo = false"),
    // Backend.
    (
        "no backends",
        "port = 80\n\n[[service.backend]]\naddress = \"10.0.0.11\"\n",
        "port = 80\nbackend = []\n",
    ),
    ("a backend twice", "", "[[service.backend]]\naddress = \"10.0.0.11\"\n"),
    ("a backend that is the VIP", "\"10.0.0.11\"", "\"198.51.100.10\""),
    ("a loopback backend", "\"10.0.0.11\"", "\"127.0.0.1\""),
    ("a weight too large", "\"10.0.0.11\"", "\"10.0.0.11\"\nweight = 0x7d0"),
    ("no weight at all", "\"10.0.0.11\"", "\"10.0.0.11\"\nweight = 0"),
    (
        "l2 to the other IP version",
        "port = 80\n\n[[service.backend]]\naddress = \"10.0.0.11\"",
        "port = 80\nmode = \"l2\"\n\n[[service.backend]]\naddress = \"2001:db8::11\"",
    ),
    (
        "nat to the other IP version",
        "port = 80\n\n[[service.backend]]\naddress = \"10.0.0.11\"",
        "port = 80\nmode = \"nat\"\n\n[[service.backend]]\naddress = \"2001:db8::11\"",
    ),
    ("SCTP in nat", "port = 80", "port = 80\nprotocol = \"sctp\"\nmode = \"nat\""),
    ("a port of the backends without nat", "port = 80", "port = 80\nbackend-port = 8080"),
    ("ports the wrong way round", "[[service]]", "[nat]\nports = \"9-8\"\n[[service]]"),
    (
        "a VIP that connections in NAT come from",
        "[[service]]",
        "[nat]\nsource-v4 = \"198.51.100.10\"\n[[service]]",
    ),
];

/// Control characters stand for changes that are not a mere replacement.
fn with_mistake(from: &str, to: &str) -> String {
    match to.strip_prefix('\u{1}') {
        Some(line) => {
            format!("{BASE}{}", WEB_TLS.replace("port = 443", &format!("port = 443\n{line}")))
        }
        None if to == "\u{2}" => {
            let many: Vec<_> = (0..129).map(|i| format!("\"1:{i}\"")).collect();
            let list = many.join(", ");
            BASE.replace(from, &format!("{from}\nadvertise = {{ communities = [{list}] }}"))
        }
        None if to == "\u{3}" => {
            let path = format!("/run/{}.sock", "x".repeat(100));
            BASE.replace(from, &format!("[api]\nsocket = \"{path}\"\n{from}"))
        }
        None if to == "\u{0}" => {
            BASE.split_once("[[peer]]").unwrap().1.replacen("\nname", "[[peer]]\nname", 1)
        }
        None if from.is_empty() => format!("{BASE}{to}"),
        None => BASE.replacen(from, to, 1),
    }
}

#[test]
fn each_mistake_is_told_once_with_place_key_and_remedy() {
    let mut told = String::new();
    for (name, from, to) in CASES {
        let text = with_mistake(from, to);
        assert_ne!(text, BASE, "{name}");
        let found = check("tidegate.toml", &text).map_or_else(|found| found, |ok| ok.warnings);
        writeln!(told, "## {name}\n{found}\n").unwrap();
    }
    assert_golden("config/tests/golden/mistakes.txt", &told);
}

#[test]
fn many_mistakes_are_told_all_at_once() {
    let text = include_str!("../../tests/golden/twenty.toml");
    let found = check("twenty.toml", text).unwrap_err();
    assert_golden("config/tests/golden/twenty.txt", &format!("{found}\n"));
    assert_eq!(found.len(), 20, "{found}");
    let lines: Vec<_> = found.iter().map(|diagnostic| diagnostic.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn services_may_share_a_vip() {
    accepted(&format!("{BASE}{WEB_TLS}"));
    let silent = WEB_TLS.replace("port = 443", "port = 443\nadvertise = false");
    let first = BASE.replace("port = 80", "port = 80\nadvertise = { med = 5 }");
    accepted(&format!("{first}{silent}"));
}

#[test]
fn nothing_to_do_is_a_warning() {
    let text = BASE.split("[[peer]]").next().unwrap();
    let warnings = accepted(text).warnings;
    let keys: Vec<_> = warnings.iter().map(|d| (d.severity, d.key.as_str())).collect();
    assert_eq!(keys, [(Severity::Warning, "peer"), (Severity::Warning, "service")]);
}

#[test]
fn a_flood_of_mistakes_is_counted_not_printed() {
    let keys = (0..5000).map(|i| format!("x{i} = 1\n")).collect::<Vec<_>>().concat();
    let found =
        check("tidegate.toml", &BASE.replace("asn = 65001\n", &format!("asn = 65001\n{keys}")));
    let found = found.unwrap_err();
    assert_eq!((found.len(), found.iter().count()), (5000, 1000));
    assert!(found.to_string().ends_with("\n\nand 4900 more"), "{found}");
}

fn assert_presentable(text: &str) {
    let found = check("tidegate.toml", text).map_or_else(|found| found, |ok| ok.warnings);
    for line in found.to_string().lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
}

#[test]
fn the_marked_part_of_a_long_line_is_shown() {
    let long = format!("{BASE}x = [{}\"\u{1b}[31m\u{202e}\"]\n", "1, ".repeat(2000));
    assert_presentable(&long);
    let text = BASE.replace("[\"eth0\"]", &format!("[{}\"/\"]", "   ".repeat(500)));
    let found = check("tidegate.toml", &text).unwrap_err().to_string();
    let lines: Vec<_> = found.lines().collect();
    let at = lines.iter().position(|line| line.contains("^^^")).unwrap();
    let column = lines[at].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[at - 1].chars().skip(column).take(3).collect::<String>(), "\"/\"", "{found}");
}

#[test]
fn what_is_nested_deeply_is_answered() {
    let deep = 10_000;
    let cases = [
        ("arrays", format!("x = {}", "[".repeat(deep))),
        ("tables", format!("x = {}", "{ a = ".repeat(deep))),
        ("a dotted key", format!("x{} = 1", ".a".repeat(deep))),
        ("a dotted header", format!("[x{}]", ".a".repeat(deep))),
    ];
    for (name, text) in cases {
        assert!(check("tidegate.toml", &text).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered_presentably(text in any::<String>()) {
        assert_presentable(&text);
    }

    #[test]
    fn anything_of_toml_is_answered_presentably(
        pieces in prop::collection::vec(prop_oneof![
            Just("[router]\n"), Just("[[peer]]\n"), Just("[[service]]\n"), Just("name"), Just("vip"),
            Just("[[service.backend]]\n"), Just("address"), Just("health"), Just("advertise"),
            Just(" = "), Just("\n"), Just("\"10.0.0.1\""), Just("{"), Just("}"), Just("["),
            Just("]"), Just(","), Just("type"), Just("1"), Just("-5"), Just("1.5"), Just("true"),
            Just("."), Just("é"), Just("1979-05-27"),
        ], 0..40)
    ) {
        assert_presentable(&pieces.concat());
    }

    /// The sample with a few bytes changed: mostly still TOML, mostly wrong.
    #[test]
    fn a_damaged_sample_is_answered_presentably(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..8)
    ) {
        let mut text: Vec<char> = SAMPLE.chars().filter(|c| *c != '#').collect();
        for (at, c) in damage {
            let at = at.index(text.len());
            text[at] = c;
        }
        assert_presentable(&text.into_iter().collect::<String>());
    }
}
