//! `waga call`: the verb as people and scripts run it, against waga and against the original.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waga_tests::agent::{Agent, Program};

use crate::{each, program};

/// The client, `None` if what is under test is not waga: it has no such verb.
pub(crate) fn client() -> Option<Command> {
    let program = Some(program()).filter(Program::is_waga)?;
    let mut command = Command::new(program.path());
    command.arg("call").stdin(Stdio::null());
    Some(command)
}

/// Runs `waga call --socket SOCKET` with these words.
pub(crate) fn call(socket: &Path, words: &[&str]) -> Option<Output> {
    Some(client()?.arg("--socket").arg(socket).args(words).output().unwrap())
}

/// The exit code, stdout and stderr.
pub(crate) fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What a call printed that must succeed without a word on stderr.
pub(crate) fn printed(output: &Output) -> String {
    let (code, out, err) = told(output);
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    out
}

/// Puts each case to both agents, if there is a client to do so.
pub(crate) fn with_agents(test: impl Fn(&Agent)) {
    if client().is_some() {
        each(|program| test(&program.agent()));
    }
}

#[test]
fn what_a_command_returns_is_printed() {
    with_agents(|agent| {
        let run = |words: &[&str]| printed(&call(&agent.socket(), words).unwrap());
        assert_eq!(run(&["guest-ping"]), "{}\n");
        assert_eq!(run(&["guest-ping", "{}"]), "{}\n");
        assert_eq!(run(&["guest-sync", "id=9223372036854775807"]), "9223372036854775807\n");
        assert_eq!(run(&["guest-sync-delimited", "id=5"]), "5\n");
        let handle = run(&["guest-file-open", "path=call me", "mode=w+"]);
        let (written, handle) =
            (run(&["guest-file-write", &format!("handle={handle}"), "buf-b64=YWJj"]), handle.trim());
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), json!({"count": 3, "eof": false}));
        let sought = run(&[
            "guest-file-seek",
            &format!("{{\"handle\": {handle},\n\"offset\": 1, \"whence\": \"set\"}}"),
            "--pretty",
        ]);
        let pretty: Vec<&str> = sought.lines().collect();
        assert_eq!((pretty.len(), pretty[0], pretty[3]), (4, "{", "}"), "{sought}");
        assert!(sought.contains("\n  \"position\": 1"), "{sought}");
        let closed = run(&["--compact", "guest-file-close", &format!("handle={handle}")]);
        assert_eq!(closed, "{}\n");
        assert_eq!(fs::read(agent.dir().join("call me")).unwrap(), b"abc");
    });
}

