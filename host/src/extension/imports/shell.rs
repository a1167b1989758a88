//! `wasi:cli` but for its streams: no arguments, the environment that the operator gives, no terminal, and an end that ends the component alone.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};

use super::wasi;
use crate::extension::call::{Call, Ended};

/// `terminal-input` and `terminal-output`, of which there is none.
struct Terminal;

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&wasi("cli/environment"))?;
    instance.func_wrap("get-environment", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((cx.data().grant.env.to_vec(),))
    })?;
    instance.func_wrap("get-arguments", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((Vec::<String>::new(),))
    })?;
    instance.func_wrap("initial-cwd", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((None::<String>,))
    })?;
    let mut instance = linker.instance(&wasi("cli/exit"))?;
    instance.func_wrap(
        "exit",
        |_: StoreContextMut<'_, Call>, (_,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            Err(wasmtime::Error::new(Ended::Exit))
        },
    )?;
    for (interface, resource) in
        [("cli/terminal-input", "terminal-input"), ("cli/terminal-output", "terminal-output")]
    {
        let mut instance = linker.instance(&wasi(interface))?;
        instance.resource(resource, ResourceType::host::<Terminal>(), |_, _| Ok(()))?;
    }
    for stream in ["stdin", "stdout", "stderr"] {
        let mut instance = linker.instance(&wasi(&format!("cli/terminal-{stream}")))?;
        instance.func_wrap(
            &format!("get-terminal-{stream}"),
            |mut cx: StoreContextMut<'_, Call>, (): ()| {
                cx.data_mut().count()?;
                Ok((None::<Resource<Terminal>>,))
            },
        )?;
    }
    Ok(())
}
