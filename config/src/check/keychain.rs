//! Keychains, and what signs the session of a peer.

use std::collections::BTreeMap;
use std::ops::Range;

use super::tables;
use crate::desired::{AoKey, Signing};
use crate::diagnostic::{Found, did_you_mean};
use crate::raw::bgp::{KeychainKeyTable, KeychainTable};
use crate::raw::{File, PeerTable};
use crate::read::At;

/// Keys of a chain: more than a change of keys needs, and few enough to be put on a socket each.
const KEYS_MAX: usize = 8;

/// Keychains by name.
pub(super) type Chains = BTreeMap<String, Vec<AoKey>>;

/// The chains of the file. One with a mistake is left out after it has been told.
pub(super) fn chains(file: &File, found: &mut Found<'_>) -> Chains {
    let tables = tables(file.keychains.as_ref());
    let chains = tables
        .iter()
        .filter_map(|at| Some((at.value.name.as_ref()?.value.0.clone(), chain(&at.value, found)?)));
    chains.collect()
}

fn chain(raw: &KeychainTable, found: &mut Found<'_>) -> Option<Vec<AoKey>> {
    let keys = tables(raw.keys.as_ref());
    if let (true, Some(list)) = (keys.is_empty(), &raw.keys) {
        let remedy = "add [[keychain.key]] below it";
        found.error(&list.span, &list.key, "a keychain without a key signs nothing", remedy);
        return None;
    }
    if let Some(extra) = keys.get(KEYS_MAX) {
        let sentence = format!("the keychain has more than {KEYS_MAX} keys");
        found.error(&extra.span, &extra.key, sentence, "remove those that no peer uses any more");
    }
    let read: Option<Vec<AoKey>> = keys.iter().map(|at| key(&at.value)).collect();
    let read = read?;
    unique(keys, read.iter().map(|key| key.send_id), "id", found);
    unique(keys, read.iter().map(|key| key.receive_id), "receive-id", found);
    Some(read)
}

fn key(raw: &KeychainKeyTable) -> Option<AoKey> {
    let send_id = raw.id.as_ref()?.value.0;
    Some(AoKey {
        send_id,
        receive_id: raw.receive_id.as_ref().map_or(send_id, |at| at.value.0),
        algorithm: raw.algorithm.as_ref()?.value,
        file: raw.file.as_ref()?.value.clone(),
    })
}

/// A number stands for one key of a chain.
fn unique(
    keys: &[At<KeychainKeyTable>],
    ids: impl Iterator<Item = u8>,
    name: &str,
    found: &mut Found<'_>,
) {
    let mut first: BTreeMap<u8, &Range<usize>> = BTreeMap::new();
    for (at, id) in keys.iter().zip(ids) {
        if let Some(other) = first.get(&id) {
            let line = found.line_of(other.start);
            let sentence = format!("the key in line {line} has the same {name}, {id}");
            found.error(
                &at.span,
                &at.key,
                sentence,
                "give each key of a chain a number of its own",
            );
        } else {
            first.insert(id, &at.span);
        }
    }
}

/// What signs the session of a peer, if anything does.
pub(super) fn signing(raw: &PeerTable, chains: &Chains, found: &mut Found<'_>) -> Option<Signing> {
    let Some(chain) = &raw.keychain else {
        return raw.password_file.as_ref().map(|file| Signing::Md5(file.value.clone()));
    };
    let name = &chain.value.0;
    if !chains.contains_key(name) {
        let remedy = match did_you_mean(name, chains.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "add [[keychain]] with this name".to_owned(),
        };
        let sentence = format!("there is no keychain called {name:?}");
        found.error(&chain.span, &chain.key, sentence, remedy);
    }
    if raw.password_file.is_some() {
        let sentence = "a session is signed by a password (TCP MD5) or by a keychain (TCP-AO)";
        found.error(&chain.span, &chain.key, sentence, "remove password-file or keychain");
    }
    Some(Signing::Ao(name.clone()))
}