#[test]
fn arguments_may_come_from_stdin() {
    with_agents(|agent| {
        let mut command = client().unwrap();
        command.arg("--socket").arg(agent.socket()).args(["guest-sync", "-"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"{\n  \"id\": -7\n}\n").unwrap();
        assert_eq!(printed(&child.wait_with_output().unwrap()), "-7\n");
    });
}

#[test]
fn an_error_of_the_agent_is_told_with_its_class() {
    with_agents(|agent| {
        for (words, error) in [
            (&["guest-foo"][..], "guest-foo: CommandNotFound: The command guest-foo has not been found"),
            (&["guest-sync"], "guest-sync: GenericError: Parameter 'id' is missing"),
            (
                &["guest-sync", "id=\"5\""],
                "guest-sync: GenericError: Invalid parameter type for 'id', expected: integer",
            ),
            (&["guest-ping", "x=1"], "guest-ping: GenericError: Parameter 'x' is unexpected"),
            (&["guest-shutdown", "mode=sideways", "x=1"], "guest-shutdown: "),
        ] {
            let (code, out, err) = told(&call(&agent.socket(), words).unwrap());
            assert_eq!((code, &*out), (Some(1), ""), "{err}");
            assert!(err.starts_with(&format!("waga: {error}")) && err.lines().count() == 1, "{err}");
        }
    });
}

/// A path that is all digits is a number to `key=value`. What the agent says to that helps nobody who does not know it.
#[test]
fn a_type_that_was_guessed_wrong_is_told_with_the_way_out() {
    with_agents(|agent| {
        for (words, hint) in [
            (
                &["guest-file-open", "path=123"][..],
                r#"'path' was read as JSON; to give text, write path='"..."'"#,
            ),
            (
                &["guest-file-open", "mode=r", "path=true"],
                r#"'path' was read as JSON; to give text, write path='"..."'"#,
            ),
            (&["guest-exec", "path=/bin/true", "arg=-n"], r#"to give a list, write arg='["..."]'"#),
        ] {
            let (code, _, err) = told(&call(&agent.socket(), words).unwrap());
            let (error, told) =
                err.trim_end().split_once('\n').unwrap_or_else(|| panic!("no way out: {err}"));
            assert!(code == Some(1) && error.contains("Invalid parameter type for"), "{err}");
            assert_eq!(told, hint);
        }
        // Nothing was guessed here.
        let (code, _, err) = told(&call(&agent.socket(), &["guest-file-open", r#"{"path":123}"#]).unwrap());
        assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    });
}

#[test]
fn an_option_that_is_not_there_is_told_with_the_nearest() {
    let Some(mut client) = client() else { return };
    let (code, _, err) = told(&client.args(["--sokcet", "/x", "guest-ping"]).output().unwrap());
    assert_eq!(code, Some(2), "{err}");
    assert!(err.starts_with("waga: there is no option --sokcet; did you mean --socket?\n"), "{err}");
    assert!(!err.contains("tip"), "{err}");
}

#[test]
fn without_a_command_the_agent_is_described() {
    with_agents(|agent| {
        let listed = printed(&call(&agent.socket(), &[]).unwrap());
        let asked = printed(&call(&agent.socket(), &["guest-info", "--json"]).unwrap());
        assert_eq!((listed.lines().count(), &listed), (1, &asked));
        let info: Value = serde_json::from_str(&listed).unwrap();
        let commands = info["supported_commands"].as_array().unwrap();
        assert!(commands.iter().any(|command| command["name"] == "guest-ping" && command["enabled"] == true));
        let pretty = printed(&call(&agent.socket(), &["--pretty"]).unwrap());
        assert!(pretty.lines().count() > commands.len(), "{pretty}");
    });
}

#[test]
fn what_others_left_on_the_line_is_not_taken_for_an_answer() {
    with_agents(|agent| {
        // Of a listening socket every client has a line of its own. So the line is handed on, as QEMU hands its character device on.
        let path = agent.dir().join("chardev");
        let listener = UnixListener::bind(&path).unwrap();
        let mut line = std::os::unix::net::UnixStream::connect(agent.socket()).unwrap();
        // Replies to nobody, and half a command.
        line.write_all(
            b"{\"execute\":\"guest-info\"}\n{\"execute\":\"guest-bar\"}\n{\"execute\":\"guest-sync\",",
        )
        .unwrap();
        let through = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let ends = [(client.try_clone().unwrap(), line.try_clone().unwrap()), (line, client)];
            let [there, back] = ends.map(|(mut from, mut to)| {
                std::thread::spawn(move || {
                    drop(std::io::copy(&mut from, &mut to));
                    drop(to.shutdown(std::net::Shutdown::Both));
                })
            });
            there.join().unwrap();
            back.join().unwrap();
        });
        assert_eq!(printed(&call(&path, &["guest-ping"]).unwrap()), "{}\n");
        through.join().unwrap();
    });
}

#[test]
fn a_policy_against_syncing_is_no_obstacle() {
    if client().is_none() {
        return;
    }
    each(|program| {
        for off in ["guest-sync-delimited", "guest-sync-delimited,guest-sync"] {
            let agent = program.setup().options(["-b", off]).start();
            assert_eq!(printed(&call(&agent.socket(), &["guest-ping"]).unwrap()), "{}\n");
            let (code, _, err) = told(&call(&agent.socket(), &["guest-sync-delimited", "id=1"]).unwrap());
            assert_eq!(code, Some(1), "{err}");
            assert!(err.contains("CommandNotFound: Command guest-sync-delimited has been disabled"), "{err}");
        }
    });
}

#[test]
fn a_large_file_comes_whole_through_a_pipe() {
    with_agents(|agent| {
        let size = if agent.is_waga() { 48 << 20 } else { 4 << 20 };
        fs::write(agent.dir().join("large"), vec![0; size]).unwrap();
        let handle = printed(&call(&agent.socket(), &["guest-file-open", "path=large"]).unwrap());
        let words = ["guest-file-read", &format!("handle={}", handle.trim()), &format!("count={size}")];
        let read: Value = serde_json::from_str(&printed(&call(&agent.socket(), &words).unwrap())).unwrap();
        assert_eq!(read["count"], size);
        let data = read["buf-b64"].as_str().unwrap();
        assert_eq!(data.len(), size.div_ceil(3) * 4);
    });
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    with_agents(|agent| {
        let mut command = client().unwrap();
        command.arg("--socket").arg(agent.socket());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(told(&output), (Some(0), String::new(), String::new()));
    });
    let Some(mut command) = client() else { return };
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command.arg("--help").stdout(full).stderr(Stdio::piped()).output().unwrap();
    let (code, _, err) = told(&output);
    assert!(code == Some(3) && err.contains("stdout"), "{err}");
}

#[test]
fn nobody_there_ends_with_three() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let long = folder.path().join("x".repeat(200));
    let left = folder.path().join("left");
    drop(UnixListener::bind(&left).unwrap());
    for (path, why) in [
        (folder.path().join("none"), "No such file or directory"),
        (file, "Connection refused"),
        (left, "Connection refused"),
        (long, "File name too long"),
    ] {
        let Some(output) = call(&path, &["guest-ping"]) else { return };
        let (code, out, err) = told(&output);
        assert_eq!((code, &*out), (Some(3), ""), "{err}");
        assert!(err.contains(path.to_str().unwrap()) && err.contains(why), "{err}");
    }
    // Somebody, but not for long.
    let path = folder.path().join("brief");
    let listener = UnixListener::bind(&path).unwrap();
    let brief = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let (code, _, err) = told(&call(&path, &["guest-ping"]).unwrap());
    assert!(code == Some(3) && err.contains("ended before the answer"), "{err}");
    brief.join().unwrap();
}

#[test]
fn the_time_is_over_for_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    // Nobody accepts, and one connection may wait for that.
    let listener = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let waiting = |why: &str| {
        let started = Instant::now();
        let Some(output) = call(&path, &["guest-ping", "--timeout", "0.3"]) else { return };
        let (code, out, err) = told(&output);
        assert_eq!((code, &*out), (Some(4), ""), "{err}");
        assert!(err.contains(why) && err.contains("within 0.3 s"), "{err}");
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(20), "{took:?}");
    };
    waiting("guest-sync-delimited: no answer");
    // The first one still stands there, and there is no room for a second.
    waiting("nobody took the connection");
}

