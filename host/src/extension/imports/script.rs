//! `waga:script/source`: the file that the engine of scripts is to run. Any component may ask; only that one is told of one.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::extension::call::Call;

#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct File {
    name: Arc<str>,
    text: Arc<str>,
}

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("waga:script/source@1.0.0")?;
    instance.func_wrap("get", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        let script = cx.data().grant.script.clone();
        Ok((script.map(|script| File { name: script.name, text: script.text }),))
    })
}
