//! Freeze hooks of extensions: what is told of a freeze, and in the same instance of the thaw after it. Each call is within the limits of
//! any other, but takes no turn: there is one at a time, and whatever else is under way must not keep a thaw from being told.
//!
//! They are no commands: none is let rest, nothing is below them, and `on-failure` does not speak of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use waga_builtins::fsfreeze::{FreezeHook, Told};
use waga_builtins::{BoxFuture, Caller, Context};

use super::reach::Reach;
use super::sandbox::{Hook, Kept};
use super::scripts::Script;
use super::set::{Extensions, Loaded};
use super::unit::Unit;

/// How long is waited for one that is still being compiled or loaded: nothing is frozen meanwhile, and a freeze that fails is worse.
const LOADING: Duration = Duration::from_secs(30);

/// In whose name they call commands, where clients of a channel have its name.
const CALLER: &str = "freeze hooks";

/// One component, or one script, that is told.
struct Hooked {
    set: Arc<Extensions>,
    unit: Arc<Unit>,
    file: String,
    script: Option<Script>,
    /// Else why it cannot be called.
    ready: Result<Loaded, String>,
    has_begun: bool,
    /// The instance that was told of the freeze.
    kept: Option<Kept>,
}

impl Extensions {
    /// Those that are told, in the order of the configuration, and of scripts in that of their names; each loaded, or with the reason why it
    /// cannot be.
    pub(crate) async fn freeze_hooks(self: &Arc<Self>) -> Vec<Box<dyn FreezeHook>> {
        let mut all: Vec<Box<dyn FreezeHook>> = Vec::new();
        // One that is switched off is not there for anybody.
        let is_told = |unit: &&Arc<Unit>| unit.config.enabled && unit.config.freeze_hooks;
        for unit in self.units.iter().filter(is_told) {
            let path = unit.config.code.path().display().to_string();
            let loaded = self.sandbox(unit, Instant::now() + LOADING).await;
            let scripts = loaded.as_ref().ok().and_then(|loaded| loaded.known.scripts.clone());
            let mut add = |file, script, ready| {
                let (set, unit) = (self.clone(), unit.clone());
                all.push(Box::new(Hooked { set, unit, file, script, ready, has_begun: false, kept: None }));
            };
            match (loaded, scripts) {
                (Ok(loaded), Some(scripts)) => {
                    for (file, script) in scripts.hooked() {
                        let ready = script.as_ref().map(|_| loaded.clone()).map_err(String::clone);
                        add(file.display().to_string(), script.ok(), ready);
                    }
                }
                (loaded, _) => add(path, None, loaded),
            }
        }
        all
    }
}

impl Hooked {
    async fn tell(&mut self, hook: Hook) -> Told {
        let name = self.unit.name();
        let action = hook.as_str();
        let of = self.script.as_ref().map(|script| format!(" of {}", script.name)).unwrap_or_default();
        let failed = |text: &str| Err(format!("extension {name}: the {action} hook{of} {text}"));
        let Loaded { engine, sandbox, .. } = match &self.ready {
            Ok(loaded) => loaded.clone(),
            Err(reason) => return failed(&format!("cannot be called: {reason}")),
        };
        let Some(agent) = self.set.agent() else { return failed("cannot be called: the agent ends") };
        self.has_begun = true;
        let mut grant = self.unit.grant.clone();
        let limits = grant.limits.clone();
        let deadline = Instant::now() + limits.time;
        let cx = Context { agent, caller: Caller::Channel(CALLER.into()), limits: Arc::default() };
        grant.script = self.script.clone();
        grant.reach = Some(Arc::new(Reach::new(&cx, None, &self.unit, self.set.commands())));
        self.set.lend(&self.unit, &mut grant);
        let state = grant.state.clone();
        let running = self.unit.health.begin(&format!("{action} hook").into());
        let ending = sandbox.hook(&engine, grant, hook, &mut self.kept, deadline).await;
        let said = match ending.result {
            // What it changed is kept with its success.
            Ok(Ok(())) => state.commit(deadline).await.map(Ok),
            other => other,
        };
        match said {
            Ok(said) => {
                running.end(ending.cpu, None);
                said.or_else(|text| failed(&format!("failed: {text}")))
            }
            Err(failure) => {
                let text = failure.text(&limits);
                running.starve(ending.cpu, &text);
                failed(&text)
            }
        }
    }
}

impl FreezeHook for Hooked {
    fn extension(&self) -> &Arc<str> {
        self.unit.name()
    }

    fn file(&self) -> &str {
        &self.file
    }

    fn script(&self) -> Option<&str> {
        // Of one with a fault as well, of which there is only the file.
        let name = Path::new(&self.file).strip_prefix(self.unit.folder()?).ok()?;
        name.to_str().filter(|name| !name.is_empty())
    }

    fn freeze(&mut self) -> BoxFuture<'_, Told> {
        Box::pin(self.tell(Hook::Freeze))
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn thaw(&mut self) -> BoxFuture<'_, Told> {
        Box::pin(self.tell(Hook::Thaw))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::{self, Wish};
    use crate::config::{Config, Places};

    #[test]
    fn one_that_is_switched_off_stops_no_freeze() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places {
            agent_toml: folder.path().join("agent.toml"),
            agent_d: folder.path().join("agent.d"),
            qemu_ga_conf: folder.path().join("qemu-ga.conf"),
        };
        let hooks = |lines: &str| {
            let cache = folder.path().display();
            let text = format!(
                "[extensions]\ncache = '{cache}/cache'\n[extension.x]\nmodule = '/nonexistent'\n{lines}\n"
            );
            fs::write(&places.agent_toml, text).unwrap();
            fs::set_permissions(&places.agent_toml, fs::Permissions::from_mode(0o600)).unwrap();
            let Ok(Wish::Run(cli)) = cli::parse(["waga".into()]) else { panic!() };
            let config = Config::load(&cli, &places).unwrap().config;
            let set = Extensions::open(&config.extensions, &config.own_places().into());
            // Of none of these it is waited for anything.
            for unit in &set.units {
                if unit.config.enabled {
                    unit.set(super::super::unit::Phase::Refused("a test".into(), None));
                }
            }
            smol::block_on(set.freeze_hooks()).len()
        };
        assert_eq!(hooks("freeze-hooks = true"), 1);
        assert_eq!(hooks("freeze-hooks = true\nenabled = false"), 0);
        assert_eq!(hooks("enabled = false"), 0);
        assert_eq!(hooks(""), 0);
    }
}
