//! `tidegate.toml`: from what was typed to what is wanted.

#![forbid(unsafe_code)]

pub mod desired;
