//! Extensions while filesystems are frozen: what they keep, read, write and run then, if the operator lets them run at all; and what the
//! agent tells of itself.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waga_tests::client::Client;
use waga_tests::component::component;
use waga_tests::example;
use waga_tests::vm::{Guest, await_until};

use crate::extensions::{STATE, guest_with, one, waga_ext};
use crate::freeze::{are_writable, ask_inside, freeze, status, thaw};
use crate::{in_guest, step};

/// How long what is to happen by itself may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What is let run is called `on`, what is not `off`.
const TABLES: &[(&str, &str)] = &[
    (
        "on",
        "while-frozen = true\nexec = [{ program = '/bin/busybox', args = ['echo', '*'] }]\nlimits = { cpu = '10s', time = '60s' }",
    ),
    (
        "off",
        "exec = [{ program = '/bin/busybox', args = ['echo', '*'] }]\nlimits = { cpu = '60s', time = '300s', host-calls = 1000000 }",
    ),
    (
        "files",
        "add = ['guest-test-file']\nwhile-frozen = true\nwrite = ['/mnt/data/files/']\nlimits = { cpu = '10s', time = '60s' }",
    ),
];

const UNKEPT: &str = "filesystems are frozen: nothing can be kept now";
const NOT_RUN: &str = "filesystems are frozen: no program is run now";

#[test]
fn extensions_write_nothing_while_filesystems_are_frozen() -> Result<()> {
    let Some(waga_ext) = waga_ext()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let files = example::build(&waga_ext, "tests/components/files", folder.path())?;
    let made = [("on", passing_on("on")), ("off", passing_on("off")), ("files", fs::read(files)?)];
    let Some(image) = guest_with("native", TABLES, &[], &made, &["on", "off", "files"])? else {
        return Ok(());
    };
    let image = image.setup("mkdir /mnt/data/files && echo old >/mnt/data/files/one");
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(LIMIT)?;
        step("all of it works", || {
            for name in ["on", "off"] {
                works(agent, name)?;
            }
            file(agent, "write", "/mnt/data/files/one", "new").map(drop)
        })?;
        let client = step("a call that goes on", || goes_on(guest, agent))?;
        step("freeze", || {
            ensure!(freeze(agent)? == 1);
            Ok(())
        })?;
        step("what had begun is told so", || {
            let told =
                guest.shell(&format!("while [ -e /proc/{client} ]; do usleep 10000; done; cat /run/off"))?;
            ensure!(serde_json::from_str::<Value>(&told)? == json!([NOT_RUN, UNKEPT]), "{told}");
            Ok(())
        })?;
        step("what may not run", || off(agent))?;
        step("state", || state(agent))?;
        step("programs", || {
            ensure!(ran(agent, "on", "frozen")? == "frozen\n");
            let (_, desc) =
                agent.refused("guest-test-on-run", json!({"args": ["rm", "/mnt/data/files/one"]}))?;
            ensure!(desc == "the key exec does not grant '/bin/busybox' with these arguments", "{desc}");
            Ok(())
        })?;
        step("files", || {
            ensure!(file(agent, "read", "/mnt/data/files/one", "")? == "new");
            for what in ["write", "append", "unlink", "truncate", "touch"] {
                let arguments = json!({"what": what, "path": "/mnt/data/files/one", "other": "later"});
                let (class, desc) = agent.refused("guest-test-file", arguments)?;
                ensure!((&*class, &*desc) == ("GenericError", "Resource busy"), "{what}: {class}: {desc}");
            }
            Ok(())
        })?;
        step("what the agent tells of itself", || introspection(guest, agent))?;
        step("thaw", || {
            ensure!(status(agent)? == "frozen");
            ensure!(thaw(agent)? == 1);
            are_writable(guest, &["/mnt/data"])
        })?;
        step("all of it works again", || {
            // Nothing of what failed was kept.
            for name in ["on", "off"] {
                ensure!(get(agent, name, "key")? == Some("kept".to_owned()), "{name}");
                works(agent, name)?;
            }
            ensure!(file(agent, "read", "/mnt/data/files/one", "")? == "new");
            file(agent, "write", "/mnt/data/files/one", "newer")?;
            ensure!(guest.shell("cat /mnt/data/files/one")? == "newer");
            Ok(())
        })
    })
}

