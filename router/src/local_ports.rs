//! The ports that connections of this host itself come from, which connections in NAT must keep off:
//! an answer from a backend to the one would be taken for an answer to the other.

use std::ops::RangeInclusive;

use tidegate_config::desired::{Desired, ForwardingMode};

const SETTING: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A warning, rendered as those of the file are, if this host opens connections from ports of `nat.ports`; else nothing.
pub(crate) fn warning(file: &str, desired: &Desired) -> String {
    let setting = std::fs::read_to_string(SETTING).unwrap_or_default();
    let of_nat = desired.nat.first_port..=desired.nat.last_port;
    let is_nat = desired.services.values().any(|service| service.mode == ForwardingMode::Nat);
    let local = range(&setting).filter(|local| is_nat && overlap(local, &of_nat));
    local.map_or_else(String::new, |local| {
        let [first, last, of_first, of_last] =
            [of_nat.start(), of_nat.end(), local.start(), local.end()];
        format!(
            "{file}: warning: nat.ports: {first}-{last} overlaps {of_first}-{of_last}, from which \
             this host opens\n    connections of its own (net.ipv4.ip_local_port_range)\n    \
             = let the two ranges not meet: answers of backends could go astray"
        )
    })
}

/// The setting as the kernel prints it: first and last port.
fn range(setting: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = setting.trim().split_once(char::is_whitespace)?;
    Some(first.parse().ok()?..=last.trim().parse().ok()?)
}

fn overlap(one: &RangeInclusive<u16>, other: &RangeInclusive<u16>) -> bool {
    one.start() <= other.end() && other.start() <= one.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_if_they_have_a_port_in_common() {
        let local = range("32768\t60999\n").unwrap();
        assert_eq!(local, 32_768..=60_999);
        for (of_nat, wanted) in [
            (1_024..=32_767, false),
            (1_024..=32_768, true),
            (60_999..=60_999, true),
            (61_000..=65_535, false),
            (1..=65_535, true),
            (40_000..=40_001, true),
        ] {
            assert_eq!(overlap(&local, &of_nat), wanted, "{of_nat:?}");
        }
        for odd in ["", "32768", "a b", "1 70000"] {
            assert_eq!(range(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn only_a_configuration_with_nat_is_warned() {
        let text = |mode: &str| {
            format!(
                "[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"lo\"]\n\
                 [nat]\nports = \"1024-65535\"\n[[service]]\nname = \"web\"\n\
                 vip = \"198.51.100.10\"\nport = 80\nmode = \"{mode}\"\n\
                 [[service.backend]]\naddress = \"10.0.0.11\"\n"
            )
        };
        let warned = |mode| {
            let checked = tidegate_config::check("tidegate.toml", &text(mode)).unwrap();
            warning("tidegate.toml", &checked.desired)
        };
        assert_eq!(warned("ipip"), "");
        // Every Linux has such a range, and this one takes all ports that it could be.
        let warning = warned("nat");
        assert!(warning.starts_with("tidegate.toml: warning: nat.ports: 1024-65535"), "{warning}");
        assert!(warning.lines().all(|line| line.len() <= 100), "{warning}");
    }
}
