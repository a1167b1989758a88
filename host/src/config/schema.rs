//! The tables of `agent.toml`, as serde reads and writes them: the one place that knows its keys. A key that is not here is an error.
//!
//! A value that policy or a fault may later point at keeps its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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
    #[serde(default, skip_serializing_if = "ExtensionsTable::is_empty")]
    pub(super) extensions: ExtensionsTable,
    #[serde(default, skip_serializing_if = "InOrder::is_empty")]
    pub(super) extension: InOrder<ExtensionTable>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) enable: Vec<Spanned<String>>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) enable: Vec<Spanned<String>>,
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

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ExtensionsTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stack: Option<Spanned<Size>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compile: Option<CompileTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) module_size: Option<Spanned<Size>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trust: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trusted_keys: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packs: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompileTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Spanned<Size>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table of its own for each extension, [extension.NAME]"
)]
pub(super) struct ExtensionTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) module: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scripts: Option<Spanned<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) add: Option<Vec<Spanned<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Spanned<toml::Table>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<LimitsTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exec: Option<Vec<Spanned<ProgramTable>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pack: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enabled: Option<bool>,
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub(super) overrides: Option<Vec<Spanned<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wrap: Option<Vec<Spanned<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commands: Option<Vec<Spanned<String>>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) read: Vec<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) write: Vec<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<BTreeMap<String, Spanned<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) freeze_hooks: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) while_frozen: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on_failure: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LimitsTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Spanned<Size>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Spanned<Size>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_calls: Option<Spanned<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) concurrency: Option<Spanned<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<Spanned<Size>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<Spanned<Size>>,
}

/// A number of bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "a size is wanted, \"512KiB\" or a number of bytes for example")]
pub(super) enum Size {
    Bytes(u64),
    Text(String),
}

/// Tables by name, in the order in which they stand in the file.
#[derive(Debug, Clone)]
pub(super) struct InOrder<T>(pub(super) Vec<(Spanned<String>, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> InOrder<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Serialize> Serialize for InOrder<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, table)| (name, table)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
            type Value = Vec<(Spanned<String>, T)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tables = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    tables.push(entry);
                }
                Ok(tables)
            }
        }

        let mut tables = deserializer.deserialize_map(Tables(std::marker::PhantomData))?;
        // They come by name.
        tables.sort_by_key(|(name, _)| name.span().start);
        Ok(Self(tables))
    }
}

impl ExtensionsTable {
    fn is_empty(&self) -> bool {
        let Self { runtime, cache, state, stack, compile, module_size, trust, trusted_keys, packs } = self;
        runtime.is_none()
            && cache.is_none()
            && state.is_none()
            && stack.is_none()
            && compile.is_none()
            && module_size.is_none()
            && trust.is_none()
            && trusted_keys.is_none()
            && packs.is_none()
    }
}

impl LimitsTable {
    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        let Self { cpu, time, memory, message, host_calls, concurrency, log, state } = self;
        cpu.is_none()
            && time.is_none()
            && memory.is_none()
            && message.is_none()
            && host_calls.is_none()
            && concurrency.is_none()
            && log.is_none()
            && state.is_none()
    }
}

impl PolicyTable {
    /// What holds for all channels.
    pub(super) fn rules(&self) -> RulesTable {
        let Self { allow, block, enable, exec, file, .. } = self.clone();
        RulesTable { allow, block, enable, exec, file }
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
