//! Bounds what all clients together hold in messages: past the bound the largest unfinished one is given up, and a finished one is
//! refused that has no room beside those whose commands still run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use super::Framer;

/// Bytes of unfinished messages that all clients together may hold.
pub const MAX_UNFINISHED: usize = 96 << 20;
/// A message is counted from this size on; smaller ones cost nothing to bound.
const COUNTED: usize = 64 << 10;

/// The framers of all clients.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    /// Bytes of messages whose commands run.
    running: AtomicUsize,
    framers: Mutex<Vec<Weak<Mutex<Framer>>>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MAX_UNFINISHED)
    }
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, running: AtomicUsize::new(0), framers: Mutex::default() }
    }

    /// The framer of a new client.
    pub fn framer(&self) -> Arc<Mutex<Framer>> {
        let framer = Arc::new(Mutex::new(Framer::default()));
        let mut framers = lock(&self.framers);
        framers.retain(|framer| framer.strong_count() > 0);
        framers.push(Arc::downgrade(&framer));
        framer
    }

    /// Counts a whole message for as long as its command runs; `None` when there is no room for it.
    pub fn charge(self: &Arc<Self>, size: usize) -> Option<Charge> {
        let size = if size < COUNTED { 0 } else { size };
        let running = self.running.fetch_add(size, Ordering::Relaxed);
        let charge = Charge { budget: self.clone(), size };
        (size == 0 || running + size <= self.limit).then_some(charge)
    }

    /// To be called when a framer holds `held` bytes of an unfinished message: gives up the largest ones until all fit.
    pub fn keep(&self, held: usize) {
        if held < COUNTED {
            return;
        }
        let framers: Vec<_> = lock(&self.framers).iter().filter_map(Weak::upgrade).collect();
        loop {
            let sizes = framers.iter().map(|framer| size_of_unfinished(framer));
            if sizes.clone().sum::<usize>() <= self.limit {
                return;
            }
            let Some((_, largest)) = sizes.zip(&framers).max_by_key(|(size, _)| *size) else { return };
            lock(largest).abandon();
        }
    }
}

/// A message that counts until this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    size: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.running.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// What a framer holds. One that another thread feeds now is not waited for: its client asks here itself when that is done.
fn size_of_unfinished(framer: &Mutex<Framer>) -> usize {
    match framer.try_lock() {
        Ok(framer) => framer.held(),
        Err(TryLockError::Poisoned(framer)) => framer.into_inner().held(),
        Err(TryLockError::WouldBlock) => 0,
    }
}

/// Locks it, also after a panic elsewhere: a framer is whole after every call.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Event;

    #[test]
    fn the_largest_unfinished_message_is_given_up_and_told_so() {
        let budget = Budget::new(300 << 10);
        let (small, large) = (budget.framer(), budget.framer());
        let feed = |framer: &Arc<Mutex<Framer>>, size: usize| {
            let (_, event) = lock(framer).feed(&vec![b'x'; size]);
            let held = lock(framer).held();
            budget.keep(held);
            event
        };
        for framer in [&small, &large] {
            lock(framer).feed(b"{\"a\":\"");
        }
        assert!(feed(&small, 100 << 10).is_none());
        assert!(feed(&large, 190 << 10).is_none());
        assert!(feed(&small, 20 << 10).is_none());
        assert!(lock(&large).held() < 1 << 10, "its memory is free at once");
        let (taken, Some(Event::Fault(error))) = lock(&large).feed(b"x\"}{\"a\":1}") else {
            panic!("no fault")
        };
        assert_eq!(taken, 0);
        assert!(error.desc.starts_with("JSON token size limit exceeded"), "{}", error.desc);
        let (taken, Some(Event::Message(message))) = lock(&large).feed(b"x\"}{\"a\":1}") else {
            panic!("out of step")
        };
        assert_eq!((taken, message.text()), (10, &b"{\"a\":1}"[..]));
        assert!(lock(&small).held() > 100 << 10);
    }

    #[test]
    fn messages_count_until_their_commands_end() {
        let budget = Arc::new(Budget::new(300 << 10));
        let first = budget.charge(200 << 10).unwrap();
        assert!(budget.charge(200 << 10).is_none());
        let small = budget.charge(100).unwrap();
        drop(first);
        assert!(budget.charge(200 << 10).is_some());
        drop(small);
        assert_eq!(budget.running.load(Ordering::Relaxed), 0);
    }
}
