//! Reading the configuration anew at a client's wish. What reads it is no matter of this crate: it is asked through the catalogue.

use serde::Serialize;

use crate::command::{Builtin, Command, Empty};
use crate::context::Context;
use crate::error::Result;

pub(crate) const COMMANDS: &[Builtin] = &[Builtin::of::<WagaReload>()];

/// Does what SIGHUP does, and answers when it is done: policy and extensions are replaced, or nothing is.
struct WagaReload;

impl Command for WagaReload {
    const NAME: &'static str = "waga-reload";
    // Whoever is at the other end of a channel is not who wrote the files.
    const ON_BY_DEFAULT: bool = false;
    type Args = Empty;
    type Return = Reloaded;

    async fn run(cx: &Context, _: Empty) -> Result<Reloaded> {
        cx.reload().await
    }
}

/// What a reload came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// Tables that changed and are not in force before a restart.
    pub needs_restart: Vec<&'static str>,
    /// What does not do what its author meant, and the extensions that do not run, with the reason.
    pub warnings: Vec<String>,
}
