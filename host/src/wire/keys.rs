//! Finds a key that stands twice in an object, whatever the number of keys and the depth of objects.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;

/// An object with more keys than this is looked up by hash; fewer are compared one by one.
const FEW: usize = 16;

/// The keys of all objects that are open, as places in the message.
#[derive(Debug, Default)]
pub(super) struct Keys {
    places: Vec<(u32, u32)>,
    levels: Vec<Level>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Level {
    first: usize,
    /// Some key stands twice.
    twice: bool,
    /// By hash of the key. Two keys of one hash would need 2^32 of them; then a second one would go unnoticed.
    many: Option<HashMap<u64, (u32, u32)>>,
}

impl Keys {
    /// An object opens.
    pub(super) fn open(&mut self) {
        self.levels.push(Level { first: self.places.len(), twice: false, many: None });
    }

    /// The innermost object closes.
    pub(super) fn close(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.places.truncate(level.first);
        }
    }

    /// Forgets everything, memory included.
    pub(super) fn clear(&mut self) {
        self.levels.clear();
        self.places = Vec::new();
    }

    /// Bytes held, roughly.
    pub(super) fn held(&self) -> usize {
        let many: usize =
            self.levels.iter().filter_map(|level| level.many.as_ref()).map(HashMap::capacity).sum();
        self.places.capacity() * 8 + many * 18
    }

    /// Whether a key of the innermost object stands twice.
    pub(super) fn twice(&self) -> bool {
        self.levels.last().is_some_and(|level| level.twice)
    }

    /// Adds a key of the innermost object, spelt plainly at `key` in the message.
    pub(super) fn add(&mut self, message: &[u8], key: Range<usize>) {
        let Some(level) = self.levels.last_mut() else { return };
        // Messages stay below 64 MiB.
        let place =
            (u32::try_from(key.start).unwrap_or(u32::MAX), u32::try_from(key.end).unwrap_or(u32::MAX));
        let bytes = |(start, end): (u32, u32)| &message[start as usize..end as usize];
        if let Some(many) = &mut level.many {
            let previous = many.insert(self.hasher.hash_one(bytes(place)), place);
            level.twice |= previous.is_some_and(|previous| bytes(previous) == bytes(place));
            return;
        }
        let known = &self.places[level.first..];
        level.twice |= known.iter().any(|&known| bytes(known) == bytes(place));
        if known.len() == FEW {
            let hashed =
                known.iter().chain([&place]).map(|&known| (self.hasher.hash_one(bytes(known)), known));
            level.many = Some(hashed.collect());
            self.places.truncate(level.first);
        } else {
            self.places.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_key_is_found_among_few_and_many() {
        for count in [1, 2, FEW, FEW + 1, FEW + 2, 1000] {
            for twin in [0, count / 2, count - 1] {
                let mut message = Vec::new();
                let mut keys = Keys::default();
                keys.open();
                let mut add = |keys: &mut Keys, name: usize| {
                    let start = message.len();
                    message.extend_from_slice(format!("\"{name}\"").as_bytes());
                    keys.add(&message, start..message.len());
                    !keys.twice()
                };
                assert!((0..count).all(|name| add(&mut keys, name)));
                keys.open();
                assert!(add(&mut keys, twin), "the same key in an inner object is fine");
                keys.close();
                assert!(!add(&mut keys, twin), "{twin} of {count}");
            }
        }
    }
}
