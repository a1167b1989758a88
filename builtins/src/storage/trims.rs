//! Who trims which device: requests at the same time do it one after another, and none waits for one that hangs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;
use smol::lock::MutexGuardArc;

use super::mounts::Device;

/// The devices that are being trimmed, each by one request at a time.
#[derive(Debug, Default)]
pub struct Trims(Mutex<HashMap<Device, Arc<Place>>>);

/// Where the requests to trim one device wait for each other.
#[derive(Debug)]
struct Place {
    taken: Arc<smol::lock::Mutex<()>>,
    /// When the one that is on is taken for one that hangs.
    overdue: Mutex<Instant>,
}

/// The right to trim a device, until it is dropped.
pub(super) struct Turn {
    place: Arc<Place>,
    _taken: MutexGuardArc<()>,
}

impl Trims {
    /// Waits until no other request trims the device; `None` when that hangs. `limit` is for what the caller does first.
    pub(super) async fn turn(&self, device: Device, limit: Duration) -> Option<Turn> {
        let place = {
            let mut places = lock(&self.0);
            places.retain(|_, place| Arc::strong_count(place) > 1);
            let new =
                || Arc::new(Place { taken: Arc::default(), overdue: Mutex::new(Instant::now() + limit) });
            places.entry(device).or_insert_with(new).clone()
        };
        loop {
            let overdue = *lock(&place.overdue);
            let taken = or(async { Some(place.taken.lock_arc().await) }, async {
                Timer::at(overdue).await;
                None
            });
            match taken.await {
                Some(taken) => {
                    let turn = Turn { place, _taken: taken };
                    turn.extend(limit);
                    return Some(turn);
                }
                None if *lock(&place.overdue) == overdue => return None,
                None => {}
            }
        }
    }
}

impl Turn {
    /// Says how long it may take from now on.
    pub(super) fn extend(&self, limit: Duration) {
        *lock(&self.place.overdue) = Instant::now() + limit;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
