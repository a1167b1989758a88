//! Files of lines: bounded queues, and one thread for all of them, which may hang where nobody else waits for it.
//!
//! Writing to a file can take as long as its device likes, and no poll tells. So whoever has a line leaves it here and goes on. A queue
//! that is full keeps the oldest lines, which say how trouble began, and counts the rest.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::Kind;

/// Most bytes and lines that wait for one file; as much may be on its way there.
const BYTES: usize = 512 << 10;
const LINES: usize = 8 << 10;
/// Memory of a queue that is kept when it was emptied.
const KEPT: usize = 16 << 10;
/// How long the end of the program waits for files.
pub(super) const LAST: Duration = Duration::from_secs(1);
/// How long a FIFO may have no room before lines are lost: its reader may only be slow.
const SLOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// It writes, opens and spells a number.
const STACK: usize = 128 << 10;

/// Opens a file to append lines to; its owner alone may read it.
///
/// A link is followed: where lines go is the operator's choice. A FIFO needs a reader by now.
///
/// # Errors
/// What the system says.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed()).open(path)
}

/// The files and their thread.
#[derive(Debug)]
pub(super) struct Writer {
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// There was something done.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    queues: Vec<Queue>,
    /// Whether the thread is there.
    started: bool,
    /// Whether it waits to be told of work.
    idle: bool,
    /// Whether it writes now.
    writing: bool,
    held: bool,
    reopen: bool,
}

#[derive(Debug)]
struct Queue {
    /// `None`: it will be opened when nothing is held back any more.
    file: Option<Arc<File>>,
    path: Option<PathBuf>,
    kind: Kind,
    /// Whole lines.
    waiting: Vec<u8>,
    lines: usize,
    /// Lines there was no room for; they come after those that wait.
    lost: u64,
}

