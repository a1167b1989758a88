//! Writing files: the base64 is decoded where it stands in the message and handed to the kernel from there.

use std::io::{self, ErrorKind, Write};

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::qapi::arguments::{Span, Taken};
use crate::qapi::{Arguments, base64};

/// Most base64, in bytes, that is decoded and written on the daemon's own thread, if the file is in memory: about a millisecond.
const AT_ONCE: usize = 2 << 20;

/// Writes to a file at its position.
pub(super) struct GuestFileWrite;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Text {
    handle: i64,
    buf_b64: Span,
    count: Option<i64>,
}

/// The arguments, with the data still encoded.
#[derive(Debug)]
pub(super) struct Args {
    handle: i64,
    encoded: Option<Taken>,
    count: Option<i64>,
}

impl<'de> Deserialize<'de> for Args {
    /// Not used: the data is taken out of the message by [`Command::arguments`].
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Text { handle, count, .. } = Text::deserialize(deserializer)?;
        Ok(Self { handle, encoded: None, count })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Written {
    count: usize,
    eof: bool,
}

impl Command for GuestFileWrite {
    const NAME: &'static str = "guest-file-write";
    const AUDITED: &'static [&'static str] = &["handle", "count"];
    type Args = Args;
    type Return = Written;

    fn arguments(arguments: Arguments) -> Result<Args> {
        let Text { handle, buf_b64, count } = arguments.parse()?;
        Ok(Args { handle, encoded: Some(arguments.into_string(&buf_b64)), count })
    }

    async fn run(cx: &Context, Args { handle, encoded, count }: Args) -> Result<Written> {
        let mut opened = cx.opened(handle).await?;
        opened.deferred = None;
        let size = encoded.as_ref().map_or(0, |encoded| encoded.bytes().len());
        let at_once = opened.in_memory && size <= AT_ONCE;
        let work = move || {
            let mut data =
                encoded.map(base64::decode_in_place).transpose()?.ok_or_else(|| Error::generic("no data"))?;
            if let Some(count) = count {
                let fits = usize::try_from(count).ok().filter(|&count| count <= data.bytes().len());
                let invalid = || Error::generic(format!("value '{count}' is invalid for argument count"));
                data.truncate(fits.ok_or_else(invalid)?);
            }
            let count = opened.file().and_then(|file| write(file, data.bytes()));
            count.map_err(|error| Error::io("failed to write to file", error))
        };
        let count = if at_once { work()? } else { cx.writing(Work::Files, work).await?? };
        Ok(Written { count, eof: false })
    }
}

/// Writes all of it; less only to a pipe that takes no more now. A disk that fills up is an error, not a short count.
fn write(mut file: impl Write, data: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < data.len() {
        match file.write(&data[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && written > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
