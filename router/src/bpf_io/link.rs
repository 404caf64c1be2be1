//! Where a program is attached: one BPF link per interface, pinned if it shall outlive us.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::net::if_::if_nametoindex;
use tidegate_config::desired::AttachMode;

use super::error::Error;
use super::pins::remove;
use super::sys;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's generic hook.
    Generic,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// The name that command line, metrics and pins carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    const fn flags(self) -> u32 {
        match self {
            Self::Native => sys::XDP_FLAGS_DRV_MODE,
            Self::Generic => sys::XDP_FLAGS_SKB_MODE,
        }
    }

    const fn satisfies(self, wanted: AttachMode) -> bool {
        match wanted {
            AttachMode::Auto => true,
            AttachMode::Native => matches!(self, Self::Native),
            AttachMode::Generic => matches!(self, Self::Generic),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program on an interface, while this value lives; longer, if it is pinned.
#[derive(Debug)]
pub struct Link {
    /// The interface's name when it was attached.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// How.
    pub mode: Mode,
    /// Whether the link was there before us and kept its place in the path of the packets.
    pub adopted: bool,
    /// Why not in a better mode, if a better one was wanted.
    pub why_not_native: Option<String>,
    fd: OwnedFd,
    pin: Option<PathBuf>,
}

impl Link {
    /// Whether the kernel still runs `program_id` for this link's interface.
    pub(crate) fn runs(&self, program_id: u32) -> bool {
        sys::link_info(self.fd.as_fd())
            .is_ok_and(|info| info.ifindex == self.ifindex && info.program_id == program_id)
    }

    pub(crate) fn satisfies(&self, mode: AttachMode) -> bool {
        self.mode.satisfies(mode)
    }

    /// The link under the name its interface has now.
    pub(crate) fn renamed(mut self, interface: &str) -> Self {
        interface.clone_into(&mut self.interface);
        self
    }

    /// Takes the program off the interface.
    pub(crate) fn detach(self) -> Result<(), Error> {
        match &self.pin {
            Some(pin) => remove(pin),
            None => Ok(()),
        }
        // The last reference goes with `self`.
    }
}

/// Attaches `program`. With a directory for pins, a link that is pinned there for the interface
/// is taken over, the old program being replaced between two packets.
pub(crate) fn attach(
    program: BorrowedFd<'_>,
    interface: &str,
    mode: AttachMode,
    pin_dir: Option<&Path>,
) -> Result<Link, Error> {
    let ifindex = index_of(interface)?;
    if let Some(dir) = pin_dir
        && let Some(link) = adopt(program, interface, ifindex, mode, dir)?
    {
        return Ok(link);
    }
    let (mode, fd, why_not_native) = create(program, interface, ifindex, mode)?;
    let pin = pin_dir.map(|dir| pin_path(dir, ifindex, mode));
    if let Some(pin) = &pin {
        sys::pin(fd.as_fd(), pin).map_err(|cause| Error::pin("pin the link", pin, cause))?;
    }
    let (interface, adopted) = (interface.to_owned(), false);
    Ok(Link { interface, ifindex, mode, adopted, why_not_native, fd, pin })
}

/// The index of an interface in our network namespace.
pub(crate) fn index_of(interface: &str) -> Result<u32, Error> {
    if_nametoindex(interface)
        .map_err(|_no_such_device| Error::NoInterface { interface: interface.to_owned() })
}

/// Removes the pins of links to other interfaces than these, and so the links.
pub(crate) fn remove_others(dir: &Path, keep: &[Link]) -> Result<(), Error> {
    let failed = |cause| Error::pin("read", dir, cause);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_link =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"link_"));
        if is_link && !keep.iter().any(|link| link.pin.as_ref() == Some(&path)) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// By index, not by name: an interface may be renamed, and names may hold dots, which pins may
/// not. A link whose interface is gone says so itself, so an index that is used again is no trap.
fn pin_path(dir: &Path, ifindex: u32, mode: Mode) -> PathBuf {
    dir.join(format!("link_{ifindex}_{mode}"))
}

fn adopt(
    program: BorrowedFd<'_>,
    interface: &str,
    ifindex: u32,
    wanted: AttachMode,
    dir: &Path,
) -> Result<Option<Link>, Error> {
    for mode in Mode::ALL {
        let pin = pin_path(dir, ifindex, mode);
        let fd = match sys::open_pinned(&pin) {
            Ok(fd) => fd,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(Error::pin("open the link", pin, cause)),
        };
        let is_there = sys::link_info(fd.as_fd()).is_ok_and(|info| info.ifindex == ifindex);
        if mode.satisfies(wanted) && is_there && sys::link_update(fd.as_fd(), program).is_ok() {
            return Ok(Some(Link {
                interface: interface.to_owned(),
                ifindex,
                mode,
                adopted: true,
                why_not_native: (mode == Mode::Generic && wanted == AttachMode::Auto)
                    .then(|| "it was attached like this before the restart".to_owned()),
                fd,
                pin: Some(pin),
            }));
        }
        // Another mode than wanted, or detached: the interface must be free for a new link.
        remove(&pin)?;
    }
    Ok(None)
}

fn create(
    program: BorrowedFd<'_>,
    interface: &str,
    ifindex: u32,
    wanted: AttachMode,
) -> Result<(Mode, OwnedFd, Option<String>), Error> {
    let mut why_not_native = None;
    if wanted != AttachMode::Generic {
        match sys::link_create(program, ifindex, Mode::Native.flags()) {
            Ok(fd) => return Ok((Mode::Native, fd, None)),
            Err(cause) if wanted == AttachMode::Native || is_final(&cause) => {
                return Err(refused(interface, Mode::Native, cause));
            }
            Err(cause) => why_not_native = Some(format!("the driver refuses: {cause}")),
        }
    }
    let fd = sys::link_create(program, ifindex, Mode::Generic.flags())
        .map_err(|cause| refused(interface, Mode::Generic, cause))?;
    Ok((Mode::Generic, fd, why_not_native))
}

/// Whether generic mode would be refused just the same.
fn is_final(cause: &io::Error) -> bool {
    matches!(
        cause.raw_os_error(),
        Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::EACCES | libc::ENODEV)
    )
}

fn refused(interface: &str, mode: Mode, cause: io::Error) -> Error {
    let interface = interface.to_owned();
    match cause.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => Error::Occupied { interface },
        Some(libc::ENODEV) => Error::NoInterface { interface },
        Some(libc::EPERM | libc::EACCES) => {
            Error::NotPermitted { what: format!("attach to {interface}"), cause }
        }
        _ => {
            let remedy = match mode {
                Mode::Native => {
                    "a smaller MTU (3498 bytes is a usual limit) may help, or attach = \"generic\""
                }
                Mode::Generic => "XDP links need Linux 5.9 or later",
            };
            Error::Attach { interface, mode, cause, remedy }
        }
    }
}
