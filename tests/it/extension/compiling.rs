//! Compilers that are not there, hang, die or talk nonsense, and modules that take them too long or change under their hands: the agent
//! says what it was, and serves everything else meanwhile.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use waga_tests::agent::{Agent, Program};
use waga_tests::component::component;

use super::hostile::in_step;
use super::{compiler, disabled, settled, setup, told};
use crate::program;

/// Answers with a number.
fn numbered(number: u32) -> Vec<u8> {
    component(
        "package test:it; interface i { guest-test-x: func() -> u32; } world w { export i; }",
        &format!(r#"(func (export "test:it/i#guest-test-x") (result i32) (i32.const {number}))"#),
    )
}

/// An agent in a folder of its own, with this beside it as its compiler.
fn with_compiler(script: Option<&str>, limits: &str) -> Option<Agent> {
    compiler()?;
    let folder = tempfile::tempdir().unwrap().keep();
    let copy = folder.join("agent");
    fs::copy(program().path(), &copy).unwrap();
    let beside = folder.join("waga-ext");
    if let Some(script) = script {
        fs::write(&beside, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&beside, Permissions::from_mode(0o755)).unwrap();
    }
    let setup = Program::new(&copy).setup();
    let module = setup.dir().join("x.wasm");
    fs::write(&module, numbered(7)).unwrap();
    let path = setup.dir().join("agent.toml");
    let cache = setup.dir().join("cache");
    let text = format!(
        "[extensions]\ncache = '{}'\n{limits}\n[extension.x]\nmodule = '{}'\nadd = ['guest-test-x']\n",
        cache.display(),
        module.display()
    );
    fs::write(&path, text).unwrap();
    Some(setup.options(["-c".into(), path]).start())
}

/// The folder that was made for it goes with it.
fn over(agent: Agent) {
    let folder = agent.program().path().parent().unwrap().to_owned();
    agent.stop();
    fs::remove_dir_all(folder).unwrap();
}

/// What an agent says with such a compiler; it leaves no process and no file behind, and loses no step.
fn comes_to(script: Option<&str>, state: &str, expected: impl Fn(&Path) -> Vec<String>) {
    let Some(agent) = with_compiler(script, "compile = { time = '4s' }") else { return };
    let mut client = agent.client();
    let begun = Instant::now();
    // Known in time, and pinged all the while.
    while told(&mut client, "x")["state"] == "starting" {
        client.run("guest-ping", json!({})).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(40));
        std::thread::sleep(Duration::from_millis(1));
    }
    let told = settled(&agent, "x");
    let reason = told["reason"].as_str().unwrap();
    let expected = expected(agent.program().path().parent().unwrap());
    assert!(told["state"] == state && expected.iter().any(|it| it == reason), "{script:?}: {told}");
    assert_eq!(disabled(&mut client, "guest-test-x"), format!("extension x: {reason}"));
    agent.until("no child", |agent| agent.children().is_empty());
    let kept = fs::read_dir(agent.dir().join("cache")).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "{script:?}");
    assert!(agent.memory("VmHWM") < 64 << 20);
    in_step(&agent);
    over(agent);
}

#[test]
fn a_compiler_that_is_not_there_is_named_with_where_it_was_looked_for() {
    if FOLDERS.iter().any(|folder| Path::new(folder).join("waga-ext").exists()) {
        waga_tests::agent::left_out("a machine where waga-ext is not installed");
        return;
    }
    comes_to(None, "missing", |folder| {
        let folders = FOLDERS.join(", ");
        vec![format!(
            "needs compiling, and waga-ext is not installed (looked in {}, {folders})",
            folder.display()
        )]
    });
}

const FOLDERS: [&str; 3] = ["/usr/libexec/waga", "/usr/local/bin", "/usr/bin"];

