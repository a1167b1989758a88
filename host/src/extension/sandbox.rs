//! A component that is loaded, and the life of a call of it: arguments become values, a fresh store with its limits, the call, values
//! become the reply, the store is dropped.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::future::or;
use waga_builtins::Error;
use waga_builtins::qapi::Arguments;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, InstancePre, Linker, Val};

use super::answer::{self, Answer, DEEPEST, depth};
use super::call::{Call, Grant, at_tick};
use super::description::{Command, Description, Kind, Signature};
use super::engine::Engine;
use super::failure::Failure;
use super::imports::{self, Standing};
use super::meter::{Meter, Metered};
use super::reflect;
use super::values::{self, AS_VALUES, Budget};
use crate::config::CallLimits;
use crate::config::command_name::is_command;

/// CPU time that a handler has to name its commands.
const NAMING: Duration = Duration::from_secs(5);

/// A component that can be called.
pub struct Sandbox {
    pre: InstancePre<Call>,
    commands: HashMap<String, Entry>,
    handler: Option<Handler>,
    hooks: Option<Hooks>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("commands", &self.commands.keys()).finish_non_exhaustive()
    }
}

/// How one command is called.
enum Entry {
    Typed(ComponentExportIndex, Signature),
    Handler,
}

/// The functions of `waga:extension/handler`.
struct Handler {
    commands: ComponentExportIndex,
    handle: ComponentExportIndex,
}

/// The functions of `waga:extension/freeze-hooks`.
struct Hooks {
    freeze: ComponentExportIndex,
    thaw: ComponentExportIndex,
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Freeze,
    Thaw,
}

impl Hook {
    /// What of it is told.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }
}

/// An instance that was called, and can be called again.
pub(super) struct Kept {
    store: Store<Call>,
    instance: Instance,
}

/// How a call went.
#[derive(Debug)]
pub struct Ending<T = Answer> {
    /// What came of it.
    pub result: Result<T, Failure>,
    /// CPU time of the component.
    pub cpu: Duration,
    /// How long it computed, or waited for what it asked for, and not for its turn on the thread that all components share.
    pub used: Duration,
}

/// Why a component cannot be called.
#[derive(Debug)]
pub enum Unfit {
    /// What it imports or exports is not what this agent has.
    Component(String),
    /// It is not what its description says, one of which was changed.
    Description,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(reason) => f.write_str(reason),
            Self::Description => f.write_str("is not what its description says"),
        }
    }
}

impl std::error::Error for Unfit {}

/// Why a handler's commands are not known.
#[derive(Debug)]
pub(super) enum Unnamed {
    /// It did not answer.
    Failed(Failure),
    /// Its own word.
    Said(String),
    /// It is no such handler.
    Other,
}

impl Sandbox {
    /// Links a component to all that there is. What it may have of that was decided before, by its imports.
    ///
    /// # Errors
    /// It imports what is not there, or is not what its description says.
    pub fn new(component: &Component, description: &Description) -> Result<Self, Unfit> {
        let unlinked =
            |error: wasmtime::Error| Unfit::Component(format!("cannot be linked: {}", error.root_cause()));
        let mut linker = Linker::new(component.engine());
        imports::link(&mut linker).map_err(unlinked)?;
        imports::link_typed(&mut linker, component).map_err(unlinked)?;
        let pre = linker.instantiate_pre(component).map_err(unlinked)?;
        let is = reflect::describe(component);
        let mut commands = HashMap::new();
        for command in &description.commands {
            let entry = match &command.kind {
                Kind::Refused(_) => continue,
                Kind::Handler => Entry::Handler,
                Kind::Typed(signature) => {
                    let same =
                        is.commands.iter().any(|it| it.name == command.name && it.kind == command.kind);
                    let index = index(component, &signature.interface, &command.name);
                    let index = index.filter(|_| same).ok_or(Unfit::Description)?;
                    Entry::Typed(index, signature.clone())
                }
            };
            commands.insert(command.name.clone(), entry);
        }
        let handler = reflect::handler(component).map(|interface| {
            let function = |name| index(component, &interface, name);
            let missing =
                || Unfit::Component("its waga:extension/handler is not that of version 1.0.0".into());
            Ok::<_, Unfit>(Handler {
                commands: function("commands").ok_or_else(missing)?,
                handle: function("handle").ok_or_else(missing)?,
            })
        });
        let hooks = reflect::freeze_hooks(component).map(|interface| {
            let function = |name| index(component, &interface, name);
            let missing =
                || Unfit::Component("its waga:extension/freeze-hooks is not that of version 1.0.0".into());
            Ok::<_, Unfit>(Hooks {
                freeze: function("freeze").ok_or_else(missing)?,
                thaw: function("thaw").ok_or_else(missing)?,
            })
        });
        Ok(Self { pre, commands, handler: handler.transpose()?, hooks: hooks.transpose()? })
    }

