//! The properties in `cargo test`: the corpus, changes of it, and random bytes, as many as a test run has time for.

use super::{ALL, check};
use crate::words::effort;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

/// Bytes of the corpus that Miri gets.
const BEGINNING: usize = 40;

/// The corpus of a property, the shortest file first.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("scripts/fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).expect("every property has a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the folder is listed").path();
            let bytes = std::fs::read(&path).expect("the file is read");
            (path.display().to_string(), bytes)
        })
        .collect();
    files.sort_by_key(|(path, bytes)| (bytes.len(), path.clone()));
    if cfg!(miri) {
        // A whole one takes an interpreter minutes: the beginning of the shortest.
        files.truncate(1);
        files[0].1.truncate(BEGINNING);
    }
    files
}

/// Bytes that mean something in a tree, and any others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![0_u8..16, Just(0xff), Just(0x80), any::<u8>()]
}

/// Holds a property against its corpus, as it is and changed, and against `longest` random bytes and fewer.
fn hold(name: &str, usual: u32, longest: usize) {
    let corpus = corpus(name);
    for (path, bytes) in &corpus {
        println!("{path}");
        check(name, bytes);
    }
    let seeds: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let changed = (
        any::<prop::sample::Index>(),
        prop::collection::vec((any::<prop::sample::Index>(), byte()), 1..12),
        prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
    )
        .prop_map(move |(seed, changes, cut)| {
            let mut bytes = seed.get(&seeds).clone();
            for (at, byte) in changes {
                let length = bytes.len().max(1);
                if let Some(place) = bytes.get_mut(at.index(length)) {
                    *place = byte;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        });
    let random = prop::collection::vec(
        any::<u8>(),
        0..effort::times(longest, longest.min(BEGINNING)),
    );
    let any_of = prop_oneof![changed, random];
    let held = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..effort::cases(usual)
    })
    .run(&any_of, |bytes| {
        check(name, &bytes);
        Ok(())
    });
    assert!(held.is_ok(), "{name}: {}", held.unwrap_err());
}

macro_rules! hold {
    ($($name:ident: $cases:expr, $longest:expr;)*) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name), $cases, $longest);
            }
        )*

        #[test]
        fn every_property_is_held() {
            let held = [$(stringify!($name)),*];
            assert_eq!(ALL.map(|property| property.name), held);
        }
    };
}

hold! {
    board: 1500, 200;
    board_copy: 800, 200;
    bundle: 1500, 200;
    decode: 1000, 1000;
    exit: 500, 1500;
    hypercall: 500, 1500;
    pl011: 500, 1000;
    psci: 1000, 1500;
    syndrome: 500, 1000;
    system: 500, 200;
    vgic: 1500, 600;
    vgic_late: 1500, 500;
    vgic_registers: 500, 1500;
}
