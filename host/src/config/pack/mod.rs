//! Packs that are installed: what the store has of one, and whether its signer is still to be trusted.
//!
//! A pack is verified when it is installed, by `waga-ext`, which then writes what it found into a receipt beside the pack's files. Who may
//! write there is root, and could as well name a module of his own; so the agent takes the receipt's word for the signature, and asks only
//! what may have changed since: whether the key still stands in the folder of trusted keys, and nothing is revoked.

mod keys;
mod receipt;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ConfigError, trust};
pub use keys::{Key, Keys, Revoked};
pub use receipt::{RECEIPT, Receipt, Signer, is_version};

/// Whether nobody but who runs this could have written to a folder, or have put another in its place. It need not be there.
///
/// # Errors
/// Who could, and the way out.
pub fn is_ours(folder: &Path) -> Result<(), ConfigError> {
    trust::folder(folder)
}

/// What is asked of a pack's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A pack that no trusted key signed is not run.
    Require,
    /// It is run, and the log says so.
    Warn,
    /// Nobody asks. What is revoked is not run all the same.
    Off,
}

impl Trust {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Require, Self::Warn, Self::Off];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

/// A pack as an extension's table names it, and what there is of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    /// Its name.
    pub name: Arc<str>,
    /// Its version, as in `1.2.0`.
    pub version: Arc<str>,
    /// Where all its versions are.
    pub place: PathBuf,
    /// What its state belongs to: all versions by one signer.
    pub home: PathBuf,
    /// What its receipt says and where its code is; else why it is not run.
    pub installed: Result<Installed, String>,
}

/// A pack that is there and may be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// What is known of it since it was installed.
    pub receipt: Arc<Receipt>,
    /// Its component, or the folder of its scripts.
    pub code: PathBuf,
    /// What an operator should know who lets it run all the same.
    pub doubt: Option<String>,
}

impl Pack {
    /// One of which nothing is known yet.
    pub(super) fn named(name: &str, version: &str) -> Self {
        let installed = Err("nobody looked whether it is installed".to_owned());
        Self {
            name: name.into(),
            version: version.into(),
            place: PathBuf::new(),
            home: PathBuf::new(),
            installed,
        }
    }

    /// Looks what the store has of it.
    pub(super) fn find(&mut self, store: &Path, keys: &Keys, trust: Trust) {
        self.place = store.join(&*self.name);
        let folder = self.place.join(&*self.version);
        self.installed = Receipt::read(&folder).and_then(|receipt| {
            if (&*receipt.name, &*receipt.version) != (&*self.name, &*self.version) {
                let (name, version) = (&receipt.name, &receipt.version);
                return Err(format!("{} is of {name} {version}", folder.join(RECEIPT).display()));
            }
            let doubt = keys.judge(&receipt, trust)?;
            let code = folder.join(receipt.code());
            Ok(Installed { receipt: Arc::new(receipt), code, doubt })
        });
        let signer = self.installed.as_ref().ok().and_then(|installed| installed.receipt.signer.as_ref());
        self.home = self.place.join(signer.map_or_else(|| "nobody".to_owned(), |signer| signer.key.id()));
        if let Err(reason) = &mut self.installed {
            *reason = format!("pack {} {}: {reason}", self.name, self.version);
        }
    }

    /// The store does not answer: nothing is known of it.
    pub(super) fn unanswered(&mut self, store: &Path) {
        self.place = store.join(&*self.name);
        let text = format!("pack {} {}: {} does not answer", self.name, self.version, store.display());
        self.installed = Err(text);
    }

    /// Where its code is, or would be.
    pub fn path(&self) -> &Path {
        self.installed.as_ref().map_or(&self.place, |installed| &installed.code)
    }

    /// Whether it is a folder of scripts.
    pub fn has_scripts(&self) -> bool {
        self.installed.as_ref().is_ok_and(|installed| installed.receipt.scripts.is_some())
    }
}
