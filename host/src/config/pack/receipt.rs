//! What is known of a pack since it was installed.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::trust;
use super::keys::Key;

/// The name of the file, beside the pack's own.
pub const RECEIPT: &str = "receipt.json";

/// What `waga-ext` found when it installed a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The pack's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who publishes it, in that one's own words.
    pub publisher: String,
    /// What it is for, in a line.
    pub description: String,
    /// SHA-256, in hex, of its list of digests, which stands for all of its files.
    pub digest: String,
    /// SHA-256, in hex, of the file that it came in.
    pub archive: String,
    /// Whose signature it bears; absent if nobody's that was trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Signer>,
    /// The file of its component, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The folder of its scripts otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<String>,
    /// SHA-256, in hex, of each of its files.
    pub files: BTreeMap<String, String>,
}

/// Who signed a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// By what name the key was trusted then.
    pub name: String,
    /// The public key.
    pub key: Key,
}

impl Receipt {
    /// That of the pack in a folder.
    ///
    /// # Errors
    /// There is none, others could have written it, or it cannot be understood.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(RECEIPT);
        let text = trust::read(&path, trust::From::Trusted).map_err(|error| error.to_string())?;
        let text = text.ok_or("is not installed (waga-ext install PACK)")?;
        let receipt: Self =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let code = [&receipt.component, &receipt.scripts];
        let inside = code.into_iter().flatten().all(|path| is_inside(path));
        match (&receipt.component, &receipt.scripts) {
            (Some(_), None) | (None, Some(_)) if inside => Ok(receipt),
            _ => Err(format!("{}: does not tell where the pack's code is", path.display())),
        }
    }

    /// Its component or its scripts, within its folder.
    pub fn code(&self) -> &str {
        self.component.as_deref().or(self.scripts.as_deref()).unwrap_or_default()
    }

    /// The digest of its component, in hex.
    pub fn component_digest(&self) -> Option<&str> {
        self.files.get(self.component.as_deref()?).map(String::as_str)
    }
}

fn is_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether this can be a version, and the name of a folder: three numbers, and what semver lets follow.
pub fn is_version(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-+".contains(letter);
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 64
        && text.chars().all(plain)
        && core.split('.').count() == 3
        && core.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            name: "a".into(),
            version: "1.0.0".into(),
            publisher: "p".into(),
            description: "d".into(),
            digest: "0".repeat(64),
            archive: "1".repeat(64),
            signer: None,
            component: Some("a.wasm".into()),
            scripts: None,
            files: [("a.wasm".to_owned(), "2".repeat(64))].into(),
        }
    }

    #[test]
    fn a_receipt_is_read_back_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let read = || Receipt::read(dir.path());
        assert_eq!(read().unwrap_err(), "is not installed (waga-ext install PACK)");
        let write = |receipt: &Receipt| {
            fs::write(dir.path().join(RECEIPT), serde_json::to_vec(receipt).unwrap()).unwrap();
        };
        write(&receipt());
        assert_eq!(read().unwrap(), receipt());
        assert_eq!(receipt().component_digest(), Some(&*"2".repeat(64)));
        for code in ["", "/etc/x.wasm", "../x.wasm", "a/../../x"] {
            write(&Receipt { component: Some(code.into()), ..receipt() });
            assert!(read().unwrap_err().ends_with("does not tell where the pack's code is"), "{code}");
        }
        write(&Receipt { scripts: Some("s".into()), ..receipt() });
        assert!(read().is_err());
        fs::write(dir.path().join(RECEIPT), "{").unwrap();
        assert!(read().unwrap_err().contains("receipt.json: EOF"));
    }

    #[test]
    fn versions_are_names_of_folders() {
        for good in ["0.0.1", "1.20.3", "1.0.0-rc.1", "1.0.0+build-5"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "1", "1.0", "1.0.0.0", "../1.0.0", "1.0.x", "1..0", "1.0.0-a/b", "1.0.0 ", "v1.0.0"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
