//! First process of a virtual machine of the tests: runs what the host asks.
//! As `vm-guest load`: says what this kernel's verifier makes of tidegate's programs.

use tidegate_vm_tests::vm;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("load") => vm::load::run(),
        _ => vm::guest::run(),
    }
}
