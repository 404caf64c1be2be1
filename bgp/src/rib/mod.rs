//! Routes: what each peer announces to us, and what each peer was promised.

pub mod adj_in;
pub mod adj_out;
