//! The log and whoever takes it: a reader that stalls, a full disk, a file that is rotated.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::json;
use waga_tests::agent::{Agent, Program};
use waga_tests::client::{Client, PATIENCE};

use crate::program;

/// An agent that says everything on this standard error, and its folder; killed at the end.
struct Raw {
    child: std::process::Child,
    dir: tempfile::TempDir,
}

impl Raw {
    fn start(stderr: impl Into<Stdio>) -> Option<Self> {
        let program = Some(program()).filter(Program::is_waga)?;
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(program.path());
        command.args(["-v", "-m", "unix-listen", "-p", "sock", "-t", "."]).current_dir(&dir);
        command.env_remove("JOURNAL_STREAM").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Some(Self { child: command.spawn().unwrap(), dir })
    }

    fn client(&self) -> Client {
        let until = Instant::now() + PATIENCE;
        loop {
            match Client::connect(self.dir.path().join("sock")) {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    fn ping(&self, count: u32) {
        let mut client = self.client();
        for id in 0..count {
            assert_eq!(client.run("guest-sync", json!({"id": id})).unwrap(), json!(id));
        }
    }

    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn filled_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    // As anybody would hand it down: an agent that relied on this flag would hang now.
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    (reader, writer)
}

#[test]
fn a_full_pipe_that_nobody_reads_delays_nobody() {
    let (reader, writer) = filled_pipe();
    let Some(agent) = Raw::start(OwnedFd::from(writer)) else { return };
    agent.ping(10_000);
    // The end has a word to say too.
    agent.stop();
    drop(reader);
}

#[test]
fn a_reader_that_comes_back_is_told_what_it_missed() {
    for socket in [false, true] {
        let (mut reader, writer): (Box<dyn Read>, OwnedFd) = if socket {
            let (reader, writer) = UnixStream::pair().unwrap();
            (Box::new(reader), writer.into())
        } else {
            let (reader, writer) = std::io::pipe().unwrap();
            (Box::new(reader), writer.into())
        };
        let Some(agent) = Raw::start(writer) else { return };
        // Some 90 bytes a line: more than a socket takes by default.
        agent.ping(6000);
        let mut text = Vec::new();
        let mut chunk = [0; 64 << 10];
        while !String::from_utf8_lossy(&text).contains("lines of the log were lost") {
            // Something to be told with, then what is there.
            agent.ping(1);
            let count = reader.read(&mut chunk).unwrap();
            assert!(count > 0, "the agent ended");
            text.extend_from_slice(&chunk[..count]);
        }
        let text = String::from_utf8(text).unwrap();
        let whole = text.rsplit_once('\n').unwrap().0;
        for line in whole.lines() {
            let (time, rest) = line.split_once(": ").unwrap_or_else(|| panic!("torn: {line:?}"));
            assert!(time.parse::<f64>().is_ok(), "torn: {line:?}");
            let starts = ["debug: serving ", "debug: called ", "error: "];
            assert!(starts.iter().any(|start| rest.starts_with(start)), "torn: {line:?}");
        }
        let lost = whole.lines().find_map(|line| line.strip_suffix(" lines of the log were lost")).unwrap();
        let lost: u64 = lost.rsplit(' ').next().unwrap().parse().unwrap();
        let stats = agent.client().run("waga-get-stats", json!({})).unwrap();
        assert!(lost > 0 && stats["log-lines-lost"].as_u64() >= Some(lost), "{lost}: {stats}");
        assert_eq!(stats["audit-lines-lost"], 0);
        agent.stop();
    }
}

#[test]
fn a_reader_that_left_is_no_loss() {
    let (reader, writer) = std::io::pipe().unwrap();
    let Some(agent) = Raw::start(OwnedFd::from(writer)) else { return };
    drop(reader);
    agent.ping(100);
    agent.stop();
}

#[test]
fn a_standard_error_that_is_a_file_gets_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stderr");
    let Some(agent) = Raw::start(File::create(&path).unwrap()) else { return };
    agent.ping(1000);
    agent.stop();
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.matches("called command=\"guest-sync\" channel=\"unix-listen\"\n").count(), 1000);
}

#[test]
fn a_full_disk_stops_nobody() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let agent = program.setup().options(["-l", "/dev/full"]).start();
    let mut client = agent.client();
    for id in 0..1000 {
        client.run("guest-sync", json!({"id": id})).unwrap();
    }
    agent.stop();
}

