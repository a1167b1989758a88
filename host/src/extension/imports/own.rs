//! `waga:extension/log` and `waga:extension/config`: what any component may have.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use crate::extension::call::Call;
use crate::extension::log;

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
enum Level {
    #[component(name = "error")]
    Error,
    #[component(name = "warning")]
    Warning,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
}

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("waga:extension/log@1.0.0")?;
    instance.func_wrap("log", |mut cx: StoreContextMut<'_, Call>, (level, message): (Level, String)| {
        cx.data_mut().count()?;
        let level = match level {
            Level::Error => log::Level::Error,
            Level::Warning => log::Level::Warning,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        cx.data().journal().say(level, &message);
        Ok(())
    })?;
    let mut instance = linker.instance("waga:extension/config@1.0.0")?;
    instance.func_wrap("get", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((cx.data().grant.config.to_string(),))
    })
}
