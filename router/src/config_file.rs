//! The configuration file: read from disk, checked by `tidegate-config`.

use std::path::{Path, PathBuf};

use tidegate_config::desired::Desired;

/// Larger than any configuration within the limits; a file beyond it is something else.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A checked file.
#[derive(Debug)]
pub struct ConfigFile {
    /// Where it came from.
    pub path: PathBuf,
    /// What it asks for.
    pub desired: Desired,
}

/// The file is not there, or not good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("cannot read {}: {source}; name another file with --config", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is far too long.
    #[error("{}: {bytes} bytes is no configuration; the limit is {FILE_BYTES_MAX}", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// How long.
        bytes: u64,
    },
    /// It has mistakes: all of them, rendered.
    #[error("{0}")]
    Mistakes(String),
}

/// Reads and checks a file.
///
/// # Errors
/// [`Error`]: nothing has been changed by then.
pub fn read(path: &Path) -> Result<ConfigFile, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Error::TooLong { path: path.to_owned(), bytes });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let name = path.display().to_string();
    match tidegate_config::check(&name, &text) {
        Ok(desired) => Ok(ConfigFile { path: path.to_owned(), desired }),
        Err(mistakes) => Err(Error::Mistakes(tidegate_config::render(&mistakes))),
    }
}
