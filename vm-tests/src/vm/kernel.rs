//! Kernels that were fetched as Debian packages, and the modules of one, in the order in which
//! they can be loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The kernels that tidegate is tested on: a name for people, and the Debian suite it comes from.
pub const KERNELS: [Kernel; 3] = [
    Kernel { name: "6.1", suite: "bookworm-security" },
    Kernel { name: "6.12", suite: "trixie-security" },
    Kernel { name: "newest", suite: "trixie-backports" },
];

/// A kernel of Debian's.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// For people.
    pub name: &'static str,
    suite: &'static str,
}

/// A module, as it is written into an initramfs.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

impl Kernel {
    fn dir(self) -> PathBuf {
        super::directory().join("kernels").join(self.suite)
    }

    pub(super) fn image(self) -> PathBuf {
        self.dir().join("vmlinuz")
    }

    /// Its release, as `uname -r` prints it.
    ///
    /// # Errors
    /// When it was not fetched.
    pub fn release(self) -> Result<String> {
        let version = fs::read_to_string(self.dir().join("version"));
        let version = version.with_context(|| {
            format!("no kernel of {} is here: run `vm-tests/setup vm`", self.suite)
        })?;
        Ok(version.trim_end().to_owned())
    }

    /// The modules of these names and what they depend on; those that are built into the kernel
    /// are left out.
    ///
    /// # Errors
    /// A module that this kernel does not have.
    pub(super) fn modules(self, wanted: &[&str]) -> Result<Vec<Module>> {
        let dir = self.dir().join("modules");
        let built_in = fs::read_to_string(dir.join("modules.builtin"))?;
        let built_in: BTreeSet<String> = built_in.lines().map(module_name).collect();
        let mut files = BTreeMap::new();
        find(&dir, &mut files)?;
        let mut closure = Closure { files, built_in, seen: BTreeSet::new(), order: Vec::new() };
        for name in wanted {
            closure.add(name).with_context(|| format!("module {name} of {}", self.suite))?;
        }
        Ok(closure.order)
    }
}

struct Closure {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    seen: BTreeSet<String>,
    order: Vec<Module>,
}

impl Closure {
    /// Adds a module behind all that it depends on. The kernel's graph of modules has no cycle.
    fn add(&mut self, name: &str) -> Result<()> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) || !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let file = self.files.get(&name).with_context(|| format!("there is no module {name}"))?;
        let content = read_module(file)?;
        for needed in depends(&content) {
            self.add(&needed)?;
        }
        self.order.push(Module { name, content });
        Ok(())
    }
}

fn find(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, files)?;
        } else if path.to_string_lossy().contains(".ko") {
            files.insert(module_name(&path.to_string_lossy()), path);
        }
    }
    Ok(())
}

/// `kernel/drivers/net/virtio-net.ko.xz` is module `virtio_net`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// A module without its compression: a guest takes much longer to undo it.
fn read_module(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return Ok(fs::read(file)?);
    }
    let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(file).output()?;
    ensure!(output.status.success(), "xz: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// What a module says that it needs, in its `.modinfo`.
fn depends(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = content.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let rest = content.get(at + KEY.len()..).unwrap_or_default();
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_after_its_file_and_says_what_it_needs() {
        assert_eq!(module_name("kernel/net/ip-tunnel.ko.xz"), "ip_tunnel");
        assert_eq!(module_name("kernel/net/ipip.ko"), "ipip");
        assert_eq!(depends(b"x\0depends=ip_tunnel,tunnel4\0name=ipip\0"), ["ip_tunnel", "tunnel4"]);
        assert_eq!(depends(b"x\0depends=\0name=veth\0"), [""; 0]);
        assert_eq!(depends(b"nothing of that kind"), [""; 0]);
    }
}
