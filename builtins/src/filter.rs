//! Runs a program that turns a large input into a large output, neither of which is ever held whole: the compiler of extensions.
//!
//! Such a child gets a session of its own, an environment with nothing in it but a mark, and so long to end. It leaves nothing behind:
//! whatever way it ends, what it started is killed with it, and nothing that holds its pipes keeps anybody waiting. It is killed as well
//! when nobody waits for it any more.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smol::channel::Receiver;
use smol::future::{or, try_zip};
use smol::{Async, Timer};

use crate::helper::mark;
use crate::running::{Running, feed, next};
use crate::sys::spawn::Program;

/// What a pipe holds if the system lets it, and what is moved at once, in bytes: each time costs a thread a turn.
const PIPE: usize = 1 << 20;
const PIECE: usize = 256 << 10;

/// Most of what it writes to standard error that is kept, in bytes; the rest is read and lost.
const ERRORS: usize = 4 << 10;

/// A program to be run, once.
#[derive(Debug)]
pub struct Filter {
    program: String,
    args: Vec<String>,
    limit: Duration,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome<W> {
    /// Its exit code; the signal that ended it otherwise.
    pub code: Result<i32, i32>,
    /// What took its output.
    pub output: W,
    /// What it wrote to standard error, cut to 4 KiB.
    pub errors: String,
}

/// Why there is no outcome. What was started is killed.
#[derive(Debug)]
pub enum Failure {
    /// It could not be started.
    Start(io::Error),
    /// It had not ended after so long.
    Late(Duration),
    /// Its input could not be read.
    Input(io::Error),
    /// Its output was not taken.
    Output(io::Error),
    /// It ended well, and had not read its whole input.
    Unread,
    /// It could not be talked to.
    Lost(io::Error),
}

impl Filter {
    /// The program at a path, with its arguments, and how long it may take, its start included.
    pub fn new(program: impl Into<String>, args: impl IntoIterator<Item = String>, limit: Duration) -> Self {
        Self { program: program.into(), args: args.into_iter().collect(), limit }
    }

    /// Runs it to its end. Input is read and output written on threads for blocking work, a piece at a time; an error of either ends it.
    ///
    /// # Errors
    /// It did not run, or not to its end.
    pub async fn run<R, W>(self, input: R, output: W) -> Result<Outcome<W>, Failure>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
    {
        let (begun, limit) = (Instant::now(), self.limit);
        let late = async {
            Timer::at(begun + limit).await;
            Err(Failure::Late(limit))
        };
        or(self.live(input, output), late).await
    }

    async fn live<R, W>(self, input: R, output: W) -> Result<Outcome<W>, Failure>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
    {
        let (mut running, pipes) = blocking::unblock(move || self.start()).await?;
        let all_read = AtomicBool::new(false);
        let feed = async {
            feed_from(pipes.input, input).await?;
            all_read.store(true, Ordering::Relaxed);
            Ok(())
        };
        let ended = running.ended();
        let take = take(&pipes.output, output, &ended);
        let listen = async { Ok(listen(&pipes.errors, &ended).await) };
        let (code, (output, errors)) = running.attend(feed, try_zip(take, listen)).await?;
        let code = code.map_err(Failure::Lost)?;
        if code == Ok(0) && !all_read.load(Ordering::Relaxed) {
            return Err(Failure::Unread);
        }
        Ok(Outcome { code, output, errors })
    }

    /// To find a program and to execute it may wait for a disk.
    fn start(self) -> Result<(Running, Pipes), Failure> {
        let pipe = || -> io::Result<(PipeReader, PipeWriter)> {
            let (reader, writer) = io::pipe()?;
            // Beyond what the system allows a user, it stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE);
            Ok((reader, writer))
        };
        let lost = Failure::Lost;
        let (stdin, input) = pipe().map_err(lost)?;
        let (output, stdout) = pipe().map_err(lost)?;
        let (errors, stderr) = io::pipe().map_err(lost)?;
        let pipes = Pipes {
            input: Async::new(input).map_err(lost)?,
            output: Async::new(output).map_err(lost)?,
            errors: Async::new(errors).map_err(lost)?,
        };
        let mark = mark();
        let program = Program::new(&self.program, &self.args, Some(&[])).in_own_session().marked(&mark);
        let child = program.spawn([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(Failure::Start)?;
        Ok((Running::new(child, mark), pipes))
    }
}

/// Our ends.
struct Pipes {
    input: Async<PipeWriter>,
    output: Async<PipeReader>,
    errors: Async<PipeReader>,
}

/// Hands over all of the input, then closes the pipe. Whoever reads no more is fed no more.
async fn feed_from<R: Read + Send + 'static>(pipe: Async<PipeWriter>, mut input: R) -> Result<(), Failure> {
    let mut piece = vec![0; PIECE];
    loop {
        let read;
        (input, piece, read) = blocking::unblock(move || {
            let read = read_some(&mut input, &mut piece);
            (input, piece, read)
        })
        .await;
        let read = read.map_err(Failure::Input)?;
        if read == 0 {
            return Ok(());
        }
        if feed(&pipe, &piece[..read]).await.is_err() {
            // How it ends says why; as long as it runs, it has not been read.
            std::future::pending::<()>().await;
        }
    }
}

fn read_some(input: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Writes what it says into `output`, until the pipe is closed, or is empty once it has ended: somebody else may still hold it.
async fn take<W: Write + Send + 'static>(
    pipe: &Async<PipeReader>,
    mut output: W,
    ended: &Receiver<()>,
) -> Result<W, Failure> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match next(pipe, &mut piece, ended).await {
            Ok(0) => return Ok(output),
            Ok(read) => read,
            Err(error) => return Err(Failure::Lost(error)),
        };
        let written;
        (output, piece, written) = blocking::unblock(move || {
            let written = output.write_all(&piece[..read]);
            (output, piece, written)
        })
        .await;
        written.map_err(Failure::Output)?;
    }
}

/// What it says to standard error, as far as it is kept.
async fn listen(pipe: &Async<PipeReader>, ended: &Receiver<()>) -> String {
    let (mut text, mut piece) = (Vec::new(), [0; 4 << 10]);
    while let Ok(read @ 1..) = next(pipe, &mut piece, ended).await {
        let room = ERRORS - text.len();
        text.extend_from_slice(&piece[..read.min(room)]);
        smol::future::yield_now().await;
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests;
