//! What extensions keep from one call to the next: `waga:extension/state`.
//!
//! A call sees what was kept when it first asked, with its own changes on top ([`view`]). If it succeeds they are kept, all of them
//! together: of two calls that end at once the later one's word counts, key by key. What is kept is in memory, once for all calls, and in
//! one file for each extension and source ([`store`]), which is written anew beside the old one and takes its place ([`format`] says
//! what is in it).
//!
//! Disks are waited for on threads for that, within the call's deadline, and nothing is written while filesystems are frozen.

mod format;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod view;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use waga_builtins::Agent;

pub use self::session::Session;
pub(super) use self::session::Unusable;
use self::store::Store;

/// Everything that is kept, of all extensions: it stays when they are declared anew.
#[derive(Debug)]
pub(super) struct Stores {
    folder: PathBuf,
    all: Mutex<Vec<Arc<Store>>>,
}

impl Stores {
    /// Those in this folder, which is made when it is first written to. Nothing is read yet.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), all: Mutex::default() }
    }

    /// What a call of the extension `name` is given whose component comes from `source`. It may keep `quota` bytes.
    pub(super) fn session(&self, name: &Arc<str>, source: &Path, quota: u64, agent: Weak<Agent>) -> Session {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|store| store.is_of(name, source)).cloned();
        let store = found.unwrap_or_else(|| {
            let store = Arc::new(Store::new(&self.folder, name, source));
            all.push(store.clone());
            store
        });
        Session::new(store, quota, agent)
    }
}