#[test]
fn a_command_that_is_silent_when_it_succeeds_prints_nothing() {
    if client().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let agent = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut client = waga_tests::client::Client::over(stream).unwrap();
        let sync = client.line().unwrap().unwrap();
        let sync: Value = serde_json::from_slice(&sync[1..]).unwrap();
        client.send(format!("\u{fffd}\n{{\"return\": {}}}\n", sync["arguments"]["id"])).unwrap();
        client.text().unwrap()
    });
    let output = call(&path, &["guest-shutdown", "mode=reboot"]).unwrap();
    assert_eq!(printed(&output), "");
    assert_eq!(agent.join().unwrap(), r#"{"execute":"guest-shutdown","arguments":{"mode":"reboot"}}"#);
}

#[test]
fn wrong_words_end_with_two() {
    for (words, named) in [
        (&["guest-ping"][..], "--socket PATH, --vsock CID:PORT and --domain NAME"),
        (&["--socket", "s", "--domain", "d", "guest-ping"], "--vsock CID:PORT"),
        (&["--vsock", "x", "guest-ping"], "CID:PORT"),
        (&["--socket", "s", "guest-sync", "id"], "'id' is no argument"),
        (&["--socket", "s", "guest-sync", "id=1", "id=2"], "'id=2'"),
        (&["--socket", "s", "path=x"], "'path=x' is no command"),
        (&["--socket", "s", "--timeout", "0", "guest-ping"], "above 0"),
        (&["--socket", "s", "--nope"], "--nope"),
    ] {
        let Some(mut command) = client() else { return };
        let (code, out, err) = told(&command.args(words).output().unwrap());
        assert_eq!((code, &*out), (Some(2), ""), "{words:?}: {err}");
        assert!(err.starts_with("waga: ") && err.contains(named) && err.contains("call --help"), "{err}");
    }
    let Some(mut command) = client() else { return };
    assert!(printed(&command.arg("--help").output().unwrap()).contains("Exit codes:"));
}

