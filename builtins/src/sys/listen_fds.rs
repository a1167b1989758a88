//! Descriptors that the service manager passed, as `sd_listen_fds(3)` tells them: from 3 on, as many as `LISTEN_FDS` says.
//!
//! The variables stay as they are, for changing the environment is not safe once there are threads; children of the agent do not get
//! them (see `spawn`).
#![allow(unsafe_code, reason = "a number in the environment has no owner that Rust knows of")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use crate::os_text;

/// The first one.
const FIRST: RawFd = 3;

/// Names that stand for none.
const NAMELESS: [&str; 3] = ["", "unknown", "stored"];

/// A passed descriptor.
#[derive(Debug)]
pub struct Passed {
    /// Its number when the agent was started.
    pub number: i32,
    /// Its name in `LISTEN_FDNAMES`.
    pub name: Option<String>,
    /// A copy of it. The descriptor with that number stays open too: nobody here can know whose it is by now.
    pub fd: OwnedFd,
}

/// Copies of what was passed to this process, none if nothing was. All of it closes on exec afterwards.
///
/// # Errors
/// There is no descriptor of such a number.
pub fn take() -> io::Result<Vec<Passed>> {
    let variable = |name| std::env::var(name).ok();
    let (pid, count) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
    numbered(pid.as_deref(), count.as_deref(), variable("LISTEN_FDNAMES").as_deref(), std::process::id())
        .map(|(number, name)| Ok(Passed { number, name, fd: copy(number)? }))
        .collect()
}

/// The numbers and names of descriptors that these variables pass to the process `own`.
fn numbered(
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
    own: u32,
) -> impl Iterator<Item = (RawFd, Option<String>)> {
    let meant = pid.and_then(|pid| pid.parse().ok()) == Some(own);
    let count: RawFd = count.filter(|_| meant).and_then(|count| count.parse().ok()).unwrap_or_default();
    let mut names: Vec<Option<String>> = names.map_or_else(Vec::new, |names| {
        names.split(':').map(|name| (!NAMELESS.contains(&name)).then(|| name.to_owned())).collect()
    });
    (FIRST..FIRST.saturating_add(count))
        .enumerate()
        .map(move |(index, number)| (number, names.get_mut(index).and_then(Option::take)))
}

fn copy(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: borrowed for this call only and never closed by it; one that is not open is an error of the calls below.
    let passed = unsafe { BorrowedFd::borrow_raw(number) };
    let copied = fcntl_setfd(passed, FdFlags::CLOEXEC).and_then(|()| fcntl_dupfd_cloexec(passed, FIRST));
    copied.map_err(|error| {
        let error = io::Error::from(error);
        let text =
            format!("descriptor {number} was not passed though LISTEN_FDS says so: {}", os_text(&error));
        io::Error::new(error.kind(), text)
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::io::fcntl_getfd;

    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_variables() {
        let told = |pid, count, names| {
            numbered(pid, count, names, 7)
                .map(|(number, name)| {
                    format!("{number}{}", name.map_or_else(String::new, |name| format!(" {name}")))
                })
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!(told(Some("7"), Some("3"), Some("ops:unknown:stored")), "3 ops, 4, 5");
        assert_eq!(told(Some("7"), Some("2"), Some("ops")), "3 ops, 4");
        assert_eq!(told(Some("7"), Some("2"), None), "3, 4");
        assert_eq!(told(Some("7"), Some("1"), Some("a:b")), "3 a");
        for (pid, count) in [
            (None, Some("1")),
            (Some("8"), Some("1")),
            (Some(""), Some("1")),
            (Some("7"), None),
            (Some("7"), Some("0")),
            (Some("7"), Some("-1")),
            (Some("7"), Some("x")),
            (Some("7"), Some("99999999999")),
        ] {
            assert_eq!(told(pid, count, Some("a")), "", "{pid:?} {count:?}");
        }
    }

    #[test]
    fn a_copy_is_another_descriptor_and_both_close_on_exec() {
        let file = rustix::io::dup(std::fs::File::open("/dev/null").unwrap()).unwrap();
        let copied = copy(file.as_raw_fd()).unwrap();
        assert_ne!(copied.as_raw_fd(), file.as_raw_fd());
        for fd in [&file, &copied] {
            assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
        }
        let error = copy(1_000_000).unwrap_err().to_string();
        assert!(error.starts_with("descriptor 1000000 was not passed"), "{error}");
    }
}
