//! Extensions that are told of freezing and thawing: after the operator's hook and before it, each in one instance; whatever they do,
//! nothing stays frozen, and who was told of the one is told of the other.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waga_tests::client::Client;
use waga_tests::component::component;
use waga_tests::vm::{Guest, await_until, left_out};

use super::{LIMIT, are_writable, ask_inside, error, freeze, kill_agent, report, start_agent, status, thaw};
use crate::extensions::{guest_with, one, waga_ext};
use crate::{agent, in_guest, step};

/// An emulated processor takes its time, and no test is to wait for long.
const GRANTED: &str = "freeze-hooks = true\nexec = [{ program = '/etc/note', args = ['*', '*'] }]\n\
    limits = { cpu = '4s', time = '15s', memory = '64MiB' }\n";

/// The operator's hook, and scripts: what stands after the components in the configuration.
const MORE: &str = r#"
[extension.scripted]
scripts = '/etc/scripts'
GRANTED
[freeze]
hook = '/etc/hook'
deadline = 'off'
"#;

/// Takes down who was told what, then does what a file says for that.
const NOTE: &str = "#!/bin/sh\necho \"$1 $2\" >>/run/told\n[ ! -e /run/do-$1-$2 ] || . /run/do-$1-$2\n";

const HOOK: &str = "#!/bin/sh\nexec /etc/note program $1\n";

/// `NAME` is told; how often before in the same instance stands in what it takes down.
const SCRIPT: &str = r#"let told = 0;
function note(action) {
  if (exec("/etc/note", ["NAME", action]).exitCode !== 0) throw new Error("no room");
  state.set("NAME", (state.get("NAME") ?? 0) + 1);
}
exports.freeze = () => note("freeze", (told += 1));
exports.thaw = () => note(`thaw${told}`);
exports["guest-test-NAME"] = () => state.get("NAME") ?? 0;
"#;

const ALL_FREEZE: &str = "program freeze, first freeze, second freeze, a freeze, b freeze";
const ALL_THAW: &str = "b thaw1, a thaw1, second thaw1, first thaw1, program thaw";