    /// Describes a component, which takes running it where it has a handler: that names its commands.
    ///
    /// # Errors
    /// What is wrong with it as a whole.
    pub async fn describe(component: &Component, engine: &Arc<Engine>) -> Result<Description, String> {
        let mut description = reflect::describe(component);
        if reflect::handler(component).is_none() {
            return Ok(description);
        }
        let asks = description.imports.iter().find(|import| imports::standing(import) == Standing::Unknown);
        if let Some(import) = asks {
            return Err(format!("imports {import}, which no agent of this version has"));
        }
        let sandbox = Arc::new(Self::new(component, &description).map_err(|unfit| unfit.to_string())?);
        let limits = Arc::new(CallLimits {
            cpu: NAMING,
            time: NAMING * 2,
            memory: 256 << 20,
            ..CallLimits::default()
        });
        let grant =
            Grant { name: "handler".into(), config: "{}".into(), limits: limits.clone(), ..Grant::default() };
        let names = sandbox.names(engine, grant).await.map_err(|unnamed| match unnamed {
            Unnamed::Failed(failure) => {
                format!("its handler did not name its commands: it {}", failure.text(&limits))
            }
            Unnamed::Said(text) => format!("its handler does not name its commands: {text}"),
            Unnamed::Other => "its waga:extension/handler is not that of version 1.0.0".to_owned(),
        });
        for name in names? {
            if !is_command(&name) {
                return Err(format!(
                    "its handler names '{}', which cannot be a command's name",
                    name.escape_debug()
                ));
            }
            if !description.commands.iter().any(|command| command.name == name) {
                description.commands.push(Command { name, kind: Kind::Handler, schema: None });
            }
        }
        Ok(description)
    }

    /// The names of the commands that its handler has.
    pub(super) async fn names(
        self: Arc<Self>,
        engine: &Arc<Engine>,
        grant: Grant,
    ) -> Result<Vec<String>, Unnamed> {
        let until = engine.until(Instant::now() + grant.limits.time);
        let call = async move {
            let late = async {
                until.await;
                Err(Failure::Time)
            };
            let function = self.handler.as_ref().ok_or(Failure::Answer("it has no handler"))?.commands;
            or(self.execute(grant, function, Vec::new(), Arc::default(), &mut None), late).await
        };
        let value = engine.spawn(call).await.map_err(Unnamed::Failed)?;
        let (Some(Val::Result(Ok(Some(value)))) | Some(Val::Result(Err(Some(value))))) = value else {
            return Err(Unnamed::Other);
        };
        match *value {
            Val::List(names) => {
                let name = |value| match value {
                    Val::String(name) => Ok(name),
                    _ => Err(Unnamed::Other),
                };
                names.into_iter().map(name).collect()
            }
            Val::String(text) => Err(Unnamed::Said(text)),
            _ => Err(Unnamed::Other),
        }
    }

    /// Calls a command on the engine's thread. Dropped, the call ends.
    pub async fn call(
        self: Arc<Self>,
        engine: &Arc<Engine>,
        grant: Grant,
        command: &str,
        arguments: Arguments,
        deadline: Instant,
    ) -> Ending {
        let meter = Arc::new(Meter::default());
        let (name, counted) = (command.to_owned(), meter.clone());
        let call = async move { self.answer(grant, &name, arguments, counted).await };
        Ending::of(engine, call, meter, deadline).await
    }

    /// Tells it of a freeze or a thaw, on the engine's thread: in the instance that is there in `kept`, else in a fresh one. After a freeze it
    /// is there again, if it can still be called: not after a trap or a limit. Its own word is what the inner result has. Dropped, the call
    /// ends.
    pub(super) async fn hook(
        self: Arc<Self>,
        engine: &Arc<Engine>,
        grant: Grant,
        hook: Hook,
        kept: &mut Option<Kept>,
        deadline: Instant,
    ) -> Ending<Result<(), String>> {
        let meter = Arc::new(Meter::default());
        let (counted, mut within) = (meter.clone(), kept.take());
        let most = usize::try_from(grant.limits.message).unwrap_or(usize::MAX);
        let call = async move {
            let hooks = self.hooks.as_ref().ok_or(Failure::Answer("it has no freeze hooks"))?;
            let function = if hook == Hook::Freeze { hooks.freeze } else { hooks.thaw };
            let value = self.execute(grant, function, Vec::new(), counted, &mut within).await?;
            let said = answer::nothing(value, most)?;
            if let Some(Kept { store, .. }) = &mut within {
                store.data_mut().rest();
            }
            // What was told of the thaw ends here, on its own thread.
            Ok((said, within.filter(|_| hook == Hook::Freeze)))
        };
        let Ending { result, cpu, used } = Ending::of(engine, call, meter, deadline).await;
        let result = result.map(|(said, within)| {
            *kept = within;
            said
        });
        Ending { result, cpu, used }
    }

