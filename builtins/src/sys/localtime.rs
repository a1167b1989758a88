//! The local time zone as the C library knows it: `TZ`, else `/etc/localtime`.
#![allow(unsafe_code, reason = "no crate of ours wraps localtime_r")]

use std::ffi::CStr;
use std::mem::MaybeUninit;

use nix::libc;

unsafe extern "C" {
    /// Missing in the libc crate.
    fn tzset();
}

/// What a clock on the wall is ahead of UTC at some moment, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zone {
    /// The zone's abbreviation, `CEST` for instance.
    pub(crate) abbreviation: Option<String>,
    /// Seconds east of UTC, daylight saving time included.
    pub(crate) offset: i64,
}

/// The local zone at `seconds` after the epoch. Reads a file where `/etc/localtime` has changed or `TZ` names one.
pub(crate) fn zone_at(seconds: i64) -> Zone {
    let mut local = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: tzset reads the environment, which nothing in this program changes after its start, and the C library's zone, under the
    // library's lock.
    unsafe { tzset() };
    // SAFETY: both pointers are to live values of the right types.
    let filled = unsafe { libc::localtime_r(&raw const seconds, local.as_mut_ptr()) };
    if filled.is_null() {
        return Zone { abbreviation: None, offset: 0 };
    }
    // SAFETY: localtime_r succeeded, so all of it is written.
    let local = unsafe { local.assume_init() };
    let abbreviation = (!local.tm_zone.is_null()).then(|| {
        // SAFETY: not null, and a string of the C library, which keeps every abbreviation that it ever handed out.
        unsafe { CStr::from_ptr(local.tm_zone) }.to_string_lossy().into_owned()
    });
    let abbreviation = abbreviation.filter(|name| !name.is_empty());
    Zone { abbreviation, offset: local.tm_gmtoff }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_a_name_and_a_sane_offset() {
        for seconds in [0, 1_700_000_000] {
            let zone = zone_at(seconds);
            assert!(zone.abbreviation.is_some_and(|name| !name.is_empty()));
            assert!(zone.offset.abs() <= 26 * 3600);
        }
    }

    #[test]
    fn a_moment_without_a_date_is_utc() {
        assert_eq!(zone_at(i64::MAX), Zone { abbreviation: None, offset: 0 });
    }
}
