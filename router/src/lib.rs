//! The shell around the pure crates: it turns bytes and time into events and actions into system
//! calls, and decides nothing.

pub mod api;
pub mod cli;
pub mod config_file;
mod daemon;
mod journal;
mod metrics;
mod reconcile;
pub mod view;