#[test]
fn extensions_are_told_and_leave_nothing_frozen() -> Result<()> {
    let Some(waga_ext) = waga_ext()? else { return Ok(()) };
    let engine = agent().with_file_name("script.wasm");
    if !engine.is_file() {
        return left_out(format!("the engine of scripts ({} build extensions/script)", waga_ext.display()));
    }
    let made = [("first", telling("first")), ("second", telling("second")), ("script", fs::read(engine)?)];
    // The engine stands there as well, for its compilation.
    let imports = "commands = ['guest-get-time']\nexec = [{ program = '/etc/note' }]\n";
    let tables = [("first", GRANTED), ("second", GRANTED), ("script", imports)];
    let Some(image) = guest_with("native", &tables, &[], &made, &["first", "second", "script"])? else {
        return Ok(());
    };
    let mut image = image.file("/etc/note", 0o755, NOTE).file("/etc/hook", 0o755, HOOK);
    for name in ["a", "b"] {
        image = image.file(&format!("/etc/scripts/{name}.js"), 0o644, SCRIPT.replace("NAME", name));
    }
    let image = image.file("/etc/more.toml", 0o644, MORE.replace("GRANTED", GRANTED));
    in_guest(&image.setup("cat /etc/more.toml >>/etc/waga/agent.toml"), |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(3 * LIMIT)?;
        step("in order, each in one instance", || in_order(guest, agent))?;
        step("one that does not want the freeze", || {
            does(guest, "second-freeze", "exit 1")?;
            fails(agent, "extension second: the freeze hook failed: no room")?;
            told(
                guest,
                "program freeze, first freeze, second freeze, second thaw1, first thaw1, program thaw",
            )?;
            nothing_is_frozen(guest, agent)
        })?;
        step("one that traps", || {
            does(guest, "second-freeze", "exit 2")?;
            fails(
                agent,
                "extension second: the freeze hook failed: wasm `unreachable` instruction executed",
            )?;
            // Its instance is gone: it is told in another.
            told(
                guest,
                "program freeze, first freeze, second freeze, second thaw0, first thaw1, program thaw",
            )?;
            nothing_is_frozen(guest, agent)
        })?;
        step("one that loops", || {
            does(guest, "second-freeze", "exit 3")?;
            fails(
                agent,
                "extension second: the freeze hook used up the CPU time of a call (limits.cpu = \"4s\")",
            )?;
            told(
                guest,
                "program freeze, first freeze, second freeze, second thaw0, first thaw1, program thaw",
            )?;
            nothing_is_frozen(guest, agent)
        })?;
        step("one that hangs", || {
            does(guest, "second-freeze", "sleep 1000")?;
            fails(agent, "extension second: the freeze hook did not answer in time (limits.time = \"15s\")")?;
            told(
                guest,
                "program freeze, first freeze, second freeze, second thaw0, first thaw1, program thaw",
            )?;
            does(guest, "second-freeze", "exit 0")?;
            nothing_is_frozen(guest, agent)
        })?;
        step("a script that throws", || {
            does(guest, "a-freeze", "exit 1")?;
            fails(agent, "extension scripted: the freeze hook of a.js failed: a.js:3:66: no room")?;
            told(
                guest,
                "program freeze, first freeze, second freeze, a freeze, a thaw1, second thaw1, first thaw1, program thaw",
            )?;
            does(guest, "a-freeze", "exit 0")?;
            nothing_is_frozen(guest, agent)
        })?;
        step("thaw hooks that fail", || thaws_fail(guest, agent))?;
        step("none of them is let rest, and what they did is counted", || {
            let told = one(agent, "second")?;
            ensure!(told["failures"] == 4 && told["running"] == 0 && told["state"] == "ready", "{told}");
            ensure!(told["freeze-hooks"] == true, "{told}");
            ensure!(
                told["grants"].as_array().is_some_and(|it| it.contains(&json!("freeze-hooks"))),
                "{told}"
            );
            Ok(())
        })?;
        step("a thaw ends a freeze whose hook hangs", || cancelled(guest, agent))?;
        step("an agent that ends tells", || {
            whole_freeze(guest, agent)?;
            kill_agent(guest, "TERM")?;
            told(guest, ALL_THAW)?;
            again(guest, agent, 3001)?;
            // It was not asked for.
            error(agent, "guest-fsfreeze-thaw")?;
            nothing_is_frozen(guest, agent)
        })?;
        step("an agent that ends while it tells", || ends_meanwhile(guest, agent))?;
        step("a deadline", || deadline(guest, agent))?;
        step("an agent that is killed", || killed(guest, agent))?;
        step("what cannot be loaded", || missing(guest, agent))
    })
}

fn in_order(guest: &Guest, agent: &mut Client) -> Result<()> {
    // What is frozen could not be written to.
    does(guest, "first-thaw1", "echo x >/mnt/data/thawed && sync /mnt/data/thawed")?;
    whole_freeze(guest, agent)?;
    ensure!(status(agent)? == "frozen");
    ensure!(thaw(agent)? == 1);
    told(guest, ALL_THAW)?;
    ensure!(guest.shell("cat /mnt/data/thawed")? == "x");
    for name in ["a", "b"] {
        let kept = agent.run(&format!("guest-test-{name}"), json!({}))?;
        ensure!(kept == 2, "{name}: {kept}");
    }
    let report = report(agent)?;
    let hooks = report["hooks"].as_array().context("no hooks")?;
    let run = |hook: &Value| {
        ensure!(hook["time"].is_u64() && hook.get("error").is_none(), "{hook}");
        let who = hook.get("extension").and_then(Value::as_str).unwrap_or("-");
        Ok(format!(
            "{who} {} {}",
            hook["hook"].as_str().unwrap_or_default(),
            hook["action"].as_str().unwrap_or_default()
        ))
    };
    let runs = hooks.iter().map(run).collect::<Result<Vec<_>>>()?;
    let mut expected = vec![
        "- /etc/hook freeze".to_owned(),
        "first /usr/lib/waga/first.wasm freeze".into(),
        "second /usr/lib/waga/second.wasm freeze".into(),
        "scripted /etc/scripts/a.js freeze".into(),
        "scripted /etc/scripts/b.js freeze".into(),
    ];
    let back: Vec<_> = expected.iter().rev().map(|run| run.replace(" freeze", " thaw")).collect();
    expected.extend(back);
    ensure!(runs == expected, "{runs:#?}");
    // Nobody is told twice.
    ensure!(thaw(agent)? == 0);
    told(guest, "program thaw")
}

