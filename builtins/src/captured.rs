//! Runs a program that is to leave nothing behind, and keeps what it writes whole, up to a bound: what extensions run.
//!
//! The program gets a session of its own, the folder `/`, the environment that it is given and a mark besides, and none of the agent's
//! descriptors. Once it has ended, what it started is killed. It has no limit of its own: dropped, it is killed with all that it started.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::OFlags;
use smol::Async;
use smol::channel::Receiver;
use smol::future::{try_zip, yield_now};

use crate::helper::mark;
use crate::running::{Running, feed, next};
use crate::sys::spawn::{self, Program};

/// What is moved at once, in bytes: what a pipe holds by default.
const PIECE: usize = 64 << 10;

/// A program to be run, once.
#[derive(Debug)]
pub struct Captured {
    /// Its path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// Its standard input; nothing if absent.
    pub input: Option<Vec<u8>>,
    /// Most bytes of its standard output and error together.
    pub most: usize,
}

/// How it ended, and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; the signal that ended it otherwise.
    pub code: Result<i32, i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Why there is no outcome. What was started is killed.
#[derive(Debug)]
pub enum Failure {
    /// It could not be started.
    Start(io::Error),
    /// It wrote more than it may.
    TooMuch,
    /// It could not be talked to.
    Lost(io::Error),
}

impl Captured {
    /// Runs it to its end. It need not read its input.
    ///
    /// # Errors
    /// It did not run, or not to its end.
    pub async fn run(mut self) -> Result<Outcome, Failure> {
        let (input, most) = (self.input.take(), self.most);
        let is_fed = input.is_some();
        // To find a program and to execute it may wait for a disk.
        let (mut running, pipes) = blocking::unblock(move || self.start(is_fed)).await?;
        let feed = async move {
            if let (Some(pipe), Some(input)) = (pipes.input, input) {
                // It need not read it.
                let _ = feed(&pipe, &input).await;
            }
            Ok(())
        };
        let (ended, room) = (running.ended(), AtomicUsize::new(most));
        let keep = try_zip(keep(&pipes.output, &room, &ended), keep(&pipes.errors, &room, &ended));
        let (code, (stdout, stderr)) = running.attend(feed, keep).await?;
        let code = code.map_err(Failure::Lost)?;
        Ok(Outcome { code, stdout, stderr })
    }

