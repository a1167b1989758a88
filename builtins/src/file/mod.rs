//! Files that the host opens, reads and writes.
//!
//! Differs from qemu-ga, whose files are buffered: a write is with the kernel when it is answered, so `guest-file-flush` has nothing
//! left to do, and a full disk shows at the write. What is read comes in pieces, so that a large read costs little memory.

mod open;
mod places;
mod read;
mod state;
#[cfg(test)]
mod tests;
mod within;
mod write;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, de};
use smol::lock::{Mutex as AsyncMutex, MutexGuardArc};

pub use self::places::{Places, real};
use crate::command::{Builtin, Command, Empty};
use crate::context::{Context, Owner, Work, in_time};
use crate::error::{Error, Result};
use crate::limits::Limits;
use state::Counter;

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<open::GuestFileOpen>(),
    Builtin::of::<GuestFileClose>(),
    Builtin::of::<read::GuestFileRead>(),
    Builtin::of::<write::GuestFileWrite>(),
    Builtin::of::<GuestFileSeek>(),
    Builtin::of::<GuestFileFlush>(),
];

/// The open files.
#[derive(Debug)]
pub struct Files {
    counter: Arc<Mutex<Counter>>,
    open: Mutex<HashMap<i64, Entry>>,
    /// A buffer for reads, kept between them.
    spare: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug)]
struct Entry {
    /// Whose it is; `None` for the channels that share theirs.
    owner: Option<Owner>,
    /// What allowed it to be opened. A reload may have put other limits in force since, under which it can only be closed.
    limits: Arc<Limits>,
    file: Arc<AsyncMutex<Opened>>,
}

/// One open file. Whoever holds its lock may use its position.
#[derive(Debug)]
struct Opened {
    /// `None` once it is closed.
    file: Option<File>,
    /// It lives in memory and is never waited for: served without a hop to another thread.
    in_memory: bool,
    /// What stopped the last read after it had begun to answer; for the next one to report.
    deferred: Option<io::Error>,
}

type Guard = MutexGuardArc<Opened>;

impl Files {
    /// No file open yet; the counter of handles goes on from the state kept in `state_dir`.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            counter: Arc::new(Mutex::new(Counter::new(state_dir))),
            open: Mutex::default(),
            spare: Arc::default(),
        }
    }

    /// How many are open, whoever has them.
    pub(crate) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Writes down where the counter stands.
    pub(crate) fn close(&self) {
        lock(&self.counter).close();
    }

    fn add(&self, cx: &Context, handle: i64, opened: Opened) {
        let file = Arc::new(AsyncMutex::new(opened));
        lock(&self.open).insert(handle, Entry { owner: cx.owner(), limits: cx.limits.clone(), file });
    }

    fn find(&self, cx: &Context, handle: i64, to_close: bool) -> Result<Arc<AsyncMutex<Opened>>> {
        let (open, owner) = (lock(&self.open), cx.owner());
        let entry = open.get(&handle).filter(|entry| entry.owner == owner).ok_or_else(|| unknown(handle))?;
        let same = Arc::ptr_eq(&entry.limits, &cx.limits) || entry.limits.file == cx.limits.file;
        if !same && !to_close {
            let text = format!("handle '{handle}' was opened under another policy: open the file again");
            return Err(Error::refused(text));
        }
        Ok(entry.file.clone())
    }
}

fn unknown(handle: i64) -> Error {
    Error::generic(format!("handle '{handle}' has not been found"))
}

/// The state behind these locks is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// The file behind a handle of this caller, for this request alone.
    async fn opened(&self, handle: i64) -> Result<Guard> {
        self.locked(handle, self.agent.files.find(self, handle, false)?).await
    }

    async fn locked(&self, handle: i64, file: Arc<AsyncMutex<Opened>>) -> Result<Guard> {
        let file = match file.try_lock_arc() {
            Some(file) => file,
            // Somebody who reads a large piece and does not take it must not hold up others for ever.
            None => in_time(file.lock_arc())
                .await
                .ok_or_else(|| Error::generic(format!("handle '{handle}' is in use by another request")))?,
        };
        if file.file.is_none() {
            return Err(unknown(handle)); // closed while we waited
        }
        Ok(file)
    }
}

