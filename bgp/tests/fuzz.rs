//! The fuzzers' entries on their corpora, as they are and mutated: bounded by a count, the same on
//! every run. `bgp/fuzz/run` looks for what this does not find.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test")]

use std::fs::DirEntry;
use std::path::Path;

use tidegate_bgp::rng::Rng;

#[path = "../fuzz/entries.rs"]
mod entries;

/// Mutated inputs per entry: a few seconds of them without optimization.
const MUTATIONS: usize = 20_000;

/// Longer ones are cut: most of what can go wrong does so early.
const OCTETS_MAX: usize = 2048;

#[expect(clippy::disallowed_methods, reason = "the corpus is files")]
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry: Result<DirEntry, _>| entry.unwrap().path())
        .collect();
    files.sort(); // The order of a folder is nobody's promise.
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn below(rng: &mut Rng, end: usize) -> usize {
    usize::try_from(rng.next_u64() >> 32).unwrap() % end.max(1)
}

/// A few edits of the kinds that find most: single octets, values at the edge, pieces left out,
/// said twice, or taken from another input.
fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    const EDGES: [u8; 8] = [0, 1, 2, 4, 0x10, 0x7f, 0x80, 0xff];
    for _ in 0..=below(rng, 5) {
        let at = below(rng, input.len());
        let end = (at + below(rng, 12)).min(input.len());
        match below(rng, 6) {
            0 if at < input.len() => input[at] ^= 1 << below(rng, 8),
            1 if at < input.len() => input[at] = EDGES[below(rng, EDGES.len())],
            2 => drop(input.drain(at..end)),
            3 => drop(input.splice(at..at, input[at..end].to_vec())),
            4 => {
                let from = below(rng, other.len());
                let piece = &other[from..(from + below(rng, 24)).min(other.len())];
                drop(input.splice(at..end, piece.to_vec()));
            }
            _ => input.insert(at, EDGES[below(rng, EDGES.len())]),
        }
    }
    input.truncate(OCTETS_MAX);
}

fn run(target: &str, entry: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no corpus for {target}");
    for input in &corpus {
        entry(input);
    }
    let mut rng = Rng::new(1);
    for _ in 0..MUTATIONS {
        let mut input = corpus[below(&mut rng, corpus.len())].clone();
        let other = &corpus[below(&mut rng, corpus.len())];
        mutate(&mut rng, &mut input, other);
        entry(&input);
    }
}

#[test]
fn damaged_streams_keep_every_promise() {
    run("stream", entries::stream);
}

#[test]
fn damaged_messages_keep_every_promise() {
    run("message", entries::message);
}

#[test]
fn damaged_updates_keep_every_promise() {
    run("update", entries::update);
}

#[test]
fn damaged_opens_keep_every_promise() {
    run("open", entries::open);
}

#[test]
fn damaged_attribute_blocks_keep_every_promise() {
    run("block", entries::block);
}

#[test]
fn damaged_bfd_packets_keep_every_promise() {
    run("bfd", entries::bfd);
}
