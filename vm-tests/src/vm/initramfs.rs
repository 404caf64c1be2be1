//! The archive that a guest's kernel unpacks as its first root: programs with the libraries they
//! need, modules, files. Written by hand, uncompressed: neither cpio nor time is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::kernel::Module;

/// Where the agent finds the modules, named so that their order is that of loading.
pub(super) const MODULES: &str = "/modules";

/// Directories that must be there to mount something on, or to look for libraries in.
const DIRECTORIES: [&str; 7] = ["dev", "etc", "proc", "run", "sys", "tmp", "usr/bin"];

/// An archive in the making (format "newc").
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    present: BTreeSet<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Directory,
    File,
    Program,
    Link,
}

impl Kind {
    const fn mode(self) -> u32 {
        match self {
            Self::Directory => 0o040_755,
            Self::File => 0o100_644,
            Self::Program => 0o100_755,
            Self::Link => 0o120_777,
        }
    }
}

impl Initramfs {
    /// With `init` as the first process.
    ///
    /// # Errors
    /// When `init` or its libraries cannot be read.
    pub(super) fn new(init: &Path) -> Result<Self> {
        let mut archive = Self { bytes: Vec::new(), entries: 0, present: BTreeSet::new() };
        for directory in DIRECTORIES {
            archive.directory(directory)?;
        }
        // One place for programs and one for libraries, under all the names they go by.
        for (name, place) in [("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin")] {
            archive.link(name, place)?;
        }
        archive.stripped(init, "/init")?;
        Ok(archive)
    }

    /// A program and the shared libraries it needs, at the paths they have here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn program(&mut self, from: &Path, to: &str) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.entry(to, Kind::Program, &content)?;
        for library in libraries(from)? {
            if !self.present.contains(library.trim_start_matches('/')) {
                let content = fs::read(&library)?;
                self.entry(&library, Kind::Program, &content)?;
            }
        }
        Ok(())
    }

    /// A program without what is only there for a debugger: most of what Rust writes.
    ///
    /// # Errors
    /// When it cannot be stripped.
    pub(super) fn stripped(&mut self, from: &Path, to: &str) -> Result<()> {
        let part = super::scratch("stripped");
        let mut strip = Command::new("strip");
        let strip = strip.args(["--strip-debug", "-o"]).arg(&part).arg(from).output()?;
        ensure!(strip.status.success(), "strip: {}", String::from_utf8_lossy(&strip.stderr));
        self.program(&part, to)?;
        Ok(fs::remove_file(part)?)
    }

    /// A file.
    ///
    /// # Errors
    /// When it is too large for the format.
    pub(super) fn file(&mut self, to: &str, content: &[u8]) -> Result<()> {
        self.entry(to, Kind::File, content)
    }

    /// A name for something else.
    ///
    /// # Errors
    /// Never: names are short.
    pub(super) fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.entry(path, Kind::Link, to.as_bytes())
    }

    pub(super) fn modules(&mut self, modules: &[Module]) -> Result<()> {
        for (place, module) in modules.iter().enumerate() {
            self.file(&format!("{MODULES}/{place:03}-{}.ko", module.name), &module.content)?;
        }
        Ok(())
    }

    /// The archive.
    ///
    /// # Errors
    /// Never: the last entry is small.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", Kind::File, &[])?;
        Ok(self.bytes)
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        if path.is_empty() || self.present.contains(path) {
            return Ok(());
        }
        self.entry(path, Kind::Directory, &[])
    }

    fn entry(&mut self, path: &str, kind: Kind, content: &[u8]) -> Result<()> {
        let path = path.trim_matches('/');
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        self.present.insert(path.to_owned());
        self.entries += 1;
        let size = u32::try_from(content.len()).context("a file of more than 4 GiB")?;
        let name_size = u32::try_from(path.len() + 1)?;
        let links = if matches!(kind, Kind::Directory) { 2 } else { 1 };
        // inode, mode, owner, group, links, time, size, device (2), of the file itself (2), name
        // size, checksum (not used).
        let fields = [self.entries, kind.mode(), 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The shared libraries of a program, loader included; none for a static one or a script.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(!printed.contains("not found"), "{}: {printed}", program.display());
    // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"
    let paths = printed.lines().filter_map(|line| {
        let before = line.split(" (0x").next()?;
        let path = before.rsplit(' ').next()?.trim();
        path.starts_with('/').then(|| path.to_owned())
    });
    Ok(paths.collect())
}
