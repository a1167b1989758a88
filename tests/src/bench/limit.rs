//! What this client could measure at best here: a thread that answers every line with a canned reply.
//!
//! It parses nothing, reads no file and sends from a buffer that stays in the cache; no agent can be faster.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::Result;

use super::wire::Wire;
use super::{KIB, MIB};

/// Connects to a new server whose replies have `size` bytes; it ends with the connection.
pub(super) fn serve(size: usize) -> Result<Wire> {
    let (ours, theirs) = UnixStream::pair()?;
    std::thread::Builder::new().name("limit".into()).spawn(move || answer(theirs, size))?;
    Wire::over(ours)
}

fn answer(mut stream: UnixStream, size: usize) -> std::io::Result<()> {
    let block = vec![b'x'; size.saturating_sub(1).min(256 * KIB)];
    // Short replies go out in one write, as an agent's do.
    let tail_size = size.saturating_sub(1).checked_rem(block.len()).unwrap_or(0);
    let tail = [&block[..tail_size], b"\n"].concat();
    let mut buffer = vec![0; MIB];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].ends_with(b"\n") {
            let mut left = size.saturating_sub(tail.len());
            while left > 0 {
                let part = left.min(block.len());
                stream.write_all(&block[..part])?;
                left -= part;
            }
            stream.write_all(&tail)?;
        }
    }
}
