//! How many flows live, estimated from packets that were drawn by chance.
//!
//! Of a flow none of whose packets was drawn nothing is known. But the more of the others were drawn
//! only once, and the fewer twice, the more of them there must be: Chao's estimator (Chao 1984, *Non-
//! parametric estimation of the number of classes in a population*), in its form that needs no flow
//! to have been drawn twice. Where flows are equally busy it is right; where they are not, there are
//! at least so many.

/// The number of flows of which these are as many packets each as were drawn.
pub fn estimate(drawn: impl IntoIterator<Item = u32>) -> u64 {
    let (mut seen, mut once, mut twice) = (0_u64, 0_u64, 0_u64);
    for packets in drawn {
        seen += u64::from(packets > 0);
        once += u64::from(packets == 1);
        twice += u64::from(packets == 2);
    }
    seen + once.saturating_mul(once.saturating_sub(1)) / (2 * (twice + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_was_not_drawn_is_estimated_by_what_was_drawn_once_and_twice() {
        let cases = [
            ("nothing", vec![], 0),
            ("one flow, one packet", vec![1], 1),
            ("all drawn often", vec![7; 100], 100),
            ("all drawn once", vec![1; 100], 100 + 100 * 99 / 2),
            ("half of them twice", [vec![1; 50], vec![2; 50]].concat(), 100 + 50 * 49 / 102),
            ("one that was not drawn", vec![0, 3], 1),
        ];
        for (name, drawn, wanted) in cases {
            assert_eq!(estimate(drawn), wanted, "{name}");
        }
    }

    /// Draws packets of so many flows; the flow of number n is `weight(n)` times as busy as one of 1.
    fn drawn(flows: u64, packets: u64, weight: impl Fn(u64) -> u64) -> Vec<u32> {
        let mut ends = Vec::new();
        let mut sum = 0;
        for flow in 0..flows {
            sum += weight(flow);
            ends.push(sum);
        }
        let (mut state, mut counts) = (7_u64, BTreeMap::<usize, u32>::new());
        for _ in 0..packets {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) % sum;
            *counts.entry(ends.partition_point(|end| *end <= at)).or_default() += 1;
        }
        counts.into_values().collect()
    }

    #[test]
    fn it_is_right_for_flows_that_are_equally_busy_and_never_far_above_for_others() {
        for (flows, packets) in [(1_000, 300), (1_000, 1_000), (10_000, 5_000), (50, 2_000)] {
            let even = estimate(drawn(flows, packets, |_| 1));
            assert!(even * 4 > flows * 3 && even * 3 < flows * 4, "{even} of {flows}");
            // A tenth of them sends nine tenths of all packets.
            let uneven =
                estimate(drawn(flows, packets, |flow| if flow % 10 == 0 { 81 } else { 1 }));
            assert!(uneven >= flows / 10 && uneven < flows * 4 / 3, "{uneven} of {flows}");
        }
    }
}
