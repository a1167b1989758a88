//! The file: a tar with one way to write it, compressed.

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tar::{EntryType, Header};

use crate::{Fault, Pack, SIGNATURE, SUMS};

/// Most bytes of a pack.
pub const LARGEST: u64 = 48 << 20;
/// Most bytes of what it is unpacked to.
pub const UNPACKED: u64 = 64 << 20;

/// Most bytes that a decoder looks back on: what zstd writes at any of its usual levels.
const WINDOW: u64 = 8 << 20;
/// What a tar is made of.
const BLOCK: usize = 512;
/// Its end.
const END: usize = 2 * BLOCK;
/// Most files.
const FILES: usize = 1024;

/// What was compressed.
pub(crate) fn unpack(archive: &[u8]) -> Result<Vec<u8>, Fault> {
    if archive.len() as u64 > LARGEST {
        return Err(Fault::new(format!("has more than {} MiB", LARGEST >> 20)));
    }
    // The decoder's own words are for those who know its inside.
    let failed = || Fault::new("is no pack, or was damaged on its way: zstd does not unpack it");
    let mut decoder = StreamingDecoder::new_with_max_window_size(archive, WINDOW).map_err(|_| failed())?;
    let mut tar = Vec::new();
    let read = (&mut decoder).take(UNPACKED + 1).read_to_end(&mut tar);
    read.map_err(|_| failed())?;
    if tar.len() as u64 > UNPACKED {
        return Err(Fault::new(format!("is unpacked to more than {} MiB", UNPACKED >> 20)));
    }
    let (rest, frame) = decoder.into_parts();
    if !rest.is_empty() {
        return Err(Fault::new("something follows its end"));
    }
    match (frame.get_checksum_from_data(), frame.get_calculated_checksum()) {
        (Some(said), found) if Some(said) != found => Err(failed()),
        _ => Ok(tar),
    }
}

pub(crate) fn compress(tar: &[u8]) -> Vec<u8> {
    compress_to_vec(tar, CompressionLevel::Fastest)
}

/// The tar of a pack.
pub(crate) fn pack(pack: &Pack) -> Vec<u8> {
    let sums = pack.sums();
    let signature = pack.signature.as_ref().map(|text| (SIGNATURE, text.as_bytes()));
    let first = [(SUMS, sums.as_bytes())].into_iter().chain(signature);
    let files = order(pack).map(|name| (name, pack.files[name].as_slice()));
    let mut tar = Vec::new();
    for (name, bytes) in first.chain(files) {
        tar.extend_from_slice(header(name, bytes.len()).as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + END, 0);
    tar
}

/// The one header of a file.
fn header(name: &str, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    let place = &mut header.as_old_mut().name;
    let length = name.len().min(place.len());
    place[..length].copy_from_slice(&name.as_bytes()[..length]);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// The names of a pack's files as they stand in its tar: the manifest first, for who looks what a pack is need not read all of it.
pub(crate) fn order(pack: &Pack) -> impl Iterator<Item = &str> {
    let is_manifest = |name: &&String| *name == crate::MANIFEST;
    let others = pack.files.keys().filter(move |name| !is_manifest(name));
    pack.files.keys().filter(is_manifest).chain(others).map(String::as_str)
}

/// Whether this is how a tar ends, and nothing else.
pub(crate) fn is_end(end: &[u8]) -> bool {
    end.len() == END && end.iter().all(|byte| *byte == 0)
}

/// A name and what the file holds.
type Member<'a> = (&'a str, &'a [u8]);

/// The members of a tar, each checked as far as it can be by itself, and what follows them.
pub(crate) fn members(tar: &[u8]) -> Result<(Vec<Member<'_>>, &[u8]), Fault> {
    let cut = || Fault::new("its tar is cut off");
    let mut members = Vec::new();
    let mut rest = tar;
    loop {
        let (block, after) = rest.split_at_checked(BLOCK).ok_or_else(cut)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok((members, rest));
        }
        if members.len() == FILES {
            return Err(Fault::new(format!("has more than {FILES} members")));
        }
        let found = Header::from_byte_slice(block);
        let name = found.path_bytes();
        let shown = String::from_utf8_lossy(&name).escape_debug().to_string();
        let kind = found.entry_type();
        if !kind.is_file() {
            let what = match kind {
                EntryType::Symlink | EntryType::Link => "a link",
                EntryType::Char | EntryType::Block => "a device",
                EntryType::Fifo => "a FIFO",
                EntryType::Directory => "a folder by itself",
                _ => "nothing that a pack has",
            };
            return Err(Fault::new(format!("member '{shown}' is {what}: a pack has regular files only")));
        }
        let size = found.entry_size().ok().and_then(|size| usize::try_from(size).ok());
        let size =
            size.ok_or_else(|| Fault::new(format!("member '{shown}' has no size that makes sense")))?;
        let (bytes, after) = after.split_at_checked(size).ok_or_else(cut)?;
        let padding = size.next_multiple_of(BLOCK) - size;
        let (padding, after) = after.split_at_checked(padding).ok_or_else(cut)?;
        // The name as it stands in the block, so that it can be borrowed: it ends the field, or a NUL does.
        let name = block[..100].split(|byte| *byte == 0).next().and_then(|name| str::from_utf8(name).ok());
        let Some(name) = name.filter(|name| header(name, size).as_bytes()[..] == *block) else {
            return Err(Fault::new(format!("member '{shown}' has a header that waga-ext does not write")));
        };
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Fault::new(format!("something is hidden behind member '{shown}'")));
        }
        if members.iter().any(|(other, _)| *other == name) {
            return Err(Fault::new(format!("member '{shown}' stands twice")));
        }
        members.push((name, bytes));
        rest = after;
    }
}
