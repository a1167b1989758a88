//! `wasi:random`: the kernel's random bytes, so many a call.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::wasi;
use crate::extension::call::Call;

/// So many random bytes.
fn bytes(call: &mut Call, length: u64) -> wasmtime::Result<Vec<u8>> {
    call.count()?;
    let left = call.random.checked_sub(length);
    call.random = left.ok_or_else(|| wasmtime::Error::msg("asked for too many random bytes"))?;
    let mut bytes = vec![0; usize::try_from(length)?];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

fn number(call: &mut Call) -> wasmtime::Result<u64> {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes(call, 8)?);
    Ok(u64::from_ne_bytes(number))
}

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    for (interface, prefix) in [("random/random", "get-random"), ("random/insecure", "get-insecure-random")] {
        let mut instance = linker.instance(&wasi(interface))?;
        instance.func_wrap(
            &format!("{prefix}-bytes"),
            |mut cx: StoreContextMut<'_, Call>, (length,): (u64,)| Ok((bytes(cx.data_mut(), length)?,)),
        )?;
        instance.func_wrap(&format!("{prefix}-u64"), |mut cx: StoreContextMut<'_, Call>, (): ()| {
            Ok((number(cx.data_mut())?,))
        })?;
    }
    let mut instance = linker.instance(&wasi("random/insecure-seed"))?;
    instance.func_wrap("insecure-seed", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        Ok(((number(cx.data_mut())?, number(cx.data_mut())?),))
    })
}