fn thaws_fail(guest: &Guest, agent: &mut Client) -> Result<()> {
    for (name, code) in [("b", 1), ("second", 2), ("first", 3)] {
        does(guest, &format!("{name}-thaw1"), &format!("exit {code}"))?;
    }
    whole_freeze(guest, agent)?;
    ensure!(thaw(agent)? == 1);
    told(guest, ALL_THAW)?;
    let report = report(agent)?;
    let failed = |hook: &Value| hook["error"].as_str().map(str::to_owned);
    let failed: Vec<_> = report["hooks"].as_array().context("no hooks")?.iter().filter_map(failed).collect();
    let expected = [
        "extension scripted: the thaw hook of b.js failed: b.js:3:66: no room",
        "extension second: the thaw hook failed: wasm `unreachable` instruction executed",
        "extension first: the thaw hook used up the CPU time of a call (limits.cpu = \"4s\")",
    ];
    ensure!(failed == expected, "{failed:#?}");
    ensure!(report["thawed-by"] == "host" && report.get("error").is_none(), "{report}");
    for name in ["b", "second", "first"] {
        does(guest, &format!("{name}-thaw1"), "exit 0")?;
    }
    nothing_is_frozen(guest, agent)
}

fn cancelled(guest: &Guest, agent: &mut Client) -> Result<()> {
    // Longer than all of this is to take.
    does(guest, "first-freeze", "echo $$ >/run/hangs; sleep 1000")?;
    agent.send("{\"execute\":\"guest-fsfreeze-freeze\",\"id\":\"hangs\"}\n")?;
    guest.shell("until [ -s /run/hangs ]; do usleep 10000; done")?;
    let (code, said) = ask_inside(guest, "guest-fsfreeze-thaw")?;
    ensure!(code == 0 && said == "0", "{code}: {said}");
    let reply: Value = serde_json::from_str(&agent.text()?)?;
    let desc = "the filesystems were thawed while they were being frozen";
    ensure!(reply["id"] == "hangs" && reply["error"]["desc"] == desc, "{reply}");
    told(guest, "program freeze, first freeze, first thaw0, program thaw")?;
    let told = report(agent)?;
    ensure!(told["hooks"][1]["error"] == "the freeze ended meanwhile", "{told}");
    guest.shell("while [ -e /proc/$(cat /run/hangs) ]; do usleep 10000; done")?;
    does(guest, "first-freeze", "exit 0")?;
    nothing_is_frozen(guest, agent)
}

/// While they are told of the thaw: one that is ended tells all of them first, and the successor of one that is killed tells the rest
/// without being asked.
fn ends_meanwhile(guest: &Guest, agent: &mut Client) -> Result<()> {
    for (signal, rest, id) in [("TERM", ", first thaw1, program thaw", 3010), ("KILL", "", 3011)] {
        does(guest, "second-thaw1", "echo $$ >/run/hangs; sleep 3")?;
        guest.shell("rm -f /run/hangs")?;
        whole_freeze(guest, agent)?;
        agent.send("{\"execute\":\"guest-fsfreeze-thaw\"}\n")?;
        guest.shell("until [ -s /run/hangs ]; do usleep 10000; done")?;
        kill_agent(guest, signal)?;
        told(guest, &format!("b thaw1, a thaw1, second thaw1{rest}"))?;
        does(guest, "second-thaw1", "exit 0")?;
        again(guest, agent, id)?;
        if signal == "KILL" {
            await_until("the last hook", LIMIT, || {
                let left = guest.shell("ls /run/agent-state")?;
                Ok((!left.contains("waga.owed")).then_some(()))
            })?;
            told(guest, "second thaw0, first thaw0")?;
        }
        nothing_is_frozen(guest, agent)?;
    }
    Ok(())
}

