use super::*;

#[test]
fn values_have_the_octets_of_the_rfcs() {
    for (value, origin) in [(0, Origin::Igp), (1, Origin::Egp), (2, Origin::Incomplete)] {
        assert_eq!(encode_origin(origin), [value]);
    }
    assert_eq!(encode_med(0x0102_0304), [1, 2, 3, 4]);
    assert_eq!(encode_local_pref(100), [0, 0, 0, 100]);
}

#[test]
fn communities_are_sorted_without_repeats() {
    let [low, high] = [Community(0x0001_0001), Community(0x0002_0002)];
    let unsorted = [high, low, high];
    assert_eq!(encode_communities(&unsorted), [0, 1, 0, 1, 0, 2, 0, 2]);

    let large = [LargeCommunity([7, 0, 1]), LargeCommunity([6, 9, 9]), LargeCommunity([7, 0, 1])];
    let one = |numbers: [u32; 3]| numbers.map(u32::to_be_bytes).concat();
    assert_eq!(encode_large_communities(&large), [one([6, 9, 9]), one([7, 0, 1])].concat());
}
