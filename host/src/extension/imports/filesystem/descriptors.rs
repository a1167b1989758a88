//! What is asked of an open file or folder itself.

use rustix::fs::OFlags;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use super::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, MetadataHash, NewTimestamp, times,
};
use super::{Answer, Descriptor, node};
use crate::extension::call::Call;
use crate::extension::files::{File, Node, PIECE};

type Cx<'a> = StoreContextMut<'a, Call>;

pub(super) fn link(instance: &mut LinkerInstance<'_, Call>) -> wasmtime::Result<()> {
    instance.func_wrap("[method]descriptor.get-flags", |mut cx: Cx<'_>, (this,): (Descriptor,)| {
        Ok((Ok::<_, ErrorCode>(flags(&node(&mut cx, &this)?)),))
    })?;
    instance.func_wrap("[method]descriptor.get-type", |mut cx: Cx<'_>, (this,): (Descriptor,)| {
        Ok((Ok::<_, ErrorCode>(match node(&mut cx, &this)? {
            Node::Folder(_) => DescriptorType::Directory,
            Node::File(_) => DescriptorType::RegularFile,
        }),))
    })?;
    instance.func_wrap(
        "[method]descriptor.advise",
        |mut cx: Cx<'_>, (this, _, _, _): (Descriptor, u64, u64, Advice)| {
            Ok((match node(&mut cx, &this)? {
                Node::File(_) => Ok(()),
                Node::Folder(_) => Err(ErrorCode::BadDescriptor),
            },))
        },
    )?;
    instance.func_wrap_async("[method]descriptor.stat", |cx: Cx<'_>, (this,): (Descriptor,)| {
        Box::new(async move {
            let facts = facts(cx, this).await?;
            Ok((facts.map(DescriptorStat::from),))
        })
    })?;
    instance.func_wrap_async("[method]descriptor.metadata-hash", |cx: Cx<'_>, (this,): (Descriptor,)| {
        Box::new(async move {
            let facts = facts(cx, this).await?;
            Ok((facts.map(MetadataHash::from),))
        })
    })?;
    instance.func_wrap_async(
        "[method]descriptor.is-same-object",
        |mut cx: Cx<'_>, (this, other): (Descriptor, Descriptor)| {
            Box::new(async move {
                let other = cx.data_mut().resources().get(&other)?.clone();
                let this = node(&mut cx, &this)?;
                let threads = cx.data().grant.files.threads();
                let same = threads.run(move || {
                    Ok::<_, rustix::io::Errno>(this.facts()?.identity == other.facts()?.identity)
                });
                Ok((same.await.unwrap_or(false),))
            })
        },
    )?;
    for (method, only_data) in [("sync", false), ("sync-data", true)] {
        instance.func_wrap_async(
            &format!("[method]descriptor.{method}"),
            move |mut cx: Cx<'_>, (this,): (Descriptor,)| {
                Box::new(async move {
                    let node = node(&mut cx, &this)?;
                    if !node.may_change() {
                        return Ok((Ok(()),));
                    }
                    change(cx, move || node.sync(only_data)).await
                })
            },
        )?;
    }
    instance.func_wrap_async(
        "[method]descriptor.set-times",
        |mut cx: Cx<'_>, (this, accessed, modified): (Descriptor, NewTimestamp, NewTimestamp)| {
            Box::new(async move {
                let node = node(&mut cx, &this)?;
                match times(accessed, modified) {
                    Ok(times) => change(cx, move || node.set_times(&times)).await,
                    Err(error) => Ok((Err(error),)),
                }
            })
        },
    )?;
    link_contents(instance)
}

fn link_contents(instance: &mut LinkerInstance<'_, Call>) -> wasmtime::Result<()> {
    instance.func_wrap_async(
        "[method]descriptor.set-size",
        |mut cx: Cx<'_>, (this, size): (Descriptor, u64)| {
            Box::new(async move {
                match written(node(&mut cx, &this)?) {
                    Ok(file) => change(cx, move || file.set_size(size)).await,
                    Err(error) => Ok((Err(error),)),
                }
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.read",
        |mut cx: Cx<'_>, (this, length, offset): (Descriptor, u64, u64)| {
            Box::new(async move {
                let file = match read(node(&mut cx, &this)?) {
                    Ok(file) => file,
                    Err(error) => return Ok((Err(error),)),
                };
                let most = usize::try_from(length).unwrap_or(PIECE).min(PIECE);
                let bytes = cx.data().grant.files.threads().run(move || file.read_at(most, offset)).await;
                Ok((bytes
                    .map(|bytes| (at_end(&bytes, most), bytes))
                    .map(|(end, bytes)| (bytes, end))
                    .map_err(ErrorCode::from),))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.write",
        |mut cx: Cx<'_>, (this, mut bytes, offset): (Descriptor, Vec<u8>, u64)| {
            Box::new(async move {
                let file = match written(node(&mut cx, &this)?) {
                    Ok(file) => file,
                    Err(error) => return Ok((Err(error),)),
                };
                bytes.truncate(PIECE);
                change(cx, move || file.write_at(&bytes, offset).map(|written| written as u64)).await
            })
        },
    )
}

/// Nothing was read, though something was wanted.
fn at_end(bytes: &[u8], wanted: usize) -> bool {
    bytes.is_empty() && wanted > 0
}

/// What may be read.
pub(super) fn read(node: Node) -> Result<File, ErrorCode> {
    match node {
        Node::File(file) if file.read => Ok(file),
        Node::File(_) => Err(ErrorCode::BadDescriptor),
        Node::Folder(_) => Err(ErrorCode::IsDirectory),
    }
}

/// What may be written.
pub(super) fn written(node: Node) -> Result<File, ErrorCode> {
    match node {
        Node::File(file) if file.write => Ok(file),
        Node::File(_) => Err(ErrorCode::BadDescriptor),
        Node::Folder(_) => Err(ErrorCode::IsDirectory),
    }
}

/// Changes something on a thread of the extension's.
pub(super) async fn change<T: Send + 'static>(
    cx: Cx<'_>,
    work: impl FnOnce() -> rustix::io::Result<T> + Send + 'static,
) -> Answer<T> {
    let changed = cx.data().grant.files.threads().change(work).await;
    Ok((changed.map_err(ErrorCode::from),))
}

async fn facts(
    mut cx: Cx<'_>,
    this: Descriptor,
) -> wasmtime::Result<Result<crate::extension::files::Facts, ErrorCode>> {
    let node = node(&mut cx, &this)?;
    let facts = cx.data().grant.files.threads().run(move || node.facts()).await;
    Ok(facts.map_err(ErrorCode::from))
}

fn flags(node: &Node) -> DescriptorFlags {
    match node {
        Node::Folder(folder) if folder.may_change() => {
            DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY
        }
        Node::Folder(_) => DescriptorFlags::READ,
        Node::File(file) => {
            let mut flags = DescriptorFlags::empty();
            for (is_set, flag) in [
                (file.read, DescriptorFlags::READ),
                (file.write, DescriptorFlags::WRITE),
                (file.sync == OFlags::SYNC, DescriptorFlags::FILE_INTEGRITY_SYNC),
                (file.sync == OFlags::DSYNC, DescriptorFlags::DATA_INTEGRITY_SYNC),
            ] {
                if is_set {
                    flags |= flag;
                }
            }
            flags
        }
    }
}
