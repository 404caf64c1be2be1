//! The shell around the pure crates: it turns bytes and time into events and actions into system
//! calls, and decides nothing.

pub mod access;
pub mod api;
mod bfd_io;
pub mod bgp_io;
mod bmp_io;
pub mod bpf_io;
mod bundle;
mod capture_io;
mod change;
pub mod cli;
pub mod clock;
pub mod config_file;
mod control;
mod daemon;
pub mod decap;
mod doctor_io;
mod flows_io;
mod hand_over;
pub mod health_io;
mod journal;
pub mod link_io;
mod local_ports;
mod lock;
mod metrics;
mod mrt_io;
mod reconcile;
mod rpki_io;
mod store_io;
pub mod view;
