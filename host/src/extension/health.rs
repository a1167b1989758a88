//! How the calls of an extension went: what `waga-get-extensions` tells, and which command is let rest because it fails and fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Failures in a row after which a command is let rest.
const PATIENCE: u32 = 3;
/// How long at first; each time twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// How long at most.
const LONGEST: Duration = Duration::from_secs(300);

/// How the calls of one extension went.
#[derive(Debug, Default)]
pub(super) struct Health {
    commands: Mutex<Commands>,
    totals: Mutex<Totals>,
}

/// What all calls came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) running: u64,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<SystemTime>,
    pub(super) last_call_at: Option<SystemTime>,
    pub(super) cpu: Duration,
    pub(super) wall: Duration,
    pub(super) longest: Duration,
}

/// The commands that failed.
#[derive(Debug, Default)]
struct Commands {
    streaks: HashMap<Arc<str>, Streak>,
    /// How often any of them was let rest so far: what a call remembers, to know later whether it began before a rest.
    rests: u64,
}

/// Failures of one command in a row.
#[derive(Debug, Default)]
struct Streak {
    /// Which rest the last one was.
    rest: u64,
    failures: u32,
    reason: String,
    pause: Duration,
    until: Option<Instant>,
}

/// A command that is let rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pause {
    /// For how long yet.
    pub(super) left: Duration,
    /// How often it has failed in a row.
    pub(super) failures: u32,
    /// How it failed last.
    pub(super) reason: String,
}

impl Health {
    /// Whether a command is let rest.
    pub(super) fn pause(&self, command: &str) -> Option<Pause> {
        let commands = self.commands();
        let streak = commands.streaks.get(command)?;
        let left = streak.until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(Pause { left, failures: streak.failures, reason: streak.reason.clone() })
    }

    /// A call begins; it is counted as running until what this returns is ended or dropped.
    pub(super) fn begin(self: &Arc<Self>, command: &Arc<str>) -> Running {
        let rests = self.commands().rests;
        let mut totals = self.totals_mut();
        totals.calls += 1;
        totals.running += 1;
        totals.last_call_at = Some(SystemTime::now());
        Running { health: self.clone(), command: command.clone(), begun: Instant::now(), rests }
    }

    /// What all calls came to.
    pub(super) fn totals(&self) -> Totals {
        self.totals_mut().clone()
    }

    fn totals_mut(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call failed that began when there had been so many rests.
    fn failed(&self, command: &Arc<str>, rests: u64, reason: &str) {
        let mut commands = self.commands();
        let next = commands.rests + 1;
        let streak = commands.streaks.entry(command.clone()).or_default();
        streak.failures += 1;
        reason.clone_into(&mut streak.reason);
        // Calls side by side fail of one cause: those that were under way when the rest began do not make it longer.
        let rested = streak.failures >= PATIENCE && rests >= streak.rest;
        if rested {
            streak.pause = (streak.pause * 2).clamp(FIRST, LONGEST);
            streak.until = Some(Instant::now() + streak.pause);
            streak.rest = next;
            commands.rests = next;
        }
        drop(commands);
        self.told(reason);
    }

    /// A failure, whosever fault it is.
    fn told(&self, reason: &str) {
        let mut totals = self.totals_mut();
        totals.failures += 1;
        totals.last_error = Some(reason.to_owned());
        totals.last_error_at = Some(SystemTime::now());
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Running {
    health: Arc<Health>,
    command: Arc<str>,
    begun: Instant,
    /// How many rests there had been when it began.
    rests: u64,
}

impl Running {
    /// It ended after computing for so long: by the component's own word, or with this failure.
    pub(super) fn end(self, cpu: Duration, failure: Option<&str>) {
        match failure {
            Some(reason) => self.health.failed(&self.command, self.rests, reason),
            None => drop(self.health.commands().streaks.remove(&self.command)),
        }
        self.health.totals_mut().cpu += cpu;
    }

    /// It ran out of time that others had taken: a failure as it is told, but none that its command is let rest for, nor a success.
    pub(super) fn starve(self, cpu: Duration, reason: &str) {
        self.health.told(reason);
        self.health.totals_mut().cpu += cpu;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let wall = self.begun.elapsed();
        let mut totals = self.health.totals_mut();
        totals.running -= 1;
        totals.wall += wall;
        totals.longest = totals.longest.max(wall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_are_a_pause_that_doubles_and_a_success_ends_it() {
        let health = Arc::new(Health::default());
        let command: Arc<str> = "guest-x".into();
        let fail = || health.begin(&command).end(Duration::from_millis(1), Some("failed: x"));
        let pause = || health.pause(&command).map(|pause| pause.left);
        fail();
        fail();
        assert_eq!(pause(), None);
        fail();
        assert!(pause().unwrap() <= FIRST && pause().unwrap() > FIRST / 2);
        assert_eq!(
            health.pause(&command).map(|pause| (pause.failures, pause.reason)),
            Some((3, "failed: x".into()))
        );
        assert_eq!(health.pause("guest-y"), None);
        fail();
        assert!(pause().unwrap() > FIRST);
        for _ in 0..40 {
            fail();
        }
        assert!(pause().unwrap() > LONGEST / 2 && pause().unwrap() <= LONGEST);
        health.begin(&command).end(Duration::ZERO, None);
        assert_eq!(pause(), None);
        fail();
        fail();
        // One that others brought about is neither.
        for _ in 0..4 {
            health.begin(&command).starve(Duration::ZERO, "late");
        }
        assert_eq!(pause(), None);
        assert_eq!(health.totals().last_error.as_deref(), Some("late"));
        fail();
        assert!(pause().is_some());
        health.begin(&command).end(Duration::ZERO, None);
        let running = health.begin(&command);
        assert_eq!(health.totals().running, 1);
        drop(running);
        let totals = health.totals();
        assert_eq!((totals.calls, totals.failures, totals.running), (54, 51, 0));
        assert_eq!(totals.last_error.as_deref(), Some("failed: x"));
    }

    #[test]
    fn calls_side_by_side_that_fail_together_are_one_step() {
        let health = Arc::new(Health::default());
        let command: Arc<str> = "guest-x".into();
        let burst = || {
            let calls: Vec<_> = (0..8).map(|_| health.begin(&command)).collect();
            for call in calls {
                call.end(Duration::ZERO, Some("failed: x"));
            }
            health.pause(&command).map(|pause| pause.left)
        };
        assert!(burst().unwrap() <= FIRST);
        let second = burst().unwrap();
        assert!(second > FIRST && second <= 2 * FIRST, "{second:?}");
        // Of another command: no part of it, though it fails meanwhile.
        let other: Arc<str> = "guest-y".into();
        for _ in 0..3 {
            health.begin(&other).end(Duration::ZERO, Some("failed: y"));
        }
        assert!(health.pause(&other).unwrap().left <= FIRST);
        let third = burst().unwrap();
        assert!(third > 2 * FIRST && third <= 4 * FIRST, "{third:?}");
        // One that began before a success of another is not of the row after it.
        let late = health.begin(&command);
        health.begin(&command).end(Duration::ZERO, None);
        assert!(burst().unwrap() <= FIRST);
        late.end(Duration::ZERO, Some("failed: x"));
        assert!(health.pause(&command).unwrap().left <= FIRST);
    }
}