    /// The whole of a call, on the engine's thread.
    async fn answer(
        &self,
        grant: Grant,
        command: &str,
        arguments: Arguments,
        meter: Arc<Meter>,
    ) -> Result<Answer, Failure> {
        let limits = grant.limits.clone();
        let most = usize::try_from(limits.message).unwrap_or(usize::MAX);
        let entry = match &grant.script {
            // Which commands there are is the scripts' word, and not that of the component that runs them.
            Some(_) => Some(&Entry::Handler),
            None => self.commands.get(command),
        };
        let entry = entry.ok_or(Failure::Answer("it has no such command"))?;
        let (function, params) = match (entry, &self.handler) {
            (Entry::Typed(function, signature), _) => {
                let budget = most.saturating_mul(AS_VALUES);
                match values::arguments(arguments.text(), &signature.params, &mut Budget::new(budget)) {
                    Ok(params) => (*function, params),
                    Err(fault) => return Ok(Answer::Failed(Error::generic(fault.to_string()))),
                }
            }
            (Entry::Handler, Some(_)) if depth(arguments.text()) > DEEPEST => {
                let desc = format!("the arguments are nested more than {DEEPEST} levels deep");
                return Ok(Answer::Failed(Error::generic(desc)));
            }
            (Entry::Handler, Some(handler)) => {
                let text = String::from_utf8_lossy(arguments.text()).into_owned();
                (handler.handle, vec![Val::String(command.to_owned()), Val::String(text)])
            }
            (Entry::Handler, None) => return Err(Failure::Answer("it has no handler")),
        };
        drop(arguments);
        let value = self.execute(grant, function, params, meter, &mut None).await?;
        match entry {
            Entry::Typed(_, signature) => answer::typed(value, signature, most),
            Entry::Handler => answer::handled(value, most),
        }
    }

    /// A fresh store, the call, and its end; what it returned. Or a call in the instance that is `kept`, where the one that was called is
    /// afterwards, if it can be called again.
    async fn execute(
        &self,
        grant: Grant,
        function: ComponentExportIndex,
        params: Vec<Val>,
        meter: Arc<Meter>,
        kept: &mut Option<Kept>,
    ) -> Result<Option<Val>, Failure> {
        let limits = grant.limits.clone();
        let (mut store, instance) = match kept.take() {
            Some(Kept { mut store, instance }) => {
                store.data_mut().renew(grant);
                (store, Some(instance))
            }
            None => (Store::new(self.pre.engine(), Call::new(grant)), None),
        };
        store.limiter(|call| call);
        let message = usize::try_from(limits.message).unwrap_or(usize::MAX);
        store.set_hostcall_fuel(message.saturating_mul(AS_VALUES));
        store.set_epoch_deadline(1);
        let (ticked, bound) = (meter.clone(), limits.clone());
        store.epoch_deadline_callback(move |_| Ok(at_tick(&ticked, &bound)));
        let run = async {
            let instance = match instance {
                Some(instance) => instance,
                None => self.pre.instantiate_async(&mut store).await?,
            };
            let function = instance
                .get_func(&mut store, function)
                .ok_or_else(|| wasmtime::Error::msg("has no such function"))?;
            let mut results = vec![Val::Bool(false); function.ty(&store).results().len()];
            function.call_async(&mut store, &params, &mut results).await?;
            Ok((results.pop(), instance))
        };
        let ran = Metered::new(run, meter, limits.cpu).await;
        match ran {
            None => Err(Failure::Cpu),
            Some(Ok((value, instance))) => {
                *kept = Some(Kept { store, instance });
                Ok(value)
            }
            Some(Err(error)) => Err(Failure::of(&error, store.data())),
        }
    }
}

impl<T: Send + 'static> Ending<T> {
    /// Runs a call on the engine's thread, until the deadline.
    async fn of(
        engine: &Arc<Engine>,
        call: impl Future<Output = Result<T, Failure>> + Send + 'static,
        meter: Arc<Meter>,
        deadline: Instant,
    ) -> Self {
        let until = engine.until(deadline);
        let call = async move {
            let late = async {
                until.await;
                Err(Failure::Time)
            };
            or(call, late).await
        };
        let fenced = std::panic::AssertUnwindSafe(call);
        let ended = engine.run(smol::future::FutureExt::catch_unwind(fenced), deadline).await;
        // Where it is still under way, only its own thread could say how long it has computed.
        let Some(ended) = ended else {
            return Self { result: Err(Failure::Time), cpu: Duration::ZERO, used: meter.used() };
        };
        let result = ended.unwrap_or_else(|_| {
            Err(Failure::Agent("could not be called, by a fault of the agent; its log says more".into()))
        });
        Self { result, cpu: meter.spent(), used: meter.used() }
    }
}

fn index(component: &Component, interface: &str, function: &str) -> Option<ComponentExportIndex> {
    let interface = component.get_export_index(None, interface)?;
    component.get_export_index(Some(&interface), function)
}
