//! The file that an extension's state is kept in.
//!
//! Its first line is `waga state 1 SHA256`, the digest of all that follows. The second line tells people whose it is: the source as it was
//! when the file was written. Then come the entries, by key: the lengths of key and value, four bytes each, little end first, and both.

use std::io::Write as _;
use std::path::Path;

use super::view::{Entries, is_key};
use crate::extension::digest::{Digest, Hasher};

/// Begins the first line.
const MAGIC: &str = "waga state 1 ";

/// The bytes of a file that keeps these.
pub(super) fn encode(entries: &Entries, source: &Path) -> Vec<u8> {
    let mut body = source.display().to_string().escape_debug().to_string().into_bytes();
    body.push(b'\n');
    for (key, value) in entries.iter() {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a state is far smaller").to_le_bytes();
        body.extend_from_slice(&length(key.as_bytes()));
        body.extend_from_slice(&length(value));
        body.extend_from_slice(key.as_bytes());
        body.extend_from_slice(value);
    }
    let mut file = Vec::with_capacity(body.len() + 100);
    writeln!(file, "{MAGIC}{}", digest(&body)).expect("memory takes it");
    file.extend_from_slice(&body);
    file
}

/// What a file keeps.
///
/// # Errors
/// It is not what it was when it was written, or was written by something else; in which way.
pub(super) fn decode(file: &[u8]) -> Result<Entries, &'static str> {
    let other = "is no state of an extension, or that of a newer agent";
    let rest = file.strip_prefix(MAGIC.as_bytes()).ok_or(other)?;
    let (told, body) = line(rest).ok_or(other)?;
    if told != digest(body).to_string().as_bytes() {
        return Err("was cut or changed: its digest is not that of its contents");
    }
    let (_, mut rest) = line(body).ok_or(other)?;
    let mut entries = Entries::default();
    let mut last = "";
    while !rest.is_empty() {
        let (key, value);
        (key, value, rest) = entry(rest).ok_or(other)?;
        if !is_key(key) || key <= last {
            return Err(other);
        }
        last = key;
        entries.insert(key.into(), value.into());
    }
    Ok(entries)
}

fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn entry(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_first_chunk::<4>()?;
    let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
    let (key, rest) = rest.split_at_checked(length(key)?)?;
    let (value, rest) = rest.split_at_checked(length(value)?)?;
    Some((std::str::from_utf8(key).ok()?, value, rest))
}
