//! The way of an extension from its file to a sandbox.

use std::path::Path;
use std::sync::Arc;

use super::scripts::Scripted;
use super::{Extensions, settled};
use crate::extension::runtime::thawed;
use crate::extension::sandbox::{Sandbox, Unfit};
use crate::extension::scripts::{look, no_engine};
use crate::extension::source::{Fault, Known};
use crate::extension::unit::{Phase, Unit};
use crate::extension::{artifact, imports};

/// What came of loading a component.
pub(super) enum Linked {
    Ready(Arc<Known>, Arc<Sandbox>),
    /// It was another one by now, which must not be loaded.
    Not(Phase),
}

impl Extensions {
    /// Loads an extension that is known, and finds out anew what changed.
    pub(super) async fn loaded(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        known: Arc<Known>,
    ) -> Result<Phase, Fault> {
        let (known, sandbox) = match self.linked(unit, known).await? {
            Linked::Ready(known, sandbox) => (known, sandbox),
            Linked::Not(phase) => return Ok(phase),
        };
        if unit.folder().is_none() {
            return Ok(Phase::Loaded(known, sandbox));
        }
        let Scripted { known, .. } = self.scripted(unit, known, Some(sandbox.clone())).await?;
        Ok(match settled(unit, known) {
            Phase::Known(known) => Phase::Loaded(known, sandbox),
            other => other,
        })
    }

    /// Loads the component of an extension that is known. If it is another one by now, it is found out about anew first.
    pub(super) async fn linked(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        mut known: Arc<Known>,
    ) -> Result<Linked, Fault> {
        let engine = self.runtime.engine(|| self.agent()).await?;
        // What is in the cache may have been compiled for what turns out not to run here, or be damaged, or have been changed meanwhile:
        // each is mended by finding out anew, once.
        for last in [false, true] {
            let (this, what, again) = (self.clone(), unit.clone(), known.clone());
            let with = engine.clone();
            let sandbox = smol::unblock(move || {
                what.grant.files.open().map_err(Fault::Refused)?;
                if again.kind != with.kind() {
                    return Ok(None);
                }
                let Some(file) = this.source.artifact(&what.module(), &again)? else { return Ok(None) };
                let component = match artifact::load(with.wasmtime(), &file) {
                    Ok(component) => component,
                    Err(error) => {
                        tracing::warn!(extension = &**what.name(), %error, "not loaded: compiled anew");
                        return Ok(None);
                    }
                };
                if let Some(reason) = imports::exec::distrust(&what.config.exec) {
                    return Err(Fault::Failed(reason));
                }
                match Sandbox::new(&component, &again.description) {
                    Ok(sandbox) => Ok(Some(sandbox)),
                    Err(unfit @ Unfit::Description) if !last => {
                        tracing::warn!(extension = &**what.name(), "{unfit}: compiled anew");
                        Ok(None)
                    }
                    Err(unfit) => Err(Fault::Refused(unfit.to_string())),
                }
            });
            if let Some(sandbox) = sandbox.await? {
                return Ok(Linked::Ready(known, Arc::new(sandbox)));
            }
            if last {
                break;
            }
            match settled(unit, self.rediscover(unit, &known).await?.into()) {
                Phase::Known(again) => known = again,
                other => return Ok(Linked::Not(other)),
            }
        }
        Err(Fault::Refused("what was compiled of it cannot be loaded; the agent's log says why".into()))
    }

    /// What an extension is, from the cache or by compiling it, and by running those of its scripts of which nothing is known.
    pub(super) async fn discover(self: &Arc<Self>, unit: &Arc<Unit>) -> Result<Phase, Fault> {
        let kind = self.runtime.kind(|| self.agent()).await?;
        thawed(|| self.agent()).await;
        if let Some(folder) = unit.folder().map(Path::to_owned) {
            // The engine need not be compiled for one that is not there.
            smol::unblock(move || look(&folder)).await?;
        }
        let module = unit.module();
        let known = self.source.known(self.agent(), unit.name(), &module, kind, None).await;
        let known = known.map_err(|fault| match fault {
            Fault::Missing(_) if unit.folder().is_some() && !module.exists() => {
                Fault::Missing(no_engine(&module))
            }
            other => other,
        })?;
        let Scripted { known, sandbox } = self.scripted(unit, known.into(), None).await?;
        Ok(match (settled(unit, known), sandbox) {
            (Phase::Known(known), Some(sandbox)) => Phase::Loaded(known, sandbox),
            (phase, _) => phase,
        })
    }

    /// What the component of an extension is, where what the cache holds of it did not do.
    async fn rediscover(self: &Arc<Self>, unit: &Arc<Unit>, known: &Arc<Known>) -> Result<Known, Fault> {
        let kind = self.runtime.kind(|| self.agent()).await?;
        thawed(|| self.agent()).await;
        // Of another kind it was not looked for yet.
        let distrusted = (known.kind == kind).then_some(known.digest);
        self.source.known(self.agent(), unit.name(), &unit.module(), kind, distrusted).await
    }
}