impl Writer {
    pub(super) const fn new() -> Self {
        let state = State {
            queues: Vec::new(),
            started: false,
            idle: false,
            writing: false,
            held: false,
            reopen: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a file; its place. Without a path it is never opened anew.
    pub(super) fn add(&self, file: File, path: Option<PathBuf>, kind: Kind) -> usize {
        self.push(Some(Arc::new(file)), path, kind)
    }

    /// Adds a file that is opened later: now everything is held back, and to open it might write to a frozen filesystem.
    pub(super) fn add_later(&self, path: PathBuf, kind: Kind) -> usize {
        self.lock().reopen = true;
        self.push(None, Some(path), kind)
    }

    /// Whether lines are held back.
    pub(super) fn is_held(&self) -> bool {
        self.lock().held
    }

    fn push(&self, file: Option<Arc<File>>, path: Option<PathBuf>, kind: Kind) -> usize {
        let queues = &mut self.lock().queues;
        queues.push(Queue { file, path, kind, waiting: Vec::new(), lines: 0, lost: 0 });
        queues.len() - 1
    }

    /// Leaves a line, with its end, for a file.
    pub(super) fn put(&'static self, place: usize, line: &[u8]) {
        let mut state = self.lock();
        let Some(queue) = state.queues.get_mut(place) else { return };
        // Once one was lost, none may be taken before that was told, or the rest would not be the oldest.
        if queue.lost > 0 || queue.lines >= LINES || queue.waiting.len() + line.len() > BYTES {
            queue.lost += 1;
            queue.kind.count_lost(1);
        } else {
            queue.lines += 1;
            queue.waiting.extend_from_slice(line);
        }
        self.wake(&mut state);
    }

    /// See [`super::reopen`].
    pub(super) fn reopen(&'static self) {
        let mut state = self.lock();
        state.reopen = true;
        self.wake(&mut state);
    }

    /// See [`super::hold`].
    pub(super) fn hold(&'static self, held: bool, limit: Duration) -> bool {
        let mut state = self.lock();
        let was_held = std::mem::replace(&mut state.held, held);
        if !held {
            if was_held {
                self.wake(&mut state);
            }
            return true;
        }
        let busy = |state: &mut State| state.held && state.writing;
        self.done.wait_timeout_while(state, limit, busy).is_ok_and(|(_, waited)| !waited.timed_out())
    }

    /// Waits until nothing waits any more, but not for what is held back, and not for long.
    pub(super) fn flush(&self, limit: Duration) {
        let busy =
            |state: &mut State| state.started && !state.held && (state.writing || state.next(0).is_some());
        drop(self.done.wait_timeout_while(self.lock(), limit, |state| busy(state)));
    }

    /// Sees to it that the thread looks at what there is.
    fn wake(&'static self, state: &mut State) {
        if state.idle && !state.held {
            state.idle = false;
            self.work.notify_one();
        } else if !state.started {
            // If there is no thread to be had, the next line asks again.
            state.started = self.start().is_ok();
        }
    }

    /// Signals are for the main thread, so this one is born with all of them blocked.
    fn start(&'static self) -> io::Result<()> {
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let builder = std::thread::Builder::new().name("log".into()).stack_size(STACK);
        let started = builder.spawn(|| self.run()).map(drop);
        mask.thread_set_mask()?;
        started
    }

    fn run(&self) {
        // Of each file: what it has not been told yet.
        let mut debts: Vec<Debt> = Vec::new();
        let mut turn = 0;
        let mut state = self.lock();
        loop {
            if state.held {
                state = self.rest(state);
            } else if std::mem::take(&mut state.reopen) {
                state.writing = true;
                let paths: Vec<_> = state.queues.iter().map(|queue| queue.path.clone()).collect();
                drop(state);
                debts.resize_with(paths.len(), Debt::default);
                for ((place, path), debt) in paths.into_iter().enumerate().zip(&mut debts) {
                    if path.is_some_and(|path| self.open_anew(place, &path)) {
                        debt.torn = false;
                    }
                }
                state = self.lock();
                state.writing = false;
            } else if let Some(place) = state.next(turn) {
                turn = place + 1;
                state.writing = true;
                debts.resize_with(state.queues.len(), Debt::default);
                let queue = &mut state.queues[place];
                let (file, kind) = (queue.file.clone(), queue.kind);
                let mut lines = std::mem::take(&mut queue.waiting);
                let lost = std::mem::take(&mut queue.lost);
                queue.lines = 0;
                drop(state);
                debts[place].write(file.as_deref(), kind, &lines, lost);
                drop(file);
                lines.clear();
                state = self.lock();
                state.writing = false;
                let queue = &mut state.queues[place];
                // The memory is used again, unless it is much or there is some already.
                if queue.waiting.capacity() == 0 && lines.capacity() <= KEPT {
                    queue.waiting = lines;
                }
            } else {
                state = self.rest(state);
            }
        }
    }

    fn rest<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.done.notify_all();
        state.idle = true;
        let mut state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.idle = false;
        state
    }

    /// Whether it could be opened.
    fn open_anew(&self, place: usize, path: &Path) -> bool {
        match open(path) {
            Ok(file) => {
                self.lock().queues[place].file = Some(Arc::new(file));
                true
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot open the file anew: the old one goes on");
                false
            }
        }
    }
}

impl State {
    /// The first file with something to write, from this one on, round and round.
    fn next(&self, from: usize) -> Option<usize> {
        let some =
            |place: &usize| self.queues.get(*place).is_some_and(|queue| queue.lines > 0 || queue.lost > 0);
        (from..self.queues.len()).chain(0..from).find(some)
    }
}

/// What a file has missed.
#[derive(Debug, Default)]
struct Debt {
    /// Lines that it was not told of.
    lost: u64,
    /// It ends within a line.
    torn: bool,
}

impl Debt {
    /// Writes lines, and tells of those lost before and, after them, of `lost`.
    fn write(&mut self, file: Option<&File>, kind: Kind, lines: &[u8], lost: u64) {
        let count = |lines: &[u8]| lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        let Some(file) = file else {
            kind.count_lost(count(lines));
            self.lost += count(lines) + lost;
            return;
        };
        self.tell(file, kind);
        let rest = if self.lost == 0 { self.append(file, lines) } else { lines };
        kind.count_lost(count(rest));
        self.lost += count(rest) + lost;
        if rest.is_empty() {
            self.tell(file, kind);
        }
    }

    fn tell(&mut self, file: &File, kind: Kind) {
        if self.lost > 0 && self.append(file, kind.loss_line(self.lost).as_bytes()).is_empty() {
            self.lost = 0;
        }
    }

    /// Appends; what could not be. A line half of which is there is lost, and ends before the next.
    fn append<'a>(&mut self, file: &File, lines: &'a [u8]) -> &'a [u8] {
        if self.torn && !self.push(file, b"\n").is_empty() { lines } else { self.push(file, lines) }
    }

    fn push<'a>(&mut self, mut file: &File, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(0) => break,
                Ok(count) => {
                    self.torn = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && has_room(file) => {}
                Err(_) => break,
            }
        }
        bytes
    }
}

/// Waits a little for a FIFO's reader.
fn has_room(file: &File) -> bool {
    let mut polled = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut polled, Some(&SLOW)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
