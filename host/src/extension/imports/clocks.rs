//! `wasi:clocks`: the time of day, time since the call began, and timers to wait for.

use std::time::{Duration, Instant, SystemTime};

use smol::Timer;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use super::wasi;
use crate::extension::call::Call;

/// A time, since 1970.
#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Datetime {
    pub(super) seconds: u64,
    pub(super) nanoseconds: u32,
}

/// Something to wait for; `None`: for ever.
struct At(Option<Instant>);

#[async_trait]
impl Pollable for At {
    async fn ready(&mut self) {
        match self.0 {
            Some(at) if at <= Instant::now() => {}
            Some(at) => {
                Timer::at(at).await;
            }
            None => std::future::pending().await,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn wait(call: &mut Call, at: Option<Instant>) -> wasmtime::Result<(Resource<DynPollable>,)> {
    call.count()?;
    let at = call.resources().push(At(at))?;
    Ok((subscribe(call.resources(), at)?,))
}

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&wasi("clocks/wall-clock"))?;
    instance.func_wrap("now", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok((Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() },))
    })?;
    instance.func_wrap("resolution", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((Datetime { seconds: 0, nanoseconds: 1 },))
    })?;
    let mut instance = linker.instance(&wasi("clocks/monotonic-clock"))?;
    instance.func_wrap("now", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((nanoseconds(cx.data().begun.elapsed()),))
    })?;
    instance.func_wrap("resolution", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((1_u64,))
    })?;
    instance.func_wrap("subscribe-instant", |mut cx: StoreContextMut<'_, Call>, (at,): (u64,)| {
        let at = cx.data().begun.checked_add(Duration::from_nanos(at));
        wait(cx.data_mut(), at)
    })?;
    instance.func_wrap("subscribe-duration", |mut cx: StoreContextMut<'_, Call>, (time,): (u64,)| {
        wait(cx.data_mut(), Instant::now().checked_add(Duration::from_nanos(time)))
    })
}
