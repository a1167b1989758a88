//! What one call sees and changes. Pure bookkeeping: no file, no waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::size;

/// Most bytes of a key.
pub(super) const LONGEST_KEY: usize = 128;

/// What each key counts for besides its bytes and those of its value: many small ones take memory too.
const EACH: u64 = 32;

/// Keys and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entries {
    map: BTreeMap<Arc<str>, Arc<[u8]>>,
    size: u64,
}

/// What is changed: a key's new value, or that it has none any more.
pub(super) type Changes = BTreeMap<Arc<str>, Option<Arc<[u8]>>>;

fn cost(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + EACH
}

/// Whether there may be such a key.
pub(super) fn is_key(key: &str) -> bool {
    (1..=LONGEST_KEY).contains(&key.len())
}

impl Entries {
    pub(super) fn get(&self, key: &str) -> Option<&Arc<[u8]>> {
        self.map.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<[u8]>)> {
        self.map.iter()
    }

    /// What all of it counts for.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn insert(&mut self, key: Arc<str>, value: Arc<[u8]>) {
        self.remove(&key);
        self.size += cost(&key, &value);
        self.map.insert(key, value);
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, value)) = self.map.remove_entry(key) {
            self.size -= cost(&key, &value);
        }
    }

    /// With these changes.
    pub(super) fn with(&self, changes: &Changes) -> Self {
        let mut entries = self.clone();
        for (key, value) in changes {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            }
        }
        entries
    }
}

/// What one call sees: what was kept when it first asked, and its own changes.
#[derive(Debug, Default)]
pub(super) struct View {
    kept: Arc<Entries>,
    changes: Changes,
    size: u64,
}

impl View {
    pub(super) fn new(kept: Arc<Entries>) -> Self {
        Self { size: kept.size(), changes: Changes::new(), kept }
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        match self.changes.get(key) {
            Some(change) => change.clone(),
            None => self.kept.get(key).cloned(),
        }
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// There cannot be such a key, or there would be more than `quota` lets there be.
    pub(super) fn set(&mut self, key: &str, value: Vec<u8>, quota: u64) -> Result<(), String> {
        if !is_key(key) {
            return Err(format!("a key has 1 to {LONGEST_KEY} bytes, not {}", key.len()));
        }
        let before = self.get(key).map_or(0, |value| cost(key, &value));
        let (grown, size) = (cost(key, &value) > before, self.size - before + cost(key, &value));
        if size > quota && grown {
            return Err(too_much(size, quota));
        }
        self.size = size;
        self.changes.insert(key.into(), Some(value.into()));
        Ok(())
    }

    /// Takes a key's value away. What has none is no change: the changes are never more than what is kept and what was set.
    pub(super) fn delete(&mut self, key: &str) {
        let Some(value) = self.get(key) else { return };
        self.size -= cost(key, &value);
        match self.kept.get(key) {
            Some(_) => drop(self.changes.insert(key.into(), None)),
            None => drop(self.changes.remove(key)),
        }
    }

    /// The keys that have a value, in the order of their bytes.
    pub(super) fn keys(&self) -> Vec<Arc<str>> {
        self.kept.with(&self.changes).map.into_keys().collect()
    }

    /// What was changed, which is as nothing from then on.
    pub(super) fn take(&mut self) -> Changes {
        self.size = self.kept.size();
        std::mem::take(&mut self.changes)
    }
}

/// What is told whoever would keep more than `quota` bytes.
pub(super) fn too_much(size: u64, quota: u64) -> String {
    format!(
        "the state would come to {size} bytes, and may have {} (limits.state = \"{}\")",
        quota,
        size::format(quota)
    )
}
