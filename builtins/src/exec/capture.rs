//! What of a child's output is kept, and the pipes that carry it and the child's input.
//!
//! The tasks here run on the daemon's executor beside everything else: a child that writes or reads without end, or not at all, holds
//! nobody up. No buffer is held while there is nothing to read.

use std::fmt;
use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use smol::Async;
use smol::future::yield_now;

use super::Shared;
use super::record::Which;
use crate::error::{Error, Result};
use crate::qapi::arguments::Taken;
use crate::sys::spawn;

/// How much is read from a pipe at once, in bytes: what a pipe holds by default.
const PIECE: usize = 64 << 10;

/// What of a child's output is kept: the schema's `GuestExecCaptureOutputMode`, or the `bool` that it was before QEMU 8.0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Capture {
    #[default]
    None,
    Stdout,
    Stderr,
    Separated,
    /// Both through one pipe, in the order in which they were written.
    Merged,
}

impl<'de> Deserialize<'de> for Capture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Alternate;
        impl Visitor<'_> for Alternate {
            type Value = Capture;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("GuestExecCaptureOutput")
            }

            fn visit_bool<E: de::Error>(self, both: bool) -> std::result::Result<Capture, E> {
                Ok(if both { Capture::Separated } else { Capture::None })
            }

            fn visit_str<E: de::Error>(self, mode: &str) -> std::result::Result<Capture, E> {
                Ok(match mode {
                    "none" => Capture::None,
                    "stdout" => Capture::Stdout,
                    "stderr" => Capture::Stderr,
                    "separated" => Capture::Separated,
                    "merged" => Capture::Merged,
                    other => {
                        let known = &["none", "stdout", "stderr", "separated", "merged"];
                        return Err(E::unknown_variant(other, known));
                    }
                })
            }
        }
        deserializer.deserialize_any(Alternate)
    }
}

/// Both ends of a child's standard descriptors: the child's, and ours of those that are pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    pub child: [OwnedFd; 3],
    pub input: Option<Async<PipeWriter>>,
    pub out: Option<Async<PipeReader>>,
    pub err: Option<Async<PipeReader>>,
}

impl Pipes {
    /// Opens what this way of capturing needs; the child's input is a pipe if there is any, even if empty, else `/dev/null`.
    pub(super) fn open(capture: Capture, has_input: bool) -> io::Result<Self> {
        let output = |wanted: bool| -> io::Result<_> {
            if !wanted {
                return Ok((None, spawn::null(OFlags::WRONLY)?));
            }
            let (reader, writer) = io::pipe()?;
            Ok((Some(Async::new(reader)?), OwnedFd::from(writer)))
        };
        let (input, child_in) = if has_input {
            let (reader, writer) = io::pipe()?;
            (Some(Async::new(writer)?), OwnedFd::from(reader))
        } else {
            (None, spawn::null(OFlags::RDONLY)?)
        };
        let (out, child_out) =
            output(matches!(capture, Capture::Stdout | Capture::Separated | Capture::Merged))?;
        let (err, child_err) = match capture {
            Capture::Merged => (None, child_out.try_clone()?),
            _ => output(matches!(capture, Capture::Stderr | Capture::Separated))?,
        };
        Ok(Self { child: [child_in, child_out, child_err], input, out, err })
    }
}

/// Reads a stream to its end, which comes when the child and all who inherited the pipe from it have closed it.
pub(super) async fn read(pipe: Option<Async<PipeReader>>, shared: &Shared, id: u64, which: Which) {
    let Some(pipe) = pipe else { return };
    // A failure, which a pipe does not know, is taken for the end.
    while let Ok(1..) = pipe.read_with(|pipe| read_piece(pipe, shared, id, which)).await {
        // A pipe that is never empty must not keep the executor from its other tasks.
        yield_now().await;
    }
}

/// Apart and not asynchronous, so that the buffer is on the stack only now, not in the task.
fn read_piece(pipe: &PipeReader, shared: &Shared, id: u64, which: Which) -> io::Result<usize> {
    let mut buffer = [MaybeUninit::uninit(); PIECE];
    let (bytes, _) = rustix::io::read(pipe.as_fd(), &mut buffer)?;
    if !bytes.is_empty() {
        shared.table().append(id, which, bytes);
    }
    Ok(bytes.len())
}

/// Writes a child's input, then closes it. Ends early, as with qemu-ga, when nobody is left to read it.
pub(super) async fn write(pipe: Async<PipeWriter>, input: Input) {
    let mut rest = input.bytes();
    while !rest.is_empty() {
        match pipe.write_with(|pipe| Ok(rustix::io::write(pipe.as_fd(), rest)?)).await {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) => {
                tracing::debug!(%error, "a program did not read all of its input");
                return;
            }
        }
        yield_now().await;
    }
}

/// Input for a child, counted as long as it is held.
#[derive(Debug)]
pub(super) struct Input {
    data: Taken,
    shared: Shared,
}

impl Input {
    /// Counts it.
    ///
    /// # Errors
    /// Children that do not read hold too much already. Differs from qemu-ga, which has no bound.
    pub(super) fn new(data: Taken, shared: &Shared) -> Result<Self> {
        if shared.table().take_input(data.bytes().len()) {
            Ok(Self { data, shared: shared.clone() })
        } else {
            Err(Error::generic("programs that do not read their input hold too much of it already"))
        }
    }

    fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.shared.table().release_input(self.data.bytes().len());
    }
}

#[cfg(test)]
mod tests {
    use crate::qapi::Arguments;

    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Args {
        capture_output: Option<Capture>,
    }

    #[test]
    fn the_way_of_capturing_is_a_bool_or_a_name() {
        for (value, expected) in [
            ("true", Ok(Capture::Separated)),
            ("false", Ok(Capture::None)),
            ("\"none\"", Ok(Capture::None)),
            ("\"stdout\"", Ok(Capture::Stdout)),
            ("\"stderr\"", Ok(Capture::Stderr)),
            ("\"separated\"", Ok(Capture::Separated)),
            ("\"m\\u0065rged\"", Ok(Capture::Merged)),
            ("\"x\"", Err("Parameter 'capture-output' does not accept value 'x'")),
            ("\"\"", Err("Parameter 'capture-output' does not accept value ''")),
            ("1", Err("Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput")),
            ("1.5", Err("Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput")),
            ("null", Err("Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput")),
            ("[]", Err("Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput")),
            ("{}", Err("Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput")),
        ] {
            let text = format!("{{\"capture-output\":{value}}}").into_bytes();
            let length = text.len();
            let read = Arguments::new(text, 0..length).parse::<Args>();
            let read = read.map(|args| args.capture_output.unwrap()).map_err(|error| error.desc);
            assert_eq!(read, expected.map_err(str::to_owned), "{value}");
        }
        assert_eq!(Arguments::default().parse::<Args>().unwrap().capture_output, None);
    }
}
