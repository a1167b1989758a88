//! `waga:extension/log` and `waga:extension/config`: what any component may have.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::extension::call::Call;
use crate::extension::log;

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("waga:extension/log@1.0.0")?;
    instance.func_wrap(
        "log",
        |mut cx: StoreContextMut<'_, Call>, (level, message): (log::Level, String)| {
            cx.data_mut().count()?;
            cx.data().journal().say(level, &message);
            Ok(())
        },
    )?;
    let mut instance = linker.instance("waga:extension/config@1.0.0")?;
    instance.func_wrap("get", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((cx.data().grant.config.to_string(),))
    })
}
