//! Whose packs are run: public keys as minisign writes them, and the list of what is revoked.
//!
//! The folder has a file NAME.pub for each key, and may have one that is called `revoked`: a line for each key (by its id, or whole) and
//! for each pack (by the SHA-256 of its file, of its list of digests, or of any of its files), and whatever is to be said of it after that.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use super::super::trust;
use super::{Receipt, Trust};

/// The list of what is revoked.
const REVOKED: &str = "revoked";
/// A key in base64: two letters for the algorithm, eight bytes that name it, thirty-two of Ed25519.
const LENGTH: usize = 56;

/// A public key, as minisign writes it on one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// The key of a line of base64.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode_to_vec(text).ok().filter(|bytes| bytes.len() == 42);
        match bytes {
            Some(bytes) if bytes.starts_with(b"Ed") => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "no public key of minisign's: {LENGTH} letters that begin with RW are wanted, as its file minisign.pub has them in the second line"
            )),
        }
    }

    /// The key of a file as minisign writes it: a comment, then the key.
    ///
    /// # Errors
    /// There is none in it.
    pub fn of_file(text: &str) -> Result<Self, String> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("untrusted comment:"));
        match (lines.next(), lines.next()) {
            (Some(key), None) => Self::parse(key),
            _ => Self::parse(""),
        }
    }

    /// Its id: sixteen digits of hex, as minisign prints it.
    pub fn id(&self) -> String {
        let bytes = STANDARD.decode_to_vec(&self.0).unwrap_or_default();
        bytes.iter().skip(2).take(8).rev().map(|byte| format!("{byte:02X}")).collect()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// The keys that are trusted, and what is revoked.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    /// Where they are.
    folder: PathBuf,
    /// Each with the name of its file, without `.pub`.
    trusted: BTreeMap<String, Key>,
    /// What is revoked; else why nobody knows.
    revoked: Result<Revoked, String>,
    /// What is wrong with single files, or with the folder.
    faults: Vec<String>,
}

/// What is revoked, each with what is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    entries: BTreeMap<String, String>,
}

impl Keys {
    /// Those of a folder, which need not be there. A file that others could have written counts for nothing.
    pub fn read(folder: &Path) -> Self {
        let mut keys = Self {
            folder: folder.to_owned(),
            trusted: BTreeMap::new(),
            revoked: Revoked::read(&folder.join(REVOKED)),
            faults: Vec::new(),
        };
        if let Err(error) = trust::folder(folder) {
            keys.faults.push(error.to_string());
            return keys;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return keys,
            Err(error) => {
                keys.faults.push(format!("{}: {error}", folder.display()));
                return keys;
            }
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".pub")) else {
                continue;
            };
            let text = trust::read(&path, trust::From::Trusted).map_err(|error| error.to_string());
            let key = text.and_then(|text| {
                let key = Key::of_file(&text.unwrap_or_default());
                key.map_err(|error| format!("{}: {error}", path.display()))
            });
            match key {
                Ok(key) => drop(keys.trusted.insert(name.to_owned(), key)),
                Err(fault) => keys.faults.push(fault),
            }
        }
        keys.faults.sort();
        keys
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Each with its name.
    pub fn trusted(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.trusted.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// What is wrong with the folder or its files, each in a sentence.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.faults.iter().map(String::as_str).chain(self.revoked.as_ref().err().map(String::as_str))
    }

    /// By what name a key is trusted, if it is.
    pub fn name_of(&self, key: &Key) -> Option<&str> {
        self.trusted().find(|(_, trusted)| *trusted == key).map(|(name, _)| name)
    }

    /// Why a key of this id is not to be trusted any more, whichever it is.
    pub fn revoked_id(&self, id: &str) -> Option<String> {
        let revoked = self.revoked.as_ref().ok()?;
        Some(told(&format!("the key that signed it, {id}, is revoked"), revoked.entries.get(id)?))
    }

    /// Whether a pack may be run; what an operator should know of it all the same.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, receipt: &Receipt, trust: Trust) -> Result<Option<String>, String> {
        let revoked =
            self.revoked.as_ref().map_err(|reason| format!("nobody knows what is revoked: {reason}"))?;
        if let Some(why) = revoked.judge(receipt) {
            return Err(why);
        }
        let doubt = match &receipt.signer {
            None => "it is not signed by a key that was trusted when it was installed".to_owned(),
            Some(signer) if self.name_of(&signer.key).is_some() => return Ok(None),
            Some(signer) => format!(
                "the key that signed it, {} (\"{}\" when it was installed), is in no file of {} any more",
                signer.key.id(),
                signer.name,
                self.folder.display()
            ),
        };
        match trust {
            Trust::Require => Err(format!("{doubt}; [extensions] trust = \"require\" lets it not run")),
            Trust::Warn => Ok(Some(doubt)),
            Trust::Off => Ok(None),
        }
    }
}

impl Revoked {
    fn read(path: &Path) -> Result<Self, String> {
        let text = trust::read(path, trust::From::Trusted).map_err(|error| error.to_string())?;
        Self::parse(&text.unwrap_or_default()).map_err(|fault| format!("{}:{fault}", path.display()))
    }

