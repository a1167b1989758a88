//! How often: the times of the last starts, and whether one more is within a rate. In no span of that length are there ever more.

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

    /// For who has to wait for so many milliseconds.
    pub fn told(self, what: &str, wait: u64) -> String {
        let Self { calls, seconds } = self;
        format!("allows {what} {calls} times in {seconds} seconds: try again in {} s", wait.div_ceil(1000))
    }
}

/// When programs were started, in milliseconds since 1970, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Starts(Vec<u64>);

impl Starts {
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let times = bytes.chunks_exact(8).filter_map(|time| time.try_into().ok());
        Self(times.map(u64::from_le_bytes).collect())
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|time| time.to_le_bytes()).collect()
    }

    /// With one more, now, without those that count no more; or the milliseconds until there may be one.
    ///
    /// A clock that was set back leaves starts that are yet to come: they count as long as it was set back by less than the rate's span, so
    /// that nobody is locked out for longer than that.
    pub fn and_one_more(mut self, rate: Rate, now: u64) -> Result<Self, u64> {
        let span = rate.seconds.saturating_mul(1000);
        self.0.retain(|time| time.abs_diff(now) < span);
        self.0.sort_unstable();
        // The one that has to be over for there to be room for one more; of a rate that was larger there are too many.
        if let Some(at) = self.0.len().checked_sub(rate.calls) {
            return Err(self.0[at].saturating_add(span).saturating_sub(now));
        }
        self.0.push(now);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRICE: Rate = Rate { calls: 3, seconds: 10 };

    fn starts(times: &[u64]) -> Starts {
        Starts(times.to_vec())
    }

    #[test]
    fn in_no_span_are_there_more() {
        let mut kept = Starts::default();
        let mut started = Vec::new();
        for now in (0..100_000).step_by(700) {
            let before = Starts::from_bytes(&kept.to_bytes());
            match before.and_one_more(THRICE, now) {
                Ok(more) => {
                    started.push(now);
                    kept = more;
                }
                Err(wait) => assert!(wait > 0 && wait <= 10_000, "{wait}"),
            }
        }
        assert!(started.len() > 25, "{started:?}");
        for window in started.windows(4) {
            assert!(window[3] - window[0] >= 10_000, "{window:?}");
        }
    }

    #[test]
    fn who_has_to_wait_is_told_how_long() {
        assert_eq!(starts(&[1000, 2000, 3000]).and_one_more(THRICE, 4000), Err(7000));
        assert_eq!(starts(&[1000, 2000, 3000]).and_one_more(THRICE, 10_999), Err(1));
        assert_eq!(
            starts(&[1000, 2000, 3000]).and_one_more(THRICE, 11_000),
            Ok(starts(&[2000, 3000, 11_000]))
        );
        // The rate was larger.
        assert_eq!(starts(&[1, 2, 3, 4, 5]).and_one_more(THRICE, 6), Err(9997));
        assert_eq!(
            THRICE.told("'/bin/true'", 6001),
            "allows '/bin/true' 3 times in 10 seconds: try again in 7 s"
        );
    }

    #[test]
    fn a_clock_that_was_set_frees_nobody_at_once_and_locks_nobody_out() {
        // Back by less than the span: they count.
        assert_eq!(starts(&[9000, 9100, 9200]).and_one_more(THRICE, 1000), Err(18_000));
        // Back by more, or forth: they do not.
        assert_eq!(starts(&[90_000, 90_100, 90_200]).and_one_more(THRICE, 1000), Ok(starts(&[1000])));
        assert_eq!(starts(&[u64::MAX]).and_one_more(THRICE, 0), Ok(starts(&[0])));
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
