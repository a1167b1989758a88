//! Every standard command of the guest agent, one file a family.
//!
//! A command is a type that implements [`Command`]; a family lists its commands; [`FAMILIES`] lists the families. This crate knows no channel, no framing, no configuration file and no extension.

mod agent;
pub mod captured;
mod command;
mod context;
mod cpu;
mod error;
pub mod exec;
mod extensions;
pub mod file;
pub mod filter;
pub mod fsfreeze;
mod helper;
mod introspection;
mod limits;
mod memory;
mod network;
mod os;
mod page_cache;
mod power;
pub mod qapi;
mod reload;
mod running;
mod ssh;
pub mod storage;
mod sys;
mod time;
mod users;

pub use agent::QEMU_VERSION;
pub use command::{BoxFuture, Builtin, Command, Empty, IntoReply, Reply, WhileFrozen};
pub use context::{Agent, Caller, Catalogue, CommandInfo, Context, Owner, Settings, Work};
pub use error::{Error, ErrorClass, Result, os_text};
pub use extensions::{
    ExtensionCommand, ExtensionInfo, ExtensionLimits, ExtensionMode, ExtensionPack, ExtensionState,
};
pub use introspection::{ChannelStats, CommandSchema, CommandStats, Json, ServerStats};
pub use limits::Limits;
pub use reload::Reloaded;
pub use sys::{allocator, code::release_code, fork::fork, listen_fds};

/// Every command, family by family.
pub const FAMILIES: &[&[Builtin]] = &[
    agent::COMMANDS,
    time::COMMANDS,
    power::COMMANDS,
    file::COMMANDS,
    fsfreeze::COMMANDS,
    network::COMMANDS,
    cpu::COMMANDS,
    storage::COMMANDS,
    memory::COMMANDS,
    exec::COMMANDS,
    os::COMMANDS,
    users::COMMANDS,
    ssh::COMMANDS,
    extensions::COMMANDS,
    introspection::COMMANDS,
    reload::COMMANDS,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all() -> impl Iterator<Item = &'static Builtin> {
        FAMILIES.iter().copied().flatten()
    }

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut seen = HashSet::new();
        for builtin in all() {
            let name = builtin.name;
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("guest-") || name.starts_with("waga-"), "{name}");
            let kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(name.bytes().all(kebab), "{name}");
        }
    }

    #[test]
    fn what_runs_while_frozen_is_qemu_gas_list_and_what_reads_memory() {
        let those = |which| {
            let names = all().filter(move |builtin| builtin.while_frozen == which);
            names.map(|builtin| builtin.name).collect::<Vec<_>>()
        };
        let on = [
            "guest-sync-delimited",
            "guest-sync",
            "guest-ping",
            "guest-info",
            "waga-get-freeze-report",
            "waga-get-extensions",
            "waga-get-schema",
            "waga-get-stats",
        ];
        assert_eq!(those(WhileFrozen::On), on);
        assert_eq!(those(WhileFrozen::Always), ["guest-fsfreeze-status", "guest-fsfreeze-thaw"]);
    }

    #[test]
    fn what_changes_the_agent_itself_is_off_by_default() {
        let off: Vec<_> = all().filter(|it| !it.on_by_default).map(|builtin| builtin.name).collect();
        assert_eq!(off, ["waga-reload"]);
    }

    #[test]
    fn what_extensions_may_be_let_call_are_the_questions_to_the_guest() {
        for builtin in all() {
            let asks = builtin.name.starts_with("guest-") && builtin.name.contains("-get-");
            assert_eq!(builtin.grantable, asks, "{}", builtin.name);
        }
        assert_eq!(all().filter(|builtin| builtin.grantable).count(), 16);
    }

    #[test]
    fn what_the_audit_log_writes_down_are_arguments_and_no_secrets() {
        for builtin in all() {
            let arguments = (builtin.arguments)();
            for name in builtin.audited {
                assert!(arguments.contains(name), "{} has no argument {name}", builtin.name);
                let parts: Vec<_> = name.split(['-', '_']).collect();
                for secret in ["password", "keys", "key", "arg", "env", "data", "b64", "buf", "input"] {
                    assert!(!parts.contains(&secret), "{}: {name}", builtin.name);
                }
            }
        }
        let audited = |name| all().find(|builtin| builtin.name == name).map(|builtin| builtin.audited);
        assert_eq!(audited("guest-exec"), Some(&["path", "capture-output"][..]));
        assert_eq!(audited("guest-file-write"), Some(&["handle", "count"][..]));
    }

    #[test]
    fn arguments_are_listed_in_the_schemas_order() {
        let arguments = |name| (all().find(|builtin| builtin.name == name).unwrap().arguments)();
        assert_eq!(arguments("guest-exec"), ["path", "arg", "env", "input-data", "capture-output"]);
        assert_eq!(arguments("guest-file-write"), ["handle", "buf-b64", "count"]);
        assert_eq!(arguments("guest-file-open"), ["path", "mode"]);
        assert!(arguments("guest-ping").is_empty());
    }

    #[test]
    fn only_one_reply_is_delimited() {
        let delimited: Vec<_> =
            all().filter(|builtin| builtin.delimited).map(|builtin| builtin.name).collect();
        assert_eq!(delimited, ["guest-sync-delimited"]);
    }
}