/// Passes on what `waga:extension/state` and `exec` have, by commands that have this name in theirs; one runs a program again and again
/// until it is not run, then changes something, and tells both reasons.
fn passing_on(name: &str) -> Vec<u8> {
    let wit = "package test:it;
        interface i {
            record output { exit-code: option<s32>, signal: option<s32>, stdout: list<u8>, stderr: list<u8> }
            guest-test-NAME-get: func(key: string) -> option<list<u8>>;
            guest-test-NAME-set: func(key: string, value: list<u8>) -> result<_, string>;
            guest-test-NAME-delete: func(key: string);
            guest-test-NAME-keys: func() -> list<string>;
            guest-test-NAME-run: func(args: list<string>) -> result<output, string>;
            guest-test-NAME-go-on: func(args: list<string>) -> tuple<string, string>;
        }
        world w { import waga:extension/state@1.0.0; import waga:extension/exec@1.0.0; export i; }";
    let wat = r#"(import "waga:extension/state@1.0.0" "get" (func $get (param i32 i32 i32)))
        (import "waga:extension/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
        (import "waga:extension/state@1.0.0" "delete" (func $delete (param i32 i32)))
        (import "waga:extension/state@1.0.0" "keys" (func $keys (param i32)))
        (import "waga:extension/exec@1.0.0" "run" (func $run (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (data (i32.const 4096) "/bin/busybox")
        (data (i32.const 4112) "key")
        (func $busybox (param i32 i32)
            (call $run (i32.const 4096) (i32.const 12) (local.get 0) (local.get 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024)))
        (func (export "test:it/i#guest-test-NAME-get") (param i32 i32) (result i32)
            (call $get (local.get 0) (local.get 1) (i32.const 1024)) (i32.const 1024))
        (func (export "test:it/i#guest-test-NAME-set") (param i32 i32 i32 i32) (result i32)
            (call $set (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 1024)) (i32.const 1024))
        (func (export "test:it/i#guest-test-NAME-delete") (param i32 i32) (call $delete (local.get 0) (local.get 1)))
        (func (export "test:it/i#guest-test-NAME-keys") (result i32) (call $keys (i32.const 1024)) (i32.const 1024))
        (func (export "test:it/i#guest-test-NAME-run") (param i32 i32) (result i32)
            (call $busybox (local.get 0) (local.get 1)) (i32.const 1024))
        (func (export "test:it/i#guest-test-NAME-go-on") (param i32 i32) (result i32)
            (loop (call $busybox (local.get 0) (local.get 1)) (br_if 0 (i32.eqz (i32.load8_u (i32.const 1024)))))
            (i64.store (i32.const 2048) (i64.load (i32.const 1028)))
            (call $set (i32.const 4112) (i32.const 3) (i32.const 4112) (i32.const 3) (i32.const 1024))
            (if (i32.eqz (i32.load8_u (i32.const 1024))) (then unreachable))
            (i64.store (i32.const 2056) (i64.load (i32.const 1028)))
            (i32.const 2048))"#;
    component(&wit.replace("NAME", name), &wat.replace("NAME", name))
}

fn get(agent: &mut Client, name: &str, key: &str) -> Result<Option<String>> {
    let value = agent.run(&format!("guest-test-{name}-get"), json!({"key": key}))?;
    value.as_str().map(decoded).transpose()
}

fn set(value: &str) -> Value {
    json!({"key": "key", "value": STANDARD.encode(value)})
}

fn decoded(text: &str) -> Result<String> {
    Ok(String::from_utf8(STANDARD.decode(text)?)?)
}

/// What a program wrote that repeats its argument.
fn ran(agent: &mut Client, name: &str, word: &str) -> Result<String> {
    let output = agent.run(&format!("guest-test-{name}-run"), json!({"args": ["echo", word]}))?;
    ensure!(output["exit-code"] == 0, "{output}");
    decoded(output["stdout"].as_str().context("no output")?)
}

fn file(agent: &mut Client, what: &str, path: &str, other: &str) -> Result<Value> {
    agent.run("guest-test-file", json!({"what": what, "path": path, "other": other}))
}

/// It keeps something, and runs a program.
fn works(agent: &mut Client, name: &str) -> Result<()> {
    agent.run(&format!("guest-test-{name}-set"), set("first"))?;
    agent.run(&format!("guest-test-{name}-set"), set("kept"))?;
    ensure!(get(agent, name, "key")?.as_deref() == Some("kept"));
    ensure!(ran(agent, name, "word")? == "word\n");
    Ok(())
}

/// Lets a client in the guest call what ends with a freeze; its number.
fn goes_on(guest: &Guest, agent: &mut Client) -> Result<String> {
    let call = "/usr/sbin/agent-under-test call --socket /run/agent.sock --timeout 1000";
    let line = format!("{call} guest-test-off-go-on 'args=[\"echo\",\"x\"]' >/run/off 2>&1 & echo $!");
    let client = guest.shell(&line)?;
    await_until("the call", LIMIT, || Ok((one(agent, "off")?["running"] == 1).then_some(())))?;
    Ok(client)
}

fn off(agent: &mut Client) -> Result<()> {
    let calls = one(agent, "off")?["calls"].clone();
    for (end, arguments) in [
        ("get", json!({"key": "key"})),
        ("set", set("later")),
        ("delete", json!({"key": "key"})),
        ("keys", json!({})),
        ("run", json!({"args": ["echo", "x"]})),
    ] {
        let command = format!("guest-test-off-{end}");
        let (class, desc) = agent.refused(&command, arguments)?;
        let text = format!("Command {command} has been disabled: the command is not allowed");
        ensure!(class == "CommandNotFound" && desc == text, "{class}: {desc}");
    }
    ensure!(one(agent, "off")?["calls"] == calls);
    Ok(())
}

fn state(agent: &mut Client) -> Result<()> {
    ensure!(get(agent, "on", "key")?.as_deref() == Some("kept"));
    ensure!(get(agent, "on", "none")?.is_none());
    ensure!(agent.run("guest-test-on-keys", json!({}))? == json!(["key"]));
    let (class, desc) = agent.refused("guest-test-on-set", set("later"))?;
    ensure!((&*class, &*desc) == ("GenericError", UNKEPT), "{class}: {desc}");
    // It cannot say itself that it fails.
    let (class, desc) = agent.refused("guest-test-on-delete", json!({"key": "key"}))?;
    let text = format!("extension on: guest-test-on-delete did not keep what it changed: {UNKEPT}");
    ensure!(class == "GenericError" && desc == text, "{class}: {desc}");
    // To delete what is not there is to change nothing.
    ensure!(agent.run("guest-test-on-delete", json!({"key": "none"}))? == json!({}));
    ensure!(get(agent, "on", "key")?.as_deref() == Some("kept"));
    Ok(())
}

/// Nothing of this waits for a disk.
fn introspection(guest: &Guest, agent: &mut Client) -> Result<()> {
    let all = agent.run("waga-get-schema", json!({}))?;
    let names: Vec<_> =
        all.as_array().context("no list")?.iter().filter_map(|it| it["name"].as_str()).collect();
    for name in ["guest-fsfreeze-thaw", "guest-get-time", "guest-test-on-get", "guest-test-off-run"] {
        ensure!(names.contains(&name), "no {name} in {names:?}");
    }
    let one_of = agent.run("waga-get-schema", json!({"command": "guest-test-off-run"}))?;
    ensure!(
        one_of[0]["extension"] == "off" && one_of[0]["arguments"]["properties"]["args"].is_object(),
        "{one_of}"
    );

    let stats = agent.run("waga-get-stats", json!({}))?;
    ensure!(stats["frozen"] == true && stats["process"]["threads"].is_u64(), "{stats}");
    let commands = stats["commands"].as_array().context("no commands")?;
    let of = |name: &str| commands.iter().find(|it| it["name"] == name).cloned().unwrap_or_default();
    let (freeze, refused) = (of("guest-fsfreeze-freeze"), of("guest-test-off-keys"));
    ensure!(freeze["calls"] == 1 && freeze["running"] == 0 && freeze["failures"] == 0, "{freeze}");
    ensure!(refused["calls"] == 0 && refused["refused"] == 1, "{refused}");

    let on = one(agent, "on")?;
    ensure!(on["state"] == "ready" && on["running"] == 0 && on["failures"].as_u64() > Some(0), "{on}");
    ensure!(on["last-error"].as_str().is_some_and(|text| text.ends_with(UNKEPT)), "{on}");
    ensure!(one(agent, "off")?["failures"] == 0);
    // On the other channel as well.
    for command in ["waga-get-schema", "waga-get-stats", "waga-get-extensions"] {
        let (code, told) = ask_inside(guest, command)?;
        ensure!(code == 0, "{command}: {told}");
        serde_json::from_str::<Value>(&told)?;
    }
    // What is kept is on what is frozen.
    let kept = guest.shell(&format!("ls {STATE}"))?;
    ensure!(kept.lines().count() == 2, "{kept}");
    ensure!(status(agent)? == "frozen");
    Ok(())
}
