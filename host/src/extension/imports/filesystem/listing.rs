//! The entries of a folder, one a call. They are read some at a time.

use std::collections::VecDeque;

use rustix::io::Errno;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};

use super::types::{DirectoryEntry, ErrorCode};
use super::{Descriptor, folder};
use crate::extension::call::Call;
use crate::extension::files::{Entry, Listing};

/// `directory-entry-stream`.
struct Entries {
    /// `None` once it is at its end, or while more is read.
    listing: Option<Listing>,
    next: VecDeque<Entry>,
}

pub(super) fn link(instance: &mut LinkerInstance<'_, Call>) -> wasmtime::Result<()> {
    instance.resource("directory-entry-stream", ResourceType::host::<Entries>(), |mut cx, entries| {
        cx.data_mut().resources().delete(Resource::<Entries>::new_own(entries))?;
        Ok(())
    })?;
    instance.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut cx: StoreContextMut<'_, Call>, (this,): (Descriptor,)| {
            Box::new(async move {
                let folder = match folder(&mut cx, &this)? {
                    Ok(folder) => folder,
                    Err(error) => return Ok((Err(error),)),
                };
                let Some(slot) = cx.data().slots.file() else { return Ok((Err(Errno::MFILE.into()),)) };
                let files = cx.data().grant.files.clone();
                let listing = files.threads().clone().run(move || files.list(&folder, slot)).await;
                Ok((match listing {
                    Ok(listing) => {
                        let entries = Entries { listing: Some(listing), next: VecDeque::new() };
                        Ok(cx.data_mut().resources().push(entries)?)
                    }
                    Err(error) => Err(ErrorCode::from(error)),
                },))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]directory-entry-stream.read-directory-entry",
        |mut cx: StoreContextMut<'_, Call>, (this,): (Resource<Entries>,)| {
            Box::new(async move {
                cx.data_mut().count()?;
                let entries = cx.data_mut().resources().get_mut(&this)?;
                if entries.next.is_empty()
                    && let Some(mut listing) = entries.listing.take()
                {
                    let threads = cx.data().grant.files.threads();
                    let (listing, next) = threads
                        .run(move || {
                            let next = listing.next();
                            (listing, next)
                        })
                        .await;
                    let entries = cx.data_mut().resources().get_mut(&this)?;
                    match next {
                        Ok(next) if next.is_empty() => {}
                        Ok(next) => (entries.listing, entries.next) = (Some(listing), next),
                        Err(error) => return Ok((Err(ErrorCode::from(error)),)),
                    }
                }
                let entry = cx.data_mut().resources().get_mut(&this)?.next.pop_front();
                Ok((Ok(entry.map(|entry| DirectoryEntry { kind: entry.kind.into(), name: entry.name })),))
            })
        },
    )
}