/// As logrotate does it, without a restart.
#[test]
fn a_hangup_opens_log_and_audit_anew() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup();
    let config = setup.dir().join("agent.toml");
    fs::write(&config, "[audit]\nfile = \"audit\"\n").unwrap();
    let agent = setup.options(["-c".into(), config]).start();
    let file = |agent: &Agent, name: &str| fs::read_to_string(agent.dir().join(name)).unwrap_or_default();
    agent.client().run("guest-ping", json!({})).unwrap();
    agent.until("the audit", |agent| file(agent, "audit").contains("guest-ping"));
    for name in ["log", "audit"] {
        fs::rename(agent.dir().join(name), agent.dir().join(format!("{name}.1"))).unwrap();
    }
    agent.signal(Signal::SIGHUP);
    agent.until("new files", |agent| agent.dir().join("log").exists() && agent.dir().join("audit").exists());
    agent.client().run("guest-get-time", json!({})).unwrap();
    agent.until("new lines", |agent| {
        file(agent, "audit").contains("guest-get-time") && file(agent, "log").contains("guest-get-time")
    });
    assert!(
        !file(&agent, "audit.1").contains("guest-get-time") && file(&agent, "log.1").contains("guest-ping")
    );
    // No way to the new files: the old ones go on, and say so.
    agent.until("the reload's end", |agent| file(agent, "log").contains("reloaded"));
    for name in ["log", "audit"] {
        fs::rename(agent.dir().join(name), agent.dir().join(format!("{name}.2"))).unwrap();
        fs::create_dir(agent.dir().join(name)).unwrap();
    }
    agent.signal(Signal::SIGHUP);
    agent.until("an error each", |agent| {
        file(agent, "log.2").matches("cannot open the file anew").count() == 2
    });
    agent.client().run("guest-info", json!({})).unwrap();
    agent.until("lines in the old files", |agent| file(agent, "audit.2").contains("guest-info"));
}

/// The signal that comes with it is blocked wherever something is written.
#[test]
fn a_file_at_its_size_limit_stops_nobody() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("agent.toml"), "[audit]\nfile = \"audit\"\n").unwrap();
    let mut command = Command::new("sh");
    // In units of 512 bytes, or of 1,024.
    command.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]).arg(program.path());
    command.args(["-v", "-m", "unix-listen", "-p", "sock", "-t", ".", "-l", "log", "-c", "agent.toml"]);
    command.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null());
    let agent = Raw { child: command.spawn().unwrap(), dir };
    agent.ping(1000);
    for file in ["log", "audit"] {
        let length = || fs::metadata(agent.dir.path().join(file)).unwrap().len();
        let until = Instant::now() + PATIENCE;
        while ![8 << 9, 8 << 10].contains(&length()) {
            assert!(Instant::now() < until, "{file}: {}", length());
            std::thread::yield_now();
        }
    }
    agent.stop();
}

/// It comes with the first line, and takes no signal from the main thread.
#[test]
fn files_of_log_and_audit_have_one_thread() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup();
    let config = setup.dir().join("agent.toml");
    fs::write(&config, "[audit]\nfile = \"audit\"\n").unwrap();
    let agent = setup.options(["-c".into(), config]).start();
    let threads = |agent: &Agent| {
        let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
        let paths = tasks.map(|task| task.unwrap().path());
        let named = |name: &str| name == "log\n";
        paths.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| named(&name))).collect()
    };
    agent.client().run("guest-ping", json!({})).unwrap();
    agent.until("the log's thread", |agent| !Vec::<PathBuf>::is_empty(&threads(agent)));
    agent.client().run("guest-ping", json!({})).unwrap();
    let [thread] = &threads(&agent)[..] else { panic!("{:?}", threads(&agent)) };
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    assert_eq!(blocked >> 14 & 1, 1, "SIGTERM is not blocked: {status}");
}
