//! Starts programs and reaps them. Every child of the agent goes through here: what `guest-exec` starts, and our own helper programs.
//!
//! A child gets descriptors 0 to 2 as told and no other (all of ours close on exec; [`prepare`] sees to what we did not open),
//! SIGPIPE and SIGCHLD at their defaults and no signal blocked. Directory, umask, session and process group stay the agent's, as with
//! qemu-ga.
//!
//! `posix_spawn` does not copy the agent's page tables, tells a failed `exec` at once, and is safe in a process with threads. It
//! blocks the calling thread until the program runs, which on a dead mount is never: call [`Program::spawn`] where that may happen.

#![allow(
    unsafe_code,
    reason = "no crate wraps close_range and fcntl for descriptors that belong to nobody, nor signal"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use rustix::fs::{Access, Mode, OFlags, access, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use smol::{Async, Timer};

/// Where programs are looked for when no PATH is set, as GLib does.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin:.";

/// What runs a script that does not name its interpreter.
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// How often a child without a pidfd is asked whether it has ended: from the first pause, doubled, to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(250)];

/// A program to be started.
#[derive(Debug)]
pub(crate) struct Program {
    /// The program's path, which is also its own name to itself, then its arguments. Never empty.
    argv: Vec<CString>,
    env: Option<Vec<CString>>,
    /// One more entry of the environment.
    mark: Option<CString>,
    own_session: bool,
    in_root: bool,
}

impl Program {
    /// The program at `path`, or of that name in PATH if it has no `/`. `env` replaces the whole environment, entry by entry as they
    /// are; without it the program gets the agent's.
    pub(crate) fn new(path: &str, args: &[String], env: Option<&[String]>) -> Self {
        Self {
            argv: std::iter::once(path).chain(args.iter().map(String::as_str)).map(c_string).collect(),
            env: env.map(|env| env.iter().map(|entry| c_string(entry)).collect()),
            mark: None,
            own_session: false,
            in_root: false,
        }
    }

    /// In a session and a process group of its own, so that it can be killed with those that it starts.
    pub(crate) fn in_own_session(mut self) -> Self {
        self.own_session = true;
        self
    }

    /// In the folder `/`, wherever the agent is.
    pub(crate) fn in_root(mut self) -> Self {
        self.in_root = true;
        self
    }

    /// With one more entry in its environment.
    pub(crate) fn marked(mut self, entry: &str) -> Self {
        self.mark = Some(c_string(entry));
        self
    }

    /// Starts it with these descriptors as its standard input, output and error.
    ///
    /// # Errors
    /// Whatever kept it from running, `exec` included.
    pub(crate) fn spawn(&self, stdio: [BorrowedFd<'_>; 3]) -> io::Result<Child> {
        let mut env = self.env.clone().unwrap_or_else(own_environment);
        env.extend(self.mark.clone());
        let mut launch = Launch::new(stdio, env, self.own_session)?;
        if self.in_root {
            super::chdir::add(&mut launch.actions, c"/")?;
        }
        let path = self.argv[0].as_bytes();
        if path.is_empty() || path.contains(&b'/') {
            return Ok(Child::new(launch.start(&self.argv[0], &self.argv)?));
        }
        // As execvp: what is not there is passed over, what must not be run too, but is remembered as the better reason.
        let mut reason = Errno::NOENT;
        for directory in self.search_path().split(|&byte| byte == b':') {
            let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
            let candidate = CString::new([directory, slash, path].concat())?;
            // `start` would find out as well, at the price of a process for each directory of PATH.
            match access(&candidate, Access::EXISTS).and_then(|()| launch.start(&candidate, &self.argv)) {
                Ok(pid) => return Ok(Child::new(pid)),
                Err(Errno::ACCESS) => reason = Errno::ACCESS,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(reason.into())
    }

    /// The first PATH of the program's environment, else the agent's, else the default; an empty directory is the current one.
    fn search_path(&self) -> Vec<u8> {
        let given = self.env.iter().flatten().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
        match given {
            Some(path) => path.to_vec(),
            None => std::env::var_os("PATH").map_or_else(|| DEFAULT_PATH.to_vec(), OsStringExt::into_vec),
        }
    }
}

/// A NUL character, which no C string holds, becomes the two bytes `C0 80`, as qemu-ga passes it.
fn c_string(text: &str) -> CString {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    for byte in text.bytes() {
        match byte {
            0 => bytes.extend_from_slice(&[0xc0, 0x80]),
            other => bytes.push(other),
        }
    }
    CString::new(bytes).unwrap_or_default()
}

/// What the service manager tells the agent alone: sockets that its children do not get, and where to report that it lives.
const OWN_VARIABLES: [&str; 7] = [
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The agent's environment, for its children. Left out here rather than removed there: that is not safe beside other threads.
fn own_environment() -> Vec<CString> {
    let kept = |(name, _): &(std::ffi::OsString, std::ffi::OsString)| {
        !OWN_VARIABLES.iter().any(|variable| name == variable)
    };
    let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend(value.into_vec());
        CString::new(entry).ok()
    };
    std::env::vars_os().filter(kept).filter_map(entry).collect()
}

/// Everything of a start but the program.
struct Launch {
    actions: PosixSpawnFileActions,
    attributes: PosixSpawnAttr,
    env: Vec<CString>,
    /// Copies of descriptors that were themselves below 3, where giving one would overwrite the other.
    _moved: Vec<OwnedFd>,
}

impl Launch {
    fn new(stdio: [BorrowedFd<'_>; 3], env: Vec<CString>, own_session: bool) -> io::Result<Self> {
        let mut actions = PosixSpawnFileActions::init()?;
        let mut moved = Vec::new();
        for (target, source) in (0..).zip(stdio) {
            let mut source_number = source.as_raw_fd();
            if source_number < 3 {
                let copy = fcntl_dupfd_cloexec(source, 3)?;
                source_number = copy.as_raw_fd();
                moved.push(copy);
            }
            actions.add_dup2(source_number, target)?;
        }
        let mut attributes = PosixSpawnAttr::init()?;
        // Rust's runtime ignores SIGPIPE and whoever started the agent may have ignored SIGCHLD; `exec` would hand both down.
        attributes.set_sigdefault(&SigSet::from_iter([Signal::SIGPIPE, Signal::SIGCHLD]))?;
        attributes.set_sigmask(&SigSet::empty())?;
        let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK;
        if own_session {
            // Not among nix's own.
            flags |= PosixSpawnFlags::from_bits_retain(nix::libc::POSIX_SPAWN_SETSID.into());
        }
        attributes.set_flags(flags)?;
        Ok(Self { actions, attributes, env, _moved: moved })
    }

    /// Starts the file at `path`; what the kernel cannot execute is taken for a shell script, as GLib does.
    fn start(&self, path: &std::ffi::CStr, argv: &[CString]) -> rustix::io::Result<Pid> {
        let plain = posix_spawn(path, &self.actions, &self.attributes, argv, &self.env);
        let started = match plain {
            Err(nix::Error::ENOEXEC) => {
                let mut script = vec![SHELL, path];
                script.extend(argv[1..].iter().map(CString::as_c_str));
                posix_spawn(SHELL, &self.actions, &self.attributes, &script, &self.env)
            }
            other => other,
        };
        let pid = started.map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
        Pid::from_raw(pid.as_raw()).ok_or(Errno::SRCH)
    }
}

/// A running child. Whoever has it must [`wait`](Self::wait) for it to the end, or it stays a zombie.
#[derive(Debug)]
#[must_use]
pub(crate) struct Child {
    pid: Pid,
    /// Becomes readable when the child ends. `None` when there was no descriptor left, or the kernel is older than 5.3.
    end: Option<Async<OwnedFd>>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Someone else has reaped it.
    Unknown,
}

impl Child {
    /// The pid stays the child's until [`Self::wait`] has reaped it, so it cannot have come to mean another process here.
    fn new(pid: Pid) -> Self {
        let end = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
        // Never read, only waited for: it need not be non-blocking.
        let end = end.and_then(Async::new_nonblocking);
        if let Err(error) = &end {
            tracing::debug!(pid = pid.as_raw_nonzero().get(), %error, "no pidfd: asking by the clock");
        }
        Self { pid, end: end.ok() }
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits until the child ends, and reaps it.
    pub(crate) async fn wait(mut self) -> Ended {
        self.ask(WaitIdOptions::EXITED).await
    }

    /// Waits until the child has ended, and does not reap it: its number, and that of its group, are still nobody else's.
    pub(crate) async fn ended(&mut self) {
        self.ask(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).await;
    }

    /// A child without a pidfd is asked by the clock, which needs neither a descriptor nor a thread.
    async fn ask(&mut self, what: WaitIdOptions) -> Ended {
        let (mut pidfd, [mut pause, longest]) = (self.end.take(), PAUSES);
        loop {
            match waitid(WaitId::Pid(self.pid), what | WaitIdOptions::NOHANG) {
                Ok(Some(status)) => return Ended::from(&status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => return Ended::Unknown,
            }
            // An ended child that someone traces is not ours to reap yet, though its pidfd is readable: by the clock from there on.
            if let Some(fd) = pidfd.take()
                && fd.readable().await.is_ok()
            {
                continue;
            }
            Timer::after(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

impl From<&WaitIdStatus> for Ended {
    fn from(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// Makes the process one that can have children, whoever started it: once, before the first.
///
/// An ignored SIGCHLD, which `exec` hands down, would make the kernel reap children before they can be asked how they ended. And every
/// descriptor but 0 to 2 closes on exec, those included that a service manager or a shell left open; GLib closes them in the child.
pub(crate) fn prepare() {
    // SAFETY: installs no handler; nothing in this process has one for this signal.
    if let Err(error) = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) } {
        tracing::warn!(%error, "cannot reset SIGCHLD");
    }
    close_on_exec();
}

fn close_on_exec() {
    use nix::libc::{CLOSE_RANGE_CLOEXEC, F_SETFD, FD_CLOEXEC, SYS_close_range, c_uint, fcntl, syscall};
    // SAFETY: with this flag the call closes nothing and touches no memory; it sets a flag of descriptors that exist.
    if unsafe { syscall(SYS_close_range, 3 as c_uint, c_uint::MAX, CLOSE_RANGE_CLOEXEC) } == 0 {
        return;
    }
    // Before Linux 5.11.
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let number: Option<i32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number @ 3..) = number {
            // SAFETY: sets a flag that all our own descriptors have anyway; one that was closed meanwhile is an error, and ignored.
            unsafe { fcntl(number, F_SETFD, FD_CLOEXEC) };
        }
    }
}

/// `/dev/null`, for a child that has nothing to read ([`OFlags::RDONLY`]) or whose output nobody wants ([`OFlags::WRONLY`]).
///
/// # Errors
/// There is none, or no descriptor is left.
pub(crate) fn null(access: OFlags) -> io::Result<OwnedFd> {
    Ok(open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions, set_permissions, write};
    use std::io::{Read, pipe};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustix::io::{FdFlags, fcntl_getfd};

    use super::*;

    /// Runs it with its output taken.
    fn output(program: &Program) -> io::Result<(Ended, String)> {
        let (mut reader, writer) = pipe()?;
        let null = null(OFlags::RDWR)?;
        let child = program.spawn([null.as_fd(), writer.as_fd(), writer.as_fd()])?;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        Ok((smol::block_on(child.wait()), text))
    }

    fn program(path: &str, args: &[&str], env: Option<&[&str]>) -> Program {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Program::new(path, &owned(args), env.map(owned).as_deref())
    }

    fn script(path: &Path, text: &str, mode: u32) {
        write(path, text).unwrap();
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_found_in_the_path_they_are_given() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("first/is-a-directory")).unwrap();
        std::fs::create_dir(at("second")).unwrap();
        script(&at("first/forbidden"), "echo first", 0o644);
        script(&at("second/plain"), "echo \"$0 $*\"", 0o755);
        script(&at("second/is-a-directory"), "echo second", 0o755);
        script(&at("second/no-interpreter"), "#!/nonexistent\n", 0o755);
        let root = directory.path().display();
        let path = format!("PATH=/nowhere:/etc/passwd:{root}/first:{root}/second");
        let env = [path.as_str(), "PATH=/nowhere"];
        let run = |name: &str, args: &[&str]| {
            let result = output(&program(name, args, Some(&env)));
            result.map(|(_, text)| text).map_err(|error| error.raw_os_error().unwrap())
        };
        assert_eq!(run("plain", &["a", "b c"]).unwrap(), format!("{root}/second/plain a b c\n"));
        assert_eq!(run("is-a-directory", &[]).unwrap(), "second\n");
        assert_eq!(run("forbidden", &[]), Err(Errno::ACCESS.raw_os_error()));
        assert_eq!(run("missing", &[]), Err(Errno::NOENT.raw_os_error()));
        assert_eq!(run("", &[]), Err(Errno::NOENT.raw_os_error()));
        assert_eq!(run("no-interpreter", &[]), Err(Errno::NOENT.raw_os_error()));
        assert_eq!(run(&format!("{root}/first"), &[]), Err(Errno::ACCESS.raw_os_error()));
        assert_eq!(run("/etc/passwd/x", &[]), Err(Errno::NOTDIR.raw_os_error()));
        assert_eq!(run(&"x".repeat(5000), &[]), Err(Errno::NAMETOOLONG.raw_os_error()));
        assert_eq!(run("/bin/true", &[&"x".repeat(200_000)]), Err(Errno::TOOBIG.raw_os_error()));
        // Without a PATH of its own (an entry without `=` is none), the agent's.
        assert_eq!(output(&program("env", &[], Some(&["PATH", "A=1"]))).unwrap().1, "PATH\nA=1\n");
    }

    #[test]
    fn the_environment_is_passed_as_it_is() {
        let entries = ["A=1", "A=2", "no-equals", "=x", "", "B="];
        let (_, text) = output(&program("/usr/bin/env", &[], Some(&entries))).unwrap();
        assert_eq!(text, "A=1\nA=2\nno-equals\n=x\n\nB=\n");
        assert_eq!(output(&program("/usr/bin/env", &[], Some(&[]))).unwrap().1, "");
        let (_, own) = output(&program("/usr/bin/env", &[], None)).unwrap();
        assert!(own.lines().any(|line| line.starts_with("PATH=")), "{own}");
    }

    #[test]
    fn nul_characters_go_through_as_qemu_ga_passes_them() {
        assert_eq!(c_string("a\0b").as_bytes(), b"a\xc0\x80b");
    }

    #[test]
    fn a_child_inherits_three_descriptors_and_no_signal_state() {
        let open = File::open("/dev/null").unwrap();
        let inherited = rustix::io::dup(&open).unwrap();
        assert!(!fcntl_getfd(&inherited).unwrap().contains(FdFlags::CLOEXEC));
        prepare();
        // No pattern, for that would open a directory; no child of its own, for around a fork the shell blocks signals itself.
        let line = "for fd in 0 1 2 3 4 5 6 7 8 9 $1; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; exec grep ^Sig /proc/self/status";
        let number = inherited.as_raw_fd().to_string();
        let (_, text) = output(&program("/bin/sh", &["-c", line, "sh", &number], None)).unwrap();
        assert!(text.starts_with("0\n1\n2\nSig"), "{text}");
        let mask = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        // 32 and 33 are glibc's own, which it ignores in every child that it spawns.
        assert_eq!((mask("SigBlk:"), mask("SigIgn:") & !0x1_8000_0000), (0, 0), "{text}");
    }

    #[test]
    fn an_end_is_seen_with_and_without_a_pidfd() {
        let null = null(OFlags::RDWR).unwrap();
        for (command, expected) in [("exit 7", Ended::Code(7)), ("sleep 0.05; kill -9 $$", Ended::Signal(9))]
        {
            for with_pidfd in [true, false] {
                let spawned = program("/bin/sh", &["-c", command], None).spawn([null.as_fd(); 3]);
                let mut child = spawned.unwrap();
                assert!(child.end.is_some());
                if !with_pidfd {
                    child.end = None;
                }
                assert_eq!(smol::block_on(child.wait()), expected);
            }
        }
    }
}
