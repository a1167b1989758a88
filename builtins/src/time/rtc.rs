//! The guest's hardware clock: which one it is, what it is opened as, and what its date and time of day mean.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::sys::{localtime, rtc};

/// How long a clock that somebody else has open is waited for: the kernel lets in one at a time, and most read it and leave.
const BUSY: Duration = Duration::from_secs(1);

/// How long the clock's next second is waited for; one that has not begun by then never will.
const TICK: Duration = Duration::from_millis(1500);

/// How often is looked, where there is nothing to wait for.
const PAUSE: Duration = Duration::from_millis(5);

const DAY: i64 = 86_400;

/// An open hardware clock.
#[derive(Debug)]
pub(super) struct HardwareClock {
    device: File,
    zone: Zone,
}

/// The zone in which a clock is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    Utc,
    /// That of the guest, as other systems on the same machine may want it.
    Local,
}

impl HardwareClock {
    /// The one that the kernel sets the system's clock by, else the first; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be opened; `EBUSY` when somebody keeps it open.
    pub(super) fn open(root: &Path) -> io::Result<Option<Self>> {
        for path in candidates(root) {
            match open_patiently(&path) {
                Ok(device) => return Ok(Some(Self { device, zone: zone(root) })),
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Sets it, to seconds since the epoch in UTC.
    pub(super) fn set(&self, seconds: i64) -> io::Result<()> {
        rtc::set(&self.device, &time_of(self.zone.shown_at(seconds)))
    }

    /// Seconds since the epoch in UTC, told at the moment when that second begins: a hardware clock knows no parts of one.
    ///
    /// Takes up to a second.
    pub(super) fn tick(&self) -> io::Result<i64> {
        let (begun, first) = (Instant::now(), rtc::read(&self.device)?);
        loop {
            pause();
            let now = rtc::read(&self.device)?;
            if now != first {
                return Ok(self.zone.meant_by(seconds_of(&now)));
            }
            if begun.elapsed() > TICK {
                return Err(io::Error::other("it stands still"));
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread for work that blocks, and a clock that tells no events"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Opens a clock, and waits for a moment while somebody else has it.
fn open_patiently(path: &Path) -> io::Result<File> {
    let begun = Instant::now();
    loop {
        match File::open(path) {
            Err(error) if is_busy(&error) && begun.elapsed() < BUSY => pause(),
            opened => return opened,
        }
    }
}

/// Whether somebody else has the clock open.
pub(super) fn is_busy(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::BUSY)
}

/// Whether an error means that there is no such device.
fn is_absence(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NXIO | Errno::NODEV))
}

/// Where a clock may be, best first.
fn candidates(root: &Path) -> Vec<PathBuf> {
    let class = root.join("sys/class/rtc");
    let kernels = fs::read_dir(&class).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let kernels = kernels.filter(|name| {
        fs::read_to_string(class.join(name).join("hctosys")).is_ok_and(|flag| flag.trim_end() == "1")
    });
    let names = kernels.chain(["rtc".into(), "rtc0".into()]);
    names.map(|name| root.join("dev").join(name)).collect()
}

/// As `/etc/adjtime` says, the file of hwclock: its third line is `UTC` or `LOCAL`.
fn zone(root: &Path) -> Zone {
    let text = fs::read_to_string(root.join("etc/adjtime")).unwrap_or_default();
    if text.lines().nth(2).is_some_and(|line| line.trim_end() == "LOCAL") { Zone::Local } else { Zone::Utc }
}

impl Zone {
    /// What a clock in this zone shows at a moment, as if it were UTC.
    fn shown_at(self, seconds: i64) -> i64 {
        seconds + self.offset(seconds)
    }

    /// The moment that it shows; in the hour that comes twice, one of the two.
    fn meant_by(self, shown: i64) -> i64 {
        let near = shown - self.offset(shown);
        shown - self.offset(near)
    }

    fn offset(self, seconds: i64) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Local => localtime::zone_at(seconds).offset,
        }
    }
}

/// The date and time of day of seconds since 1970-01-01, by the Gregorian calendar.
#[expect(clippy::cast_possible_truncation, reason = "a year of an i64 of nanoseconds has four digits")]
fn time_of(seconds: i64) -> rtc::Time {
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Counted from 0000-03-01, so that the day that some years lack is the last: in eras of 400 years, in years of the era, in days.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // 153 days are five months, March first.
    let from_march = (5 * of_year + 2) / 153;
    let month = (from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    rtc::Time {
        second: (second % 60) as i32,
        minute: (second / 60 % 60) as i32,
        hour: (second / 3600) as i32,
        day: (of_year - (153 * from_march + 2) / 5 + 1) as i32,
        month: month as i32,
        year: (year - 1900) as i32,
        unused: [0; 3],
    }
}

/// Seconds since 1970-01-01 of a date and a time of day.
fn seconds_of(time: &rtc::Time) -> i64 {
    let from_march = i64::from(time.month + 10) % 12;
    let year = i64::from(time.year) + 1900 - i64::from(time.month < 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * from_march + 2) / 5 + i64::from(time.day) - 1;
    let of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = era * 146_097 + of_era - 719_468;
    days * DAY + i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(date: [i32; 3], time_of_day: [i32; 3]) -> rtc::Time {
        let ([year, month, day], [hour, minute, second]) = (date, time_of_day);
        rtc::Time { second, minute, hour, day, month: month - 1, year: year - 1900, unused: [0; 3] }
    }

    /// The days from 1970-01-01 to the first of a month, counted one year and one month at a time.
    fn counted(year: i32, month: i32) -> i64 {
        let leap = |year: i32| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let years: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
        let months = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        years + months.iter().zip(1..month).map(|(days, _)| days).sum::<i64>()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, time([1970, 1, 1], [0, 0, 0])),
            (951_782_399, time([2000, 2, 28], [23, 59, 59])),
            (951_782_400, time([2000, 2, 29], [0, 0, 0])),
            (1_700_000_000, time([2023, 11, 14], [22, 13, 20])),
            (2_147_483_648, time([2038, 1, 19], [3, 14, 8])),
            (3_155_759_999, time([2069, 12, 31], [23, 59, 59])),
            (-1, time([1969, 12, 31], [23, 59, 59])),
        ] {
            assert_eq!(time_of(seconds), expected);
            assert_eq!(seconds_of(&expected), seconds);
        }
    }

    proptest! {
        #[test]
        fn seconds_come_back(seconds in -10_000_000_000_i64..10_000_000_000) {
            prop_assert_eq!(seconds_of(&time_of(seconds)), seconds);
        }

        #[test]
        fn days_are_counted(year in 1970..2300, month in 1..=12, day in 1..=28, second in 0..86_400) {
            let date = time([year, month, day], [second / 3600, second / 60 % 60, second % 60]);
            let expected = (counted(year, month) + i64::from(day) - 1) * DAY + i64::from(second);
            prop_assert_eq!(seconds_of(&date), expected);
            prop_assert_eq!(time_of(expected), date);
        }

        #[test]
        fn local_time_comes_back(seconds in 0_i64..3_000_000_000) {
            // Where two hours look alike, one of them.
            let back = Zone::Local.meant_by(Zone::Local.shown_at(seconds));
            prop_assert!((back - seconds).abs() <= 3600);
            prop_assert_eq!(Zone::Utc.meant_by(Zone::Utc.shown_at(seconds)), seconds);
        }
    }

    #[test]
    fn the_kernels_clock_comes_first() {
        let root = tempfile::tempdir().unwrap();
        let names = || {
            let names = candidates(root.path()).into_iter();
            names
                .map(|path| path.strip_prefix(root.path()).unwrap().display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(), ["dev/rtc", "dev/rtc0"]);
        for (name, flag) in [("rtc0", "0\n"), ("rtc1", "1\n"), ("rtc2", "")] {
            let folder = root.path().join("sys/class/rtc").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("hctosys"), flag).unwrap();
        }
        assert_eq!(names(), ["dev/rtc1", "dev/rtc", "dev/rtc0"]);
        assert!(HardwareClock::open(root.path()).unwrap().is_none());
        fs::create_dir(root.path().join("dev")).unwrap();
        fs::write(root.path().join("dev/rtc0"), "").unwrap();
        assert!(HardwareClock::open(root.path()).unwrap().is_some());
    }

    #[test]
    fn the_zone_is_told_by_hwclocks_file() {
        let root = tempfile::tempdir().unwrap();
        let told = || zone(root.path());
        assert_eq!(told(), Zone::Utc);
        fs::create_dir(root.path().join("etc")).unwrap();
        for (text, expected) in [
            ("0.0 0 0.0\n0\nLOCAL\n", Zone::Local),
            ("0.0 0 0.0\n0\nLOCAL", Zone::Local),
            ("0.0 0 0.0\n0\nUTC\n", Zone::Utc),
            ("LOCAL\n", Zone::Utc),
            ("", Zone::Utc),
        ] {
            fs::write(root.path().join("etc/adjtime"), text).unwrap();
            assert_eq!(told(), expected, "{text:?}");
        }
    }
}
