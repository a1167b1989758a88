//! The guest's clocks and time zone.

mod rtc;
mod set;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::command::{Builtin, Command, Empty};
use crate::context::{Context, Work};
use crate::error::Result;
use crate::sys::localtime;

pub(crate) const COMMANDS: &[Builtin] =
    &[Builtin::of::<GuestGetTime>(), Builtin::of::<set::GuestSetTime>(), Builtin::of::<GuestGetTimezone>()];

/// Tells the guest's time: nanoseconds since the epoch in UTC, in steps of a microsecond as qemu-ga.
struct GuestGetTime;

impl Command for GuestGetTime {
    const NAME: &'static str = "guest-get-time";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = i64;

    async fn run(_: &Context, _: Empty) -> Result<i64> {
        Ok(microseconds(SystemTime::now()).saturating_mul(1000))
    }
}

/// Tells the guest's time zone.
struct GuestGetTimezone;

/// The result of [`GuestGetTimezone`].
#[derive(Debug, Serialize)]
struct Timezone {
    /// The abbreviation, `CET` for instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// Seconds east of UTC, now: daylight saving time included.
    offset: i64,
}

impl Command for GuestGetTimezone {
    const NAME: &'static str = "guest-get-timezone";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Timezone;

    /// Differs from qemu-ga: for a `TZ` that means nothing the zone is called as in `TZ`, not UTC; the offset is 0 in both.
    async fn run(cx: &Context, _: Empty) -> Result<Timezone> {
        let now = microseconds(SystemTime::now()).div_euclid(1_000_000);
        let zone = cx.blocking(Work::Inspect, move || localtime::zone_at(now)).await?;
        Ok(Timezone { zone: zone.abbreviation, offset: zone.offset })
    }
}

/// Microseconds since the epoch, negative before it.
fn microseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_is_counted_both_ways_from_the_epoch() {
        assert_eq!(microseconds(UNIX_EPOCH), 0);
        assert_eq!(
            microseconds(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789)),
            1_700_000_000_123_456
        );
        assert_eq!(microseconds(UNIX_EPOCH - Duration::from_secs(5)), -5_000_000);
    }
}
