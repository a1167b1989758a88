//! Who of the agent itself may be writing to a filesystem when one is to be frozen.
//!
//! A thread that a freeze catches within a write waits in the kernel until the thaw, and cannot even be killed meanwhile: the agent's
//! successor would not get the port. So whoever writes is counted, before it is asked whether anything is frozen, and a freeze, once it
//! has said that it is, waits until nobody is left.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
}

/// One that may be writing, as long as it lives.
#[derive(Debug)]
pub struct Writer(Arc<Gate>);

impl Gate {
    pub(super) fn enter(self: &Arc<Self>) -> Writer {
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Writer(self.clone())
    }

    /// Waits until nobody is inside; how many are.
    pub(super) fn wait(&self, limit: Duration) -> usize {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.left.wait_timeout_while(inside, limit, |inside| *inside > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Writer {
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
        assert_eq!(gate.wait(Duration::from_millis(20)), 2);
        drop(first);
        std::thread::scope(|scope| {
            scope.spawn(|| drop(second));
            assert_eq!(gate.wait(Duration::from_secs(60)), 0);
        });
        assert_eq!(gate.wait(Duration::ZERO), 0);
    }
}
