//! One script by itself, without an agent: for `waga-ext call`. It is its author's, so nobody asks who else may write to it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::folder::{Source, Sources};
use super::{Script, Scripts};
use crate::extension::call::Grant;
use crate::extension::description::Command;
use crate::extension::digest::Hasher;
use crate::extension::engine::Engine;
use crate::extension::sandbox::{Sandbox, Unnamed};

/// What is known of one file.
#[derive(Debug)]
pub struct Alone {
    scripts: Scripts,
}

impl Alone {
    /// Reads a file, and runs it once in the sandbox of the engine.
    ///
    /// # Errors
    /// It cannot be read, or what is wrong with it.
    pub async fn read(
        path: &Path,
        engine: &Arc<Engine>,
        sandbox: Arc<Sandbox>,
        grant: Grant,
    ) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text: Arc<str> = text.into();
        let script = Script { name: name.as_str().into(), text: text.clone() };
        let (limits, config) = (grant.limits.clone(), grant.config.clone());
        let exports = sandbox.names(engine, Grant { script: Some(script), ..grant }).await;
        let exports = exports.map_err(|unnamed| match unnamed {
            Unnamed::Said(text) => text,
            Unnamed::Failed(failure) => {
                format!("{name}: run to see what it exports, it {}", failure.text(&limits))
            }
            Unnamed::Other => "the engine is none of scripts".to_owned(),
        })?;

        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let mut schemas = Vec::new();
        for beside in stem.iter().chain(&exports).map(|name| format!("{name}.json")) {
            let Ok(text) = fs::read_to_string(path.with_file_name(&beside)) else { continue };
            let schema = serde_json::from_str(&text);
            schemas.push((beside.clone(), schema.map_err(|error| format!("{beside}: is no JSON: {error}"))));
        }
        let digest = Hasher::default().finish();
        let source = Source { name, text: Ok(text), digest: Some(digest) };
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let sources = Sources {
            folder,
            listing: Vec::new(),
            scripts: vec![source],
            schemas,
            digests: Default::default(),
        };
        Ok(Self { scripts: Scripts::of(sources, digest, &config, vec![Ok(exports)], None) })
    }

    /// The commands that it defines.
    pub fn commands(&self) -> impl Iterator<Item = Command> {
        self.scripts.commands()
    }

    /// What of it is not used, with the reason.
    pub fn faults(&self) -> &[String] {
        self.scripts.faults()
    }

    /// What a call of a command runs.
    pub fn script(&self, command: &str) -> Option<Script> {
        self.scripts.script(command)
    }

    /// The names of a command's arguments; `None` if its author says nothing of them.
    pub fn arguments(&self, command: &str) -> Option<Vec<&str>> {
        self.scripts.rule(command).filter(|rule| rule.is_closed()).map(|rule| rule.names().collect())
    }

    /// Checks the arguments of a command, as the agent does.
    ///
    /// # Errors
    /// The first that is not as it has to be.
    pub fn check(&self, command: &str, arguments: &[u8]) -> Result<(), String> {
        let checked = self.scripts.rule(command).map(|rule| rule.check(arguments));
        checked.unwrap_or(Ok(())).map_err(|fault| fault.to_string())
    }
}
