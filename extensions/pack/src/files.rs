//! The files of a pack: what they may be called, and what none may be.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::{Fault, MANIFEST, Pack, SIGNATURE, SUMS};

/// Most bytes of a path: what a header of a tar has room for.
pub const LARGEST_NAME: usize = 100;

/// Names that the store writes beside them.
const TAKEN: [&str; 3] = [SUMS, SIGNATURE, "receipt.json"];

/// SHA-256, in hex.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // To a string nothing fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether these can be the files of a pack, on any filesystem that it may come to lie on.
pub(crate) fn check(files: &BTreeMap<String, Vec<u8>>) -> Result<(), Fault> {
    // Folders and files in one case, each with how it was spelt first.
    let mut seen: BTreeMap<String, (&str, bool)> = BTreeMap::new();
    for (path, bytes) in files {
        let shown = path.escape_debug();
        is_path(path).map_err(|why| Fault::new(format!("'{shown}' cannot be a file of a pack: {why}")))?;
        let ends = path.match_indices('/').map(|(end, _)| (end, false)).chain([(path.len(), true)]);
        for (end, is_file) in ends {
            let part = &path[..end];
            let (first, was_file) = *seen.entry(part.to_ascii_lowercase()).or_insert((part, is_file));
            if first != part || was_file != is_file {
                return Err(Fault::new(format!("'{shown}' and '{first}' would lie in the same place")));
            }
        }
        if bytes.starts_with(b"\x7fELF") {
            return Err(Fault::new(format!(
                "'{shown}' is machine code, or was compiled for the agent: nothing compiled is taken from a pack"
            )));
        }
    }
    Ok(())
}

fn is_path(path: &str) -> Result<(), &'static str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-+".contains(letter);
    if path.len() > LARGEST_NAME {
        return Err("its path has more than 100 characters");
    }
    if path.starts_with('/') {
        return Err("its path is absolute");
    }
    for part in path.split('/') {
        if part == ".." {
            return Err("'..' leads out of it");
        }
        if part.is_empty() || part == "." {
            return Err("a name in its path is empty, or '.'");
        }
        if !part.chars().all(plain) {
            return Err("names have letters and digits of ASCII, '.', '_', '-' and '+'");
        }
        if part.starts_with(['.', '-']) {
            return Err("a name in its path begins with '.' or '-'");
        }
    }
    if TAKEN.iter().any(|taken| path.eq_ignore_ascii_case(taken)) {
        return Err("that name is taken by the pack itself");
    }
    Ok(())
}

/// Where a list of digests is not that of the files.
pub(crate) fn differ(pack: &Pack, sums: &[u8]) -> Fault {
    let text = String::from_utf8_lossy(sums);
    let listed: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once("  ")).map(|(digest, name)| (name, digest)).collect();
    for (name, digest) in pack.digests() {
        match listed.get(name) {
            None => return Fault::new(format!("'{name}' is not in {SUMS}: nobody signed it")),
            Some(said) if *said != digest => {
                return Fault::new(format!("'{name}' is not the one that {SUMS} tells of"));
            }
            Some(_) => {}
        }
    }
    let gone = listed.keys().find(|name| !pack.files().contains_key(**name));
    Fault::new(match gone {
        Some(name) => format!("'{}' is in {SUMS} and not in the pack", name.escape_debug()),
        None => {
            format!("{SUMS} is not as sha256sum writes it, in the order of names ({MANIFEST} among them)")
        }
    })
}
