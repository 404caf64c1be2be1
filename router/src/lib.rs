//! The IO shell: sockets, bpf(2), netlink, HTTP. It decides nothing; the pure crates do.

pub mod bpf_io;
pub mod decap;
