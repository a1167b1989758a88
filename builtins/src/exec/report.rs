//! Spells the reply of `guest-exec-status`, of up to 43 MiB, without ever holding all of it.
//!
//! Done by hand and not by serde, which knows no value that is spelt in pieces; the spelling is that of [`crate::qapi::spell`].

use std::fmt::Write;

use crate::command::Reply;
use crate::qapi::base64;
use crate::sys::spawn::Ended;

use super::record::{Record, Stream};

/// How much output is spelt at once, in bytes: a multiple of three, so that base64 needs no padding between pieces.
const PIECE: usize = 96 << 10;

/// The reply for a child that runs, or whose output something else still holds open.
pub(super) fn running() -> Reply {
    Reply::Value(br#"{"exited": false}"#.to_vec())
}

/// The reply for an ended child. The members of a stream are there if it has data, or had some that was thrown away: then its data may
/// be empty, which does not occur with qemu-ga, so that a client that looks at the data first sees the truncation as well.
pub(super) fn ended(record: Record) -> Reply {
    let mut head = r#"{"exited": true"#.to_owned();
    // Writing to a string does not fail.
    let _ = match record.ended {
        Ended::Code(code) => write!(head, r#", "exitcode": {code}"#),
        Ended::Signal(signal) => write!(head, r#", "signal": {signal}"#),
        Ended::Unknown => Ok(()),
    };
    let mut tail = String::new();
    for (name, stream) in [("out", &record.out), ("err", &record.err)] {
        if is_shown(stream) {
            let _ = write!(tail, r#", "{name}-truncated": {}"#, stream.truncated);
        }
    }
    tail.push('}');

    let small = record.out.data.len() + record.err.data.len() <= PIECE;
    let pieces = std::iter::once(head.into_bytes())
        .chain(data(r#", "out-data": ""#, record.out))
        .chain(data(r#", "err-data": ""#, record.err))
        .chain(std::iter::once(tail.into_bytes()));
    if small {
        Reply::Value(pieces.flatten().collect())
    } else {
        Reply::Pieces(Box::pin(smol::stream::iter(pieces)))
    }
}

fn is_shown(stream: &Stream) -> bool {
    stream.truncated || !stream.data.is_empty()
}

/// The member of a stream's data, piece by piece; nothing if the stream is empty.
fn data(start: &'static str, stream: Stream) -> impl Iterator<Item = Vec<u8>> + Send {
    let shown = is_shown(&stream);
    let frame = move |text: &'static str| shown.then(|| text.as_bytes().to_vec());
    let body = (0..stream.data.len()).step_by(PIECE).map(move |at| {
        let piece = &stream.data[at..stream.data.len().min(at + PIECE)];
        let mut text = Vec::with_capacity(piece.len().div_ceil(3) * 4);
        base64::encode_onto(piece, &mut text);
        text
    });
    frame(start).into_iter().chain(body).chain(frame("\""))
}