/// Under the name of qemu-ga the word means what it means to qemu-ga: nothing.
#[test]
fn qemu_ga_has_no_verbs() {
    let Some(_) = client() else { return };
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("qemu-ga");
    std::os::unix::fs::symlink(program().path(), &name).unwrap();
    let output = Command::new(name).args(["call", "--version"]).output().unwrap();
    assert!(printed(&output).starts_with("QEMU Guest Agent "));
}

/// What libvirt's `virsh` says becomes the right exit code. That it says so is for the tests with a real libvirt, in `tests/vm`.
#[test]
fn words_of_virsh_become_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let virsh = folder.path().join("virsh");
    let run = |words: &[&str]| {
        let mut command = client()?;
        command.arg("--domain=-odd name").args(words).env("PATH", folder.path());
        Some(told(&command.output().unwrap()))
    };
    let Some((code, _, err)) = run(&["guest-ping"]) else { return };
    assert!(code == Some(3) && err.contains("virsh, which is not installed"), "{err}");
    let script = |text: &str| {
        // A new file each time: one that still runs cannot be written.
        drop(fs::remove_file(&virsh));
        fs::write(&virsh, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")).unwrap();
        fs::set_permissions(&virsh, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let json = r#"{"execute":"guest-sync","arguments":{"id":5}}"#;
    script(&format!(
        "[ \"$*\" = '--connect u --quiet qemu-agent-command --timeout 30 --domain -odd name --cmd {json}' ] || exit 9
         echo '{{\"return\":{{\"b\":1.50,\"a\":2}}}}'"
    ));
    // Thirty seconds less what has gone are 29 whole ones.
    let (code, _, err) = run(&["--connect", "u", "--timeout", "30.9", "guest-sync", "id=5"]).unwrap();
    assert_eq!((code, &*err), (Some(0), ""));
    for (said, code, told) in [
        (
            "internal error: unable to execute QEMU agent command 'guest-x': No such thing",
            1,
            "guest-x: No such thing\n",
        ),
        ("failed to get domain 'd'", 3, "failed to get domain 'd'"),
        ("Guest agent is not responding: QEMU guest agent is not connected", 3, "not connected"),
        ("Guest agent is not responding: Guest agent not available for now", 4, "not available for now"),
    ] {
        script(&format!("echo \"error: {said}\" >&2; exit 1"));
        let (got, out, err) = run(&["guest-x"]).unwrap();
        assert_eq!((got, &*out), (Some(code), ""), "{err}");
        assert!(err.contains(told), "{err}");
    }
    // More than a pipe holds, on both outputs, and a child that keeps them open.
    script(
        "sleep 30 & head -c 1000000 /dev/zero >&2; printf '{\"return\":\"'; head -c 1000000 /dev/zero | tr '\\0' x; echo '\"}'",
    );
    let started = Instant::now();
    let (code, out, _) = run(&["guest-x"]).unwrap();
    assert_eq!((code, out.len()), (Some(0), 1_000_003));
    assert!(started.elapsed() < Duration::from_secs(25));
    // One that hangs.
    script("exec sleep 60");
    let started = Instant::now();
    let (code, _, err) = run(&["guest-x", "--timeout", "0.3"]).unwrap();
    assert!(code == Some(4) && err.contains("within 0.3 s"), "{err}");
    assert!(started.elapsed() < Duration::from_secs(30));
}
