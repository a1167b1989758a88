//! The tables of `agent.toml`, as serde reads and writes them: the one place that knows its keys. A key that is not here is an error.
//!
//! A value that policy or a fault may later point at keeps its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Spanned;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) channel: Vec<ChannelTable>,
    #[serde(default)]
    pub(super) policy: PolicyTable,
    #[serde(default)]
    pub(super) log: LogTable,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<AuditTable>,
    #[serde(default)]
    pub(super) state: StateTable,
    #[serde(default)]
    pub(super) daemon: DaemonTable,
    #[serde(default, skip_serializing_if = "FreezeTable::is_empty")]
    pub(super) freeze: FreezeTable,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ChannelTable {
    pub(super) method: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) retry_path: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Spanned<Who>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<Spanned<Who>>,
}

/// A user or a group, by name or by number.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "a name or a number is wanted")]
pub(super) enum Who {
    Number(u32),
    Name(String),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    // As in `RulesTable`: serde's `flatten` would lose places and strictness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) block: Vec<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exec: Option<Spanned<ExecTable>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Spanned<FileTable>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) channel: BTreeMap<Spanned<String>, RulesTable>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) block: Vec<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exec: Option<Spanned<ExecTable>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Spanned<FileTable>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecTable {
    pub(super) allow: Vec<Spanned<ProgramTable>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramTable {
    pub(super) program: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTable {
    #[serde(default)]
    pub(super) read: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) write: Vec<Spanned<String>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verbose: Option<bool>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DaemonTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) daemonize: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pidfile: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FreezeTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hook: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hook_timeout: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deadline: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exclude: Option<Spanned<Vec<String>>>,
}

impl PolicyTable {
    /// What holds for all channels.
    pub(super) fn rules(&self) -> RulesTable {
        let Self { allow, block, exec, file, .. } = self.clone();
        RulesTable { allow, block, exec, file }
    }
}

impl FreezeTable {
    fn is_empty(&self) -> bool {
        self.hook.is_none()
            && self.hook_timeout.is_none()
            && self.deadline.is_none()
            && self.exclude.is_none()
    }
}
