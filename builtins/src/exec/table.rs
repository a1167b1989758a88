//! The children and their output, until somebody asks: whose they are, and how much may be kept.
//!
//! Pure bookkeeping: no process, no descriptor, no waiting. Every record has an id of its own, because its pid may come to mean
//! another child: a pid is free again once its process is reaped, which is before the record is `exited` if something else holds a pipe,
//! and before it is asked for in any case. A new child then takes the older record's place, for a client cannot tell the two apart.
//!
//! What is kept is bounded. In this order things go: the oldest ended record's output, the next one's and so on, then what running
//! children still write; and the oldest ended records when there are too many. One owner, an extension or a limited
//! channel, may hold a quarter of either bound.
//! Differs from qemu-ga, which keeps everything for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::record::{Bounds, Held, Owner, Record, Which};
use crate::sys::spawn::Ended;

/// What the table says of a pid.
#[derive(Debug)]
pub(super) enum Answer {
    Unknown,
    Running,
    /// The record, which the table has forgotten now.
    Ended(Record),
}

/// The children, by id.
#[derive(Debug)]
pub(super) struct Table {
    bounds: Bounds,
    /// Ids count up, so that their order is that of time. A record gets a new one when its child has ended.
    next: u64,
    by_pid: HashMap<(Owner, i32), u64>,
    running: HashMap<u64, Record>,
    ended: BTreeMap<u64, Record>,
    /// The ended records that have output to give.
    loaded: BTreeSet<u64>,
    held: HashMap<Owner, Held>,
    total: Held,
    /// Bytes of input not yet written.
    input: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(Bounds::AGENT)
    }
}

