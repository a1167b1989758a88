//! The life of the daemon: going to the background, the pid file, reading its configuration anew.

use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use waga_tests::agent::{Agent, Program, Setup};
use waga_tests::client::{Client, PATIENCE};

use crate::{each, program};

/// Runs a program in the background and waits for the parent's end. Its standard error goes to a file: a pipe would stay open.
fn background(program: &Program, dir: &Path, more: &[&str]) -> Output {
    let path = dir.join("stderr");
    let mut file = fs::File::options().read(true).append(true).create(true).open(&path).unwrap();
    let before = file.metadata().unwrap().len();
    let mut command = program.command();
    // Whole paths: the original leaves its working folder before it opens anything.
    command.args(["-d", "-m", "unix-listen", "-p"]).arg(dir.join("sock")).arg("-t").arg(dir);
    command.arg("-f").arg(dir.join("pid")).args(more).current_dir(dir);
    command.stdout(Stdio::null()).stderr(file.try_clone().unwrap());
    let status = command.status().unwrap();
    file.seek(std::io::SeekFrom::Start(before)).unwrap();
    let mut stderr = Vec::new();
    file.read_to_end(&mut stderr).unwrap();
    Output { status, stdout: Vec::new(), stderr }
}

/// Starts it in the background with a pipe as standard error, and returns what the pipe had when nobody held it any more.
fn heard_until_the_end(program: &Program, dir: &Path) -> Option<String> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = program.command();
    command.args(["-d", "-v", "-m", "unix-listen", "-p"]).arg(dir.join("sock")).arg("-t").arg(dir);
    command.arg("-f").arg(dir.join("pid")).stdout(Stdio::null()).stderr(writer);
    assert!(command.status().unwrap().success());
    // The command has another copy.
    drop(command);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let _ = tell.send(text);
    });
    let heard = told.recv_timeout(PATIENCE).ok();
    await_that("the pid file", || written_pid(&dir.join("pid")).is_some());
    await_that("the socket", || UnixStream::connect(dir.join("sock")).is_ok());
    Client::connect(dir.join("sock")).unwrap().run("guest-ping", json!({})).unwrap();
    kill(written_pid(&dir.join("pid")).unwrap(), Signal::SIGTERM).unwrap();
    heard
}

/// Whoever runs it through ssh, or in `$(…)`, waits for the end of that pipe.
#[test]
fn in_the_background_it_lets_go_of_a_pipe_it_was_started_with() {
    each(|program| {
        let dir = tempfile::tempdir().unwrap();
        let heard = heard_until_the_end(program, dir.path()).expect("the end of standard error");
        // What it said before it had started was heard.
        assert!(!program.is_waga() || heard.contains("serving"), "{heard}");
    });
}

fn await_that(what: &str, wanted: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < until, "{what}: never came");
        std::thread::yield_now();
    }
}

fn written_pid(path: &Path) -> Option<Pid> {
    fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok().map(Pid::from_raw)
}

