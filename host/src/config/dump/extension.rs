//! `[extensions]` and `[extension.NAME]` as text, without what is as by default.

use std::sync::Arc;

use toml::Spanned;

use super::super::extension::{CallLimits, Code, Extension, Extensions, GrantedProgram, OnFailure};
use super::super::schema::{
    CompileTable, ExtensionTable, ExtensionsTable, InOrder, LimitsTable, ProgramTable, Size,
};
use super::super::size;
use super::{plain, time};
use crate::policy::Origin;

pub(super) fn extensions(extensions: &Extensions) -> ExtensionsTable {
    let default = Extensions::default();
    let compile = CompileTable {
        memory: size_unless(extensions.compile_memory, default.compile_memory),
        time: (extensions.compile_time != default.compile_time).then(|| time(extensions.compile_time)),
    };
    ExtensionsTable {
        runtime: (extensions.runtime != default.runtime)
            .then(|| plain(extensions.runtime.as_str().to_owned())),
        cache: (extensions.cache != default.cache).then(|| plain(extensions.cache.clone())),
        state: (extensions.state != default.state).then(|| plain(extensions.state.clone())),
        stack: size_unless(extensions.stack as u64, default.stack as u64),
        compile: (compile.memory.is_some() || compile.time.is_some()).then_some(compile),
        module_size: size_unless(extensions.module_size, default.module_size),
        trust: (extensions.trust != default.trust).then(|| plain(extensions.trust.as_str().to_owned())),
        trusted_keys: (extensions.trusted_keys != default.trusted_keys)
            .then(|| plain(extensions.trusted_keys.clone())),
        packs: (extensions.packs != default.packs).then(|| plain(extensions.packs.clone())),
    }
}

/// `settings` as they were written: what is JSON by now may have been a date.
pub(super) fn list(list: &[Extension], settings: &[Option<toml::Table>]) -> InOrder<ExtensionTable> {
    let table = |(extension, settings): (&Extension, &Option<toml::Table>)| {
        let limits = limits(&extension.limits);
        let code = match &extension.code {
            Code::Module(path) => ExtensionTable { module: Some(plain(path.clone())), ..Default::default() },
            Code::Scripts(path) => {
                ExtensionTable { scripts: Some(plain(path.clone())), ..Default::default() }
            }
            Code::Pack(pack) => ExtensionTable {
                pack: Some(plain(pack.name.to_string())),
                version: Some(plain(pack.version.to_string())),
                ..Default::default()
            },
        };
        let table = ExtensionTable {
            enabled: (!extension.enabled).then_some(false),
            add: extension.add.as_ref().map(|names| all(names)),
            overrides: names(&extension.overrides),
            wrap: names(&extension.wraps),
            commands: names(&extension.commands),
            env: (!extension.env.is_empty()).then(|| {
                let variable = |(name, value): &(String, String)| (name.clone(), plain(value.clone()));
                extension.env.iter().map(variable).collect()
            }),
            freeze_hooks: extension.freeze_hooks.then_some(true),
            while_frozen: extension.while_frozen.then_some(true),
            on_failure: (extension.on_failure != OnFailure::Error)
                .then(|| plain(extension.on_failure.as_str().to_owned())),
            config: settings.clone().map(plain),
            exec: exec(extension),
            read: extension.read.iter().cloned().map(plain).collect(),
            write: extension.write.iter().cloned().map(plain).collect(),
            limits: (!limits.is_empty()).then_some(limits),
            ..code
        };
        (plain(extension.name.to_string()), table)
    };
    InOrder(list.iter().zip(settings).map(table).collect())
}

/// Names, if there are any.
fn names(names: &[(Arc<str>, Origin)]) -> Option<Vec<Spanned<String>>> {
    (!names.is_empty()).then(|| all(names))
}

fn all(names: &[(Arc<str>, Origin)]) -> Vec<Spanned<String>> {
    names.iter().map(|(name, _)| plain(name.to_string())).collect()
}

fn exec(extension: &Extension) -> Option<Vec<Spanned<ProgramTable>>> {
    let table = |granted: &GrantedProgram| {
        let GrantedProgram { program, args, env, rule: _ } = granted.clone();
        plain(ProgramTable { program, args, env })
    };
    (!extension.exec.is_empty()).then(|| extension.exec.iter().map(table).collect())
}

fn limits(limits: &CallLimits) -> LimitsTable {
    let default = CallLimits::default();
    let number_unless = |number: u64, default: u64| (number != default).then(|| plain(number));
    LimitsTable {
        cpu: (limits.cpu != default.cpu).then(|| time(limits.cpu)),
        // Both are what is written, or both as by default.
        time: ((limits.time, limits.time_over) != (default.time, default.time_over))
            .then(|| time(limits.time)),
        memory: size_unless(limits.memory, default.memory),
        message: size_unless(limits.message, default.message),
        host_calls: number_unless(limits.host_calls, default.host_calls),
        concurrency: number_unless(limits.concurrency as u64, default.concurrency as u64),
        log: size_unless(limits.log, default.log),
        state: size_unless(limits.state, default.state),
    }
}

fn size_unless(bytes: u64, default: u64) -> Option<Spanned<Size>> {
    (bytes != default).then(|| plain(Size::Text(size::format(bytes))))
}
