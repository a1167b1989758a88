//! Both commands with real programs, on an executor like the daemon's: one thread that drives requests and children alike.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::Timer;
use smol::stream::StreamExt;

use super::*;
use crate::context::{Caller, Catalogue, CommandInfo, Settings};
use crate::limits::Limits;

struct Nothing;

impl Catalogue for Nothing {
    fn commands(&self, _: &Caller, _: bool) -> Vec<CommandInfo> {
        Vec::new()
    }
}

/// Runs a test with the host as the caller.
fn on_executor(test: impl AsyncFnOnce(&Context)) {
    let executor = Arc::new(smol::Executor::new());
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::new(directory.path().to_owned());
    let agent = Arc::new(Agent::new(&settings, Box::new(Nothing), &executor));
    let cx = Context { agent, caller: Caller::Channel(Arc::from("test")), limits: Arc::default() };
    smol::block_on(executor.run(test(&cx)));
}

async fn call(cx: &Context, name: &str, arguments: Value) -> std::result::Result<Value, String> {
    let command = COMMANDS.iter().find(|command| command.name == name).unwrap();
    let text = arguments.to_string().into_bytes();
    let length = text.len();
    let reply = command.call(cx, Arguments::new(text, 0..length)).await.map_err(|error| error.desc)?;
    let text = match reply {
        Reply::Value(text) => text,
        Reply::Pieces(pieces) => pieces.collect::<Vec<_>>().await.concat(),
    };
    Ok(serde_json::from_slice(&text).unwrap())
}

async fn start_program(cx: &Context, arguments: Value) -> i64 {
    call(cx, "guest-exec", arguments).await.unwrap()["pid"].as_i64().unwrap()
}

async fn status(cx: &Context, pid: i64) -> std::result::Result<Value, String> {
    call(cx, "guest-exec-status", json!({ "pid": pid })).await
}

/// Asks until it has ended.
async fn ended(cx: &Context, pid: i64) -> Value {
    loop {
        let status = status(cx, pid).await.unwrap();
        if status["exited"] == true {
            return status;
        }
        assert_eq!(status, json!({ "exited": false }));
        Timer::after(Duration::from_millis(2)).await;
    }
}

async fn run(cx: &Context, arguments: Value) -> Value {
    let pid = start_program(cx, arguments).await;
    ended(cx, pid).await
}

/// Runs a line of shell; the other arguments are added.
async fn shell(cx: &Context, line: &str, mut arguments: Value) -> Value {
    arguments["path"] = json!("/bin/sh");
    arguments["arg"] = json!(["-c", line]);
    run(cx, arguments).await
}

fn decoded(status: &Value, member: &str) -> Vec<u8> {
    base64::decode(status[member].as_str().unwrap()).unwrap()
}

fn encoded(bytes: impl AsRef<[u8]>) -> Value {
    json!(base64::encode(bytes.as_ref()))
}

/// The state letter of a process in `/proc`, if it is there and a child of ours.
fn state(pid: i64) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next();
    let parent: u32 = fields.next()?.parse().ok()?;
    state.filter(|_| parent == std::process::id())
}

#[test]
fn each_way_of_capturing_gives_what_it_says() {
    on_executor(async |cx| {
        let line = "echo o1; echo e1 >&2; echo o2; echo e2 >&2; exit 300";
        let (out, err) = (encoded("o1\no2\n"), encoded("e1\ne2\n"));
        let out_only = json!({"exited": true, "exitcode": 44, "out-data": out, "out-truncated": false});
        let err_only = json!({"exited": true, "exitcode": 44, "err-data": err, "err-truncated": false});
        let both = json!({"exited": true, "exitcode": 44, "out-data": out, "out-truncated": false,
            "err-data": err, "err-truncated": false});
        let merged = json!({"exited": true, "exitcode": 44, "out-data": encoded("o1\ne1\no2\ne2\n"), "out-truncated": false});
        let none = json!({"exited": true, "exitcode": 44});
        for (capture, expected) in [
            (json!(true), &both),
            (json!("separated"), &both),
            (json!("merged"), &merged),
            (json!("none"), &none),
            (json!(false), &none),
            // Twice each, for the second such call is what breaks qemu-ga.
            (json!("stdout"), &out_only),
            (json!("stderr"), &err_only),
            (json!("stdout"), &out_only),
            (json!("stderr"), &err_only),
        ] {
            let status = shell(cx, line, json!({ "capture-output": capture })).await;
            assert_eq!(status, *expected, "{capture}");
        }
        assert_eq!(shell(cx, line, json!({})).await, none);
    });
}

#[test]
fn a_signal_is_told_and_an_end_only_once() {
    on_executor(async |cx| {
        let pid = start_program(cx, json!({"path": "/bin/sh", "arg": ["-c", "kill -9 $$"]})).await;
        assert_eq!(ended(cx, pid).await, json!({"exited": true, "signal": 9}));
        for unknown in [pid, -1, 1 << 40] {
            assert_eq!(status(cx, unknown).await, Err(format!("PID {unknown} does not exist")));
        }
    });
}

