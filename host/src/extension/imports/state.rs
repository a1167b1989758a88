//! `waga:extension/state`: what a component keeps from one call to the next. What it means is said in [`crate::extension::state`].

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::extension::call::Call;

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("waga:extension/state@1.0.0")?;
    instance.func_wrap_async("get", |mut cx: StoreContextMut<'_, Call>, (key,): (String,)| {
        Box::new(async move {
            cx.data_mut().count()?;
            let state = cx.data().grant.state.clone();
            Ok((state.get(&key).await?,))
        })
    })?;
    instance.func_wrap_async(
        "set",
        |mut cx: StoreContextMut<'_, Call>, (key, value): (String, Vec<u8>)| {
            Box::new(async move {
                cx.data_mut().count()?;
                let state = cx.data().grant.state.clone();
                Ok((state.set(&key, value).await?,))
            })
        },
    )?;
    instance.func_wrap_async("delete", |mut cx: StoreContextMut<'_, Call>, (key,): (String,)| {
        Box::new(async move {
            cx.data_mut().count()?;
            let state = cx.data().grant.state.clone();
            Ok(state.delete(&key).await?)
        })
    })?;
    instance.func_wrap_async("keys", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        Box::new(async move {
            cx.data_mut().count()?;
            let state = cx.data().grant.state.clone();
            Ok((state.keys().await?,))
        })
    })
}
