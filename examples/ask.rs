//! The smallest client: sends each argument as one request to an agent's unix socket and prints the replies.
//!
//! `ask target/run/agent.sock '{"execute":"guest-ping"}' '{"execute":"guest-get-osinfo"}'`

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long the agent may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        return Err(io::Error::other("usage: ask SOCKET REQUEST..."));
    };
    let mut stream = connect(&path)?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut out = io::stdout().lock();
    for request in args {
        writeln!(out, "> {request}")?;
        stream.write_all(request.as_bytes())?;
        stream.write_all(b"\n")?;
        let mut reply = Vec::new();
        if replies.read_until(b'\n', &mut reply)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent closed the connection"));
        }
        // Replies are ASCII but for one byte: the 0xFF before that of guest-sync-delimited.
        let shown = reply.strip_prefix(b"\xff").unwrap_or(&reply);
        let sentinel = if shown.len() < reply.len() { "\\xff" } else { "" };
        write!(out, "< {sentinel}{}", String::from_utf8_lossy(shown))?;
    }
    Ok(())
}

fn connect(path: &str) -> io::Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Err(_) if start.elapsed() < PATIENCE => std::thread::yield_now(),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
            Ok(stream) => return Ok(stream),
        }
    }
}
