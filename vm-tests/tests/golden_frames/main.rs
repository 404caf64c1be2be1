//! Golden frames: a frame in, and verdict, whole frame and counters out, through the program as
//! the kernel has loaded it, with its real maps. Needs root.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops; helpers are not covered by allow-in-tests"
)]

mod capture;
mod decap;
mod differential;
mod drops;
mod echo;
mod errors;
mod flows;
mod forward;
mod fragments;
mod guard;
mod gue;
mod live;
mod nat;
mod nat_full;
mod parsing;
mod pins;
mod prefixes;
mod proof;
mod quic;
mod ring;
mod too_big;
mod udp_flows;
mod unused;
mod xdp;
