//! One command of an extension, as the registry holds it: a call waits for its turn, runs in the sandbox, and its end is taken down.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use smol::Timer;
use smol::future::or;
use smol::lock::{Semaphore, SemaphoreGuardArc};
use waga_builtins::qapi::Arguments;
use waga_builtins::{CommandSchema, Context, Error, ExtensionMode, Reply, Result};

use super::answer::Answer;
use super::contract::Contract;
use super::engine::{AT_ONCE, Engine, WITHIN};
use super::failure::Failure;
use super::reach::{Reach, checked};
use super::set::{Extensions, Loaded};
use super::unit::Unit;
use crate::config::OnFailure;
use crate::registry::Below;

/// One command of an extension.
#[derive(Debug, Clone)]
pub struct Handle {
    set: Arc<Extensions>,
    unit: Arc<Unit>,
    name: Arc<str>,
    mode: ExtensionMode,
    /// Why this command cannot be called, whatever becomes of the extension.
    refused: Option<Arc<str>>,
    is_surplus: bool,
    arguments: Arc<[Arc<str>]>,
    /// What clients expect of the command, if it is the agent's and this is laid over it; read by its first reply.
    contract: Arc<OnceLock<Option<Contract>>>,
}

/// What came of a call.
enum Outcome {
    /// The component's own word, or that of whom it called.
    Ended(Result<Reply>),
    /// It was not called, for it cannot be, for now or at all.
    Unavailable(String),
    /// It was called and did not end well, or is let rest.
    Failed(String),
}

impl Handle {
    pub(super) fn new(
        set: Arc<Extensions>,
        unit: Arc<Unit>,
        name: Arc<str>,
        mode: ExtensionMode,
        refused: Option<String>,
    ) -> Self {
        let arguments = unit.arguments(&name).into();
        let refused = refused.map(Into::into);
        Self { set, unit, name, mode, refused, is_surplus: false, arguments, contract: Arc::default() }
    }

    /// The same, of one that may not be laid over the command as well.
    pub(super) fn surplus(self) -> Self {
        Self { is_surplus: true, ..self }
    }

    /// The command's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The extension's name.
    pub fn extension(&self) -> &Arc<str> {
        self.unit.name()
    }

    /// How it is provided.
    pub fn mode(&self) -> ExtensionMode {
        self.mode
    }

    /// Whether others are laid over the command already, so that this one never runs. It may have been there to restrict the command: what it
    /// was to be laid over serves nobody, unless the operator says so.
    pub fn is_surplus(&self) -> bool {
        self.is_surplus
    }

    /// The names of its arguments; none where JSON goes through a handler.
    pub fn arguments(&self) -> &Arc<[Arc<str>]> {
        &self.arguments
    }

    /// What it takes and gives, as far as that is known.
    pub(crate) fn schema(&self) -> CommandSchema {
        let mut schema = self.unit.schema(&self.name);
        if let Some(reason) = self.refused.as_ref() {
            schema.note = Some(format!("cannot be called: {reason}"));
        }
        schema
    }

    /// Why it cannot be called now; that may change at any time.
    pub fn unavailable(&self) -> Option<String> {
        let reason = || self.unit.phase().reason().map(str::to_owned);
        self.refused.as_deref().map(str::to_owned).or_else(reason)
    }

    /// Whether the operator lets it run while filesystems are frozen.
    pub fn runs_while_frozen(&self) -> bool {
        self.unit.config.while_frozen
    }

    /// Whether what is below serves the command where this could not be loaded.
    pub fn gives_way(&self) -> bool {
        self.mode != ExtensionMode::Add && self.unit.config.on_failure != OnFailure::Error
    }

    /// Calls it: one deadline for the waiting and for the call.
    ///
    /// # Errors
    /// `CommandNotFound` if the extension cannot be called; `GenericError` with the component's own words, those about the arguments, or
    /// what it ran into.
    pub async fn call(&self, cx: &Context, arguments: Arguments, below: Below) -> Result<Reply> {
        if self.set.is_frozen() && !self.runs_while_frozen() {
            return Err(self.frozen());
        }
        let gives_way = self.gives_way() && !below.is_empty();
        // It is not kept for who does not need it.
        let kept = gives_way.then(|| arguments.clone());
        let (extension, command) = (&**self.extension(), &*self.name);
        let told =
            |text: &str| tracing::warn!(extension, command, "{text}; what is below it serves the request");
        match (self.try_call(cx, arguments, &below).await, kept) {
            (Outcome::Ended(result), _) => result,
            (Outcome::Unavailable(reason), Some(arguments)) => {
                told(&reason);
                below.call(cx, arguments).await
            }
            (Outcome::Unavailable(reason), None) => Err(self.disabled(&reason)),
            (Outcome::Failed(text), Some(arguments))
                if self.unit.config.on_failure == OnFailure::BuiltinAlways =>
            {
                told(&text);
                below.call(cx, arguments).await
            }
            (Outcome::Failed(text), _) => {
                Err(Error::generic(format!("extension {extension}: {command} {text}")))
            }
        }
    }

