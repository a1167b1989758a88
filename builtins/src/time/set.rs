//! Setting the guest's clock: by the host, or by the guest's own hardware clock.
//!
//! An error means that nothing was changed. What can fail comes first: the hardware clock is opened, then the system's clock is set. A
//! hardware clock that cannot be written then is told in the log: the clock that programs go by is right, and setting it back would
//! only make it jump twice.

use std::io;
use std::path::Path;
use std::time::Instant;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde::Deserialize;

use super::rtc::{HardwareClock, is_busy};
use crate::command::{Command, Empty};
use crate::context::{Context, Work};
use crate::error::{Error, Result, os_text};

const SECOND: i64 = 1_000_000_000;

/// Seconds from the epoch to the year 2070, where qemu-ga's dates end.
const END: i64 = 3_155_760_000;

/// Sets the guest's clock and its hardware clock, or the former by the latter.
pub(super) struct GuestSetTime;

/// The arguments of [`GuestSetTime`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetTime {
    /// Nanoseconds since the epoch in UTC; without it the hardware clock's time is taken.
    time: Option<i64>,
}

impl Command for GuestSetTime {
    const NAME: &'static str = "guest-set-time";
    const AUDITED: &'static [&'static str] = &["time"];
    type Args = SetTime;
    type Return = Empty;

    /// Differs from qemu-ga: no error after the clock was set, when the hardware clock then fails (see above), is kept open by another
    /// program or is not there; the time is set to the nanosecond; no `hwclock` is needed.
    async fn run(cx: &Context, args: SetTime) -> Result<Empty> {
        let received = Instant::now();
        let channel = cx.caller.channel().clone();
        let time = args.time.map(checked).transpose()?;
        let work = move || match time {
            Some(time) => set(Path::new("/"), &channel, moved_on(time, received)),
            None => set_by_hardware(Path::new("/"), &channel),
        };
        cx.blocking(Work::Change, work).await??;
        Ok(Empty {})
    }
}

/// Refuses what qemu-ga refuses.
fn checked(time: i64) -> Result<i64> {
    if (0..END).contains(&time.div_euclid(SECOND)) {
        return Ok(time);
    }
    Err(Error::generic("Invalid time: it must be in the years from 1970 to 2069"))
}

/// What a time that was right at a moment has become by now: the hardware clock may have had to be waited for.
fn moved_on(time: i64, since: Instant) -> impl Fn() -> i64 {
    move || time.saturating_add(i64::try_from(since.elapsed().as_nanos()).unwrap_or(i64::MAX))
}

/// Sets the system's clock, and the hardware clock if it can be had.
fn set(root: &Path, channel: &str, now: impl Fn() -> i64) -> Result<()> {
    let clock = match HardwareClock::open(root) {
        Ok(clock) => {
            if clock.is_none() {
                tracing::info!("there is no hardware clock to be set");
            }
            clock
        }
        // Whoever keeps it open (a time server, as a rule) sees to it.
        Err(error) if is_busy(&error) => {
            tracing::warn!("the hardware clock is not set: another program keeps it open");
            None
        }
        Err(error) => return Err(failed("failed to set hardware clock to system time", error)),
    };
    set_system(channel, now())?;
    let Some(clock) = clock else { return Ok(()) };
    // Whole seconds, cut off: a PC's clock begins its next second half a second after it was set. To wait for that moment, as hwclock
    // does, would take up to a second each time.
    if let Err(error) = clock.set(now().div_euclid(SECOND)) {
        tracing::error!(error = os_text(&error), "the clock is set, but the hardware clock cannot be");
    }
    Ok(())
}

/// Sets the system's clock to what the hardware clock shows.
fn set_by_hardware(root: &Path, channel: &str) -> Result<()> {
    let failed = |error| failed("failed to set system time from hardware clock", error);
    let clock = HardwareClock::open(root).map_err(failed)?;
    let clock = clock.ok_or_else(|| failed(io::Error::other("the guest has none")))?;
    let seconds = clock.tick().map_err(failed)?;
    set_system(channel, seconds.saturating_mul(SECOND))
}

fn set_system(channel: &str, time: i64) -> Result<()> {
    let before = clock_gettime(ClockId::Realtime);
    let to = Timespec { tv_sec: time.div_euclid(SECOND), tv_nsec: time.rem_euclid(SECOND) };
    clock_settime(ClockId::Realtime, to)
        .map_err(|error| failed("Failed to set time to guest", error.into()))?;
    let seconds = (i128::from(to.tv_sec) - i128::from(before.tv_sec)) as f64
        + (to.tv_nsec - before.tv_nsec) as f64 / SECOND as f64;
    tracing::info!(channel, "the clock was set by {seconds:+.3} seconds");
    Ok(())
}

fn failed(what: &str, error: io::Error) -> Error {
    let error = Error::io(what, error);
    tracing::error!("{}", error.desc);
    error
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_that_qemu_ga_would_not_set_are_refused() {
        for time in [0, 1, 999_999_999, 1_700_000_000_123_456_789, END * SECOND - 1] {
            assert_eq!(checked(time).unwrap(), time);
        }
        for time in [-1, -SECOND, i64::MIN, END * SECOND, i64::MAX] {
            let error = checked(time).unwrap_err();
            assert_eq!(error.desc, "Invalid time: it must be in the years from 1970 to 2069");
        }
    }

    #[test]
    fn time_goes_on_while_the_hardware_clock_is_waited_for() {
        let earlier = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        let now = moved_on(1_700_000_000_000_000_000, earlier)();
        assert!(now >= 1_700_000_002_000_000_000, "{now}");
        assert_eq!(moved_on(i64::MAX, earlier)(), i64::MAX);
    }

    #[test]
    fn without_a_hardware_clock_it_sets_nothing() {
        let root = tempfile::tempdir().unwrap();
        let desc = || set_by_hardware(root.path(), "x").unwrap_err().desc;
        let prefix = "failed to set system time from hardware clock";
        assert_eq!(desc(), format!("{prefix}: the guest has none"));
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/rtc0"), "").unwrap();
        assert_eq!(desc(), format!("{prefix}: Inappropriate ioctl for device"));
    }
}
