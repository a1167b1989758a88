//! One command of an extension, as the registry holds it: a call waits for its turn, runs in the sandbox, and its end is taken down.

use std::sync::Arc;
use std::time::Instant;

use smol::Timer;
use smol::future::or;
use smol::lock::{Semaphore, SemaphoreGuardArc};
use waga_builtins::qapi::Arguments;
use waga_builtins::{Error, Reply, Result};

use super::answer::Answer;
use super::engine::AT_ONCE;
use super::failure::Failure;
use super::set::Extensions;
use super::unit::Unit;

/// One command of an extension.
#[derive(Debug, Clone)]
pub struct Handle {
    set: Arc<Extensions>,
    unit: Arc<Unit>,
    name: Arc<str>,
    /// Why this command cannot be called, whatever becomes of the extension.
    refused: Option<Arc<str>>,
    arguments: Arc<[Arc<str>]>,
}

impl Handle {
    pub(super) fn new(
        set: Arc<Extensions>,
        unit: Arc<Unit>,
        name: Arc<str>,
        refused: Option<String>,
    ) -> Self {
        let arguments = unit.arguments(&name).into();
        Self { set, unit, name, refused: refused.map(Into::into), arguments }
    }

    /// The command's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The extension's name.
    pub fn extension(&self) -> &Arc<str> {
        self.unit.name()
    }

    /// The names of its arguments; none where JSON goes through a handler.
    pub fn arguments(&self) -> &Arc<[Arc<str>]> {
        &self.arguments
    }

    /// Why it cannot be called now; that may change at any time.
    pub fn unavailable(&self) -> Option<String> {
        let reason = || self.unit.phase().reason().map(str::to_owned);
        self.refused.as_deref().map(str::to_owned).or_else(reason)
    }

    /// Calls it: one deadline for the waiting and for the call.
    ///
    /// # Errors
    /// `CommandNotFound` if the extension cannot be called; `GenericError` with the component's own words, those about the arguments, or
    /// what it ran into.
    pub async fn call(&self, arguments: Arguments) -> Result<Reply> {
        let limits = &self.unit.grant.limits;
        let deadline = Instant::now() + limits.time;
        let extension = self.extension();
        let failed =
            |failure: &Failure| format!("extension {extension}: {} {}", self.name, failure.text(limits));
        if let Some(reason) = &self.refused {
            return Err(self.disabled(reason));
        }
        let size = arguments.text().len();
        if size as u64 > limits.message {
            return Err(Error::generic(failed(&Failure::Arguments(size))));
        }
        if let Some(pause) = self.unit.health.pause(&self.name) {
            let left = pause.left.as_millis().max(1);
            return Err(Error::generic(format!(
                "extension {extension}: {} rests for another {left} ms after {} failures in a row; the last: it {}",
                self.name, pause.failures, pause.reason
            )));
        }
        let (engine, sandbox) =
            self.set.sandbox(&self.unit, deadline).await.map_err(|reason| self.disabled(&reason))?;
        let unserved = |who: String| {
            let name = &self.name;
            Error::generic(format!(
                "extension {extension}: {name} was not called: {who} were under way all the time"
            ))
        };
        // Its own first: one with many callers waits for itself, and takes no turn of the others' meanwhile.
        let own = turn(&self.unit.permits, deadline).await;
        let _own =
            own.ok_or_else(|| unserved(format!("{} calls (limits.concurrency)", limits.concurrency)))?;
        let all = turn(&engine.turns, deadline).await;
        let _all = all.ok_or_else(|| unserved(format!("{AT_ONCE} calls of extensions")))?;
        if self.set.is_frozen() {
            // It became so while this waited.
            let name = &self.name;
            return Err(Error::not_found(format!(
                "Command {name} has been disabled: the command is not allowed"
            )));
        }
        let running = self.unit.health.begin(&self.name);
        let ending = sandbox.call(&engine, self.unit.grant.clone(), &self.name, arguments, deadline).await;
        match ending.result {
            Ok(answer) => {
                running.end(ending.cpu, None);
                match answer {
                    Answer::Returned(text) => Ok(Reply::Value(text)),
                    Answer::Failed(error) => Err(error),
                }
            }
            Err(failure) => {
                running.end(ending.cpu, Some(&failure.text(limits)));
                let text = failed(&failure);
                tracing::warn!(extension = &**extension, command = &*self.name, "{}", failure.text(limits));
                Err(Error::generic(text))
            }
        }
    }

    fn disabled(&self, reason: &str) -> Error {
        Error::not_found(format!(
            "Command {} has been disabled: extension {}: {reason}",
            self.name,
            self.extension()
        ))
    }
}

/// A turn, if there is one before the deadline.
async fn turn(turns: &Arc<Semaphore>, deadline: Instant) -> Option<SemaphoreGuardArc> {
    if let Some(turn) = turns.try_acquire_arc() {
        return Some(turn);
    }
    let late = async {
        Timer::at(deadline).await;
        None
    };
    or(async { Some(turns.acquire_arc().await) }, late).await
}
