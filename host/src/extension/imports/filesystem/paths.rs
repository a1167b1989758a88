//! What is asked of a path beneath a folder.

use rustix::fs::OFlags;
use rustix::io::Errno;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use super::descriptors::change;
use super::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, MetadataHash, NewTimestamp, OpenFlags, PathFlags, times,
};
use super::{Answer, Descriptor, folder};
use crate::extension::call::Call;
use crate::extension::files::{Facts, How};

type Cx<'a> = StoreContextMut<'a, Call>;

/// The folder, or the error that it is none.
macro_rules! folder {
    ($cx:expr, $descriptor:expr) => {
        match folder(&mut $cx, &$descriptor)? {
            Ok(folder) => folder,
            Err(error) => return Ok((Err(error),)),
        }
    };
}

pub(super) fn link(instance: &mut LinkerInstance<'_, Call>) -> wasmtime::Result<()> {
    instance.func_wrap_async(
        "[method]descriptor.open-at",
        |cx: Cx<'_>,
         (this, path_flags, path, open_flags, flags): (
            Descriptor,
            PathFlags,
            String,
            OpenFlags,
            DescriptorFlags,
        )| { Box::new(open(cx, this, how(path_flags, open_flags, flags), path)) },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.stat-at",
        |cx: Cx<'_>, (this, flags, path): (Descriptor, PathFlags, String)| {
            Box::new(async move {
                let (facts,) = stat(cx, this, flags, path).await?;
                Ok((facts.map(DescriptorStat::from),))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.metadata-hash-at",
        |cx: Cx<'_>, (this, flags, path): (Descriptor, PathFlags, String)| {
            Box::new(async move {
                let (facts,) = stat(cx, this, flags, path).await?;
                Ok((facts.map(MetadataHash::from),))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.readlink-at",
        |mut cx: Cx<'_>, (this, path): (Descriptor, String)| {
            Box::new(async move {
                let folder = folder!(cx, this);
                let files = cx.data().grant.files.clone();
                let target =
                    cx.data().grant.files.threads().run(move || files.read_link_at(&folder, &path)).await;
                Ok((target.map_err(ErrorCode::from),))
            })
        },
    )?;
    link_changes(instance)
}

/// What changes the folder that a path leads to.
fn link_changes(instance: &mut LinkerInstance<'_, Call>) -> wasmtime::Result<()> {
    instance.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut cx: Cx<'_>, (this, path): (Descriptor, String)| {
            Box::new(async move {
                let folder = folder!(cx, this);
                let files = cx.data().grant.files.clone();
                change(cx, move || files.make_folder_at(&folder, &path)).await
            })
        },
    )?;
    for (method, of_folder) in [("remove-directory-at", true), ("unlink-file-at", false)] {
        instance.func_wrap_async(
            &format!("[method]descriptor.{method}"),
            move |mut cx: Cx<'_>, (this, path): (Descriptor, String)| {
                Box::new(async move {
                    let folder = folder!(cx, this);
                    let files = cx.data().grant.files.clone();
                    change(cx, move || files.remove_at(&folder, &path, of_folder)).await
                })
            },
        )?;
    }
    instance.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut cx: Cx<'_>, (this, path, other, new): (Descriptor, String, Descriptor, String)| {
            Box::new(async move {
                let (from, to) = (folder!(cx, this), folder!(cx, other));
                let files = cx.data().grant.files.clone();
                change(cx, move || files.rename_at((&from, &path), (&to, &new))).await
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]descriptor.set-times-at",
        |mut cx: Cx<'_>,
         (this, flags, path, accessed, modified): (
            Descriptor,
            PathFlags,
            String,
            NewTimestamp,
            NewTimestamp,
        )| {
            Box::new(async move {
                let folder = folder!(cx, this);
                let how = how(flags, OpenFlags::empty(), DescriptorFlags::READ);
                let (times, slot) = match (times(accessed, modified), cx.data().slots.file()) {
                    (Ok(times), Some(slot)) => (times, slot),
                    (Err(error), _) => return Ok((Err(error),)),
                    (_, None) => return Ok((Err(ErrorCode::InsufficientMemory),)),
                };
                let files = cx.data().grant.files.clone();
                change(cx, move || files.open_at(&folder, &path, &how, slot)?.set_times(&times)).await
            })
        },
    )?;
    // Links might lead out, for whoever follows them.
    instance.func_wrap(
        "[method]descriptor.symlink-at",
        |mut cx: Cx<'_>, (this, _, _): (Descriptor, String, String)| -> Answer<()> {
            folder!(cx, this);
            Ok((Err(ErrorCode::NotPermitted),))
        },
    )?;
    instance.func_wrap(
        "[method]descriptor.link-at",
        |mut cx: Cx<'_>,
         (this, _, _, other, _): (Descriptor, PathFlags, String, Descriptor, String)|
         -> Answer<()> {
            folder!(cx, this);
            folder!(cx, other);
            Ok((Err(ErrorCode::NotPermitted),))
        },
    )
}

fn how(path: PathFlags, open: OpenFlags, flags: DescriptorFlags) -> How {
    let sync = if flags.contains(DescriptorFlags::FILE_INTEGRITY_SYNC) {
        OFlags::SYNC
    } else if flags.contains(DescriptorFlags::DATA_INTEGRITY_SYNC) {
        OFlags::DSYNC
    } else {
        OFlags::empty()
    };
    How {
        read: flags.contains(DescriptorFlags::READ),
        write: flags.contains(DescriptorFlags::WRITE),
        create: open.contains(OpenFlags::CREATE),
        exclusive: open.contains(OpenFlags::EXCLUSIVE),
        truncate: open.contains(OpenFlags::TRUNCATE),
        folder: open.contains(OpenFlags::DIRECTORY),
        follow: path.contains(PathFlags::SYMLINK_FOLLOW),
        sync,
    }
}

async fn open(mut cx: Cx<'_>, this: Descriptor, how: How, path: String) -> Answer<Descriptor> {
    let folder = folder!(cx, this);
    let Some(slot) = cx.data().slots.file() else { return Ok((Err(Errno::MFILE.into()),)) };
    let files = cx.data().grant.files.clone();
    let (threads, changes) = (files.threads().clone(), how.changes());
    let open = move || files.open_at(&folder, &path, &how, slot);
    let opened = if changes { threads.change(open).await } else { threads.run(open).await };
    Ok((match opened {
        Ok(node) => Ok(cx.data_mut().resources().push(node)?),
        Err(error) => Err(error.into()),
    },))
}

async fn stat(mut cx: Cx<'_>, this: Descriptor, flags: PathFlags, path: String) -> Answer<Facts> {
    let folder = folder!(cx, this);
    let files = cx.data().grant.files.clone();
    let follow = flags.contains(PathFlags::SYMLINK_FOLLOW);
    let facts = cx.data().grant.files.threads().run(move || files.stat_at(&folder, &path, follow)).await;
    Ok((facts.map_err(ErrorCode::from),))
}
