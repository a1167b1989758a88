//! The operator's program that is told of freezing and thawing.

use std::time::Instant;

use super::report::{self, HookRun};
use super::state::Freeze;
use crate::context::Agent;
use crate::error::Result;
use crate::helper::{Failure, Helper};

impl Freeze {
    /// Tells the hook. `reported`: that belongs to the freeze of the report.
    ///
    /// A freeze that is to end meanwhile ends the hook that is told of it.
    pub(super) fn hook(&self, agent: &Agent, action: &'static str, reported: bool) -> Result<()> {
        let Some(hook) = &self.settings.hook else { return Ok(()) };
        let hook = hook.to_string_lossy();
        let begun = Instant::now();
        let mut helper = Helper::new(&hook, &[action], self.settings.hook_timeout);
        if action == "freeze" {
            helper = helper.until(self.stopped()?);
        }
        let ran = smol::block_on(helper.run(agent)).map_err(|failure| {
            let started = !matches!(failure, Failure::Start(..));
            (failure.of("execute fsfreeze hook"), started)
        });
        let time = report::nanoseconds(begun.elapsed());
        let error = ran.as_ref().err().map(|(error, _)| error.desc.clone());
        let mut inner = self.lock();
        inner.stop_hook = None;
        if reported {
            inner.report.hooks.push(HookRun {
                hook: hook.into_owned(),
                extension: None,
                action,
                time,
                error,
            });
        }
        inner.hook_owed = match &ran {
            // What was not started has nothing to undo.
            Err((_, false)) => inner.hook_owed && action == "freeze",
            _ => action == "freeze",
        };
        drop(inner);
        match ran {
            Ok(output) => {
                tracing::info!(action, bytes = output.len(), "the fsfreeze hook has run");
                Ok(())
            }
            Err((error, _)) => {
                // The hook is the operator's own, and so is what it says.
                tracing::error!(action, reason = error.desc, "the fsfreeze hook failed");
                Err(error)
            }
        }
    }
}
