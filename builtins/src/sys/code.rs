//! Gives back the memory of code that has done its work: what starts an agent (the loader, options, configuration) is more code than what
//! serves its requests, and would stay resident for good where memory is not short.

#![allow(unsafe_code, reason = "no crate wraps madvise of mappings that it did not make")]

use std::ffi::c_void;
use std::fs;

use rustix::mm::{Advice, madvise};

/// Lets go of the pages of all program code, this program's and its libraries'. What runs next is mapped again, from the page cache, in
/// a few minor faults; nothing else changes. To be called when the start is over.
pub fn release_code() {
    // No /proc, nothing given back.
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, length) in code_of_files(&maps) {
        // SAFETY: the mapping is private, cannot be written and comes from a file, and code of position-independent programs is never
        // relocated; so its pages are the file's, and dropping them brings the same bytes back when they are next touched. (What a
        // debugger wrote there, a breakpoint, is lost.) No reference into it is invalidated: its address range stays mapped.
        let advised = unsafe { madvise(start as *mut c_void, length, Advice::LinuxDontNeed) };
        if let Err(error) = advised {
            // Locked in memory, say: as its owner wishes.
            tracing::debug!(%error, "code stays in memory");
        }
    }
}

/// The start and the length of each mapping of `/proc/PID/maps` that is code of a file.
pub(crate) fn code_of_files(maps: &str) -> impl Iterator<Item = (usize, usize)> {
    maps.lines().filter_map(code)
}

/// The range of a line of `/proc/PID/maps` that is code of a file: `START-END r-xp OFFSET DEVICE INODE PATH`.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (permissions, inode) = (fields.next()?, fields.nth(2)?);
    if permissions != "r-xp" || inode == "0" {
        return None;
    }
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    let start = number(start)?;
    Some((start, number(end)?.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        for (line, expected) in [
            ("55d0-55f0 r-xp 00072000 fe:00 1234                       /usr/sbin/waga", Some((0x55d0, 0x20))),
            ("55d0-55f0 r--p 00000000 fe:00 1234                       /usr/sbin/waga", None),
            ("55d0-55f0 rw-p 00000000 fe:00 1234                       /usr/sbin/waga", None),
            ("55d0-55f0 rwxp 00000000 fe:00 1234                       /usr/sbin/waga", None),
            ("7ffc-7ffe r-xp 00000000 00:00 0                          [vdso]", None),
            ("7f00-7f10 r-xp 00000000 00:00 0", None),
            ("", None),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
    }

    #[test]
    fn everything_works_as_before() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        release_code();
        let after = resident();
        assert!(after < before, "{before} kB, then {after} kB");
        assert_eq!((0..1000).map(|number| number.to_string().len()).sum::<usize>(), 2890);
    }
}
