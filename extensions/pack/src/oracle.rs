//! What must hold for whatever bytes come as a pack: the judge of property tests and of the fuzz target in `tests/fuzz`. Every function
//! panics where something does not hold. Only built for tests, and under the feature `oracle`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use crate::{MANIFEST, Manifest, Pack, archive};

/// A manifest that is right, whose component is `a.wasm`.
const PACK_TOML: &str = "name = 'a'\nversion = '1.0.0'\npublisher = 'p'\nlicence = 'MIT'\ndescription = 'd'\ncomponent = 'a.wasm'\n";

/// As a file, as a tar, as a manifest, and as names and contents of files, by the first byte: each is refused, or is a pack that lies within
/// its folder, comes back from its own file, and is written in one way.
///
/// # Panics
/// It does not hold.
pub fn pack(input: &[u8]) {
    let Some((way, input)) = input.split_first() else { return };
    match way % 4 {
        0 => drop(Pack::read(input).map(|pack| holds(&pack))),
        1 => {
            if let Ok(pack) = Pack::of_tar(input) {
                assert_eq!(archive::pack(&pack), input, "another tar is the same pack");
                holds(&pack);
            }
        }
        2 => {
            let Ok(text) = str::from_utf8(input) else { return };
            let Ok(manifest) = Manifest::parse(text) else { return };
            let table = manifest.table();
            assert_eq!(table["version"].as_str(), Some(&*manifest.version));
            for ask in manifest.permissions.iter().flat_map(crate::Permission::asks) {
                assert!(!ask.what.contains(char::is_control), "{ask:?} cannot be shown");
            }
        }
        _ => {
            // Names and contents, each up to the next byte that no text has.
            let mut parts = input.split(|byte| *byte == 0xff);
            let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for (name, bytes) in
                [(MANIFEST, PACK_TOML.as_bytes()), ("README.md", b"x"), ("a.wasm", b"\0asm\x0d\0\x01\0")]
            {
                files.insert(name.to_owned(), bytes.to_vec());
            }
            while let (Some(name), Some(bytes)) = (parts.next(), parts.next()) {
                files.insert(String::from_utf8_lossy(name).into_owned(), bytes.to_vec());
            }
            drop(Pack::new(files).map(|pack| holds(&pack)));
        }
    }
}

fn holds(pack: &Pack) {
    for name in pack.files().keys() {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        assert!(inside && !name.ends_with('/'), "{name:?} leads out of its folder");
    }
    let again = Pack::read(&pack.to_archive()).expect("a pack can be read from its own file");
    assert_eq!(again, *pack);
}
