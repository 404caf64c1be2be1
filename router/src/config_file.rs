//! The configuration file, and the files it names: read from disk, checked by `tidegate-config`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Desired, Guard, Signing};
use tidegate_config::overlay::{self, Overlay};
use tidegate_config::{Checked, FILE_BYTES_MAX};

use crate::access::{Access, Unusable};
use crate::bgp_io::{AoKey, Keys, Signer, try_keys};
use crate::local_ports;

/// Longest key the kernel takes (`TCP_MD5SIG_MAXKEYLEN`, `TCP_AO_MAXKEYLEN`).
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
    /// What signs sessions, by peer, read from the files it names.
    pub keys: Keys,
    /// Who may use the API over TCP, from the files it names.
    pub access: Access,
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
    /// The password file of a peer, the file of a key, or one of the API, could not be used.
    #[error("{whose} {}: {cause}", path.display())]
    Key {
        /// Whose.
        whose: String,
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        cause: String,
    },
    /// The kernel does not take the keys of a keychain.
    #[error("peer {peer}: keychain {chain}: {cause}")]
    Keychain {
        /// Whose.
        peer: String,
        /// Which one.
        chain: String,
        /// Why, and what to do.
        cause: String,
    },
}

/// Reads and checks a file, and the files with passwords and keys that it names.
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

/// Checks a text with what the API changed, and reads the files with prefixes, passwords and keys
/// that they name.
///
/// # Errors
/// [`Error`]: nothing has been changed by then.
pub fn check(path: &Path, text: String, overlay: Overlay) -> Result<ConfigFile, Error> {
    let mistakes = |found: tidegate_config::Diagnostics| Error::Mistakes(found.to_string());
    let name = path.display().to_string();
    let checked = overlay::check_with(&name, &text, &overlay).map_err(mistakes)?;
    let Checked { mut desired, warnings } = checked;
    read_prefixes(&mut desired.guard)?;
    let mut keys = Keys::new();
    for (name, signing) in &desired.signing {
        let of_peer = desired.peers.get(name).map(|peer| Prefix::host(peer.remote.ip()));
        let of_range = || desired.ranges.get(name).map(|range| range.prefix);
        if let Some(whose) = of_peer.or_else(of_range) {
            keys.insert(whose, signer(name, whose, signing, &desired)?);
        }
    }
    let access = Access::read(&desired.router.api).map_err(|Unusable { key, path, cause }| {
        Error::Key { whose: format!("api: {key}"), path: path.to_owned(), cause }
    })?;
    let mut warnings = vec![warnings.to_string(), local_ports::warning(&name, &desired)];
    warnings.retain(|warning| !warning.is_empty());
    let warnings = warnings.join("\n\n");
    let path = path.to_owned();
    Ok(ConfigFile { path, text, overlay, desired, keys, access, warnings })
}

/// Takes in the files of prefixes that the guard names, with all mistakes in all of them.
fn read_prefixes(guard: &mut Guard) -> Result<(), Error> {
    let mut mistakes = Vec::new();
    let files: Vec<_> = guard.files().map(|(path, it)| (path.to_owned(), it)).collect();
    for (path, admission) in files {
        let mut text = String::new();
        let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let read = File::open(&path).and_then(|file| file.take(most).read_to_string(&mut text));
        if let Err(cause) = read {
            mistakes.push(Error::Read { path, cause }.to_string());
            continue;
        }
        let found = guard.read_file(admission, &path.display().to_string(), &text);
        mistakes.extend(found.err().map(|found| found.to_string()));
    }
    if mistakes.is_empty() { Ok(()) } else { Err(Error::Mistakes(mistakes.join("\n\n"))) }
}

