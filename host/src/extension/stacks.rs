//! Stacks that components run on, kept for the next call: making one, and having its pages given anew, costs as much as a short call.
//! The second of three places with `unsafe`: the engine is given memory.

#![allow(
    unsafe_code,
    reason = "the engine takes its stacks as bare memory, which nothing but how they are made makes safe"
)]

use std::ffi::c_void;
use std::fmt;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;
use wasmtime::{Result, StackCreator, StackMemory};

/// Stacks that are kept while nobody needs them.
const SPARE: usize = 4;

/// Bytes at the top of a stack whose pages stay: what a short call touches.
const RESIDENT: usize = 32 << 10;

/// Makes stacks, and keeps some.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    spare: Arc<Mutex<Vec<Mapping>>>,
}

// SAFETY: each stack is a mapping of its own, made and handed out once, with a guard below it.
unsafe impl StackCreator for Stacks {
    /// Pages of one that was used before may hold what an earlier call left there. Components cannot read their stack, so that is as good
    /// as zeros but for where those are asked for.
    fn new_stack(&self, size: usize, zeroed: bool) -> Result<Box<dyn StackMemory>> {
        let len = size.next_multiple_of(page_size());
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let found = spare.pop_if(|mapping| !zeroed && mapping.len == len);
        drop(spare);
        let mapping = match found {
            Some(mapping) => mapping,
            None => Mapping::new(len)?,
        };
        Ok(Box::new(Stack { mapping: Some(mapping), spare: self.spare.clone() }))
    }
}

/// A stack in use.
struct Stack {
    /// Until it is dropped.
    mapping: Option<Mapping>,
    spare: Arc<Mutex<Vec<Mapping>>>,
}

impl Stack {
    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("only a drop takes it")
    }
}

// SAFETY: the mapping is whole pages, its guard is one that cannot be touched, and both live as long as this does.
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.mapping().bottom().wrapping_add(self.mapping().len)
    }

    fn range(&self) -> Range<usize> {
        let bottom = self.mapping().bottom().addr();
        bottom..bottom + self.mapping().len
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.mapping().guard.as_ptr().cast()..self.mapping().bottom()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping.take() else { return };
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            mapping.give_back();
            spare.push(mapping);
        }
    }
}

/// Memory of a stack, with a page below that cannot be touched.
struct Mapping {
    guard: NonNull<c_void>,
    /// Bytes above the guard.
    len: usize,
}

// SAFETY: it is memory that only its owner knows; nothing of it belongs to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; what is shared of it are its addresses.
unsafe impl Sync for Mapping {}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({})", self.len)
    }
}

impl Mapping {
    fn new(len: usize) -> Result<Self> {
        let whole = len + page_size();
        // SAFETY: a new private mapping at a place that the kernel chooses.
        let guard = unsafe { mmap_anonymous(ptr::null_mut(), whole, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let guard = NonNull::new(guard).expect("the kernel maps nothing at 0 unasked");
        let mapping = Self { guard, len };
        // SAFETY: all of the mapping above but its first page; nobody uses it yet.
        unsafe { mprotect(mapping.bottom().cast(), len, MprotectFlags::READ | MprotectFlags::WRITE)? };
        Ok(mapping)
    }

    fn bottom(&self) -> *mut u8 {
        self.guard.as_ptr().cast::<u8>().wrapping_add(page_size())
    }

    /// Lets go of the pages that only a deep call touches.
    fn give_back(&self) {
        let deep = self.len.saturating_sub(RESIDENT);
        // SAFETY: the lower part of the mapping, which nobody uses now; what it held is not needed any more.
        let _ = unsafe { madvise(self.bottom().cast(), deep, Advice::LinuxDontNeed) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, guard included, which nobody uses any more.
        let _ = unsafe { munmap(self.guard.as_ptr(), self.len + page_size()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_whole_pages_above_a_guard_and_are_used_again() {
        let stacks = Stacks::default();
        let one = stacks.new_stack(100_001, false).unwrap();
        let (range, guard) = (one.range(), one.guard_range());
        assert_eq!((range.start % page_size(), range.end % page_size()), (0, 0));
        assert!(range.len() >= 100_001 && guard.end.addr() == range.start && one.top().addr() == range.end);
        assert_eq!(guard.end.addr() - guard.start.addr(), page_size());
        let other = stacks.new_stack(100_001, false).unwrap();
        assert_ne!(other.range(), range);
        drop(one);
        assert_eq!(stacks.new_stack(100_001, false).unwrap().range(), range);
        // Another size, or one that has to be zeroed, is made anew; and not all are kept.
        assert_ne!(stacks.new_stack(1, false).unwrap().range(), range);
        assert_ne!(stacks.new_stack(100_001, true).unwrap().range(), range);
        drop([(); 2 * SPARE].map(|()| stacks.new_stack(1, false).unwrap()));
        assert_eq!(stacks.spare.lock().unwrap().len(), SPARE);
    }
}