#[test]
fn in_the_background_it_has_a_pid_file_a_session_and_no_terminal() {
    each(|program| {
        let dir = tempfile::tempdir().unwrap();
        let started = background(program, dir.path(), &["-l", "/dev/null"]);
        assert!(started.status.success(), "{started:?}");
        let path = dir.path().join("pid");
        if !program.is_waga() {
            // Its parent has not waited for this.
            await_that("the pid file", || written_pid(&path).is_some());
        }
        let pid = written_pid(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        await_that("the socket", || UnixStream::connect(dir.path().join("sock")).is_ok());
        Client::connect(dir.path().join("sock")).unwrap().run("guest-ping", json!({})).unwrap();
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        await_that("the end of the old streams", || link("fd/2") == Path::new("/dev/null"));
        assert_eq!(link("cwd"), Path::new("/"));
        for stream in ["fd/0", "fd/1"] {
            assert_eq!(link(stream), Path::new("/dev/null"));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Behind the name: state, parent, group, session, terminal.
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        assert_eq!((fields[3], fields[4]), (pid.to_string().as_str(), "0"), "{stat}");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Umask:\t0077"), "{status}");
        kill(pid, Signal::SIGTERM).unwrap();
        if program.is_waga() {
            await_that("the end", || !Path::new(&format!("/proc/{pid}")).exists());
            assert!(!path.exists(), "the pid file stays behind");
        } else {
            // It misses a SIGTERM now and then.
            kill(pid, Signal::SIGKILL).unwrap();
        }
    });
}

/// 28: qemu-ga's parent ends with 0 at once, whether or not its child starts.
#[test]
fn the_parents_code_tells_whether_the_child_started() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let fails = |more: &[&str], expected: &str| {
        let ended = background(&program, dir.path(), more);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{more:?}: {said}");
        assert!(said.contains(expected), "{more:?}: {said}");
    };
    fails(&["-p", "/nonexistent/sock"], "/nonexistent/sock");
    fails(&["-f", "/nonexistent/pid"], "/nonexistent/pid");
    fails(&["-l", "/nonexistent/log"], "/nonexistent/log");
    assert!(!dir.path().join("pid").exists());
    // A second one says why it does not start, and takes nothing from the first.
    assert!(background(&program, dir.path(), &[]).status.success());
    let pid = written_pid(&dir.path().join("pid")).unwrap();
    fails(&[], "another agent runs");
    fails(&["-f", "other", "-p", "sock"], "another program uses this socket");
    assert_eq!(written_pid(&dir.path().join("pid")), Some(pid));
    Client::connect(dir.path().join("sock")).unwrap().run("guest-ping", json!({})).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    await_that("the end", || !Path::new(&format!("/proc/{pid}")).exists());
    // What a killed one left behind is in nobody's way.
    assert!(background(&program, dir.path(), &[]).status.success());
    let next = written_pid(&dir.path().join("pid")).unwrap();
    assert_ne!(next, pid);
    kill(next, Signal::SIGTERM).unwrap();
    await_that("the end", || !dir.path().join("pid").exists());
}

/// As qemu-ga, whose child knows nothing of its parent.
#[test]
fn a_parent_that_is_killed_takes_no_agent_with_it() {
    each(|program| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program.command();
        command
            .args(["-d", "-m", "unix-listen", "-p"])
            .arg(dir.path().join("sock"))
            .arg("-t")
            .arg(dir.path());
        let mut parent = command.arg("-f").arg(dir.path().join("pid")).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", parent.id());
        // Nobody has waited for it: if it has ended, its entry is still there, without children.
        while fs::read_to_string(&children).unwrap_or_default().is_empty()
            && parent.try_wait().unwrap().is_none()
        {}
        let _ = parent.kill();
        parent.wait().unwrap();
        await_that("the socket", || UnixStream::connect(dir.path().join("sock")).is_ok());
        Client::connect(dir.path().join("sock")).unwrap().run("guest-ping", json!({})).unwrap();
        await_that("the pid file", || written_pid(&dir.path().join("pid")).is_some());
        kill(written_pid(&dir.path().join("pid")).unwrap(), Signal::SIGTERM).unwrap();
    });
}

/// An agent with this `agent.toml`, which is then a file to be changed.
pub(crate) fn configured(text: &str, more: impl FnOnce(Setup) -> Setup) -> Option<Agent> {
    let program = Some(program()).filter(Program::is_waga)?;
    let setup = program.setup();
    let path = setup.dir().join("agent.toml");
    fs::write(&path, text).unwrap();
    Some(more(setup.options(["-c".into(), path])).start())
}

/// Writes another `agent.toml` and asks for it.
pub(crate) fn reload(agent: &Agent, text: &str) {
    // As an editor does: whoever reads it sees the one or the other.
    let (path, staged) = (agent.dir().join("agent.toml"), agent.dir().join("staged"));
    fs::write(&staged, text).unwrap();
    fs::rename(staged, path).unwrap();
    agent.signal(Signal::SIGHUP);
}

pub(crate) fn is_on(client: &mut Client, command: &str) -> bool {
    let info = client.run("guest-info", json!({})).unwrap();
    let commands = info["supported_commands"].as_array().unwrap();
    commands.iter().find(|entry| entry["name"] == command).unwrap()["enabled"] == json!(true)
}

