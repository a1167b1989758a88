//! `wasi:sockets`: there are none. What toolchains import of it is linked, and whoever asks for a socket is answered that it may not have
//! one.

use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType, Val};

use super::wasi;
use crate::extension::call::Call;

/// The network, which leads nowhere.
struct Network;
struct Lookup;
struct Tcp;
struct Udp;
struct Incoming;
struct Outgoing;

/// What may be asked of a socket, of which there is none: a component that calls it has no handle to call it with.
const TCP: &[&str] = &[
    "start-bind",
    "finish-bind",
    "start-connect",
    "finish-connect",
    "start-listen",
    "finish-listen",
    "accept",
    "local-address",
    "remote-address",
    "is-listening",
    "address-family",
    "set-listen-backlog-size",
    "keep-alive-enabled",
    "set-keep-alive-enabled",
    "keep-alive-idle-time",
    "set-keep-alive-idle-time",
    "keep-alive-interval",
    "set-keep-alive-interval",
    "keep-alive-count",
    "set-keep-alive-count",
    "hop-limit",
    "set-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
    "shutdown",
];
const UDP: &[&str] = &[
    "start-bind",
    "finish-bind",
    "stream",
    "local-address",
    "remote-address",
    "address-family",
    "unicast-hop-limit",
    "set-unicast-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
];

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&wasi("sockets/network"))?;
    instance.resource("network", ResourceType::host::<Network>(), |mut cx, network| {
        cx.data_mut().resources().delete(Resource::<Network>::new_own(network))?;
        Ok(())
    })?;
    let mut instance = linker.instance(&wasi("sockets/instance-network"))?;
    instance.func_wrap("instance-network", |mut cx: wasmtime::StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        Ok((cx.data_mut().resources().push(Network)?,))
    })?;
    let mut instance = linker.instance(&wasi("sockets/tcp"))?;
    none_of::<Tcp>(&mut instance, "tcp-socket", TCP)?;
    let mut instance = linker.instance(&wasi("sockets/udp"))?;
    none_of::<Udp>(&mut instance, "udp-socket", UDP)?;
    none_of::<Incoming>(&mut instance, "incoming-datagram-stream", &["receive", "subscribe"])?;
    none_of::<Outgoing>(&mut instance, "outgoing-datagram-stream", &["check-send", "send", "subscribe"])?;
    let mut instance = linker.instance(&wasi("sockets/ip-name-lookup"))?;
    none_of::<Lookup>(&mut instance, "resolve-address-stream", &["resolve-next-address", "subscribe"])?;
    refuse(&mut instance, "resolve-addresses")?;
    let mut instance = linker.instance(&wasi("sockets/tcp-create-socket"))?;
    refuse(&mut instance, "create-tcp-socket")?;
    let mut instance = linker.instance(&wasi("sockets/udp-create-socket"))?;
    refuse(&mut instance, "create-udp-socket")
}

/// A resource that nobody has, and its methods.
fn none_of<T: 'static>(
    instance: &mut LinkerInstance<'_, Call>,
    resource: &str,
    methods: &[&str],
) -> wasmtime::Result<()> {
    instance.resource(resource, ResourceType::host::<T>(), |_, _| Ok(()))?;
    for method in methods {
        instance.func_new(&format!("[method]{resource}.{method}"), |_, _, _, _| {
            Err(wasmtime::Error::msg("there are no sockets"))
        })?;
    }
    Ok(())
}

/// A function that answers that nothing was granted.
fn refuse(instance: &mut LinkerInstance<'_, Call>, function: &str) -> wasmtime::Result<()> {
    instance.func_new_async(function, |mut cx, _, params, results| {
        Box::new(async move {
            cx.data_mut().count()?;
            for param in params {
                if let Val::Resource(lent) = param {
                    // It was lent to this call, and goes back with its end.
                    lent.resource_drop_async(&mut cx).await?;
                }
            }
            results[0] = Val::Result(Err(Some(Box::new(Val::Enum("access-denied".into())))));
            Ok(())
        })
    })
}
