//! Standard input, which is empty, and standard output and error, which go to the log.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, StreamError, StreamResult,
};

use super::wasi;
use crate::extension::call::Call;
use crate::extension::log::{Journal, Stream};

/// Most bytes that are taken at once.
const PIECE: usize = 64 << 10;

/// Standard input.
struct Empty;

#[async_trait]
impl Pollable for Empty {
    async fn ready(&mut self) {}
}

impl InputStream for Empty {
    fn read(&mut self, _: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

/// Standard output or error.
struct Log {
    journal: Arc<Mutex<Journal>>,
    stream: Stream,
}

#[async_trait]
impl Pollable for Log {
    async fn ready(&mut self) {}
}

impl OutputStream for Log {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // The engine passes on whatever comes, and nothing interrupts the agent while it looks for lines in it.
        if bytes.len() > PIECE {
            return Err(StreamError::trap("wrote more at once than check-write lets it"));
        }
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE)
    }
}

pub(super) fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&wasi("cli/stdin"))?;
    instance.func_wrap("get-stdin", |mut cx: StoreContextMut<'_, Call>, (): ()| {
        cx.data_mut().count()?;
        let stream: DynInputStream = Box::new(Empty);
        Ok((cx.data_mut().resources().push(stream)?,))
    })?;
    for (interface, function, stream) in
        [("cli/stdout", "get-stdout", Stream::Output), ("cli/stderr", "get-stderr", Stream::Error)]
    {
        let mut instance = linker.instance(&wasi(interface))?;
        instance.func_wrap(function, move |mut cx: StoreContextMut<'_, Call>, (): ()| {
            cx.data_mut().count()?;
            let stream: DynOutputStream = Box::new(Log { journal: cx.data().journal.clone(), stream });
            Ok((cx.data_mut().resources().push(stream)?,))
        })?;
    }
    Ok(())
}