/// What signs the session of a peer.
fn signer(
    peer: &str,
    whose: Prefix,
    signing: &Signing,
    desired: &Desired,
) -> Result<Signer, Error> {
    let chain = match signing {
        Signing::Md5(path) => {
            return read_key(&format!("peer {peer}: password-file"), path).map(Signer::Md5);
        }
        Signing::Ao(chain) => chain,
    };
    let keys = desired.keychains.get(chain).into_iter().flatten().map(|key| {
        Ok(AoKey {
            send_id: key.send_id,
            receive_id: key.receive_id,
            algorithm: key.algorithm,
            secret: read_key(&format!("keychain {chain}: file"), &key.file)?,
        })
    });
    let keys: Vec<AoKey> = keys.collect::<Result<_, Error>>()?;
    let refused = |cause| Error::Keychain { peer: peer.to_owned(), chain: chain.clone(), cause };
    try_keys(whose.addr(), &keys).map_err(refused)?;
    Ok(Signer::Ao(keys))
}

fn read_key(whose: &str, path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |cause| Error::Key { whose: whose.to_owned(), path: path.to_owned(), cause };
    first_line(path).map_err(failed)
}

/// The first line of a file with a password or a key.
fn first_line(path: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read(path).map_err(|error| {
        format!("{error}; its first line must be the password or key, and root able to read it")
    })?;
    let key = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match key.len() {
        0 => Err("its first line is empty; it must hold the password or key".into()),
        1..=KEY_BYTES_MAX => Ok(key.to_vec()),
        bytes => Err(format!("it is of {bytes} bytes; the kernel takes {KEY_BYTES_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_prefixes_are_read_and_all_mistakes_in_them_are_told() {
        let dir = std::env::temp_dir().join(format!("tidegate-prefixes-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let [good, bad, none] = ["good", "bad", "none"].map(|name| dir.join(name));
        std::fs::write(&good, "192.0.2.0/24 # documentation\n").unwrap();
        std::fs::write(&bad, "192.0.2.0/24\nnobody\n10.0.0.1/8\n").unwrap();
        let of = |files: &[&Path]| {
            let text = format!(
                "[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"eth0\"]\n\
                 [guard]\ndeny-files = {files:?}\n"
            );
            check(Path::new("tidegate.toml"), text, Overlay::default())
        };
        assert_eq!(of(&[&good]).unwrap().desired.guard.prefixes.len(), 1);
        let error = of(&[&bad, &good, &none]).unwrap_err().to_string();
        let [bad, none] = [&bad, &none].map(|path| path.display().to_string());
        for told in [format!("{bad}:2:1: "), format!("{bad}:3:1: "), format!("cannot read {none}")]
        {
            assert!(error.contains(&told), "{told} is not in {error}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn files_with_keys_are_read_and_tried_on_the_kernel() {
        let dir = std::env::temp_dir().join(format!("tidegate-keys-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let [good, empty] = ["good", "empty"].map(|name| dir.join(name));
        std::fs::write(&good, "a secret\nnot this\n").unwrap();
        std::fs::write(&empty, "\n").unwrap();
        let of = |file: &Path| {
            let text = format!(
                "[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"eth0\"]\n\
                 [[peer]]\nname = \"core\"\naddress = \"192.0.2.2\"\nasn = 65000\n\
                 keychain = \"keys\"\n[[keychain]]\nname = \"keys\"\n[[keychain.key]]\nid = 7\n\
                 file = {file:?}\n"
            );
            check(Path::new("tidegate.toml"), text, Overlay::default())
        };
        match of(&good) {
            Ok(config) => {
                let signer = config.keys.values().next().unwrap();
                let Signer::Ao(keys) = signer else { panic!("{signer:?}") };
                assert_eq!((keys[0].send_id, keys[0].secret.as_slice()), (7, &b"a secret"[..]));
            }
            // Not every kernel can.
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.starts_with("peer core: keychain keys: this kernel has no"),
                    "{error}"
                );
            }
        }
        let error = of(&empty).unwrap_err().to_string();
        assert!(error.starts_with("keychain keys: file ") && error.contains("is empty"), "{error}");
        let error = of(&dir.join("none")).unwrap_err().to_string();
        assert!(error.contains("root able to read it"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
