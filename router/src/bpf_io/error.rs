use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::programs::ProgramError;

/// Why the kernel, or what is in the way, does not let us forward packets. Each says in one line
/// what, where, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root, or the capabilities are missing.
    #[error(
        "the kernel refuses to {what}: {cause}; run as root, or with the capabilities CAP_BPF, \
         CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted {
        /// What we wanted.
        what: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The directory for pins lies on another file system.
    #[error(
        "{} is not on a BPF file system, so nothing could outlive the daemon there; mount one: \
         mount -t bpf bpf {}", path.display(), mount_point.display()
    )]
    NoBpfFileSystem {
        /// The directory.
        path: PathBuf,
        /// Where one would be mounted.
        mount_point: PathBuf,
    },
    /// The directory for pins cannot be made or read, or a pin cannot be made or removed.
    #[error("cannot {what} {}: {cause}; {remedy}", path.display())]
    Pin {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A pinned map that this version cannot use.
    #[error(
        "{} was pinned by another version ({found}, but {wanted} is needed); run `tidegate detach` \
         and start again: services are rebuilt, their packets stop until then",
        path.display()
    )]
    PinnedShape {
        /// The pin.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// The pins were exchanged while we loaded.
    #[error(
        "the maps pinned in {} are not those that were just loaded: does somebody else write \
         there? Start again",
        path.display()
    )]
    OtherMaps {
        /// The directory.
        path: PathBuf,
    },
    /// No such interface.
    #[error(
        "there is no interface {interface} in this network namespace; `ip link` shows which \
         there are"
    )]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// Somebody else's program is there.
    #[error(
        "another XDP program is attached to {interface}; `bpftool net show dev {interface}` says \
         which, `ip link set dev {interface} xdp off` removes one that is not held by a link"
    )]
    Occupied {
        /// The interface.
        interface: String,
    },
    /// The driver or the kernel refuses the attachment.
    #[error("the program cannot be attached to {interface} in {mode} mode: {cause}; {remedy}")]
    Attach {
        /// The interface.
        interface: String,
        /// How.
        mode: super::Mode,
        /// What the kernel said.
        cause: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The program does not pass.
    #[error(
        "the kernel's verifier refuses the program {program}: {line} ({cause}); tidegate needs \
         Linux 5.15 or later, and its own kernel's log is worth a bug report"
    )]
    Verifier {
        /// Its name.
        program: &'static str,
        /// The last line of the log that says something.
        line: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Anything else that a map or a program did not let us do.
    #[error("cannot {what}: {cause}; does this kernel (Linux 5.15 or later?) have BPF, XDP, BTF?")]
    Kernel {
        /// What was tried.
        what: String,
        /// The reason, with its own reasons.
        cause: String,
    },
    /// A plan that does not fit the maps.
    #[error("there is no row {index} in {map}: the plan and the maps do not fit together")]
    NoRow {
        /// The map.
        map: &'static str,
        /// The row.
        index: u32,
    },
}

impl Error {
    /// The loader's error, sorted out.
    pub(crate) fn kernel(
        what: impl Into<String>,
        error: impl StdError + Send + Sync + 'static,
    ) -> Self {
        let what = what.into();
        let mut causes = vec![error.to_string()];
        let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(cause) = next {
            if let Some(code) = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
                && matches!(code, libc::EPERM | libc::EACCES)
            {
                return Self::NotPermitted { what, cause: io::Error::from_raw_os_error(code) };
            }
            next = cause.source();
            causes.extend(next.map(ToString::to_string));
        }
        causes.dedup();
        Self::Kernel { what, cause: causes.join(": ") }
    }

    pub(crate) fn missing(program: &'static str) -> Self {
        let cause = "the object was built without it".to_owned();
        Self::Kernel { what: format!("find the program {program}"), cause }
    }

    pub(crate) fn load(program: &'static str, error: EbpfError) -> Self {
        match error {
            EbpfError::ProgramError(error) => Self::program(program, error),
            error => Self::kernel(format!("load the program {program}"), error),
        }
    }

    pub(crate) fn program(program: &'static str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                match last_words(&log) {
                    Some(line) => Self::Verifier { program, line, cause: io_error },
                    None => Self::kernel(format!("load the program {program}"), io_error),
                }
            }
            error => Self::kernel(format!("load the program {program}"), error),
        }
    }

    pub(crate) fn pin(what: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        if matches!(cause.raw_os_error(), Some(libc::EACCES)) {
            return Self::NotPermitted { what: format!("{what} {}", path.into().display()), cause };
        }
        // The BPF file system answers EPERM to names that it reserves.
        let remedy = match cause.raw_os_error() {
            Some(libc::EPERM) => "names on a BPF file system hold no dots",
            _ => "look with `ls -l` what is in the way, and whether the file system is still there",
        };
        Self::Pin { what, path: path.into(), cause, remedy }
    }
}

/// The line of the verifier's log that says why: the last one that is not about statistics.
fn last_words(log: &str) -> Option<String> {
    let statistics = ["processed ", "verification time", "stack depth"];
    log.lines()
        .map(|line| line.trim_matches(|c: char| c == '\0' || c.is_whitespace()))
        .rfind(|line| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start)))
        .map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_reason_is_found_above_its_statistics() {
        let log = "0: R1=ctx()\n7: (71) r1 = *(u8 *)(r2 +14)\ninvalid access to packet, off=14\n\
                   processed 8 insns (limit 1000000)\nstack depth 16\n\0";
        assert_eq!(last_words(log).as_deref(), Some("invalid access to packet, off=14"));
        assert_eq!(last_words("\0"), None, "without capabilities there is no log at all");
    }

    #[test]
    fn missing_rights_are_told_from_other_troubles() {
        let denied = Error::kernel("load", io::Error::from_raw_os_error(libc::EPERM));
        assert!(denied.to_string().contains("run as root"), "{denied}");
        let full = Error::kernel("load", io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(full.to_string().starts_with("cannot load: No space left"), "{full}");
    }
}