#[test]
fn sighup_changes_policy_in_place() {
    let Some(agent) = configured("[policy]\nblock = ['guest-get-time']\n", |setup| setup) else { return };
    let mut client = agent.client();
    // A connection in the middle of a message lives through it.
    let mut halfway = agent.client();
    halfway.send("{\"execute\": \"guest-").unwrap();
    assert!(!is_on(&mut client, "guest-get-time") && is_on(&mut client, "guest-ping"));
    reload(&agent, "[policy]\nblock = ['guest-ping']\n");
    agent.until("the new policy", |_| is_on(&mut agent.client(), "guest-get-time"));
    client.run("guest-get-time", json!({})).unwrap();
    assert_eq!(client.refused("guest-ping", json!({})).unwrap().0, "CommandNotFound");
    halfway.send("sync\", \"arguments\": {\"id\": 5}}\n").unwrap();
    assert_eq!(halfway.text().unwrap(), "{\"return\": 5}");
    // A file with a fault changes nothing, and the log says where it is.
    reload(&agent, "[policy]\nblock = []\nalow = []\n");
    agent.until("a word about the fault", |agent| {
        agent.log().contains("agent.toml:3:1: unknown field `alow`")
    });
    assert_eq!(client.refused("guest-ping", json!({})).unwrap().0, "CommandNotFound");
    fs::remove_file(agent.dir().join("agent.toml")).unwrap();
    agent.signal(Signal::SIGHUP);
    agent.until("a word about the file", |agent| agent.log().contains("there is no such file"));
    assert_eq!(client.refused("guest-ping", json!({})).unwrap().0, "CommandNotFound");
    reload(&agent, "");
    agent.until("no policy", |_| is_on(&mut agent.client(), "guest-ping"));
    client.run("guest-ping", json!({})).unwrap();
}

#[test]
fn what_takes_a_restart_is_said() {
    let Some(agent) = configured("", Setup::quiet) else { return };
    reload(&agent, "[state]\ndir = '/elsewhere'\n[audit]\nfile = 'audit'\n");
    // `-t` of the command line wins over the file's folder, so that changes nothing.
    agent.until("a word about it", |agent| agent.log().contains("takes a restart"));
    let log = agent.log();
    assert!(log.contains("[audit]") && !log.contains("[state]") && !log.contains("[[channel]]"), "{log}");
}

/// What a mistyped name was to block is on, so that is said without `-v` too.
#[test]
fn a_list_that_names_no_command_is_told_to_everyone() {
    let Some(agent) = configured("[policy]\nblock = ['guest-exce']\n", Setup::quiet) else { return };
    let told =
        "agent.toml:2:10: [policy] block: no command is called 'guest-exce'; did you mean 'guest-exec'?";
    agent.until("a word about it", |agent| agent.log().contains(told));
    reload(&agent, "[policy]\n\nblock = ['guest-pnig']\n");
    agent.until("a word about the next one", |agent| agent.log().contains("agent.toml:3:10: "));
    let program = program().called("qemu-ga");
    let agent = program.setup().quiet().options(["-b", "guest-exce"]).start();
    assert_eq!(agent.log(), "", "qemu-ga is silent about it");
}

/// Ten thousand requests while the configuration is read a hundred times: none is lost, none is wrong.
#[test]
fn reloading_under_load_loses_nothing() {
    let Some(agent) = configured("", Setup::quiet) else { return };
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut client = agent.client();
            for id in 0..10_000 {
                assert_eq!(client.run("guest-sync", json!({"id": id})).unwrap(), json!(id));
            }
        });
        while !load.is_finished() {
            reload(&agent, "[policy]\nblock = ['guest-get-time']\n");
            reload(&agent, "");
        }
        load.join().unwrap();
    });
    agent.until("the last one", |agent| is_on(&mut agent.client(), "guest-get-time"));
}

/// `waga check` of this file, and its exit code.
fn check(text: &str, more: &[&str]) -> Option<(i32, String, String)> {
    let program = Some(program()).filter(Program::is_waga)?;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("agent.toml"), text).unwrap();
    let mut command = program.command();
    let output =
        command.arg("check").args(["-c", "agent.toml"]).args(more).current_dir(dir.path()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some((output.status.code().unwrap(), text(output.stdout), text(output.stderr)))
}