#[test]
fn what_cannot_run_is_told_at_once_in_qemu_gas_words() {
    on_executor(async |cx| {
        for (arguments, expected) in [
            (
                json!({"path": "/nonexistent"}),
                "Failed to execute child process “/nonexistent” (No such file or directory)",
            ),
            (json!({"path": "nöpe"}), "Failed to execute child process “nöpe” (No such file or directory)"),
            (json!({"path": "/tmp"}), "Failed to execute child process “/tmp” (Permission denied)"),
            (json!({"path": "/nonexistent", "input-data": "!"}), "Base64 data contains invalid characters"),
            (json!({"arg": []}), "Parameter 'path' is missing"),
            (json!({"path": "x", "arg": "x"}), "Invalid parameter type for 'arg', expected: array"),
            (json!({"path": "x", "input-data": "!", "zzz": 1}), "Parameter 'zzz' is unexpected"),
        ] {
            assert_eq!(call(cx, "guest-exec", arguments).await, Err(expected.to_owned()));
        }
    });
}

#[test]
fn scripts_and_environments_reach_the_program() {
    on_executor(async |cx| {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "echo \"$*:$A\"").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("PATH={}", directory.path().display());
        let arguments =
            json!({"path": "script", "arg": ["x y"], "env": [path, "A=1"], "capture-output": "stdout"});
        assert_eq!(decoded(&run(cx, arguments).await, "out-data"), b"x y:1\n");
    });
}

