//! Reading and writing files as streams. A stream does one thing at a time, begun when it is asked for and awaited by whoever needs it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use smol::future::FutureExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, StreamError, StreamResult,
};

use super::descriptors::{read, written};
use super::types::ErrorCode;
use super::{Answer, Descriptor, node};
use crate::extension::call::Call;
use crate::extension::files::{File, PIECE, Slot, Threads};

/// How much is read for one who waits before it says how much it wants.
const AHEAD: usize = 16 << 10;

/// What went wrong with a stream's file: `filesystem-error-code` tells it.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Errno);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

fn failed(error: Errno) -> StreamError {
    StreamError::LastOperationFailed(wasmtime::Error::new(Failed(error)))
}

/// What is under way.
type Work<T> = Pin<Box<dyn Future<Output = Result<T, Errno>> + Send>>;

/// Has it begin, if its turn is now; what came of it, if that is known already.
fn begin<T>(work: &mut Work<T>) -> Option<Result<T, Errno>> {
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

struct Reader {
    file: File,
    threads: Threads,
    offset: u64,
    state: Reading,
    _slot: Slot,
}

enum Reading {
    Idle,
    UnderWay(Work<Vec<u8>>),
    Read(Bytes),
    Failed(Errno),
    Ended,
}

impl Reader {
    fn start(&mut self, most: usize) {
        let (file, threads, offset) = (self.file.clone(), self.threads.clone(), self.offset);
        let mut work: Work<_> = async move { threads.run(move || file.read_at(most, offset)).await }.boxed();
        match begin(&mut work) {
            Some(read) => self.end(read),
            None => self.state = Reading::UnderWay(work),
        }
    }

    fn end(&mut self, read: Result<Vec<u8>, Errno>) {
        self.state = match read {
            Ok(bytes) if bytes.is_empty() => Reading::Ended,
            Ok(bytes) => {
                self.offset += bytes.len() as u64;
                Reading::Read(bytes.into())
            }
            Err(error) => Reading::Failed(error),
        };
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if matches!(self.state, Reading::Idle) {
            self.start(AHEAD);
        }
        if let Reading::UnderWay(work) = &mut self.state {
            let read = work.await;
            self.end(read);
        }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        match &mut self.state {
            Reading::Idle => self.start(size.min(PIECE)),
            Reading::UnderWay(work) => {
                if let Some(read) = begin(work) {
                    self.end(read);
                }
            }
            Reading::Read(_) | Reading::Failed(_) | Reading::Ended => {}
        }
        match &mut self.state {
            Reading::Idle | Reading::UnderWay(_) => Ok(Bytes::new()),
            Reading::Ended => Err(StreamError::Closed),
            Reading::Failed(error) => {
                let error = *error;
                self.state = Reading::Ended;
                Err(failed(error))
            }
            Reading::Read(bytes) => {
                let read = bytes.split_to(size.min(bytes.len()));
                if bytes.is_empty() {
                    self.state = Reading::Idle;
                }
                Ok(read)
            }
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size > 0 && matches!(self.state, Reading::Idle) {
            self.start(size.min(PIECE));
        }
        self.ready().await;
        self.read(size)
    }
}

struct Writer {
    file: File,
    threads: Threads,
    /// `None`: at the end, wherever that is.
    offset: Option<u64>,
    state: Writing,
    _slot: Slot,
}

enum Writing {
    Idle,
    UnderWay(Work<()>),
    Failed(Errno),
    Closed,
}

impl Writer {
    fn end(&mut self, written: Result<(), Errno>) {
        self.state = written.map_or_else(Writing::Failed, |()| Writing::Idle);
    }

    /// Tells an error once.
    fn error(&mut self) -> StreamResult<()> {
        match self.state {
            Writing::Failed(error) => {
                self.state = Writing::Closed;
                Err(failed(error))
            }
            Writing::Closed => Err(StreamError::Closed),
            Writing::Idle | Writing::UnderWay(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if let Writing::UnderWay(work) = &mut self.state {
            let written = work.await;
            self.end(written);
        }
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.error()?;
        if bytes.len() > PIECE || !matches!(self.state, Writing::Idle) {
            return Err(StreamError::trap("wrote more at once than check-write lets it"));
        }
        let (file, threads, offset) = (self.file.clone(), self.threads.clone(), self.offset);
        self.offset = offset.map(|offset| offset.saturating_add(bytes.len() as u64));
        let mut work: Work<_> =
            async move { threads.change(move || file.write_all(&bytes, offset)).await }.boxed();
        match begin(&mut work) {
            Some(written) => self.end(written),
            None => self.state = Writing::UnderWay(work),
        }
        Ok(())
    }

    /// Nothing is kept back.
    fn flush(&mut self) -> StreamResult<()> {
        self.error()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if let Writing::UnderWay(work) = &mut self.state
            && let Some(written) = begin(work)
        {
            self.end(written);
        }
        self.error()?;
        Ok(if matches!(self.state, Writing::Idle) { PIECE } else { 0 })
    }
}

pub(super) fn link(instance: &mut LinkerInstance<'_, Call>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut cx: StoreContextMut<'_, Call>,
         (this, offset): (Descriptor, u64)|
         -> Answer<Resource<DynInputStream>> {
            let file = match read(node(&mut cx, &this)?) {
                Ok(file) => file,
                Err(error) => return Ok((Err(error),)),
            };
            let Some(slot) = cx.data().slots.stream() else { return Ok((Err(Errno::MFILE.into()),)) };
            let threads = cx.data().grant.files.threads().clone();
            let stream: DynInputStream =
                Box::new(Reader { file, threads, offset, state: Reading::Idle, _slot: slot });
            Ok((Ok(cx.data_mut().resources().push(stream)?),))
        },
    )?;
    instance.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut cx: StoreContextMut<'_, Call>, (this, offset): (Descriptor, u64)| {
            writer(&mut cx, &this, Some(offset))
        },
    )?;
    instance.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut cx: StoreContextMut<'_, Call>, (this,): (Descriptor,)| writer(&mut cx, &this, None),
    )
}

fn writer(
    cx: &mut StoreContextMut<'_, Call>,
    this: &Descriptor,
    offset: Option<u64>,
) -> Answer<Resource<DynOutputStream>> {
    let file = match written(node(cx, this)?) {
        Ok(file) => file,
        Err(error) => return Ok((Err::<_, ErrorCode>(error),)),
    };
    let Some(slot) = cx.data().slots.stream() else { return Ok((Err(Errno::MFILE.into()),)) };
    let threads = cx.data().grant.files.threads().clone();
    let stream: DynOutputStream =
        Box::new(Writer { file, threads, offset, state: Writing::Idle, _slot: slot });
    Ok((Ok(cx.data_mut().resources().push(stream)?),))
}
