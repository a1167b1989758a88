//! A child that leaves nothing behind: whatever way it ends, or if nobody waits for it any more, it is killed with all that it started.
//! Beside it, how it is talked to over pipes.

use std::future::{Future, pending};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;

use rustix::io::Errno;
use smol::Async;
use smol::channel::{Receiver, Sender};
use smol::future::{or, try_zip, yield_now};

use crate::helper::kill;
use crate::sys::spawn::{self, Ended};

/// A child that runs; dropped, it is killed with all that it started, and reaped, by a thread.
pub(crate) struct Running {
    /// `None` once it is reaped.
    child: Option<spawn::Child>,
    mark: String,
    /// Dropped when it has ended.
    over: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Running {
    pub(crate) fn new(child: spawn::Child, mark: String) -> Self {
        let (over, ended) = smol::channel::bounded(1);
        Self { child: Some(child), mark, over: Some(over), ended }
    }

    /// What [`next`] has to know of it.
    pub(crate) fn ended(&self) -> Receiver<()> {
        self.ended.clone()
    }

    /// Waits for its end while it is fed, and while what it writes is read, which need not be over when it ends: its exit code, or the
    /// signal that ended it otherwise; an error if somebody else has reaped it.
    ///
    /// # Errors
    /// Those of `feed` and `read`, at once.
    pub(crate) async fn attend<T, E>(
        &mut self,
        feed: impl Future<Output = Result<(), E>>,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<(io::Result<Result<i32, i32>>, T), E> {
        let fed = async {
            feed.await?;
            pending().await
        };
        let end = async {
            let end = self.end().await;
            self.over = None;
            Ok(end)
        };
        let (end, read) = or(fed, try_zip(end, read)).await?;
        let code = match end {
            Ended::Code(code) => Ok(Ok(code)),
            Ended::Signal(signal) => Ok(Err(signal)),
            Ended::Unknown => Err(io::Error::other("somebody else reaped it")),
        };
        Ok((code, read))
    }

    /// Waits for its end, and kills what it left.
    async fn end(&mut self) -> Ended {
        let Some(child) = &mut self.child else { return Ended::Unknown };
        child.ended().await;
        let (pid, mark) = (child.pid(), self.mark.clone());
        // What it left may hold the pipes, and write on and on. Before it is reaped, for its group has its number.
        blocking::unblock(move || kill(pid, &mark)).await;
        match self.child.take() {
            Some(child) => child.wait().await,
            None => Ended::Unknown,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (child, mark) = (self.child.take(), std::mem::take(&mut self.mark));
        let Some(child) = child else { return };
        // To look at a process may wait for its memory, and that for a disk.
        let end = move || {
            kill(child.pid(), &mark);
            smol::block_on(child.wait());
        };
        blocking::unblock(end).detach();
    }
}

/// The next piece; none at the end of the pipe, or when it is empty and the child has ended.
pub(crate) async fn next(
    pipe: &Async<PipeReader>,
    piece: &mut [u8],
    ended: &Receiver<()>,
) -> io::Result<usize> {
    let readable = || async {
        pipe.readable().await?;
        Ok(false)
    };
    let over = || async {
        // Nothing is ever sent: it fails when the child has ended.
        let _ = ended.recv().await;
        Ok(true)
    };
    let mut is_over = false;
    loop {
        match rustix::io::read(pipe.get_ref(), &mut *piece) {
            Err(Errno::INTR) => {}
            // It may have written between the last look and its end, so there is one more.
            Err(Errno::AGAIN) if is_over => return Ok(0),
            Err(Errno::AGAIN) => is_over = or::<io::Result<bool>, _, _>(readable(), over()).await?,
            other => return Ok(other?),
        }
    }
}

/// Hands over all of the input, as far as it is read.
///
/// # Errors
/// Nobody reads any more.
pub(crate) async fn feed(pipe: &Async<PipeWriter>, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let written = pipe.write_with(|pipe| Ok(rustix::io::write(pipe.as_fd(), rest)?)).await?;
        rest = rest.get(written..).unwrap_or_default();
        yield_now().await;
    }
    Ok(())
}

/// Waits until the process whose number is in a file is no more.
#[cfg(test)]
pub(crate) fn wait_until_gone(pid_file: &std::path::Path) {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    loop {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        std::thread::yield_now();
    }
}