    async fn try_call(&self, cx: &Context, arguments: Arguments, below: &Below) -> Outcome {
        let mut grant =
            if self.mode == ExtensionMode::Add { &self.unit.grant } else { &self.unit.grant_over }.clone();
        let limits = grant.limits.clone();
        let deadline = Instant::now() + limits.time;
        if let Some(reason) = &self.refused {
            return Outcome::Unavailable(reason.to_string());
        }
        let size = arguments.text().len();
        if size as u64 > limits.message {
            return Outcome::Failed(Failure::Arguments(size).text(&limits));
        }
        if let Some(pause) = self.unit.health.pause(&self.name) {
            let left = pause.left.as_millis().max(1);
            return Outcome::Failed(format!(
                "rests for another {left} ms after {} failures in a row; the last: it {}",
                pause.failures, pause.reason
            ));
        }
        let Loaded { engine, sandbox, known } = match self.set.sandbox(&self.unit, deadline).await {
            Ok(loaded) => loaded,
            Err(reason) => return Outcome::Unavailable(reason),
        };
        if let Some(scripts) = &known.scripts {
            let Some(script) = scripts.script(&self.name) else {
                return Outcome::Unavailable("no script defines it any more".into());
            };
            if let Some(Err(fault)) = scripts.rule(&self.name).map(|rule| rule.check(arguments.text())) {
                return Outcome::Ended(Err(Error::generic(fault.to_string())));
            }
            grant.script = Some(script);
        }
        let _turns = match self.turns(&engine, below.is_nested(), deadline).await {
            Ok(turns) => turns,
            Err(reason) => return Outcome::Failed(format!("was not called: {reason}")),
        };
        if self.set.is_frozen() && !self.runs_while_frozen() {
            // It became so while this waited.
            return Outcome::Ended(Err(self.frozen()));
        }
        grant.reach = Some(Arc::new(Reach::new(cx, Some(below.clone()), &self.unit, self.set.commands())));
        let running = self.unit.health.begin(&self.name);
        self.set.lend(&self.unit, &mut grant);
        let state = grant.state.clone();
        let ending = sandbox.call(&engine, grant, &self.name, arguments, deadline).await;
        let result = match ending.result.and_then(|answer| self.kept_to(answer)) {
            // What it changed is kept with its success.
            Ok(Answer::Returned(text)) => state.commit(deadline).await.map(|()| Answer::Returned(text)),
            other => other,
        };
        match result {
            Ok(answer) => {
                running.end(ending.cpu, None);
                Outcome::Ended(match answer {
                    Answer::Returned(text) => Ok(Reply::Value(text)),
                    Answer::Failed(error) => Err(error),
                })
            }
            Err(failure) => {
                let text = failure.text(&limits);
                // What others took of its time is no fault of its own, however often.
                if failure == Failure::Time && ending.used < limits.time / 2 {
                    running.starve(ending.cpu, &text);
                } else {
                    running.end(ending.cpu, Some(&text));
                }
                tracing::warn!(extension = &**self.extension(), command = &*self.name, "{text}");
                Outcome::Failed(text)
            }
        }
    }

    /// Its turn among its own calls and among those of all, to be kept while it runs; else which calls took them all.
    ///
    /// Its own first: one with many callers waits for itself, and takes no turn of the others' meanwhile. A call within a call does not wait:
    /// the component that waits for it keeps a turn already, and who waits for whom might close a circle.
    async fn turns(
        &self,
        engine: &Engine,
        is_nested: bool,
        deadline: Instant,
    ) -> std::result::Result<[SemaphoreGuardArc; 2], String> {
        let own_busy = || format!("{} calls (limits.concurrency)", self.unit.config.limits.concurrency);
        if is_nested {
            let busy = |who: String| format!("{who} are under way, and a call within a call does not wait");
            let own = self.unit.permits.try_acquire_arc().ok_or_else(|| busy(own_busy()))?;
            let all = engine.within.try_acquire_arc();
            return Ok([own, all.ok_or_else(|| busy(format!("{WITHIN} calls within calls of extensions")))?]);
        }
        let busy = |who: String| format!("{who} were under way all the time");
        let own = turn(&self.unit.permits, deadline).await.ok_or_else(|| busy(own_busy()))?;
        let all = turn(&engine.turns, deadline).await;
        Ok([own, all.ok_or_else(|| busy(format!("{AT_ONCE} calls of extensions")))?])
    }

    /// A reply in the place of one of the agent's own has to be what clients expect of that.
    fn kept_to(&self, answer: Answer) -> std::result::Result<Answer, Failure> {
        let Answer::Returned(text) = &answer else { return Ok(answer) };
        if self.mode == ExtensionMode::Add {
            return Ok(answer);
        }
        let Some(contract) = self.contract.get_or_init(|| Contract::of(&self.name)) else {
            return Ok(answer);
        };
        let breach = match checked(text) {
            Some(text) => contract.breach(&text),
            None => Some("it is no JSON".into()),
        };
        breach.map_or(Ok(answer), |breach| Err(Failure::Breach(breach)))
    }

    /// As policy says it of any command that does not run then.
    fn frozen(&self) -> Error {
        Error::not_found(format!("Command {} has been disabled: the command is not allowed", self.name))
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
