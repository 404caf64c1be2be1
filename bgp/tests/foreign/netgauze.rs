//! The crate `netgauze-bgp-pkt`.

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::path_attribute::PathAttributeValue;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_iana::address_family::AddressType;
use netgauze_parse_utils::WritablePdu as _;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput as _;
use tidegate_bgp::types::Family;
use tidegate_bgp::wire::{Announcer, Negotiated, Update};

use super::{NEW, OLD, context, messages, shown, update};

fn theirs(message: &[u8], context: &Negotiated) -> Option<BgpMessage> {
    let add_path = [
        (Family::Ipv4Unicast, AddressType::Ipv4Unicast),
        (Family::Ipv6Unicast, AddressType::Ipv6Unicast),
    ];
    let add_path = add_path.map(|(family, name)| (name, context.add_path_receive.contains(family)));
    let mut strict = BgpParsingContext::new(
        context.four_octet_as,
        [].into(),
        add_path.into(),
        true,
        true,
        true,
        true,
    );
    BgpMessage::parse(&mut SliceReader::new(message), &mut strict).ok()
}

#[test]
fn we_read_what_netgauze_writes() {
    let mut messages_total = 0;
    for (daemon, hex) in NEW.into_iter().chain([OLD]) {
        let context = context(daemon);
        for message in messages(hex) {
            if is_flow_spec(&message, &context) {
                continue; // It says one octet more than it writes.
            }
            let read = theirs(&message, &context).unwrap();
            let mut rewritten = Vec::new();
            read.write(&mut rewritten).unwrap();
            assert_eq!(shown(&rewritten, &context), shown(&message, &context), "{daemon}");
            messages_total += 1;
        }
    }
    assert!(messages_total >= 40, "{messages_total}");
}

/// What it reads in our words is what it reads in theirs.
#[test]
fn netgauze_reads_what_we_write() {
    let mut routes_total = 0;
    for (daemon, hex) in NEW.into_iter().chain([OLD]) {
        let context = context(daemon);
        let context = Negotiated { add_path_send: context.add_path_receive, ..context };
        for message in messages(hex) {
            let Some(original) = theirs(&message, &context) else { continue };
            for routes in update(&message, &context).iter().flat_map(Update::announced) {
                if is_flow_spec(&message, &context) {
                    continue; // Received, never sent.
                }
                let mut out = Vec::new();
                let announcer = Announcer::new(routes.nlri.family(), &routes.block, &context);
                announcer.unwrap().pack(routes.nlri.prefixes(), &mut out);
                let ours = theirs(&out, &context).unwrap();
                assert_eq!(content(&ours), content(&original), "{daemon}");
                routes_total += 1;
            }
        }
    }
    assert!(routes_total >= 15, "{routes_total}");
}

/// Attributes in the order of their codes, and prefixes.
fn content(message: &BgpMessage) -> (Vec<PathAttributeValue>, String) {
    let BgpMessage::Update(update) = message else { return (Vec::new(), String::new()) };
    let mut attributes: Vec<_> =
        update.path_attributes().iter().map(|attribute| attribute.value().clone()).collect();
    attributes.sort_by_key(|value| value.path_attribute_type().map_or_else(|it| it, |it| it as u8));
    (attributes, format!("{:?}", update.nlri()))
}

fn is_flow_spec(message: &[u8], context: &Negotiated) -> bool {
    let update = update(message, context);
    let nlri = |it: &Update<'_>| {
        let announced = it.announced().any(|routes| routes.nlri.flow_specs().next().is_some());
        announced || it.withdrawn().any(|nlri| nlri.flow_specs().next().is_some())
    };
    update.as_ref().is_some_and(nlri)
}
