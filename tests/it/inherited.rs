//! Sockets that a service manager passes: served in the place of what was configured; what cannot serve is named.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;
use serde_json::json;
use waga_tests::agent::{Agent, left_out, request};
use waga_tests::client::{Client, PATIENCE};

use crate::{each, program};

fn answers(agent: &Agent) {
    assert_eq!(agent.client().run("guest-sync", json!({"id": 5})).unwrap(), json!(5));
}

#[test]
fn a_passed_socket_takes_the_place_of_the_configured_channel() {
    each(|program| {
        let setup = program.setup();
        let listener = UnixListener::bind(setup.dir().join("sock")).unwrap();
        let agent = setup.passing([listener]).options(["-p", "unused"]).start();
        answers(&agent);
        assert!(!agent.dir().join("unused").exists());
        // The socket outlives the agent: the next one gets it.
        let agent = agent.restart(Signal::SIGTERM);
        answers(&agent);
    });
}

#[test]
fn programs_learn_nothing_of_what_was_passed() {
    each(|program| {
        let setup = program.setup();
        let listener = UnixListener::bind(setup.dir().join("sock")).unwrap();
        let setup =
            setup.passing([listener]).env("KEPT", Some("1")).env("NOTIFY_SOCKET", Some("/nonexistent"));
        let agent = setup.env("WATCHDOG_USEC", Some("1")).env("LISTEN_FDNAMES", Some("ops")).start();
        let mut client = agent.client();
        let exec =
            json!({"path": "sh", "arg": ["-c", "env >told; ls /proc/self/fd >>told; echo end >>told"]});
        client.run("guest-exec", exec).unwrap();
        let told = || std::fs::read_to_string(agent.dir().join("told")).unwrap_or_default();
        agent.until("the program ends", |_| told().ends_with("end\n"));
        let told = told();
        assert!(told.contains("KEPT=1\n"), "{told}");
        // That qemu-ga lets its children speak for it to the service manager is not followed.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
            let kept = !program.is_waga() && !["LISTEN_PID", "LISTEN_FDS"].contains(&variable);
            assert!(kept || !told.contains(variable), "{told}");
        }
        // 0 to 2, and the folder that `ls` reads.
        assert!(told.ends_with("\n0\n1\n2\n3\nend\n"), "{told}");
    });
}

#[test]
fn what_cannot_serve_is_an_error_that_names_it() {
    each(|program| {
        let wrong: [(&str, OwnedFd); 4] = [
            ("is not a socket", File::open("/dev/null").unwrap().into()),
            ("is no stream socket", UnixDatagram::unbound().unwrap().into()),
            ("does not listen", UnixStream::pair().unwrap().0.into()),
            ("is an internet socket", TcpListener::bind("127.0.0.1:0").unwrap().into()),
        ];
        for (what, fd) in wrong {
            if !program.is_waga() && what.starts_with("is no stream") | what.starts_with("does not") {
                // The original does not look; it serves nobody then, at up to 100 % CPU.
                continue;
            }
            let (status, said) = program.setup().passing([fd]).fails();
            assert_eq!(status.code(), Some(1), "{what}: {said}");
            assert!(said.contains("unsupported listen fd type") || !program.is_waga(), "{said}");
            assert!(said.contains(&format!("descriptor 3 {what}")) || !program.is_waga(), "{said}");
        }
    });
}

#[test]
fn several_passed_sockets_are_all_served() {
    each(|program| {
        let setup = program.setup();
        let paths = ["sock", "second"].map(|name| setup.dir().join(name));
        let setup = setup.passing(paths.clone().map(|path| UnixListener::bind(path).unwrap()));
        if !program.is_waga() {
            let (status, said) = setup.fails();
            assert!(
                status.code() == Some(1) && said.contains("only supports listening on one socket"),
                "{said}"
            );
            return;
        }
        let agent = setup.env("LISTEN_FDNAMES", Some("unknown:ops")).start();
        for path in &paths {
            let mut client = Client::connect(path).unwrap();
            assert_eq!(client.run("guest-sync", json!({"id": 5})).unwrap(), json!(5));
        }
        for name in ["unix-listen", "ops"] {
            agent.until(name, |agent| agent.log().contains(&format!("channel={name}")));
        }
    });
}

/// Under qemu-ga's name its manners hold.
#[test]
fn as_qemu_ga_it_serves_one_socket_only() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    std::os::unix::fs::symlink(program.path(), setup.dir().join("qemu-ga")).unwrap();
    let listeners = ["a", "b"].map(|name| UnixListener::bind(setup.dir().join(name)).unwrap());
    let setup = setup.passing(listeners).script("shift; set -- ./qemu-ga \"$@\"");
    let (status, said) = setup.fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("qemu-ga only supports listening on one socket"), "{said}");
}

/// They are passed to the process that was started, which is not the one that stays.
#[test]
fn a_passed_socket_is_served_from_the_background() {
    each(|program| {
        let setup = program.setup();
        let (socket, pid_file) = (setup.dir().join("sock"), setup.dir().join("pid"));
        let options = ["-d".into(), "-f".into(), pid_file.clone().into_os_string()];
        let mut agent = setup.passing([UnixListener::bind(&socket).unwrap()]).options(options).launch();
        let (status, said) = agent.await_end();
        assert!(status.success(), "{said}");
        let mut client = Client::connect(&socket).unwrap();
        assert_eq!(client.run("guest-sync", json!({"id": 5})).unwrap(), json!(5));
        // qemu-ga's parent ends before the file is there; but an agent that answers has written it.
        let pid = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        drop(client);
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    });
}

/// A socket that was shut down accepts nobody any more, though the kernel calls it readable for ever.
#[test]
fn the_agent_ends_with_its_only_socket() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    let listener = UnixListener::bind(setup.dir().join("sock")).unwrap();
    let mut agent = setup.passing([listener.try_clone().unwrap()]).quiet().options(["-r"]).start();
    answers(&agent);
    shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
    let (status, said) = agent.await_end();
    assert_eq!(status.code(), Some(1), "{said}");
    // From the background only the log tells.
    for name in ["log", "stderr"] {
        let said = std::fs::read_to_string(agent.dir().join(name)).unwrap();
        assert!(
            said.contains("unix-listen: descriptor 3: the channel failed: the socket was shut down"),
            "{name}: {said}"
        );
    }
}

#[test]
fn what_was_passed_to_another_process_is_none_of_ours() {
    each(|program| {
        let script = "export LISTEN_PID=1 LISTEN_FDS=1";
        answers(&program.setup().script(script).start());
    });
    let program = program();
    if program.is_waga() {
        let script = "exec 3<&-; export LISTEN_PID=$$ LISTEN_FDS=1";
        let (status, said) = program.setup().script(script).fails();
        assert!(status.code() == Some(1) && said.contains("descriptor 3 was not passed"), "{said}");
    }
}

#[test]
fn systemds_own_tool_starts_it() {
    let tool = "systemd-socket-activate";
    if std::process::Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_err() {
        return left_out("systemd-socket-activate is not installed");
    }
    each(|program| {
        let setup = program.setup();
        let socket = setup.dir().join("sock");
        let script = format!("set -- {tool} -l '{}' \"$@\"", socket.display());
        let agent = setup.script(&script).options(["-p", "unused"]).start();
        let mut client = agent.client();
        client.patience(PATIENCE).unwrap();
        client.send(request("guest-sync", &json!({"id": 6}))).unwrap();
        assert_eq!(client.text().unwrap(), "{\"return\": 6}");
    });
}
