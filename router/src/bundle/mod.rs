//! An archive for whoever helps: files with a bound each, secrets removed, and a list of what is
//! missing and why.

mod scrub;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;

pub(crate) use scrub::{Secrets, without_secrets};

/// Largest file in the archive, in bytes; the rest of it is left out, and that is said.
const FILE_BYTES_MAX: usize = 8 << 20;
/// The folder that all of it unpacks into.
const FOLDER: &str = "tidegate-support";

/// What goes into the archive, and what does not.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    secrets: Secrets,
    files: Vec<(String, Vec<u8>)>,
    missing: Vec<(String, String)>,
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name, below [`FOLDER`].
    pub(crate) name: String,
    /// Its size in bytes, before it was packed.
    pub(crate) bytes: usize,
}

impl Bundle {
    /// One in which none of these secrets will stand.
    pub(crate) fn without(secrets: Secrets) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// Takes in a text, or why there is none.
    pub(crate) fn add(&mut self, name: &str, text: Result<String, String>) {
        match text {
            Ok(text) => {
                // First the secrets, so that none is cut in two.
                let text = self.secrets.remove(&text);
                let text = cut(&text);
                self.files.push((name.to_owned(), text.into_bytes()));
            }
            Err(why) => self.miss(name, &why),
        }
    }

    /// Something that there is none of.
    pub(crate) fn miss(&mut self, name: &str, why: &str) {
        let why = self.secrets.remove(&why.replace('\n', " "));
        self.missing.push((name.to_owned(), why));
    }

    /// What is missing, and why.
    pub(crate) fn missing(&self) -> &[(String, String)] {
        &self.missing
    }

    /// Writes the archive into a new file that only its owner may read. Returns what is in it.
    ///
    /// # Errors
    /// The file is there already, or cannot be written.
    pub(crate) fn write(mut self, path: &Path) -> io::Result<(Vec<Entry>, u64)> {
        let missing = self.missing.iter().map(|(name, why)| format!("{name}: {why}\n"));
        let missing: String = missing.collect();
        self.files.push(("missing.txt".into(), missing.into_bytes()));
        self.files.sort();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        for (name, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
            header.set_mode(0o600);
            header.set_mtime(now);
            archive.append_data(&mut header, format!("{FOLDER}/{name}"), content.as_slice())?;
        }
        let mut file = archive.into_inner()?.finish()?;
        file.flush()?;
        let packed = file.metadata()?.len();
        let entries =
            self.files.into_iter().map(|(name, content)| Entry { name, bytes: content.len() });
        Ok((entries.collect(), packed))
    }
}

/// As much of a text as may stand in the archive.
fn cut(text: &str) -> String {
    if text.len() <= FILE_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(FILE_BYTES_MAX);
    let rest = text.len() - end;
    format!("{}\n[{rest} more bytes left out]\n", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn an_archive_holds_what_it_says_and_none_of_the_secrets() {
        let path = std::env::temp_dir().join(format!("tidegate-bundle-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let mut bundle = Bundle::without(Secrets::of([b"hunter2".to_vec()]));
        bundle.add("log.txt", Ok("the key is hunter2\n".into()));
        bundle.add("status.json", Err("no daemon,\nhunter2".into()));
        bundle.add("long.txt", Ok("x".repeat(FILE_BYTES_MAX + 7)));
        let (entries, packed) = bundle.write(&path).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["log.txt", "long.txt", "missing.txt"]);
        assert_eq!(packed, std::fs::metadata(&path).unwrap().len());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let file = std::fs::File::open(&path).unwrap();
        let mut all = String::new();
        for entry in tar::Archive::new(GzDecoder::new(file)).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert!(entry.path().unwrap().starts_with(FOLDER));
            entry.read_to_string(&mut all).unwrap();
        }
        assert!(all.contains("the key is (removed)") && !all.contains("hunter2"));
        assert!(all.contains("status.json: no daemon, (removed)\n"));
        assert!(all.contains("x\n[7 more bytes left out]\n"));
        let again = Bundle::default().write(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        std::fs::remove_file(&path).unwrap();
    }
}
