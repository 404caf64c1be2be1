#![no_main]

#[allow(dead_code, reason = "each fuzzer enters at one place")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::bfd(data));