#[test]
fn input_reaches_the_program_or_its_end_does() {
    on_executor(async |cx| {
        let large: Vec<u8> = (0..10_u32 << 20).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
        for input in [&b"hi"[..], &large] {
            let arguments = json!({"path": "/bin/cat", "input-data": encoded(input), "capture-output": true});
            assert_eq!(decoded(&run(cx, arguments).await, "out-data"), input);
        }
        // Neither an empty input nor none leaves the program waiting.
        for arguments in [json!({"path": "/bin/cat", "input-data": ""}), json!({"path": "/bin/cat"})] {
            assert_eq!(run(cx, arguments).await, json!({"exited": true, "exitcode": 0}));
        }
        // Early exit of the reader.
        let early = json!({"input-data": encoded(&large), "capture-output": true});
        let status = shell(cx, "head -c 3", early).await;
        assert_eq!(status["exitcode"], 0);
        assert_eq!(decoded(&status, "out-data").len(), 3);
        // All of it is let go: what may be held at most fits again.
        while !cx.agent.execs.0.table().take_input(128 << 20) {
            Timer::after(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn a_program_that_never_reads_holds_nobody_up() {
    on_executor(async |cx| {
        let input = encoded(vec![b'x'; 8 << 20]);
        let sleeper = json!({"path": "/bin/sleep", "arg": ["60"], "input-data": input});
        let sleeper = start_program(cx, sleeper).await;
        assert_eq!(shell(cx, "exit 3", json!({})).await["exitcode"], 3);
        assert_eq!(status(cx, sleeper).await, Ok(json!({"exited": false})));
        let pid = rustix::process::Pid::from_raw(i32::try_from(sleeper).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(ended(cx, sleeper).await, json!({"exited": true, "signal": 9}));
    });
}

#[test]
fn a_stream_is_cut_at_16_mib() {
    on_executor(async |cx| {
        const BOUND: usize = 16 << 20;
        for (length, truncated) in [(BOUND - 1, false), (BOUND, false), (BOUND + 1, true), (3 * BOUND, true)]
        {
            let line = format!("head -c {length} /dev/zero; echo e >&2");
            let status = shell(cx, &line, json!({"capture-output": true})).await;
            assert_eq!(decoded(&status, "out-data").len(), length.min(BOUND));
            assert_eq!(
                (&status["out-truncated"], &status["err-truncated"]),
                (&json!(truncated), &json!(false))
            );
            assert_eq!(status["exitcode"], 0);
        }
    });
}

#[test]
fn what_keeps_the_output_open_keeps_the_child_running_but_unreaped_it_is_not() {
    on_executor(async |cx| {
        let line = "sleep 0.4 & echo $!";
        let pid =
            start_program(cx, json!({"path": "/bin/sh", "arg": ["-c", line], "capture-output": true})).await;
        let begin = Instant::now();
        while state(pid).is_some() {
            Timer::after(Duration::from_millis(2)).await;
        }
        let reaped = begin.elapsed();
        assert_eq!(status(cx, pid).await, Ok(json!({"exited": false})), "reaped after {reaped:?}");
        let status = ended(cx, pid).await;
        assert!(begin.elapsed() > Duration::from_millis(200) && reaped < begin.elapsed());
        assert_eq!(status["exitcode"], 0);
        assert!(!decoded(&status, "out-data").is_empty());
    });
}

#[test]
fn an_extension_and_the_host_see_their_own_children() {
    on_executor(async |cx| {
        let as_extension = |name: &str| Context {
            agent: cx.agent.clone(),
            caller: Caller::Extension(Arc::from(name), Arc::new(cx.caller.clone())),
            limits: Arc::default(),
        };
        let (one, two) = (as_extension("one"), as_extension("two"));
        let unknown = |pid| Err(format!("PID {pid} does not exist"));
        let pid = start_program(&one, json!({"path": "/bin/true"})).await;
        assert_eq!((status(cx, pid).await, status(&two, pid).await), (unknown(pid), unknown(pid)));
        assert_eq!(ended(&one, pid).await["exitcode"], 0);
        let pid = start_program(cx, json!({"path": "/bin/true"})).await;
        assert_eq!(status(&one, pid).await, unknown(pid));
        assert_eq!(ended(cx, pid).await["exitcode"], 0);
    });
}

#[test]
fn a_program_under_rules_gets_their_environment_and_nothing_of_the_agents() {
    on_executor(async |cx| {
        let rule = |program: &str, args: &[&str], env: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            Rule::new(program, &owned(args), &owned(env)).unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "echo \"$0 $* $LANG\"").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let path = script.to_str().unwrap();
        let rules = [rule("/usr/bin/env", &[], &["A=1", "LANG"]), rule(path, &["?"], &["LANG=C"])];
        let limits = Limits { exec: vec![Rules(rules.into())], ..Limits::default() };
        let limited = Context { limits: Arc::new(limits), ..cx.clone() };
        let output = async |mut arguments: Value| {
            arguments["capture-output"] = json!(true);
            String::from_utf8(decoded(&run(&limited, arguments).await, "out-data")).unwrap()
        };
        assert_eq!(output(json!({"path": "env"})).await, "A=1\n");
        assert_eq!(output(json!({"path": "/usr/bin/env", "env": ["LANG=x"]})).await, "A=1\nLANG=x\n");
        assert_eq!(output(json!({"path": "script", "arg": ["*"]})).await, format!("{path} * C\n"));
        for (arguments, what) in [
            (json!({"path": "/bin/sh", "arg": ["-c", "secret"]}), "'/bin/sh'"),
            (json!({"path": "env", "arg": ["secret"]}), "these arguments of 'env'"),
            (json!({"path": "env", "env": ["LD_PRELOAD=secret"]}), "the variable 'LD_PRELOAD'"),
        ] {
            let refused = call(&limited, "guest-exec", arguments).await;
            assert_eq!(refused, Err(format!("guest-exec: the policy does not allow {what}")));
        }
    });
}

#[test]
fn limited_channels_see_their_own_children() {
    on_executor(async |cx| {
        let limited = |name: &str| Context {
            limits: Arc::new(Limits { owner: Some(name.into()), ..Limits::default() }),
            ..cx.clone()
        };
        let (one, two) = (limited("one"), limited("two"));
        let extension =
            Context { caller: Caller::Extension("one".into(), Arc::new(cx.caller.clone())), ..one.clone() };
        let pid = start_program(&one, json!({"path": "/bin/true"})).await;
        for other in [cx, &two, &extension] {
            assert_eq!(status(other, pid).await, Err(format!("PID {pid} does not exist")));
        }
        assert_eq!(ended(&limited("one"), pid).await["exitcode"], 0);
    });
}

#[test]
fn a_request_that_is_given_up_leaves_no_zombie() {
    on_executor(async |cx| {
        let directory = tempfile::tempdir().unwrap();
        let pidfile = directory.path().join("pid");
        let line = format!("echo $$ > {}.new; mv {0}.new {0}", pidfile.display());
        let request = call(cx, "guest-exec", json!({"path": "/bin/sh", "arg": ["-c", line]}));
        let mut request = Box::pin(request);
        // Given up while the program starts, or, on a busy machine now and then, when it has started already.
        let _ = smol::future::poll_once(&mut request).await;
        while !pidfile.exists() {
            Timer::after(Duration::from_millis(2)).await;
        }
        drop(request);
        let pid: i64 = fs::read_to_string(pidfile).unwrap().trim().parse().unwrap();
        while state(pid).is_some() {
            Timer::after(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn thousands_that_nobody_asks_for_leave_neither_zombies_nor_descriptors() {
    const CHILDREN: usize = 3000;
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    on_executor(async |cx| {
        let before = descriptors();
        let mut pids = HashSet::new();
        for _ in 0..CHILDREN {
            pids.insert(start_program(cx, json!({"path": "/bin/true", "capture-output": true})).await);
        }
        assert_eq!(pids.len(), CHILDREN);
        // Other tests run beside this one and have a few of their own.
        let deadline = Instant::now() + Duration::from_secs(20);
        while pids.iter().any(|&pid| state(pid).is_some()) || descriptors() > before + 200 {
            assert!(Instant::now() < deadline, "zombies or descriptors are left: {}", descriptors());
            Timer::after(Duration::from_millis(10)).await;
        }
        for pid in pids {
            assert_eq!(ended(cx, pid).await, json!({"exited": true, "exitcode": 0}));
        }
    });
}
