//! From what is wanted and what is seen to the next steps.
//!
//! Pure: [`plan()`] is a function of [`Desired`](tidegate_config::desired::Desired),
//! [`Observed`](observed::Observed) and the time. The daemon looks, plans, does the steps and
//! looks again; [`Memory`] holds the few times that cannot be read from the world.

#![forbid(unsafe_code)]

pub mod admission;
pub mod capture;
pub mod card;
mod constants;
pub mod doctor;
pub mod drain;
pub mod entry;
pub mod explain;
pub mod export;
mod farm;
pub mod guard;
pub mod health;
pub mod key;
mod life;
pub mod live;
mod memory;
pub mod model;
pub mod nat;
mod near;
pub mod observed;
mod places;
mod plan;
mod pool;
pub mod proof;
pub mod quic;
pub mod record;
pub mod ring;
mod rings;
mod service;
mod slots;
pub mod step;
mod view;
pub mod why;

pub use constants::{constants, with_leftovers};
pub use life::Life;
pub use memory::Memory;
pub use near::plan_near;
pub use plan::{Plan, WITHDRAW_GRACE, plan, plan_with, stop};
pub use rings::Rings;
pub use view::{BackendState, BackendView, Programmed, Proof, VipState};