#[test]
fn compilers_that_misbehave_are_told_and_gone() {
    let hangs = "compiling takes longer than [extensions] compile = { time = \"4s\" } allows";
    for (script, expected) in [
        ("exec sleep 1000", hangs),
        ("sleep 1000 & sleep 1000", hangs),
        ("trap '' TERM INT HUP; while :; do :; done", hangs),
        ("kill -9 $$", "signal 9 ended the compiler"),
        ("echo boom >&2; kill -9 $$", "signal 9 ended the compiler: boom"),
        ("cat >/dev/null; exit 7", "the compiler failed with exit code 7"),
        ("cat >/dev/null; printf 'one\\ntwo\\033[2J' >&2; exit 2", "one two [2J"),
        // A small module is in its pipe before it ends, or not.
        ("exit 0", "the compiler's answer ends early|the compiler did not read the whole module"),
        ("cat >/dev/null; exit 0", "the compiler's answer ends early"),
        ("exec yes", "the compiler's answer does not begin with its sizes"),
        ("exec cat", "the compiler's answer does not begin with its sizes"),
        ("exec cat /dev/zero", "the compiler's answer does not begin with its sizes"),
        (
            "cat >/dev/null; echo '{\"artifact\": 5, \"description\": 5}'; printf 'abcde'",
            "the compiler's answer ends early",
        ),
        (
            "cat >/dev/null; echo '{\"artifact\": 1, \"description\": 1}'; yes",
            "the compiler said more than it announced",
        ),
        (
            "cat >/dev/null; echo '{\"artifact\": 999999999999, \"description\": 1}'; yes",
            "the compiler made an artifact of 999999999999 bytes: 536870912 are the most",
        ),
        (
            "cat >/dev/null; echo '{\"artifact\": 1, \"description\": 2}'; printf 'a{}'",
            "the compiler's description cannot be read: missing field `format` at line 1 column 2",
        ),
    ] {
        let is_final = expected == hangs || script.ends_with("exit 2");
        let state = if is_final { "refused" } else { "failed" };
        comes_to(Some(script), state, |_| expected.split('|').map(str::to_owned).collect());
    }
}

/// A compiler that the system ended is no verdict on the module: a call begins anew, though not each of them.
#[test]
fn what_may_pass_is_tried_again_by_a_call() {
    let Some(compiler) = super::compiler() else { return };
    let script =
        format!("if mkdir $0.ran; then kill -9 $$; fi 2>/dev/null; exec {} \"$@\"", compiler.display());
    let Some(agent) = with_compiler(Some(&script), "") else { return };
    let told = settled(&agent, "x");
    assert_eq!(told["state"], "failed", "{told}");
    let mut client = agent.client();
    let reason = disabled(&mut client, "guest-test-x");
    assert_eq!(reason, "extension x: signal 9 ended the compiler");
    agent.until("a call begins anew", |agent| {
        std::thread::sleep(Duration::from_millis(100));
        agent.client().run("guest-test-x", json!({})).is_ok()
    });
    assert_eq!(super::told(&mut client, "x")["state"], "ready");
    over(agent);
}

/// What anybody could have written is not run.
#[test]
fn a_compiler_that_others_may_write_to_is_not_run() {
    let Some(agent) = with_compiler(Some("touch $0.ran"), "") else { return };
    let beside = agent.program().path().with_file_name("waga-ext");
    settled(&agent, "x");
    let ran = beside.with_file_name("waga-ext.ran");
    assert!(ran.exists());
    fs::remove_file(&ran).unwrap();
    fs::set_permissions(&beside, Permissions::from_mode(0o777)).unwrap();
    let agent = agent.restart(Signal::SIGTERM);
    let told = settled(&agent, "x");
    let expected = format!(
        "needs compiling, and {}: others than its owner may write to it (mode 0777); take that away with chmod go-w",
        beside.display()
    );
    assert_eq!(told["reason"], expected);
    assert!(!ran.exists());
    over(agent);
}

/// A component whose only module multiplies: so many functions, so often each. A few bytes are much work.
fn bomb(functions: usize, count: usize) -> Vec<u8> {
    let number = |mut value: usize| {
        let mut bytes = Vec::new();
        loop {
            let byte = u8::try_from(value & 0x7f).unwrap();
            value >>= 7;
            bytes.push(if value > 0 { byte | 0x80 } else { byte });
            if value == 0 {
                return bytes;
            }
        }
    };
    let section = |id: u8, contents: Vec<u8>| [&[id][..], &number(contents.len()), &contents].concat();
    let body = [&[0, 0x20, 0][..], &[0x20, 0, 0x6c].repeat(count), &[0x0b]].concat();
    let body = [number(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, [number(functions), vec![0; functions]].concat()),
        section(10, [number(functions), body.repeat(functions)].concat()),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module)].concat()
}