impl Opened {
    /// The file, which is open: [`Context::opened`] has seen to that.
    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::from_raw_os_error(nix::libc::EBADF))
    }
}

/// The arguments of close and flush.
#[derive(Debug, Deserialize)]
pub(crate) struct Handle {
    handle: i64,
}

/// Closes a file.
struct GuestFileClose;

impl Command for GuestFileClose {
    const NAME: &'static str = "guest-file-close";
    const AUDITED: &'static [&'static str] = &["handle"];
    type Args = Handle;
    type Return = Empty;

    async fn run(cx: &Context, args: Handle) -> Result<Empty> {
        let file = cx.agent.files.find(cx, args.handle, true)?;
        let mut opened = cx.locked(args.handle, file).await?;
        lock(&cx.agent.files.open).remove(&args.handle);
        if let Some(file) = opened.file.take() {
            let closed = cx.writing(Work::Files, || nix::unistd::close(OwnedFd::from(file))).await?;
            closed.map_err(|errno| Error::io("failed to close handle", errno.into()))?;
        }
        Ok(Empty {})
    }
}

/// Does nothing but check the handle: writes are with the kernel already. (qemu-ga does not sync to the disk either.)
struct GuestFileFlush;

impl Command for GuestFileFlush {
    const NAME: &'static str = "guest-file-flush";
    const AUDITED: &'static [&'static str] = &["handle"];
    type Args = Handle;
    type Return = Empty;

    async fn run(cx: &Context, args: Handle) -> Result<Empty> {
        cx.opened(args.handle).await?;
        Ok(Empty {})
    }
}

/// Moves to another position of a file.
struct GuestFileSeek;

#[derive(Debug, Deserialize)]
pub(crate) struct SeekArgs {
    handle: i64,
    offset: i64,
    whence: Whence,
}

/// From where an offset counts: a word, or the number that older versions had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whence {
    Set,
    Current,
    End,
    Unknown(i64),
}

impl<'de> Deserialize<'de> for Whence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Alternate;
        impl de::Visitor<'_> for Alternate {
            type Value = Whence;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("GuestFileWhence")
            }

            fn visit_i64<E: de::Error>(self, code: i64) -> std::result::Result<Whence, E> {
                Ok(match code {
                    0 => Whence::Set,
                    1 => Whence::Current,
                    2 => Whence::End,
                    other => Whence::Unknown(other),
                })
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> std::result::Result<Whence, E> {
                Err(E::invalid_type(de::Unexpected::Float(number), &"integer"))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> std::result::Result<Whence, E> {
                match word {
                    "set" => Ok(Whence::Set),
                    "cur" => Ok(Whence::Current),
                    "end" => Ok(Whence::End),
                    other => Err(E::unknown_variant(other, &["set", "cur", "end"])),
                }
            }
        }
        deserializer.deserialize_any(Alternate)
    }
}

#[derive(Debug, Serialize)]
struct Position {
    position: u64,
    eof: bool,
}

impl Command for GuestFileSeek {
    const NAME: &'static str = "guest-file-seek";
    const AUDITED: &'static [&'static str] = &["handle", "offset", "whence"];
    type Args = SeekArgs;
    type Return = Position;

    async fn run(cx: &Context, args: SeekArgs) -> Result<Position> {
        let mut opened = cx.opened(args.handle).await?;
        let failed = |error| Error::io("failed to seek file", error);
        let offset = args.offset;
        let whence = match args.whence {
            Whence::Set => SeekFrom::Start(
                u64::try_from(offset).map_err(|_| failed(io::Error::from_raw_os_error(nix::libc::EINVAL)))?,
            ),
            Whence::Current => SeekFrom::Current(offset),
            Whence::End => SeekFrom::End(offset),
            Whence::Unknown(code) => return Err(Error::generic(format!("invalid whence code {code}"))),
        };
        opened.deferred = None;
        let seek = move || opened.file().and_then(|mut file| file.seek(whence));
        let position = cx.blocking(Work::Files, seek).await?.map_err(failed)?;
        Ok(Position { position, eof: false })
    }
}
