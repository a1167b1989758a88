//! Killed at any instruction, a change has happened or has not.
//!
//! Nothing on a disk changes but by a system call, so one that is killed before and after each of them was killed everywhere. Each verb is
//! traced, and killed at one system call after the other: some of them, evenly, or with WAGA_KILLS=10000 as many as that, all verbs together.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{COMMAND, Guest, tree};

/// How a traced process ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// By itself, after so many stops.
    Itself(usize),
    Killed,
}

/// Runs `waga-ext` in a folder until it is at this stop, of which there are two for each system call; then kills it.
#[allow(clippy::zombie_processes, reason = "waitpid has reaped one that ended by itself")]
fn run_until(folder: &Path, words: &[&str], stop: usize) -> End {
    // It waits for who traces it before it becomes the program.
    let line = "kill -STOP $$; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_waga-ext")]).args(words).current_dir(folder);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    ptrace::seize(
        pid,
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACEEXEC,
    )
    .unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let (mut stops, mut is_program) = (0, false);
    loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) if is_program => {
                if stops == stop {
                    kill(pid, Signal::SIGKILL).unwrap();
                    let status = child.wait().unwrap();
                    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
                    return End::Killed;
                }
                stops += 1;
            }
            WaitStatus::PtraceEvent(_, _, event) if event == nix::libc::PTRACE_EVENT_EXEC => {
                is_program = true;
            }
            WaitStatus::Exited(..) => return End::Itself(stops),
            WaitStatus::Stopped(_, signal)
                if !matches!(signal, Signal::SIGSTOP | Signal::SIGCONT | Signal::SIGTRAP) =>
            {
                ptrace::syscall(pid, signal).unwrap();
                continue;
            }
            other => assert!(!matches!(other, WaitStatus::Signaled(..)), "{other:?}"),
        }
        ptrace::syscall(pid, None).unwrap();
    }
}

/// What an agent that starts now would find: the table, and what is in the version that it names.
fn in_force(guest: &Guest) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = tree(&guest.path("etc/agent.d"));
    found.retain(|(name, _)| name.ends_with(".toml"));
    let Some((_, table)) = found.first() else { return Vec::new() };
    let table = String::from_utf8(table.clone()).unwrap();
    let version =
        table.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"').to_owned();
    found.extend(tree(&guest.path(&format!("packs/a/{version}"))));
    found
}

/// What a guest has, so that it can be had again.
struct Kept(Vec<(String, Vec<u8>)>);

impl Kept {
    fn of(guest: &Guest) -> Self {
        let folders = ["etc", "packs"].into_iter();
        let files = folders.flat_map(|folder| {
            tree(&guest.path(folder)).into_iter().map(move |(name, text)| (format!("{folder}/{name}"), text))
        });
        Self(files.collect())
    }

    fn restore(&self, guest: &Guest) {
        for folder in ["etc", "packs"] {
            let _ = fs::remove_dir_all(guest.path(folder));
        }
        self.0.iter().for_each(|(name, text)| guest.write(name, text));
    }
}

#[test]
fn a_change_has_happened_or_has_not() {
    let kills: usize = std::env::var("WAGA_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(150);
    let guest = Guest::new("");
    guest.key("acme");
    guest.trust("acme");
    guest.write("etc/agent.d/.keep", "");
    let [first, second, third] =
        ["1.0.0", "1.1.0", "1.2.0"].map(|version| guest.pack(version, COMMAND, Some("acme")));
    let installed = |files: &[&str]| {
        for (number, file) in files.iter().enumerate() {
            guest.operates(&[if number == 0 { "install" } else { "upgrade" }, file, "--yes"]);
        }
    };
    let nothing = Kept::of(&guest);
    let verbs: [(&[&str], &[&str]); 6] = [
        (&[], &["install", &first, "--yes"]),
        (&[&first], &["disable", "a"]),
        (&[&first], &["upgrade", &second, "--yes"]),
        // With one that is to be removed.
        (&[&first, &second], &["upgrade", &third, "--yes"]),
        (&[&first, &second], &["rollback", "a"]),
        (&[&first, &second], &["remove", "a"]),
    ];
    let mut done = 0;
    for (has, verb) in verbs {
        nothing.restore(&guest);
        installed(has);
        let (kept, before) = (Kept::of(&guest), in_force(&guest));
        let words = [verb, &["-c", "etc"]].concat();
        // Once to the end: how many stops there are, and what comes out. The second time the cache is filled, as it is from then on.
        guest.does(&words);
        kept.restore(&guest);
        let End::Itself(stops) = run_until(guest.path("").as_path(), &words, usize::MAX) else {
            unreachable!()
        };
        let (after, whole) = (in_force(&guest), tree(&guest.path("packs")));
        assert!(before != after && stops > 100, "{verb:?}: {stops}");
        let share = (kills / verbs.len()).max(1);
        let (mut befores, mut afters) = (0, 0);
        for turn in 0..share {
            // Evenly, and over again with other ones if that is more than there are.
            let stop = (turn * stops / share + turn / stops) % stops;
            kept.restore(&guest);
            let end = run_until(guest.path("").as_path(), &words, stop);
            let found = in_force(&guest);
            assert!(
                found == before || found == after,
                "{verb:?}, killed at {stop} ({end:?}): {:?}",
                names(&found)
            );
            befores += usize::from(found == before);
            afters += usize::from(found == after);
            if verb[0] == "rollback" && found == after {
                // Said again it would go back once more.
                continue;
            }
            // Whoever says it again gets there, and nothing is left of the first time.
            guest.run(&words);
            assert_eq!(names(&in_force(&guest)), names(&after), "{verb:?}, killed at {stop}");
            let again = tree(&guest.path("packs"));
            assert_eq!(names(&again), names(&whole), "{verb:?}, killed at {stop}");
        }
        done += share;
        assert!(befores > 0 && (afters > 0 || share < 20), "{verb:?}: {befores} before, {afters} after");
    }
    println!("killed {done} times");
}

fn names(files: &[(String, Vec<u8>)]) -> Vec<&str> {
    files.iter().map(|(name, _)| name.as_str()).collect()
}