pub(crate) const CHECKED: &str = "\
[[channel]]
method = \"virtio-serial\"
[[channel]]
method = \"unix-listen\"
path = \"/run/waga.sock\"
name = \"backup\"
retry-path = true
[policy]
block = [\"guest-get-users\", \"guest-exce\"]
[policy.exec]
allow = [{ program = \"/usr/bin/uptime\" }]
[policy.channel.backup]
allow = [\"guest-ping\", \"guest-exec\"]
";

#[test]
fn check_tells_what_decided() {
    let Some((code, out, err)) = check(CHECKED, &["-b", "guest-get-load"]) else { return };
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = "\
files     agent.toml
channel   virtio-serial: virtio-serial at /dev/virtio-ports/org.qemu.guest_agent.0
channel   backup: unix-listen at /run/waga.sock, tried again and again
warning   agent.toml:9:29: [policy] block: no command is called 'guest-exce'; did you mean 'guest-exec'?
warning   channel backup: guest-sync and guest-sync-delimited are off; most clients begin with one of them

";
    assert!(out.starts_with(expected), "{out}");
    for line in [
        "guest-ping                          on   by default",
        "guest-get-users                     off  listed in agent.toml:9:10: [policy] block",
        "guest-get-load                      off  listed in --block-rpcs (-b)",
        "guest-exec                          on   by default; limited by agent.toml:10:1: [policy.exec]",
        "\non channel backup\n",
        "guest-info                          off  not listed in agent.toml:13:9: [policy.channel.backup] allow",
        "guest-exec                          on   listed in agent.toml:13:24: [policy.channel.backup] allow; limited by agent.toml:10:1: [policy.exec]",
    ] {
        assert!(out.contains(line), "{line:?} is not in:\n{out}");
    }
    // Blocked for all: no news for one channel.
    assert_eq!(out.matches("guest-get-users").count(), 1, "{out}");
}

/// That of a wrap whoever asks can bring about.
#[test]
fn check_warns_of_a_wrap_that_can_be_gone_past() {
    let warns = |word: &str, mode: &str| {
        let text = format!(
            "[extension.net]\nmodule = '/nowhere/net.wasm'\n{mode} = ['guest-network-get-interfaces']\non-failure = '{word}'\n"
        );
        let (code, out, err) = check(&text, &[])?;
        assert_eq!((code, err.as_str()), (0, ""));
        Some(out.lines().find(|line| line.contains("on-failure")).map(str::to_owned))
    };
    let Some(warning) = warns("builtin-always", "wrap") else { return };
    assert_eq!(
        warning.unwrap(),
        "warning   agent.toml:3:9: [extension.net] wrap: on-failure = \"builtin-always\" lets whoever can make net fail, by what they send \
         or how often, have what is below it; if it is there to restrict, say \"builtin\", which covers only what could not be loaded, or nothing"
    );
    for (word, mode) in [("builtin", "wrap"), ("error", "wrap"), ("builtin-always", "override")] {
        assert_eq!(warns(word, mode), Some(None), "{word} {mode}");
    }
}

#[test]
fn check_speaks_json_and_fails_where_the_agent_would() {
    let Some((code, out, _)) = check(CHECKED, &["--json"]) else { return };
    assert_eq!(code, 0);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["files"], json!(["agent.toml"]));
    assert_eq!(report["channels"][1]["name"], "backup");
    let commands = report["commands"].as_array().unwrap();
    let users = commands.iter().find(|command| command["name"] == "guest-get-users").unwrap();
    let place = json!({"file": "agent.toml", "line": 9, "column": 10, "key": "[policy] block"});
    assert_eq!((&users["enabled"], &users["decided-by"]), (&json!(false), &place));
    let own = report["channel-commands"]["backup"].as_array().unwrap();
    assert_eq!(own.len(), commands.len());
    let (code, out, err) = check("[policy]\nblok = []\n", &["--json"]).unwrap();
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("agent.toml:2:1: unknown field `blok`"), "{err}");
}
