//! Who is under way when filesystems are to be frozen.
//!
//! A thread of the agent that a freeze catches within a write waits in the kernel until the thaw, and cannot even be killed meanwhile:
//! the agent's successor would not get the port. So whoever may write is counted before it is asked whether filesystems are frozen,
//! and a freeze waits until nobody else is left.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
}

/// One that is under way, and all that it began.
#[derive(Debug)]
pub struct UnderWay(Arc<Gate>);

impl Gate {
    pub(super) fn enter(self: &Arc<Self>) -> UnderWay {
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        UnderWay(self.clone())
    }

    /// Waits until no more than so many are inside; how many there are.
    pub(super) fn wait(&self, no_more_than: usize, limit: Duration) -> usize {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.left.wait_timeout_while(inside, limit, |inside| *inside > no_more_than);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.inside.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_waits_for_who_is_inside_and_not_for_ever() {
        let gate = Arc::new(Gate::default());
        let (first, second) = (gate.enter(), gate.enter());
        assert_eq!(gate.wait(1, Duration::from_millis(20)), 2);
        std::thread::scope(|scope| {
            scope.spawn(|| drop(second));
            assert_eq!(gate.wait(1, Duration::from_secs(60)), 1);
        });
        drop(first);
        assert_eq!(gate.wait(0, Duration::ZERO), 0);
    }
}
