//! What this kernel's verifier makes of tidegate's programs.

use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::Result;
use aya::programs::loaded_programs;
use serde::{Deserialize, Serialize};
use tidegate::bpf_io::Datapath;
use tidegate::decap::Decap;
use tidegate_abi::{DatapathConfig, features, vip_lens};

/// The port of GUE.
const GUE_PORT: u16 = 6080;

/// A program as the kernel has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Instructions that the verifier walked through, of the million it allows; the kernel says so
    /// since 5.16.
    pub verified: u32,
    /// Size after the verifier's rewriting, in bytes.
    pub translated: u32,
    /// Size in the machine's own instructions, in bytes; 0 if they are interpreted.
    pub jited: u32,
}

/// All programs, and how long it took to load them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Each program.
    pub programs: Vec<Loaded>,
    /// From nothing to loaded, maps included.
    pub millis: u128,
}

/// Loads the packet path, without and with all features, and the backend's decapsulator; prints a [`Report`] as JSON.
///
/// # Errors
/// What the kernel has against it.
pub fn run() -> Result<()> {
    let start = Instant::now();
    let constants = |features, lens: &[u8]| DatapathConfig {
        hash_seed: 7,
        features,
        too_big_interval_ns: 1,
        vary_v4: 0xffff,
        vary_v6: 0xffff,
        vip_lens_v4: vip_lens(lens.iter().copied()),
        vip_lens_v6: vip_lens(lens.iter().copied()),
        burst_ns: 1,
        source_open_v4: 8,
        source_open_v6: 8,
        nat_port_first: 1_024,
        nat_port_count: 31_744,
        flow_chance: u32::MAX / 100,
        reserved: 0,
        flow_interval_ns: 1_000_000,
    };
    // What no configuration asks for is dead code, and not looked at: so with nothing and with all,
    // but not as a proof copy, which has less.
    let _bare = Datapath::load(&constants(0, &[]))?;
    let _full = Datapath::load(&constants(!features::PROOF, &[31, 30, 29, 28, 24, 20, 16, 8]))?;
    let _decap = Decap::load(GUE_PORT)?;
    let millis = start.elapsed().as_millis();
    let mut programs = Vec::new();
    for program in loaded_programs() {
        let program = program?;
        let name = program.name_as_str().unwrap_or_default().to_owned();
        // A machine of the tests runs no other programs, but the one that ran this by hand may.
        if name.starts_with("tidegate") {
            programs.push(Loaded {
                name,
                verified: program.verified_instruction_count().unwrap_or(0),
                translated: program.size_translated().unwrap_or(0),
                jited: program.size_jitted(),
            });
        }
    }
    let report = Report { programs, millis };
    writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}