fn deadline(guest: &Guest, agent: &mut Client) -> Result<()> {
    kill_agent(guest, "TERM")?;
    guest.shell("sed -i \"s/deadline = 'off'/deadline = '5s'/\" /etc/waga/agent.toml")?;
    again(guest, agent, 3002)?;
    whole_freeze(guest, agent)?;
    await_until("the deadline", LIMIT, || Ok((status(agent)? == "thawed").then_some(())))?;
    await_until("the last hook", LIMIT, || {
        Ok((guest.shell("cat /run/told 2>/dev/null || true")?.trim_end().ends_with("program thaw"))
            .then_some(()))
    })?;
    told(guest, ALL_THAW)?;
    let late = error(agent, "guest-fsfreeze-thaw")?;
    ensure!(late.contains("the deadline of 5s had passed"), "{late}");
    kill_agent(guest, "TERM")?;
    guest.shell("sed -i \"s/deadline = '5s'/deadline = 'off'/\" /etc/waga/agent.toml")?;
    again(guest, agent, 3003)?;
    nothing_is_frozen(guest, agent)
}

fn killed(guest: &Guest, agent: &mut Client) -> Result<()> {
    let other = ALL_THAW.replace("thaw1", "thaw0");
    whole_freeze(guest, agent)?;
    kill_agent(guest, "KILL")?;
    again(guest, agent, 3004)?;
    ensure!(status(agent)? == "frozen");
    ensure!(thaw(agent)? == 1);
    told(guest, &other)?;
    let hooks = report(agent)?["hooks"].as_array().context("no hooks")?.len();
    ensure!(hooks == 5, "{hooks}");
    nothing_is_frozen(guest, agent)?;

    // While the second is told of the freeze.
    does(guest, "second-freeze", "echo $$ >/run/hangs; sleep 1000")?;
    guest.shell("rm -f /run/hangs")?;
    agent.send("{\"execute\":\"guest-fsfreeze-freeze\"}\n")?;
    guest.shell("until [ -s /run/hangs ]; do usleep 10000; done; rm /run/do-second-freeze")?;
    kill_agent(guest, "KILL")?;
    again(guest, agent, 3005)?;
    ensure!(thaw(agent)? == 0);
    let begun = "program freeze, first freeze, second freeze";
    told(guest, &format!("{begun}, second thaw0, first thaw0, program thaw"))?;
    nothing_is_frozen(guest, agent)?;

    // What was written down of them is broken; and one is not there any more.
    for line in [
        "head -c 100 /dev/urandom >/run/agent-state/waga.owed",
        "sed -i 's/^first/none/' /run/agent-state/waga.owed",
    ] {
        whole_freeze(guest, agent)?;
        kill_agent(guest, "KILL")?;
        guest.shell(line)?;
        again(guest, agent, 3006)?;
        ensure!(thaw(agent)? == 1);
        let expected =
            if line.contains("none") { other.replace("first thaw0, ", "") } else { "program thaw".into() };
        told(guest, &expected)?;
        nothing_is_frozen(guest, agent)?;
    }
    let report = report(agent)?;
    let reason = "extension none: it is not there any more, or cannot be loaded, to be told of the thaw";
    ensure!(report["hooks"][3]["error"] == reason, "{report}");
    Ok(())
}

fn missing(guest: &Guest, agent: &mut Client) -> Result<()> {
    kill_agent(guest, "TERM")?;
    guest.shell("mv /usr/lib/waga/second.wasm /run/")?;
    again(guest, agent, 3007)?;
    let desc = error(agent, "guest-fsfreeze-freeze")?;
    let begins = "extension second: the freeze hook cannot be called: ";
    ensure!(desc.starts_with(begins) && desc.contains("second.wasm"), "{desc}");
    told(guest, "program freeze, first freeze, first thaw1, program thaw")?;
    nothing_is_frozen(guest, agent)?;
    guest.shell("mv /run/second.wasm /usr/lib/waga/")?;
    // One that may have been to be told, as far as anybody knows.
    guest.shell("echo 'exports.freeze = (' >/etc/scripts/c.js")?;
    kill_agent(guest, "TERM")?;
    again(guest, agent, 3008)?;
    fails(
        agent,
        "extension scripted: the freeze hook cannot be called: c.js:1: SyntaxError: the file ends in the middle of something",
    )?;
    told(guest, &format!("{ALL_FREEZE}, {ALL_THAW}"))?;
    guest.shell("rm /etc/scripts/c.js")?;
    nothing_is_frozen(guest, agent)
}

