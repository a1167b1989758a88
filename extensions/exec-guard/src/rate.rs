//! How often: whether one more start is within a rate, after those that were. In no span of that length are there ever more.

use serde::Deserialize;

/// So many starts in so many seconds.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub calls: usize,
    pub seconds: u64,
}

/// As many starts as are kept of one rule.
const MOST: usize = 1000;
const WEEK: u64 = 7 * 24 * 60 * 60;
const SECOND: u64 = 1_000_000_000;

impl Rate {
    pub fn check(self) -> Result<(), String> {
        if !(1..=MOST).contains(&self.calls) || !(1..=WEEK).contains(&self.seconds) {
            return Err(format!(
                "rate: calls = {}, seconds = {}: 1 to {MOST} calls in 1 to {WEEK} seconds",
                self.calls, self.seconds
            ));
        }
        Ok(())
    }

    /// For who has to wait so long.
    pub fn told(self, what: &str, wait: u64) -> String {
        let Self { calls, seconds } = self;
        format!("allows {what} {calls} times in {seconds} seconds: try again in {} s", wait.div_ceil(SECOND))
    }
}

/// A start, as the key that it is kept under: what it is a start of, and when, in nanoseconds since 1970. One of its own for each: of requests
/// that are looked at side by side none takes another's back.
pub fn key(of: &str, now: u64) -> String {
    format!("{of} {now:020}")
}

/// What a key is a start of, and when.
pub fn read(key: &str) -> Option<(&str, u64)> {
    let (of, time) = key.rsplit_once(' ')?;
    Some((of, time.parse().ok()?))
}

impl Rate {
    /// Whether a start counts, still. Times are in nanoseconds.
    ///
    /// A clock that was set back leaves starts that are yet to come: they count as long as it was set back by less than the rate's span, so
    /// that nobody is locked out for longer than that.
    pub fn counts(self, time: u64, now: u64) -> bool {
        time.abs_diff(now) < self.span()
    }

    /// How long to wait for there to be room for one more, after those that count; `None`: there is.
    pub fn wait(self, mut times: Vec<u64>, now: u64) -> Option<u64> {
        times.retain(|time| self.counts(*time, now));
        times.sort_unstable();
        // The one that has to be over; of a rate that was larger there are too many.
        let at = times.len().checked_sub(self.calls)?;
        Some(times[at].saturating_add(self.span()).saturating_sub(now))
    }

    fn span(self) -> u64 {
        self.seconds.saturating_mul(SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRICE: Rate = Rate { calls: 3, seconds: 10 };

    /// As `wait` has it, in tenths of a second.
    fn wait(times: &[u64], now: u64) -> Option<u64> {
        let times = times.iter().map(|time| time * (SECOND / 10)).collect();
        THRICE.wait(times, now * (SECOND / 10)).map(|wait| wait / (SECOND / 10))
    }

    #[test]
    fn in_no_span_are_there_more() {
        let mut started = Vec::new();
        for now in (0..1000).step_by(7) {
            match wait(&started, now) {
                None => started.push(now),
                Some(wait) => assert!(wait > 0 && wait <= 100, "{wait}"),
            }
        }
        assert!(started.len() > 25, "{started:?}");
        for window in started.windows(4) {
            assert!(window[3] - window[0] >= 100, "{window:?}");
        }
    }

    #[test]
    fn who_has_to_wait_is_told_how_long() {
        assert_eq!(wait(&[10, 20, 30], 40), Some(70));
        assert_eq!(wait(&[30, 10, 20], 109), Some(1));
        assert_eq!(wait(&[10, 20, 30], 110), None);
        // The rate was larger.
        assert_eq!(wait(&[1, 2, 3, 4, 5], 6), Some(97));
        assert_eq!(
            THRICE.told("'/bin/true'", 6 * SECOND + 1),
            "allows '/bin/true' 3 times in 10 seconds: try again in 7 s"
        );
    }

    #[test]
    fn a_clock_that_was_set_frees_nobody_at_once_and_locks_nobody_out() {
        // Back by less than the span: they count.
        assert_eq!(wait(&[90, 91, 92], 10), Some(180));
        // Back by more, or forth: they do not.
        assert_eq!(wait(&[900, 901, 902], 10), None);
        assert_eq!(THRICE.wait(vec![u64::MAX; 3], 0), None);
    }

    #[test]
    fn a_start_is_kept_under_a_key_of_its_own() {
        let kept = key("rule 0123", 1_700_000_000_123_456_789);
        assert_eq!(read(&kept), Some(("rule 0123", 1_700_000_000_123_456_789)));
        assert!(key("all", 9) < key("all", 10) && read("all").is_none() && read("all x").is_none());
    }

    #[test]
    fn a_rate_has_bounds() {
        for (calls, seconds, fine) in [
            (1, 1, true),
            (1000, WEEK, true),
            (0, 1, false),
            (1001, 1, false),
            (1, 0, false),
            (1, WEEK + 1, false),
        ] {
            assert_eq!(Rate { calls, seconds }.check().is_ok(), fine, "{calls} {seconds}");
        }
    }
}