    fn start(self, is_fed: bool) -> Result<(Running, Pipes), Failure> {
        let lost = Failure::Lost;
        let (output, stdout) = io::pipe().map_err(lost)?;
        let (errors, stderr) = io::pipe().map_err(lost)?;
        let (stdin, input) = if is_fed {
            let (child, ours) = io::pipe().map_err(lost)?;
            (OwnedFd::from(child), Some(Async::new(ours).map_err(lost)?))
        } else {
            (spawn::null(OFlags::RDONLY).map_err(lost)?, None)
        };
        let pipes = Pipes {
            input,
            output: Async::new(output).map_err(lost)?,
            errors: Async::new(errors).map_err(lost)?,
        };
        let mark = mark();
        let program = Program::new(&self.program, &self.args, Some(&self.env));
        let program = program.in_own_session().in_root().marked(&mark);
        let child = program.spawn([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(Failure::Start)?;
        Ok((Running::new(child, mark), pipes))
    }
}

/// Our ends.
struct Pipes {
    input: Option<Async<PipeWriter>>,
    output: Async<PipeReader>,
    errors: Async<PipeReader>,
}

/// All that comes, as long as there is room.
async fn keep(
    pipe: &Async<PipeReader>,
    room: &AtomicUsize,
    ended: &Receiver<()>,
) -> Result<Vec<u8>, Failure> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let read = next(pipe, &mut piece, ended).await.map_err(Failure::Lost)?;
        if read == 0 {
            return Ok(kept);
        }
        // Both streams are read by one task: nobody takes from the room in between.
        let left = room.load(Ordering::Relaxed).checked_sub(read).ok_or(Failure::TooMuch)?;
        room.store(left, Ordering::Relaxed);
        kept.extend_from_slice(&piece[..read]);
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use smol::Timer;
    use smol::future::or;

    use super::*;
    use crate::running::wait_until_gone;

    fn sh(script: &str, input: Option<&[u8]>) -> Captured {
        Captured {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec!["PATH=/usr/bin:/bin".into()],
            input: input.map(<[u8]>::to_vec),
            most: 1 << 20,
        }
    }

    fn run(captured: Captured) -> Result<Outcome, Failure> {
        smol::block_on(captured.run())
    }

    #[test]
    fn input_output_errors_and_code_go_their_ways() {
        let outcome = run(sh("cat; echo why >&2; exit 3", Some(b"in"))).unwrap();
        let streams = (&outcome.stdout[..], &outcome.stderr[..]);
        assert_eq!((outcome.code, streams), (Ok(3), (&b"in"[..], &b"why\n"[..])));
        let outcome = run(sh("cat; kill -15 $$", None)).unwrap();
        assert_eq!((outcome.code, outcome.stdout.len()), (Err(15), 0));
        // It need not read.
        let outcome = run(sh("echo done", Some(&vec![b'x'; 1 << 20]))).unwrap();
        assert_eq!((outcome.code, &outcome.stdout[..]), (Ok(0), &b"done\n"[..]));
        let much = vec![b'x'; 1 << 20];
        assert!(run(sh("cat", Some(&much))).unwrap().stdout == much);
    }

    #[test]
    fn it_starts_in_the_root_with_what_it_is_given_and_nothing_else() {
        let script = "pwd; ps -o sid= -p $$; echo $$; env";
        let text = String::from_utf8(run(sh(script, None)).unwrap().stdout).unwrap();
        let mut lines = text.lines().map(str::trim);
        assert_eq!(lines.next(), Some("/"), "{text}");
        assert_eq!(lines.next(), lines.next(), "not the leader of a session: {text}");
        for line in lines {
            let shells = ["PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|own| line.starts_with(own));
            assert!(shells || line.starts_with("WAGA_HELPER=") || line == "PATH=/usr/bin:/bin", "{text}");
        }
    }

    #[test]
    fn one_that_writes_more_than_it_may_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        for stream in ["1", "2"] {
            let script = format!("echo $$ >{}; cat /dev/zero >&{stream}", file.display());
            assert!(matches!(run(sh(&script, None)), Err(Failure::TooMuch)));
            wait_until_gone(&file);
        }
        // Both streams share the room, to the byte.
        let both = |count: usize| Captured {
            most: 1000,
            ..sh(&format!("head -c 500 /dev/zero; head -c {count} /dev/zero >&2"), None)
        };
        assert_eq!(run(both(500)).unwrap().stderr.len(), 500);
        assert!(matches!(run(both(501)), Err(Failure::TooMuch)));
    }

    #[test]
    fn what_it_leaves_behind_is_killed_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!(
            "setsid sh -c 'echo $$ >{0}; sleep 1000' & while ! [ -s {0} ]; do :; done; echo done",
            file.display()
        );
        assert_eq!(run(sh(&script, None)).unwrap().stdout, b"done\n");
        wait_until_gone(&file);
    }

    #[test]
    fn dropped_it_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["group", "session"].map(|name| folder.path().join(name));
        let script = format!(
            "sh -c 'echo $$ >{}; sleep 1000' & setsid sh -c 'echo $$ >{}; sleep 1000' & sleep 1000",
            files[0].display(),
            files[1].display()
        );
        let begun = async {
            while !files.iter().all(|file| fs::read(file).is_ok_and(|text| text.ends_with(b"\n"))) {
                Timer::after(Duration::from_millis(5)).await;
            }
        };
        smol::block_on(or(async { drop(sh(&script, None).run().await) }, begun));
        files.iter().for_each(|file| wait_until_gone(file));
    }

    #[test]
    fn what_cannot_be_started_is_told() {
        let missing = Captured { program: "/nonexistent".into(), ..sh("", None) };
        let failed = run(missing);
        assert!(matches!(failed, Err(Failure::Start(error)) if error.kind() == io::ErrorKind::NotFound));
    }
}
