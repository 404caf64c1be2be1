//! The configuration file, and the files it names: read from disk, checked by `tidegate-config`.

use std::path::{Path, PathBuf};

use tidegate_bgp::types::Prefix;
use tidegate_config::Checked;
use tidegate_config::desired::Desired;
use tidegate_config::overlay::{self, Overlay};

use crate::bgp_io::Keys;

/// Longest TCP MD5 key the kernel takes (`TCP_MD5SIG_MAXKEYLEN`).
const KEY_BYTES_MAX: usize = 80;

/// A checked file, with what the API changed.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Where it came from.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What the API changed.
    pub overlay: Overlay,
    /// What both ask for.
    pub desired: Desired,
    /// TCP MD5 keys (RFC 2385) by peer, read from the files it names.
    pub keys: Keys,
    /// What may not have been meant, rendered; empty if there is nothing.
    pub warnings: String,
}

/// The file is not there, or not good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("cannot read {}: {cause}; name another file if this is not the one", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It has mistakes: all of them, rendered.
    #[error("{0}")]
    Mistakes(String),
    /// The password file of a peer could not be used.
    #[error("peer {peer}: password-file {}: {cause}", path.display())]
    Key {
        /// Whose.
        peer: String,
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        cause: String,
    },
}

/// Reads and checks a file, and the password files that it names.
///
/// # Errors
/// [`Error`]: nothing has been changed by then.
pub fn read(path: &Path) -> Result<ConfigFile, Error> {
    check(path, read_text(path)?, Overlay::default())
}

/// The text of a file.
///
/// # Errors
/// [`Error::Read`]
pub fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })
}

/// Checks a text with what the API changed, and reads the password files that they name.
///
/// # Errors
/// [`Error`]: nothing has been changed by then.
pub fn check(path: &Path, text: String, overlay: Overlay) -> Result<ConfigFile, Error> {
    let mistakes = |found: tidegate_config::Diagnostics| Error::Mistakes(found.to_string());
    let name = path.display().to_string();
    let checked = overlay::check_with(&name, &text, &overlay).map_err(mistakes)?;
    let Checked { desired, warnings } = checked;
    let mut keys = Keys::new();
    for (name, path) in &desired.password_files {
        let of_peer = desired.peers.get(name).map(|peer| Prefix::host(peer.remote.ip()));
        let of_range = || desired.ranges.get(name).map(|range| range.prefix);
        if let Some(whose) = of_peer.or_else(of_range) {
            let key = read_key(path);
            let failed = |cause| Error::Key { peer: name.clone(), path: path.clone(), cause };
            keys.insert(whose, key.map_err(failed)?);
        }
    }
    let (path, warnings) = (path.to_owned(), warnings.to_string());
    Ok(ConfigFile { path, text, overlay, desired, keys, warnings })
}

/// The first line of a password file.
fn read_key(path: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read(path).map_err(|error| {
        format!("{error}; its first line must be the password, and root able to read it")
    })?;
    let key = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match key.len() {
        0 => Err("its first line is empty; it must hold the password".into()),
        1..=KEY_BYTES_MAX => Ok(key.to_vec()),
        bytes => Err(format!("a password of {bytes} bytes; the kernel takes {KEY_BYTES_MAX}")),
    }
}
