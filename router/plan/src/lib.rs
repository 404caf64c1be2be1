//! From what is wanted and what is seen to the next steps.

#![forbid(unsafe_code)]

pub mod observed;
pub mod step;