/// A component that is told: it runs a program, and does what its exit code says. Of the thaw it says how often it was told of a freeze.
fn telling(name: &str) -> Vec<u8> {
    let wit = "package test:it; world w {
        import waga:extension/exec@1.0.0; export waga:extension/freeze-hooks@1.0.0; }";
    let wat = r#"(import "waga:extension/exec@1.0.0" "run" (func $run (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (data (i32.const 4096) "/etc/note") (data (i32.const 4112) "NAME") (data (i32.const 4128) "freeze")
        (data (i32.const 4144) "thaw0") (data (i32.const 4160) "no room")
        (global $told (mut i32) (i32.const 0))
        (func $tell (param $action i32) (param $length i32) (result i32) (local $code i32)
            (i32.store (i32.const 3072) (i32.const 4112)) (i32.store (i32.const 3076) (i32.const LENGTH))
            (i32.store (i32.const 3080) (local.get $action)) (i32.store (i32.const 3084) (local.get $length))
            (call $run (i32.const 4096) (i32.const 9) (i32.const 3072) (i32.const 2)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024))
            (if (i32.load8_u (i32.const 1024)) (then unreachable))
            (local.set $code (i32.load (i32.const 1032)))
            (if (i32.eq (local.get $code) (i32.const 2)) (then unreachable))
            (if (i32.eq (local.get $code) (i32.const 3)) (then (loop $ever (br $ever))))
            (i32.store8 (i32.const 2048) (i32.ne (local.get $code) (i32.const 0)))
            (i32.store (i32.const 2052) (i32.const 4160)) (i32.store (i32.const 2056) (i32.const 7))
            (i32.const 2048))
        (func (export "waga:extension/freeze-hooks@1.0.0#freeze") (result i32)
            (global.set $told (i32.add (global.get $told) (i32.const 1)))
            (call $tell (i32.const 4128) (i32.const 6)))
        (func (export "waga:extension/freeze-hooks@1.0.0#thaw") (result i32)
            (i32.store8 (i32.const 4148) (i32.add (i32.const 48) (global.get $told)))
            (call $tell (i32.const 4144) (i32.const 5)))"#;
    component(wit, &wat.replace("NAME", name).replace("LENGTH", &name.len().to_string()))
}

/// A freeze that all are content with.
fn whole_freeze(guest: &Guest, agent: &mut Client) -> Result<()> {
    ensure!(freeze(agent)? == 1);
    told(guest, ALL_FREEZE)
}

/// Starts another agent, and waits until it is there.
fn again(guest: &Guest, agent: &mut Client, id: i64) -> Result<()> {
    start_agent(guest)?;
    agent.sync(id)
}

fn fails(agent: &mut Client, expected: &str) -> Result<()> {
    let desc = error(agent, "guest-fsfreeze-freeze")?;
    ensure!(desc == expected, "{desc}");
    Ok(())
}

/// What all of them were told since they were last asked.
fn told(guest: &Guest, expected: &str) -> Result<()> {
    let told = guest.shell("cat /run/told; rm -f /run/told")?;
    ensure!(told.trim_end().replace('\n', ", ") == expected, "{told:?}");
    Ok(())
}

/// Tells one what to do when it is told something.
fn does(guest: &Guest, what: &str, script: &str) -> Result<()> {
    let script = script.replace('$', "\\$");
    guest.shell(&format!("echo \"{script}\" >/run/do-{what}")).map(drop)
}

fn nothing_is_frozen(guest: &Guest, agent: &mut Client) -> Result<()> {
    ensure!(status(agent)? == "thawed");
    let left = guest.shell("ls /run/agent-state")?;
    ensure!(left.lines().all(|name| name != "qga.state.isfrozen" && name != "waga.owed"), "{left}");
    are_writable(guest, &["/mnt/data"])
}
