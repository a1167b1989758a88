//! Packs: one file with all that an extension is, what it asks for, and who says so.
//!
//! `NAME-VERSION.waga` is a tar, compressed with zstd, of these members:
//!
//! | member | is |
//! |---|---|
//! | `SHA256SUMS` | the SHA-256 of every file below, as `sha256sum` writes and checks it |
//! | `SHA256SUMS.minisig` | a signature over that, as `minisign` makes and verifies it; absent while nobody has signed |
//! | `pack.toml` | what the pack is: see [`Manifest`] |
//! | the other files, by name | its component or scripts, `README.md`, the WIT, licences, the schema of its configuration |
//!
//! The same files make the same bytes. There is one way to write a tar of them, and nothing else is read: whatever is hidden in headers,
//! padding or behind the end is refused, and so is what a folder on disk could take for something else. All of this happens in memory,
//! within limits; what is written to disk has been read whole.

mod archive;
mod files;
mod manifest;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
mod signature;

use std::collections::BTreeMap;
use std::fmt;

pub use archive::{LARGEST, UNPACKED};
pub use files::LARGEST_NAME;
pub use manifest::{Ask, Command, Manifest, Mode, Permission, Program};
pub use signature::{Secret, key_pair};

use files::digest_of;

/// The member that lists digests.
pub const SUMS: &str = "SHA256SUMS";
/// The member with the signature over it.
pub const SIGNATURE: &str = "SHA256SUMS.minisig";
/// The member that says what the pack is.
pub const MANIFEST: &str = "pack.toml";

/// Why something is no pack, or none to be trusted; text names the member at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// What of it is somebody else's word is shown, and does nothing.
    fn new(text: impl AsRef<str>) -> Self {
        Self(shown(text.as_ref()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// A pack that is all of a piece: its manifest can be understood, and what that names is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
    /// The text of the member.
    signature: Option<String>,
}

impl Pack {
    /// A pack of these files, by their paths within it; nobody has signed it.
    ///
    /// # Errors
    /// A path that cannot be one of a pack, something that must not be in one, or what is wrong with `pack.toml`.
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Result<Self, Fault> {
        files::check(&files)?;
        let manifest = files.get(MANIFEST).ok_or_else(|| Fault::new("there is no pack.toml"))?;
        let text = str::from_utf8(manifest).map_err(|_| Fault::new("pack.toml: is not UTF-8"))?;
        let manifest = Manifest::parse(text)?;
        manifest.check(&files)?;
        Ok(Self { manifest, files, signature: None })
    }

    /// What a file holds, whose signature is not looked at yet.
    ///
    /// # Errors
    /// It is no pack, or one that nothing good would have written: too large, another tar, files that are not those of its list.
    pub fn read(archive: &[u8]) -> Result<Self, Fault> {
        Self::of_tar(&archive::unpack(archive)?)
    }

    /// As [`Self::read`], of what is not compressed.
    ///
    /// # Errors
    /// As there.
    pub fn of_tar(tar: &[u8]) -> Result<Self, Fault> {
        let (members, end) = archive::members(tar)?;
        let mut members = members.into_iter().peekable();
        let missing = || Fault::new(format!("the first member is not {SUMS}"));
        let (name, sums) = members.next().ok_or_else(missing)?;
        if name != SUMS {
            return Err(missing());
        }
        let signature = members.next_if(|(name, _)| *name == SIGNATURE);
        let signature = signature.map(|(_, bytes)| signature::text(bytes)).transpose()?;
        let members: Vec<_> = members.collect();
        let files = members.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let pack = Self { signature, ..Self::new(files)? };
        if pack.sums().as_bytes() != sums {
            return Err(files::differ(&pack, sums));
        }
        // The one way to write it: each member was looked at by itself, what is left is how they stand.
        let in_order = members.iter().map(|(name, _)| *name).eq(archive::order(&pack));
        if !in_order || !archive::is_end(end) {
            return Err(Fault::new(
                "its members do not stand in the order of their names, or something follows them",
            ));
        }
        Ok(pack)
    }

    /// Its file, the same for the same pack.
    pub fn to_archive(&self) -> Vec<u8> {
        archive::compress(&archive::pack(self))
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its files, by their paths: not the list of their digests, nor the signature.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// The component, if it has no scripts.
    pub fn component(&self) -> Option<&[u8]> {
        self.files.get(self.manifest.component.as_deref()?).map(Vec::as_slice)
    }

    /// The list of digests: what is signed.
    pub fn sums(&self) -> String {
        self.digests().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
    }

    /// SHA-256, in hex, of each of its files.
    pub fn digests(&self) -> impl Iterator<Item = (&str, String)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), digest_of(bytes)))
    }

    /// SHA-256, in hex, of the list of digests: of this very pack, whoever signs it and however it is compressed.
    pub fn digest(&self) -> String {
        digest_of(self.sums().as_bytes())
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}-{}.waga", self.manifest.name, self.manifest.version)
    }

    /// The text of the signature, as minisign writes it.
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }
}

/// A text on one line of a terminal: what would move its cursor, turn its writing around or not be seen is spelt out.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() || manifest::is_invisible(letter) {
            true => shown.extend(letter.escape_unicode()),
            false => shown.push(letter),
        }
    }
    shown
}

/// SHA-256, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    digest_of(bytes)
}

#[cfg(test)]
mod tests;
