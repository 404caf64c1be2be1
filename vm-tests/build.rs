//! Finds the programs of the benchmark and of the packet path, which `router/build.rs` has built.

use std::env;

fn main() {
    for (built, name) in [
        ("DEP_TIDEGATE_XDP_BENCH", "BENCH_OBJECT"),
        ("DEP_TIDEGATE_XDP_TIDEGATE", "DATAPATH_OBJECT"),
        ("DEP_TIDEGATE_XDP_CARD", "CARD_OBJECT"),
    ] {
        println!("cargo::rerun-if-env-changed={built}");
        match env::var(built) {
            Ok(object) => println!("cargo::rustc-env={name}={object}"),
            Err(error) => println!("cargo::error=the packet path was not built: {error}"),
        }
    }
}
