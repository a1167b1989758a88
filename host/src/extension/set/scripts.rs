//! Extensions of scripts: their files are read, and those of which nothing is known yet run once, for what they export.

use std::sync::Arc;

use super::Extensions;
use super::load::Linked;
use crate::extension::call::Grant;
use crate::extension::sandbox::{Sandbox, Unnamed};
use crate::extension::scripts::{Script, Scripts, read};
use crate::extension::source::{Fault, Known};
use crate::extension::unit::Unit;

/// What came of a folder: what is known of the extension now, and its sandbox, if one was there or had to be.
pub(super) struct Scripted {
    pub(super) known: Arc<Known>,
    pub(super) sandbox: Option<Arc<Sandbox>>,
}

impl Extensions {
    /// Adds to what is known of the engine what the scripts of an extension define. All of them are read; the engine runs those that are others
    /// than they were, in `sandbox`, or in one that is made for that.
    pub(super) async fn scripted(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        mut known: Arc<Known>,
        mut sandbox: Option<Arc<Sandbox>>,
    ) -> Result<Scripted, Fault> {
        let Some(folder) = unit.folder() else { return Ok(Scripted { known, sandbox }) };
        let (this, name, place, engine) =
            (self.clone(), unit.name().clone(), folder.to_owned(), known.digest);
        let look = move || Ok::<_, Fault>((read(&place)?, this.source.noted_scripts(&name, &place, engine)));
        let (mut sources, noted) = smol::unblock(look).await?;
        if let Some(pack) = unit.config.code.pack()
            && let Some(name) = sources.not_of(pack)
        {
            return Err(Fault::Refused(format!(
                "{name} is not the one of pack {} {} as it was installed (waga-ext doctor)",
                pack.name, pack.version
            )));
        }
        let before = unit.phase().known().and_then(|known| known.scripts.clone());
        let before = before.or_else(|| unit.scripts_before.clone()).or_else(|| noted.map(Arc::new));

        let mut exports = Vec::new();
        for source in &mut sources.scripts {
            let same = before
                .as_ref()
                .filter(|before| before.is_of(folder, known.digest) && before.saw(&unit.grant.config));
            let found = same.and_then(|before| before.found(&source.name, source.digest?));
            let text = match (&source.text, found) {
                (Ok(text), None) => text.clone(),
                (Ok(_), Some(found)) => {
                    exports.push(found);
                    continue;
                }
                (Err(reason), _) => {
                    exports.push(Err(reason.clone()));
                    continue;
                }
            };
            let running = match &sandbox {
                Some(sandbox) => sandbox.clone(),
                None => match self.linked(unit, known.clone()).await? {
                    Linked::Ready(again, made) => {
                        known = again;
                        sandbox.insert(made).clone()
                    }
                    Linked::Not(phase) => {
                        return Err(Fault::Refused(phase.reason().unwrap_or("cannot be loaded").to_owned()));
                    }
                },
            };
            let script = Script { name: source.name.as_str().into(), text };
            exports.push(match self.run_once(unit, running, script).await? {
                Ok(names) => Ok(names),
                Err(Unnamed::Said(text)) => Err(text),
                Err(Unnamed::Failed(failure)) => {
                    // The next time it may end better.
                    source.digest = None;
                    Err(format!(
                        "{}: run to see what it exports, it {}",
                        source.name,
                        failure.text(&unit.grant.limits)
                    ))
                }
                Err(Unnamed::Other) => Err(format!("{}: the engine is none of scripts", source.name)),
            });
        }
        let scripts =
            Arc::new(Scripts::of(sources, known.digest, &unit.grant.config, exports, before.as_deref()));
        tell_faults(unit, &scripts);
        if scripts.is_certain() {
            self.source.note_scripts(self.agent(), unit.name(), scripts.clone()).await;
        }
        Ok(Scripted { known: Arc::new(with(&known, scripts)), sandbox })
    }

    /// Runs a file for what it exports. It is granted nothing that it could do something with.
    async fn run_once(
        &self,
        unit: &Unit,
        sandbox: Arc<Sandbox>,
        script: Script,
    ) -> Result<Result<Vec<String>, Unnamed>, Fault> {
        let engine = self.runtime.started().ok_or_else(|| Fault::Failed("has no engine".into()))?;
        let of = &unit.grant;
        let grant = Grant {
            name: of.name.clone(),
            config: of.config.clone(),
            limits: of.limits.clone(),
            env: of.env.clone(),
            script: Some(script),
            ..Grant::default()
        };
        Ok(sandbox.names(&engine, grant).await)
    }
}

/// What is known of an engine and of the scripts that it runs.
pub(super) fn with(known: &Known, scripts: Arc<Scripts>) -> Known {
    let mut known = known.clone();
    known.description.commands = scripts.commands().collect();
    known.description.freeze_hooks = scripts.has_hooks();
    known.scripts = Some(scripts);
    known
}

/// What of its files is not used.
pub(super) fn tell_faults(unit: &Unit, scripts: &Scripts) {
    let extension = &**unit.name();
    for fault in scripts.faults() {
        tracing::error!(extension, "{fault}");
    }
}
