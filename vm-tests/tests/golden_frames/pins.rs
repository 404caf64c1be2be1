//! The program and its maps outlive the daemon, and tools read them.
use crate::xdp::Xdp;
use std::time::Instant;

#[test]
fn measured() {
    let start = Instant::now();
    let xdp = Xdp::empty();
    println!("load {:?} insns {:?}", start.elapsed(), xdp.datapath.verified_instructions());
    let start = Instant::now();
    xdp.datapath.observe().unwrap();
    println!("observe {:?}", start.elapsed());
    let start = Instant::now();
    drop(xdp);
    println!("drop {:?}", start.elapsed());
}
