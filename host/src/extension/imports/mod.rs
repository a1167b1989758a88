//! What components may import: the interfaces of `waga:extension` that are built, and our own subset of WASI 0.2. All of it is in one
//! linker, for each function asks the call that it serves what is granted; what is not on the list is refused before anything is linked.

mod clocks;
mod commands;
pub(super) mod exec;
mod filesystem;
mod own;
mod random;
mod script;
mod shell;
mod sockets;
mod state;
mod streams;

use wasmtime::component::Linker;

use super::call::Call;
use super::names::is_interface;
use waga_builtins::FAMILIES;

pub(super) use commands::link_typed;

/// The version of WASI whose interfaces are linked; earlier ones of 0.2 are served by the same.
const WASI: &str = "0.2.12";

/// The interfaces of WASI that are linked.
const LINKED: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What an import is to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Any component may have it.
    Free,
    /// The operator can grant it, by this line in the extension's table.
    Granted(String),
    /// No operator can grant it, for this reason.
    Forbidden(String),
    /// This agent has no such thing.
    Unknown,
}

/// What the import of this name (`waga:extension/log@1.0.0`) is to the agent.
pub fn standing(import: &str) -> Standing {
    let own = |interface: &str| is_interface(import, &format!("waga:extension/{interface}"), "1");
    let wasi = |interface: &str| match import.split_once('@') {
        Some((path, version)) => path == interface && version.starts_with("0.2."),
        None => false,
    };
    if ["log", "config", "next", "state"].into_iter().any(own)
        || is_interface(import, "waga:script/source", "1")
        || LINKED.iter().any(|interface| wasi(interface))
    {
        Standing::Free
    } else if is_exec(import) {
        Standing::Granted("exec = [{ program = \"/…\" }], with each program that it may run".into())
    } else if own("call") {
        Standing::Granted("commands = [\"guest-…\"], with each command that it may call".into())
    } else if let Some(command) = command_of(import) {
        match FAMILIES.iter().copied().flatten().find(|builtin| builtin.name == command) {
            Some(builtin) if builtin.grantable => Standing::Granted(format!("commands = [\"{command}\"]")),
            Some(_) => Standing::Forbidden(format!("no extension may call {command}")),
            None => Standing::Unknown,
        }
    } else {
        Standing::Unknown
    }
}

/// The command whose interface of `waga:guest` this import is: it bears its name.
pub(super) fn command_of(import: &str) -> Option<&str> {
    let (command, version) = import.strip_prefix("waga:guest/")?.split_once('@')?;
    version.starts_with("1.").then_some(command)
}

/// Whether it is that of programs.
pub(super) fn is_exec(import: &str) -> bool {
    is_interface(import, "waga:extension/exec", "1")
}

/// Links everything that there is.
pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    own::link(linker)?;
    commands::link(linker)?;
    clocks::link(linker)?;
    filesystem::link(linker)?;
    random::link(linker)?;
    script::link(linker)?;
    shell::link(linker)?;
    state::link(linker)?;
    exec::link(linker)?;
    sockets::link(linker)?;
    streams::link(linker)
}

/// A name in the version that is linked.
fn wasi(interface: &str) -> String {
    format!("wasi:{interface}@{WASI}")
}