    /// The list of a text: `#` begins a comment.
    ///
    /// # Errors
    /// A line that revokes nothing, with its number: whoever wrote it relies on it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (what, why) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let digits = what.strip_prefix("sha256:").unwrap_or(what);
            let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let entry = match digits.len() {
                16 if is_hex && digits == what => digits.to_ascii_uppercase(),
                64 if is_hex => digits.to_ascii_lowercase(),
                _ if Key::parse(what).is_ok() => what.to_owned(),
                _ => {
                    return Err(format!(
                        "{}: '{}' is no id of a key (16 digits of hex), no key and no SHA-256 (64 digits)",
                        number + 1,
                        what.escape_debug()
                    ));
                }
            };
            entries.insert(entry, why.trim().to_owned());
        }
        Ok(Self { entries })
    }

    /// Why a key is not to be trusted any more.
    pub fn key(&self, key: &Key) -> Option<String> {
        let id = key.id();
        let why = self.entries.get(key.as_str()).or_else(|| self.entries.get(&id))?;
        Some(told(&format!("the key that signed it, {id}, is revoked"), why))
    }

    /// Why a pack must not be run, wherever it is from.
    pub fn judge(&self, receipt: &Receipt) -> Option<String> {
        if let Some(why) = receipt.signer.as_ref().and_then(|signer| self.key(&signer.key)) {
            return Some(why);
        }
        let whole = [(&receipt.archive, "it"), (&receipt.digest, "it")];
        let files = receipt.files.iter().map(|(name, digest)| (digest, name.as_str()));
        whole.into_iter().chain(files).find_map(|(digest, what)| {
            Some(told(&format!("{what} is revoked (sha256:{digest})"), self.entries.get(digest)?))
        })
    }
}

fn told(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Signer;
    use super::*;

    // Two that minisign made for this test.
    const ONE: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const OTHER: &str = "RWQ6jk1UVkpCSwkGFvSOlQqIs6fcjZBPbmmPzUE3R3u8GbNFcBxPX4MF";

    fn receipt(signer: Option<&str>) -> Receipt {
        Receipt {
            name: "a".into(),
            version: "1.0.0".into(),
            publisher: "p".into(),
            description: "d".into(),
            digest: "0a".repeat(32),
            archive: "1b".repeat(32),
            signer: signer.map(|key| Signer { name: "acme".into(), key: Key::parse(key).unwrap() }),
            component: Some("a.wasm".into()),
            scripts: None,
            files: [("a.wasm".to_owned(), "2c".repeat(32))].into(),
        }
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_key_is_read_as_minisign_writes_it() {
        let key = Key::of_file(&format!("untrusted comment: minisign public key E7620F1842B4E81F\n{ONE}\n"));
        assert_eq!(key.as_ref().map(Key::id).unwrap(), "E7620F1842B4E81F");
        assert_eq!(key, Key::of_file(ONE));
        for bad in ["", "x", &ONE[..55], &format!("{ONE}\n{OTHER}"), &format!("R{ONE}"), &"AAAA".repeat(14)] {
            assert!(Key::of_file(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pack_is_run_while_its_key_is_trusted() {
        let dir = folder(&[("acme.pub", ONE), ("broken.pub", "x"), ("notes", "x")]);
        let keys = Keys::read(dir.path());
        assert_eq!(keys.trusted().map(|(name, _)| name).collect::<Vec<_>>(), ["acme"]);
        assert!(keys.faults().next().unwrap().contains("broken.pub: no public key"));
        assert_eq!(keys.judge(&receipt(Some(ONE)), Trust::Require), Ok(None));
        let gone = keys.judge(&receipt(Some(OTHER)), Trust::Require).unwrap_err();
        assert!(gone.starts_with("the key that signed it, ") && gone.contains("is in no file of"), "{gone}");
        assert!(keys.judge(&receipt(None), Trust::Require).unwrap_err().starts_with("it is not signed"));
        for signer in [None, Some(OTHER)] {
            assert!(keys.judge(&receipt(signer), Trust::Warn).unwrap().is_some());
            assert_eq!(keys.judge(&receipt(signer), Trust::Off), Ok(None));
        }
        // Whoever else could have put a key there is not asked.
        fs::set_permissions(dir.path().join("acme.pub"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(Keys::read(dir.path()).judge(&receipt(Some(ONE)), Trust::Require).is_err());
        fs::set_permissions(dir.path().join("acme.pub"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Keys::read(dir.path()).judge(&receipt(Some(ONE)), Trust::Require).is_err());
    }

    #[test]
    fn what_is_revoked_is_not_run_whatever_is_asked_of_signatures() {
        let (id, file) = (Key::parse(ONE).unwrap().id(), "2C".repeat(32));
        for (entry, why) in [
            (id.to_ascii_lowercase(), format!("the key that signed it, {id}, is revoked: stolen in May")),
            (ONE.to_owned(), format!("the key that signed it, {id}, is revoked: stolen in May")),
            ("1b".repeat(32), format!("it is revoked (sha256:{}): stolen in May", "1b".repeat(32))),
            (
                format!("sha256:{}", "0A".repeat(32)),
                format!("it is revoked (sha256:{}): stolen in May", "0a".repeat(32)),
            ),
            (file.clone(), format!("a.wasm is revoked (sha256:{}): stolen in May", "2c".repeat(32))),
        ] {
            let dir =
                folder(&[("acme.pub", ONE), (REVOKED, &format!("# list\n\n {entry}  stolen in May\n"))]);
            let keys = Keys::read(dir.path());
            for trust in Trust::ALL {
                assert_eq!(keys.judge(&receipt(Some(ONE)), trust), Err(why.clone()));
            }
        }
        // A line that is not understood may be the one.
        let dir = folder(&[("acme.pub", ONE), (REVOKED, "E7620F1842B4E81\n")]);
        let keys = Keys::read(dir.path());
        let why = keys.judge(&receipt(Some(ONE)), Trust::Off).unwrap_err();
        assert!(
            why.starts_with("nobody knows what is revoked: ") && why.contains("revoked:1: 'E7620F1842B4E81'"),
            "{why}"
        );
        assert_eq!(keys.faults().count(), 1);
        // There need not be any.
        let none = Keys::read(&dir.path().join("none"));
        assert_eq!(none.judge(&receipt(None), Trust::Off), Ok(None));
    }
}
