//! Builds the packet path for the BPF target, for the daemon to carry inside.
//!
//! With the pinned stable compiler: `RUSTC_BOOTSTRAP=1` lets this one command build `core` for a
//! target that comes without it, so that no unpinned nightly can break the build.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What a link-time optimised program needs: instructions of kernel 5.1 and later, unaligned
/// loads (all of Linux' 64-bit targets have them, headers need them), and BTF for the loader.
const FLAGS: &[&str] = &[
    "-Ctarget-cpu=v3",
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
];
const DATAPATH: &str = "tidegate";
const CARD: &str = "card";
const PROGRAMS: &[&str] = &[DATAPATH, "decap", "check", CARD];
/// Not carried by the daemon: what the benchmark runs around the packet path.
const BENCH: &str = "bench";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo::error={why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let ebpf = variable("CARGO_MANIFEST_DIR")?.join("../ebpf");
    for part in ["abi/src", "abi/Cargo.toml", "xdp/src", "xdp/Cargo.toml", "xdp/Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", ebpf.join(part).display());
    }
    let linker = linker()?;
    has_core_sources()?;

    let out = variable("OUT_DIR")?;
    let target_dir = out.join("ebpf");
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", arch.display());
    let linker = format!("-Clinker={}", linker.display());
    let flags: Vec<&str> = FLAGS.iter().copied().chain([&*arch, &*linker]).collect();
    let built = Command::new(variable("CARGO")?)
        .args(["build", "--release", "--bins", "--locked", "--quiet", "-Zbuild-std=core"])
        .args(["--target", target, "--target-dir"])
        .arg(&target_dir)
        .current_dir(ebpf.join("xdp"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("RUSTC_BOOTSTRAP", "1")
        // Set by clippy for the crates of the workspace.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !built.success() {
        return Err("the packet path (ebpf/xdp) does not build; see above".to_owned());
    }
    for program in PROGRAMS.iter().chain([&BENCH]) {
        let object = target_dir.join(target).join("release").join(program);
        fs::copy(&object, out.join(format!("{program}.bpf.o")))
            .map_err(|error| format!("{} cannot be copied: {error}", object.display()))?;
    }
    // To the build script of the crate that measures them, by way of `links` in the manifest.
    for program in [BENCH, DATAPATH, CARD] {
        let object = out.join(format!("{program}.bpf.o"));
        println!("cargo::metadata={program}={}", object.display());
    }
    Ok(())
}

/// `bpf-linker`, from the path or from where cargo installs.
fn linker() -> Result<PathBuf, String> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    [Some(PathBuf::from("bpf-linker")), home.map(|home| home.join("bin/bpf-linker"))]
        .into_iter()
        .flatten()
        .find(|linker| starts(linker))
        .ok_or_else(|| "bpf-linker is not installed; run `make setup`".to_owned())
}

fn starts(program: &Path) -> bool {
    let (out, err) = (Stdio::null(), Stdio::null());
    Command::new(program)
        .arg("--version")
        .stdout(out)
        .stderr(err)
        .status()
        .is_ok_and(|status| status.success())
}

fn has_core_sources() -> Result<(), String> {
    let sysroot = Command::new(variable("RUSTC")?)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("rustc does not start: {error}"))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists() {
        Ok(())
    } else {
        Err("the toolchain's rust-src is not installed; run `make setup`".to_owned())
    }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo does not set {name}"))
}
