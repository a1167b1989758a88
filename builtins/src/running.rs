//! A child that leaves nothing behind: whatever way it ends, or if nobody waits for it any more, it is killed with all that it started.

use std::io::{self, PipeReader};

use rustix::io::Errno;
use smol::Async;
use smol::channel::Receiver;
use smol::future::or;

use crate::helper::kill;
use crate::sys::spawn::{self, Ended};

/// A child that runs; dropped, it is killed with all that it started, and reaped, by a thread.
pub(crate) struct Running {
    /// `None` once it is reaped.
    child: Option<spawn::Child>,
    mark: String,
}

impl Running {
    pub(crate) fn new(child: spawn::Child, mark: String) -> Self {
        Self { child: Some(child), mark }
    }

    /// Waits for its end, and kills what it left.
    pub(crate) async fn end(&mut self) -> Ended {
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
