//! Finds the programs of the benchmark, which `router/build.rs` has built with the packet path.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_TIDEGATE_XDP_BENCH");
    match env::var("DEP_TIDEGATE_XDP_BENCH") {
        Ok(object) => println!("cargo::rustc-env=BENCH_OBJECT={object}"),
        Err(error) => println!("cargo::error=the packet path was not built: {error}"),
    }
}