#[test]
fn what_takes_too_much_to_compile_is_refused_while_others_are_served() {
    for (limits, expected) in [
        (
            "compile = { memory = '128MiB', time = '60s' }",
            &["compiling it takes more than 134217728 bytes of memory: [extensions] compile.memory"][..],
        ),
        (
            "compile = { time = '1s' }",
            // On a machine with more to do it is the wall's clock that comes first.
            &[
                "compiling it takes more than 1 s of CPU time: [extensions] compile.time",
                "compiling takes longer than [extensions] compile = { time = \"1s\" } allows",
            ],
        ),
    ] {
        let Some(setup) = setup(&[("bad", &bomb(16, 400_000), "add = ['guest-test-x']")]) else { return };
        let path = setup.dir().join("agent.toml");
        let text =
            fs::read_to_string(&path).unwrap().replace("[extensions]", &format!("[extensions]\n{limits}"));
        fs::write(&path, text).unwrap();
        let agent = setup.start();
        let mut client = agent.client();
        let (begun, mut pings, mut longest) = (Instant::now(), 0, Duration::ZERO);
        while told(&mut client, "bad")["state"] == "starting" {
            let asked = Instant::now();
            client.run("guest-ping", json!({})).unwrap();
            pings += 1;
            longest = longest.max(asked.elapsed());
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", agent.log());
        }
        let told = settled(&agent, "bad");
        assert_eq!(told["state"], "refused", "{told}");
        assert!(expected.iter().any(|expected| told["reason"] == *expected), "{told}");
        assert!(pings > 10 && longest < Duration::from_secs(5), "{pings} pings, the longest {longest:?}");
        // None of it was here.
        assert!(agent.memory("VmHWM") < 64 << 20, "{}", agent.memory("VmHWM"));
        agent.until("no child", |agent| agent.children().is_empty());
        in_step(&agent);
    }
}

/// Somebody keeps writing to the module, in place, while it is hashed and compiled: nothing is ever kept under the digest of another.
#[test]
fn a_module_that_changes_all_the_time_never_serves_as_another() {
    let Some(setup) = setup(&[("x", &numbered(1), "limits = { time = '30s' }")]) else { return };
    let module = setup.dir().join("x.wasm");
    let mut agent = setup.start();
    let (mut answered, mut refused) = (0, 0);
    for round in 0..12_u32 {
        let both = [numbered(1000 + 2 * round), numbered(1001 + 2 * round)];
        assert_eq!(both[0].len(), both[1].len());
        let done = AtomicBool::new(false);
        agent = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for bytes in &both {
                        // A byte more or less now and then, and the same length most of the time.
                        fs::write(&module, bytes).unwrap();
                    }
                }
            });
            let agent = agent.restart(Signal::SIGTERM);
            let reply = agent.client().ask(&json!({"execute": "guest-test-x"})).unwrap();
            match reply["return"].as_u64() {
                Some(number) => {
                    assert!(number == u64::from(1000 + 2 * round) || number == u64::from(1001 + 2 * round));
                    answered += 1;
                }
                None => {
                    let class = reply["error"]["class"].as_str().unwrap();
                    assert_eq!(class, "CommandNotFound", "{reply}");
                    refused += 1;
                }
            }
            in_step(&agent);
            done.store(true, Ordering::Relaxed);
            agent
        });
        for (at, bytes) in both.iter().enumerate() {
            fs::write(&module, bytes).unwrap();
            agent = agent.restart(Signal::SIGTERM);
            let answer = agent.client().run("guest-test-x", json!({})).unwrap();
            assert_eq!(answer, 1000 + 2 * round + u32::try_from(at).unwrap(), "round {round}");
        }
    }
    println!("{answered} answered, {refused} refused");
}
