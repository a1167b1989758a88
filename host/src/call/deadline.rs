//! The one point in time by which a call is over, whatever it waits for.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

use super::error::Error;

/// A point in time, and how far away it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    /// The longest limit: some thirty years, which every clock can add.
    pub(super) const FARTHEST: Duration = Duration::from_secs(1_000_000_000);

    /// The end of this much time from now, at most [`Deadline::FARTHEST`].
    pub(super) fn after(limit: Duration) -> Self {
        let limit = limit.min(Self::FARTHEST);
        Self { end: Instant::now() + limit, limit }
    }

    /// The earlier one of two.
    pub(super) fn or(self, other: Self) -> Self {
        if other.end < self.end { other } else { self }
    }

    /// What is left; nothing once it has passed.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub(super) fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// Waits for one of the descriptors; whether one is ready before the time is over.
    ///
    /// # Errors
    /// Of `poll`, as a failure of the transport.
    pub(super) fn wait(&self, descriptors: &mut [PollFd<'_>]) -> Result<bool, Error> {
        loop {
            let left = self.left();
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec::try_from(left).expect("it is at most FARTHEST");
            match poll(descriptors, Some(&left)) {
                // Round again: the clock decides.
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(Error::Transport(format!("cannot wait: {error}"))),
            }
        }
    }

    /// The error that it has passed: `what` did not happen in time.
    pub(super) fn missed(&self, what: &str) -> Error {
        Error::Timeout(format!("{what} within {} s", self.limit.as_secs_f64()))
    }
}