impl Table {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 0,
            by_pid: HashMap::new(),
            running: HashMap::new(),
            ended: BTreeMap::new(),
            loaded: BTreeSet::new(),
            held: HashMap::new(),
            total: Held::default(),
            input: 0,
        }
    }

    /// How many have not ended.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// A new child; what this owner has under the same pid is forgotten.
    pub(super) fn insert(&mut self, owner: Owner, pid: i32) -> u64 {
        let id = self.id();
        if let Some(older) = self.by_pid.insert((owner.clone(), pid), id) {
            if let Some(record) = self.running.remove(&older) {
                self.account(&record.owner, |held| held.output -= record.size());
            }
            self.forget(older);
        }
        let (out, err) = Default::default();
        self.running.insert(id, Record { owner, pid, ended: Ended::Unknown, out, err });
        id
    }

    /// Output of a running child: kept as far as there is room.
    pub(super) fn append(&mut self, id: u64, which: Which, bytes: &[u8]) {
        let Some(record) = self.running.get_mut(&id) else { return };
        let stream = record.stream(which);
        if stream.truncated {
            return;
        }
        let (wanted, owner) = (bytes.len().min(self.bounds.stream - stream.data.len()), record.owner.clone());
        let room = self.make_room(&owner, wanted);
        let Some(record) = self.running.get_mut(&id) else { return };
        let stream = record.stream(which);
        stream.truncated = room < bytes.len();
        // An eighth over what is there at most, so that little is held that is not counted.
        if stream.data.capacity() - stream.data.len() < room {
            stream.data.reserve_exact(room.max(stream.data.len() / 8));
        }
        stream.data.extend_from_slice(&bytes[..room]);
        self.account(&owner, |held| held.output += room);
    }

    /// The child has ended and its streams with it.
    pub(super) fn finish(&mut self, id: u64, ended: Ended) {
        let Some(mut record) = self.running.remove(&id) else { return };
        record.ended = ended;
        record.out.data.shrink_to_fit();
        record.err.data.shrink_to_fit();
        let (owner, id) = (record.owner.clone(), self.id());
        self.by_pid.insert((owner.clone(), record.pid), id);
        if record.size() > 0 {
            self.loaded.insert(id);
        }
        self.ended.insert(id, record);
        self.account(&owner, |held| held.records += 1);
        if owner.is_some() && self.held(&owner).records > self.bounds.records / Bounds::OWNER_SHARE {
            let oldest = self.ended.iter().find(|(_, record)| record.owner == owner).map(|(&id, _)| id);
            oldest.map(|id| self.forget(id));
        }
        if self.ended.len() > self.bounds.records {
            let oldest = self.ended.first_key_value().map(|(&id, _)| id);
            oldest.map(|id| self.forget(id));
        }
    }

    /// What is known of this owner's child; that it ended is told once.
    pub(super) fn take(&mut self, owner: &Owner, pid: i32) -> Answer {
        let Some(&id) = self.by_pid.get(&(owner.clone(), pid)) else { return Answer::Unknown };
        match self.forget(id) {
            Some(record) => Answer::Ended(record),
            None => Answer::Running,
        }
    }

    /// Counts input that is to be written; false when there is too much already.
    pub(super) fn take_input(&mut self, bytes: usize) -> bool {
        let fits = self.input + bytes <= self.bounds.input;
        if fits {
            self.input += bytes;
        }
        fits
    }

    /// Input is written, or nobody reads it any more.
    pub(super) fn release_input(&mut self, bytes: usize) {
        self.input -= bytes;
    }

    /// How many of `wanted` bytes may be added to this owner's output, after older output has been given up for it.
    fn make_room(&mut self, owner: &Owner, mut wanted: usize) -> usize {
        if owner.is_some() {
            let share = self.bounds.output / Bounds::OWNER_SHARE;
            while self.held(owner).output + wanted > share {
                let is_own = |id: &&u64| self.ended.get(id).is_some_and(|record| record.owner == *owner);
                let Some(&oldest) = self.loaded.iter().find(is_own) else { break };
                self.unload(oldest);
            }
            wanted = wanted.min(share - self.held(owner).output);
        }
        while self.total.output + wanted > self.bounds.output {
            let Some(&oldest) = self.loaded.first() else { break };
            self.unload(oldest);
        }
        wanted.min(self.bounds.output - self.total.output)
    }

    /// Gives up the output of an ended record; what is left says that there was some.
    fn unload(&mut self, id: u64) {
        self.loaded.remove(&id);
        let Some(record) = self.ended.get_mut(&id) else { return };
        let (owner, size) = (record.owner.clone(), record.size());
        for stream in [&mut record.out, &mut record.err] {
            stream.truncated |= !stream.data.is_empty();
            stream.data = Vec::new();
        }
        self.account(&owner, |held| held.output -= size);
    }

    fn forget(&mut self, ended: u64) -> Option<Record> {
        let record = self.ended.remove(&ended)?;
        self.loaded.remove(&ended);
        let key = (record.owner.clone(), record.pid);
        if self.by_pid.get(&key) == Some(&ended) {
            self.by_pid.remove(&key);
        }
        self.account(&record.owner, |held| {
            held.records -= 1;
            held.output -= record.size();
        });
        Some(record)
    }

    fn held(&self, owner: &Owner) -> Held {
        self.held.get(owner).copied().unwrap_or_default()
    }

    fn account(&mut self, owner: &Owner, change: impl Fn(&mut Held)) {
        change(&mut self.total);
        let held = self.held.entry(owner.clone()).or_default();
        change(held);
        // Names of extensions that are no longer there must not stay.
        if *held == Held::default() {
            self.held.remove(owner);
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { records: 8, output: 80, stream: 30, input: 10 };

    fn owner(name: &str) -> Owner {
        Some(crate::context::Owner::Extension(name.into()))
    }

    fn table() -> Table {
        Table::new(SMALL)
    }

    fn run(table: &mut Table, owner: &Owner, pid: i32, out: &[u8]) {
        let id = table.insert(owner.clone(), pid);
        table.append(id, Which::Out, out);
        table.finish(id, Ended::Code(0));
    }

    /// What is left of a child's standard output: its length, and whether that is not all.
    fn left(table: &mut Table, owner: &Owner, pid: i32) -> Option<(usize, bool)> {
        match table.take(owner, pid) {
            Answer::Ended(record) => Some((record.out.data.len(), record.out.truncated)),
            Answer::Unknown | Answer::Running => None,
        }
    }

    fn is_empty(table: &Table) -> bool {
        let records = table.by_pid.len() + table.running.len() + table.ended.len() + table.loaded.len();
        records == 0 && table.total == Held::default() && table.held.is_empty()
    }

    #[test]
    fn a_stream_is_cut_at_its_bound_and_not_before() {
        let mut table = table();
        for (pieces, expected) in
            [(&[30][..], (30, false)), (&[31], (30, true)), (&[29, 1], (30, false)), (&[30, 1], (30, true))]
        {
            let id = table.insert(None, 1);
            for &length in pieces {
                table.append(id, Which::Out, &[b'x'; 64][..length]);
            }
            assert!(matches!(table.take(&None, 1), Answer::Running));
            table.finish(id, Ended::Code(0));
            assert_eq!(left(&mut table, &None, 1), Some(expected), "{pieces:?}");
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn an_end_is_told_once() {
        let mut table = table();
        run(&mut table, &None, 1, b"x");
        assert_eq!(left(&mut table, &None, 1), Some((1, false)));
        assert!(matches!(table.take(&None, 1), Answer::Unknown));
        assert!(is_empty(&table));
    }

    #[test]
    fn the_oldest_output_goes_first_and_says_so() {
        let mut table = table();
        for pid in 1..=4 {
            run(&mut table, &None, pid, &[0; 20]);
        }
        // Ended first, though started last: the order is that of the ends.
        let running = table.insert(None, 5);
        run(&mut table, &None, 6, &[0; 30]);
        table.append(running, Which::Err, b"x");
        table.finish(running, Ended::Code(0));
        for (pid, expected) in
            [(1, (0, true)), (2, (0, true)), (3, (20, false)), (4, (20, false)), (6, (30, false))]
        {
            assert_eq!(left(&mut table, &None, pid), Some(expected), "{pid}");
        }
        let Answer::Ended(record) = table.take(&None, 5) else { panic!() };
        assert_eq!((record.err.data.len(), record.err.truncated, record.out.truncated), (1, false, false));
        assert!(is_empty(&table));
    }

    #[test]
    fn running_children_share_the_bound_and_keep_a_beginning_without_holes() {
        let mut table = table();
        let ids: Vec<_> = (1..=4).map(|pid| table.insert(None, pid)).collect();
        for &id in &ids {
            table.append(id, Which::Out, &[0; 30]);
        }
        assert_eq!(table.total.output, 80);
        table.finish(ids[0], Ended::Code(0));
        // There is room again, but what went before is lost already.
        assert_eq!(left(&mut table, &None, 1), Some((30, false)));
        table.append(ids[2], Which::Out, &[0; 30]);
        table.append(ids[3], Which::Err, &[0; 30]);
        for &id in &ids[1..] {
            table.finish(id, Ended::Code(0));
        }
        for (pid, expected) in [(2, (30, false)), (3, (20, true)), (4, (0, true))] {
            assert_eq!(left(&mut table, &None, pid), Some(expected), "{pid}");
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn the_oldest_record_goes_when_there_are_too_many() {
        let mut table = table();
        for pid in 1..=10 {
            run(&mut table, &None, pid, b"x");
        }
        assert_eq!((table.ended.len(), table.total.records, table.total.output), (8, 8, 8));
        for pid in 1..=10 {
            assert_eq!(left(&mut table, &None, pid).is_some(), pid > 2, "{pid}");
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn an_extension_sees_its_own_and_holds_a_quarter() {
        let (mut table, extension) = (table(), owner("extension"));
        for pid in 1..=3 {
            run(&mut table, &None, pid, &[0; 20]);
        }
        assert_eq!(left(&mut table, &extension, 1), None);
        // Its own output and records go first; the host's stay.
        for pid in 1..=3 {
            run(&mut table, &extension, pid, &[0; 15]);
        }
        assert_eq!(table.held(&extension), Held { records: 2, output: 15 });
        let running = table.insert(extension.clone(), 4);
        table.append(running, Which::Out, &[0; 30]);
        table.finish(running, Ended::Code(0));
        for (pid, expected) in [(1, None), (2, None), (3, Some((0, true))), (4, Some((20, true)))] {
            assert_eq!(left(&mut table, &extension, pid), expected, "{pid}");
        }
        for pid in 1..=3 {
            assert_eq!(left(&mut table, &None, pid), Some((20, false)), "{pid}");
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn a_new_child_takes_the_place_of_an_older_one_with_its_pid() {
        let mut table = table();
        run(&mut table, &None, 1, &[0; 9]);
        run(&mut table, &owner("other"), 1, &[0; 8]);
        // Reaped, but something else still holds its output open.
        let older = table.insert(None, 1);
        table.append(older, Which::Out, &[0; 7]);
        let newer = table.insert(None, 1);
        table.append(older, Which::Out, &[0; 6]);
        table.append(newer, Which::Out, &[0; 5]);
        table.finish(older, Ended::Code(1));
        assert!(matches!(table.take(&None, 1), Answer::Running));
        table.finish(newer, Ended::Code(0));
        assert_eq!(left(&mut table, &None, 1), Some((5, false)));
        assert_eq!(left(&mut table, &owner("other"), 1), Some((8, false)));
        assert!(is_empty(&table));
    }

    #[test]
    fn unread_input_is_bounded() {
        let mut table = table();
        assert!(table.take_input(6) && !table.take_input(5) && table.take_input(4));
        table.release_input(6);
        assert!(table.take_input(6));
    }
}
