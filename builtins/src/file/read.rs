//! Reading files: the reply is spelt while the file is read, a piece at a time, whatever the count.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use smol::stream;

use super::{Guard, lock};
use crate::command::{Command, Reply};
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::page_cache;
use crate::qapi::base64;

/// Most bytes one call may ask for; as qemu-ga.
const MAX_COUNT: i64 = 48 << 20;
/// Bytes asked for when the client does not say; as qemu-ga.
const DEFAULT_COUNT: i64 = 4096;
/// Bytes read and encoded at once: a multiple of three, so that pieces of base64 join without padding.
const PIECE: usize = 192 << 10;

/// Reads a file from its position.
pub(super) struct GuestFileRead;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    handle: i64,
    count: Option<i64>,
}

impl Command for GuestFileRead {
    const NAME: &'static str = "guest-file-read";
    const AUDITED: &'static [&'static str] = &["handle", "count"];
    type Args = Args;
    type Return = Reply;

    async fn run(cx: &Context, Args { handle, count }: Args) -> Result<Reply> {
        let opened = cx.opened(handle).await?;
        let wanted = count.unwrap_or(DEFAULT_COUNT);
        let left = usize::try_from(wanted).ok().filter(|_| wanted <= MAX_COUNT);
        let left =
            left.ok_or_else(|| Error::generic(format!("value '{wanted}' is invalid for argument count")))?;
        let spare = cx.agent.files.spare.clone();
        let buffer = std::mem::take(&mut *lock(&spare));
        let mut reading =
            Reading { cx: cx.clone(), opened: Some(opened), buffer, spare, left, count: 0, eof: false };
        let mut first = b"{\"buf-b64\": \"".to_vec();
        let ended =
            reading.piece(&mut first).await.map_err(|error| Error::io("failed to read file", error))?;
        if ended {
            reading.finish(&mut first);
            return Ok(Reply::Value(first));
        }
        let rest = stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            // A client that takes everything at once must not keep others from their turn.
            smol::future::yield_now().await;
            let mut piece = Vec::with_capacity(PIECE / 3 * 4 + 64);
            let ended = match reading.piece(&mut piece).await {
                Ok(ended) => ended,
                Err(error) => {
                    // The reply has begun: it ends here, and the next read tells.
                    reading.defer(error);
                    true
                }
            };
            if ended {
                reading.finish(&mut piece);
            }
            Some((piece, (!ended).then_some(reading)))
        });
        Ok(Reply::Pieces(Box::pin(stream::StreamExt::chain(stream::once(first), rest))))
    }
}

/// One read that is under way.
struct Reading {
    cx: Context,
    /// The file; away only while a thread reads it.
    opened: Option<Guard>,
    buffer: Vec<u8>,
    spare: Arc<Mutex<Vec<u8>>>,
    /// Bytes still wanted.
    left: usize,
    /// Bytes read so far.
    count: usize,
    eof: bool,
}

impl Reading {
    /// Reads the next piece and appends its base64; whether it was the last.
    async fn piece(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let size = self.left.min(PIECE);
        if let Some(error) = self.opened.as_mut().and_then(|opened| opened.deferred.take()) {
            return Err(error);
        }
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        let mut filled = self.read_cached(size)?;
        let mut stopped = false;
        if filled < size && !self.eof {
            // Not in memory: on a thread that may wait for it.
            let (Some(opened), mut buffer) = (self.opened.take(), std::mem::take(&mut self.buffer)) else {
                return Err(ErrorKind::NotFound.into());
            };
            let read = move || {
                let outcome = opened.file().and_then(|file| fill(file, &mut buffer[filled..size]));
                (opened, buffer, outcome)
            };
            let done = self.cx.blocking(Work::Files, read).await;
            let (opened, buffer, outcome) = done.map_err(|error| io::Error::other(error.desc))?;
            (self.opened, self.buffer) = (Some(opened), buffer);
            let (more, stop) = match outcome {
                Ok(outcome) => outcome,
                Err(error) if filled > 0 || self.count > 0 => {
                    self.defer(error);
                    (0, Stop::Short)
                }
                Err(error) => return Err(error),
            };
            filled += more;
            self.eof = stop == Stop::End;
            stopped = stop == Stop::Short;
        }
        out.reserve(filled / 3 * 4 + 64);
        base64::encode_onto(&self.buffer[..filled], out);
        self.left -= filled;
        self.count += filled;
        Ok(self.eof || stopped || self.left == 0)
    }

    /// Reads what is in memory, on this thread; where that cannot be asked for, nothing.
    fn read_cached(&mut self, size: usize) -> io::Result<usize> {
        let Some(opened) = &self.opened else { return Ok(0) };
        let (file, mut filled) = (opened.file()?, 0);
        while filled < size {
            match page_cache::read(file, opened.in_memory, &mut self.buffer[filled..size]) {
                Ok(0) => {
                    self.eof = true;
                    break;
                }
                Ok(count) => filled += count,
                Err(_) => break,
            }
        }
        Ok(filled)
    }

    fn defer(&mut self, error: io::Error) {
        if let Some(opened) = &mut self.opened {
            opened.deferred = Some(error);
        }
    }

    /// Ends the reply.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let end = format!("\", \"count\": {}, \"eof\": {}}}", self.count, self.eof);
        out.extend_from_slice(end.as_bytes());
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        *lock(&self.spare) = std::mem::take(&mut self.buffer);
    }
}

/// Why a read stopped before the buffer was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Full,
    End,
    /// Nothing more for now: what a pipe had is returned. (qemu-ga answers an error and loses it.)
    Short,
}

fn fill(mut file: &File, buffer: &mut [u8]) -> io::Result<(usize, Stop)> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => return Ok((filled, Stop::End)),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => {
                return Ok((filled, Stop::Short));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((filled, Stop::Full))
}
