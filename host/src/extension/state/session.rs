//! What one call has of the state: it asks and changes on the thread of components, and what it changed is kept when it has succeeded.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;
use smol::lock::Mutex as Turn;
use waga_builtins::Agent;

use super::store::{Refused, Stage, Store};
use super::view::View;
use crate::config::CallLimits;
use crate::extension::failure::Failure;

/// How long is waited, past the deadline, for what is kept already but perhaps not on the disk yet.
const GRACE: Duration = Duration::from_secs(1);

/// What is told whoever would change something meanwhile.
const FROZEN: &str = "filesystems are frozen: nothing can be kept now";

/// The state cannot be told, for this reason; the call ends.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// The state as one call has it. By default it is empty, and what is changed is lost with it.
#[derive(Debug)]
pub struct Session {
    store: Option<Arc<Store>>,
    agent: Weak<Agent>,
    quota: u64,
    /// `None`: it has not asked yet.
    view: Turn<Option<View>>,
}

impl Default for Session {
    fn default() -> Self {
        let view = Turn::new(Some(View::default()));
        Self { store: None, agent: Weak::new(), quota: CallLimits::default().state, view }
    }
}

impl Session {
    pub(super) fn new(store: Arc<Store>, quota: u64, agent: Weak<Agent>) -> Self {
        Self { store: Some(store), agent, quota, view: Turn::new(None) }
    }

    fn is_frozen(&self) -> bool {
        self.agent.upgrade().is_some_and(|agent| agent.freeze.is_frozen())
    }

    /// Does something with what the call sees.
    async fn seen<T>(&self, act: impl FnOnce(&mut View) -> T) -> Result<T, Unusable> {
        let mut view = self.view.lock().await;
        if view.is_none() {
            let kept = match &self.store {
                Some(store) => match store.kept() {
                    Some(kept) => kept,
                    None => {
                        let (turn, store) = (store.turn.lock_arc().await, store.clone());
                        let read = smol::unblock(move || {
                            let read = store.load();
                            drop(turn);
                            read
                        });
                        read.await.map_err(Unusable)?
                    }
                },
                None => Arc::default(),
            };
            *view = Some(View::new(kept));
        }
        Ok(act(view.get_or_insert_default()))
    }

    /// A key's value.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Arc<[u8]>>, Unusable> {
        self.seen(|view| view.get(key)).await
    }

    /// Gives a key a value.
    pub(crate) async fn set(&self, key: &str, value: Vec<u8>) -> Result<Result<(), String>, Unusable> {
        if self.is_frozen() {
            return Ok(Err(FROZEN.into()));
        }
        self.seen(|view| view.set(key, value, self.quota)).await
    }

    /// Takes a key's value away. It cannot say that filesystems are frozen: then the call fails when that is to be kept.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), Unusable> {
        self.seen(|view| view.delete(key)).await
    }

    /// The keys that have a value.
    pub(crate) async fn keys(&self) -> Result<Vec<Arc<str>>, Unusable> {
        self.seen(|view| view.keys()).await
    }

    /// Keeps what the call changed, for it has succeeded. What has begun goes on to its end if this is dropped.
    pub(crate) async fn commit(&self, deadline: Instant) -> Result<(), Failure> {
        let changes = self.view.lock().await.as_mut().map(View::take).unwrap_or_default();
        let Some(store) = self.store.clone().filter(|_| !changes.is_empty()) else { return Ok(()) };
        let unkept = |reason: &str| Failure::Unkept(reason.to_owned());
        let agent = self.agent.upgrade().ok_or_else(|| unkept("the agent ends"))?;
        let (quota, stage) = (self.quota, Arc::new(Stage::default()));
        let told = stage.clone();
        let keep = async {
            let turn = store.turn.lock_arc().await;
            // Counted from here on: a freeze that comes now waits for the disk, and for nobody's turn.
            let writer = agent.freeze.writer().map_err(|_| unkept(FROZEN))?;
            let store = store.clone();
            let write = smol::unblock(move || {
                let written = store.commit(&changes, quota, &told);
                drop((writer, turn));
                written
            });
            write.await.map_err(|refused| match refused {
                Refused::Quota(reason) | Refused::Failed(reason) => Failure::Unkept(reason),
                Refused::GivenUp => Failure::Time,
            })
        };
        let late = async {
            Timer::at(deadline).await;
            if stage.give_up() {
                return Err(Failure::Time);
            }
            Timer::after(GRACE).await;
            Err(unkept("the disk does not answer; it may be there after all"))
        };
        or(keep, late).await
    }
}
