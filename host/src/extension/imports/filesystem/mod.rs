//! `wasi:filesystem`: what was granted of files (`extension::files`), as components ask for it.
//!
//! What may wait for a device is awaited, and runs on threads of the extension's own.

mod descriptors;
mod listing;
mod paths;
mod streams;
mod types;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi_io::streams::Error;

use self::streams::Failed;
use self::types::ErrorCode;
use super::wasi;
use crate::extension::call::Call;
use crate::extension::files::{Folder, Node};

/// What a component has open.
type Descriptor = Resource<Node>;

/// What a host function answers: in vain, or with a trap.
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&wasi("filesystem/types"))?;
    instance.resource("descriptor", ResourceType::host::<Node>(), |mut cx, node| {
        cx.data_mut().resources().delete(Descriptor::new_own(node))?;
        Ok(())
    })?;
    instance.func_wrap(
        "filesystem-error-code",
        |mut cx: StoreContextMut<'_, Call>, (error,): (Resource<Error>,)| {
            cx.data_mut().count()?;
            let error = cx.data_mut().resources().get(&error)?;
            Ok((error.downcast_ref::<Failed>().map(|failed| ErrorCode::from(failed.0)),))
        },
    )?;
    descriptors::link(&mut instance)?;
    paths::link(&mut instance)?;
    streams::link(&mut instance)?;
    listing::link(&mut instance)?;
    let mut instance = linker.instance(&wasi("filesystem/preopens"))?;
    instance.func_wrap("get-directories", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        let root = cx.data_mut().resources().push(Node::Folder(Folder::root()))?;
        Ok((vec![(root, "/".to_owned())],))
    })
}

/// What a handle stands for; the call is counted.
fn node(cx: &mut StoreContextMut<'_, Call>, descriptor: &Descriptor) -> wasmtime::Result<Node> {
    cx.data_mut().count()?;
    Ok(cx.data_mut().resources().get(descriptor)?.clone())
}

/// As [`node`], of a folder.
fn folder(
    cx: &mut StoreContextMut<'_, Call>,
    descriptor: &Descriptor,
) -> wasmtime::Result<Result<Folder, ErrorCode>> {
    Ok(match node(cx, descriptor)? {
        Node::Folder(folder) => Ok(folder),
        Node::File(_) => Err(ErrorCode::NotDirectory),
    })
}
