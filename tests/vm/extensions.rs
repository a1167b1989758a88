//! Extensions in a guest: compiled there, or by the host beforehand for a guest without a compiler; called through the port and through
//! libvirt, also while one never ends and while filesystems are frozen.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waga_tests::agent::Program;
use waga_tests::client::Client;
use waga_tests::component::component;
use waga_tests::example;
use waga_tests::vm::{self, DOMAIN, Disk, Guest, Image, Libvirt, await_until};

use crate::freeze::{TWO_CHANNELS, are_writable, ask_inside, freeze, status, thaw};
use crate::idle::rests;
use crate::libvirt::{ask, under_libvirt};
use crate::{agent, image, in_guest, only_waga, step};

/// How long what is to happen by itself may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// As much for a compiler that an emulated processor runs.
const COMPILES: Duration = Duration::from_secs(400);

/// Where guests have modules and what was compiled of them.
const MODULES: &str = "/usr/lib/waga";
const CACHE: &str = "/var/lib/waga/cache";

/// Where they keep their state: on a filesystem that a freeze stops.
pub(crate) const STATE: &str = "/mnt/data/state";

/// The extensions, by what stands in their tables. An emulated processor takes its time for a first call, which loads the component.
const EXTENSIONS: &[(&str, &str)] = &[
    ("checksum", "limits = { cpu = '10s', time = '30s' }"),
    ("greeting", "config = { greeting = 'Good morning' }\nlimits = { cpu = '10s', time = '30s' }"),
    ("vectors", "while-frozen = true\nlimits = { cpu = '10s', time = '30s' }"),
    ("late", "while-frozen = true\nlimits = { cpu = '10s', time = '30s' }"),
    ("stopped", "limits = { cpu = '1s', time = '30s' }"),
    ("runaway", "add = ['guest-test-runaway']\nlimits = { cpu = '300s', time = '300s' }"),
];

/// `crc32` of "hello".
const HELLO: &str = r#"{"algorithm":"crc32","length":5,"hex":"3610a686"}"#;

/// The guest's processor compiles for itself, but for `checksum`, which this machine compiled.
#[test]
fn extensions_serve_and_harm_nobody() -> Result<()> {
    let Some(image) = with_extensions("native", &["checksum"])? else { return Ok(()) };
    in_guest(&with_compiler(image)?, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("the compiler in the guest", || {
            await_until("the extensions", COMPILES, || {
                Ok(told(agent)?.iter().all(|it| it["state"] == "ready").then_some(()))
            })
        })?;
        agent.patience(COMPILES)?;
        step("calls", || calls(guest, agent))?;
        step("a loop is stopped, and delays no other channel", || stopped(guest, agent))?;
        step("a loop goes on while filesystems are frozen", || frozen(guest, agent))?;
        step("rest", || {
            ensure!(one(agent, "checksum")?["runtime"] == "native");
            rests(guest, "with extensions that were called")
        })
    })
}

/// Machine code that this machine compiled runs on another processor: an emulated one, without half of what this one may have. There is
/// no compiler to make up for code that does not load.
#[test]
fn machine_code_that_the_host_compiled_runs_in_a_guest() -> Result<()> {
    let all = ["checksum", "greeting", "vectors", "late", "stopped", "runaway"];
    let Some(image) = with_extensions("native", &all)? else { return Ok(()) };
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(COMPILES)?;
        let hello: Value = serde_json::from_str(HELLO)?;
        let made = agent.run("guest-acme-checksum", json!({"data": "aGVsbG8=", "algorithm": "crc32"}))?;
        ensure!(made == hello, "{made}");
        let made = agent.run("guest-test-vectors", json!({"n": 7}))?;
        ensure!(made == 49, "{made}");
        for name in ["checksum", "vectors"] {
            let told = one(agent, name)?;
            ensure!(told["runtime"] == "native" && told["calls"] == 1, "{told}");
        }
        Ok(())
    })
}

/// A guest without a compiler, whose cache was filled beforehand.
#[test]
fn libvirt_calls_what_the_host_compiled() -> Result<()> {
    let Some(image) = with_extensions("pulley", &["checksum", "greeting", "stopped"])? else { return Ok(()) };
    under_libvirt(&image, |libvirt| {
        step("calls", || {
            let hello = json!({"data": "aGVsbG8=", "algorithm": "crc32"});
            let expected: Value = serde_json::from_str(HELLO)?;
            ensure!(ask(libvirt, "guest-acme-checksum", &hello)? == expected);
            let greeted = ask(libvirt, "guest-acme-greet", &json!({"name": "Ada", "manner": "formal"}))?;
            ensure!(greeted == "Good morning, Ada.", "{greeted}");
            let all = ask(libvirt, "waga-get-extensions", &json!({}))?;
            ensure!(all[0]["runtime"] == "pulley" && all[0]["calls"] == 1, "{all}");
            Ok(())
        })?;
        step("a command's own error", || {
            fails(libvirt, "guest-acme-greet", &json!({"name": ""}), "a name has 1 to 100 bytes")
        })?;
        step("a loop", || {
            let text =
                "extension stopped: guest-test-stopped used up the CPU time of a call (limits.cpu = \"1s\")";
            fails(libvirt, "guest-test-stopped", &json!({}), text)
        })?;
        step("nothing compiled, and no compiler", || {
            let text = "Command guest-test-runaway has been disabled: extension runaway: needs compiling, and waga-ext is not installed";
            fails(libvirt, "guest-test-runaway", &json!({}), text)
        })?;
        step("waga call", || {
            let waga = agent();
            let words = ["--domain", DOMAIN, "guest-acme-checksum", "data=aGVsbG8=", "algorithm=crc32"];
            let output = libvirt.call(&waga, &words)?;
            let printed = String::from_utf8_lossy(&output.stdout);
            ensure!(printed.trim_end() == HELLO, "{output:?}");
            Ok(())
        })?;
        step("freeze and thaw", || {
            libvirt.virsh(&["domfsfreeze", DOMAIN])?;
            fails(
                libvirt,
                "guest-acme-checksum",
                &json!({"data": ""}),
                "disabled: the command is not allowed",
            )?;
            libvirt.virsh(&["domfsthaw", DOMAIN])?;
            ask(libvirt, "guest-acme-checksum", &json!({"data": ""})).map(drop)
        })
    })
}

/// A guest with these extensions, and with what this machine compiled of some of them; `None` where nothing can be compiled.
fn with_extensions(runtime: &str, compiled: &[&str]) -> Result<Option<Image>> {
    let made = [
        ("stopped", endless("guest-test-stopped")),
        ("runaway", endless("guest-test-runaway")),
        ("vectors", vectors("guest-test-vectors")),
        ("late", vectors("guest-test-late")),
    ];
    guest_with(runtime, EXTENSIONS, &["checksum", "greeting"], &made, compiled)
}

/// A guest with modules, `examples` and others, in these tables (of which some may begin with a pack in a module's place), and with what this machine compiled of some of them; `None` where nothing
/// can be compiled.
pub(crate) fn guest_with(
    runtime: &str,
    tables: &[(&str, &str)],
    examples: &[&str],
    made: &[(&str, Vec<u8>)],
    compiled: &[&str],
) -> Result<Option<Image>> {
    let Some(waga_ext) = waga_ext()? else { return Ok(None) };
    let setup = Program::under_test(env!("CARGO_BIN_EXE_agent-under-test")).setup();
    let folder = setup.dir().to_owned();
    let (modules, cache) = (folder.join("modules"), folder.join("cache"));
    fs::create_dir(&modules)?;
    for name in examples {
        example::build(&waga_ext, &example::project(name), &modules)?;
    }
    for (name, component) in made {
        fs::write(modules.join(format!("{name}.wasm")), component)?;
    }

    // An agent of this machine fills a cache.
    let table = |folder: &str, (name, lines): &(&str, &str)| match lines.starts_with("pack = ") {
        true => format!("[extension.{name}]\n{lines}\n"),
        false => format!("[extension.{name}]\nmodule = '{folder}/{name}.wasm'\n{lines}\n"),
    };
    let mut here = format!("[extensions]\nruntime = '{runtime}'\ncache = '{}'\n", cache.display());
    for entry in tables.iter().filter(|(name, _)| compiled.contains(name)) {
        here += &table(&modules.to_string_lossy(), entry);
    }
    let config = folder.join("agent.toml");
    fs::write(&config, here)?;
    let fills = setup.options(["-c".into(), config]).start();
    let client = &mut fills.client();
    await_until("what this machine compiles", LIMIT, || {
        Ok(told(client)?.iter().all(|it| it["state"] == "ready").then_some(()))
    })?;

    let mut config = format!(
        "{TWO_CHANNELS}[extensions]\nruntime = '{runtime}'\ncache = '{CACHE}'\nstate = '{STATE}'\ncompile = {{ time = '10m' }}\n"
    );
    for entry in tables {
        config += &table(MODULES, entry);
    }
    let mut image = image().config(&config).disk(Disk::ext4(32, "/mnt/data"));
    for (from, to) in [(&modules, MODULES), (&cache, CACHE)] {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Which file a module is, is another one in the guest; its digest is the same.
            if !name.ends_with(".module.json") {
                image = image.file(&format!("{to}/{name}"), 0o600, fs::read(entry.path())?);
            }
        }
    }
    Ok(Some(image))
}

/// The tool that builds components, and the agent's compiler; `None` where it is not to be had, or not to be used.
pub(crate) fn waga_ext() -> Result<Option<PathBuf>> {
    if !only_waga("extensions") {
        return Ok(None);
    }
    let waga_ext = agent().with_file_name("waga-ext");
    if !waga_ext.is_file() {
        vm::left_out("waga-ext (cargo build --manifest-path extensions/Cargo.toml --target-dir target)")?;
        return Ok(None);
    }
    Ok(Some(waga_ext))
}

/// Puts the compiler beside the agent, without what only a debugger reads: that is most of it.
fn with_compiler(image: Image) -> Result<Image> {
    let folder = tempfile::tempdir()?;
    let stripped = folder.path().join("waga-ext");
    let done =
        Command::new("strip").arg("-o").arg(&stripped).arg(agent().with_file_name("waga-ext")).status();
    ensure!(done.context("start strip")?.success(), "strip failed");
    // The libraries that it needs are the agent's.
    Ok(image.file("/usr/sbin/waga-ext", 0o755, fs::read(&stripped)?))
}

/// A component whose command never ends by itself.
fn endless(command: &str) -> Vec<u8> {
    let wit = format!("package test:it; interface i {{ {command}: func(); }} world w {{ export i; }}");
    component(&wit, &format!(r#"(func (export "test:it/i#{command}") (loop br 0))"#))
}

/// A component whose command squares a number, with vectors: for these the compiler takes what the processor has.
fn vectors(command: &str) -> Vec<u8> {
    let wit =
        format!("package test:it; interface i {{ {command}: func(n: u32) -> u32; }} world w {{ export i; }}");
    let wat = r#"(param i32) (result i32) (local $n v128)
        (local.set $n (i8x16.swizzle (i32x4.splat (local.get 0)) (v128.const i8x16 0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3)))
        (i32x4.extract_lane 3 (i32x4.trunc_sat_f32x4_u (f32x4.nearest (f32x4.convert_i32x4_u (i32x4.mul (local.get $n) (local.get $n)))))))"#;
    component(&wit, &format!("(func (export \"test:it/i#{command}\") {wat}"))
}

/// What the agent tells of each extension.
fn told(agent: &mut Client) -> Result<Vec<Value>> {
    let all = agent.run("waga-get-extensions", json!({}))?;
    let refused = |it: &&Value| it["state"] == "refused" || it["state"] == "missing";
    let all = all.as_array().context("no list")?;
    ensure!(!all.iter().any(|it| refused(&it)), "{all:?}");
    Ok(all.clone())
}

pub(crate) fn one(agent: &mut Client, name: &str) -> Result<Value> {
    let all = told(agent)?;
    all.into_iter().find(|it| it["name"] == name).with_context(|| format!("no {name}"))
}

fn calls(guest: &Guest, agent: &mut Client) -> Result<()> {
    let made = agent.run("guest-acme-checksum", json!({"data": "aGVsbG8="}))?;
    let expected = guest.shell("printf hello | sha256sum | cut -d ' ' -f 1")?;
    ensure!(made == json!({"algorithm": "sha256", "length": 5, "hex": expected}), "{made}");
    let wrong = json!({"data": "aGVsbG8h", "expected": made});
    let (_, desc) = agent.refused("guest-acme-verify-checksum", wrong)?;
    ensure!(desc == "there are 6 bytes of data, not 5", "{desc}");
    let greeted = agent.run("guest-acme-greet", json!({"name": "Ada"}))?;
    ensure!(greeted == "Good morning, Ada!", "{greeted}");
    let told = ask_inside(guest, "guest-acme-checksum data=aGVsbG8= algorithm=crc32")?;
    ensure!(told == (0, HELLO.to_owned()), "{told:?}");
    Ok(())
}

fn stopped(guest: &Guest, agent: &mut Client) -> Result<()> {
    agent.send("{\"execute\":\"guest-test-stopped\"}\n")?;
    for _ in 0..3 {
        let told = ask_inside(guest, "guest-ping")?;
        ensure!(told == (0, "{}".to_owned()), "{told:?}");
    }
    let told = agent.text()?;
    let expected =
        r#"extension stopped: guest-test-stopped used up the CPU time of a call (limits.cpu = \"1s\")"#;
    ensure!(told.contains(expected), "{told}");
    ensure!(agent.run("guest-ping", json!({}))? == json!({}));
    Ok(())
}

fn frozen(guest: &Guest, agent: &mut Client) -> Result<()> {
    let call = "/usr/sbin/agent-under-test call --socket /run/agent.sock --timeout 1000 guest-test-runaway";
    let client = guest.shell(&format!("{call} >/run/runaway 2>&1 & echo $!"))?;
    await_until("the call", LIMIT, || Ok((one(agent, "runaway")?["running"] == 1).then_some(())))?;
    for id in 0..50 {
        ensure!(agent.run("guest-sync", json!({"id": id}))? == id);
    }

    ensure!(agent.run("guest-test-vectors", json!({"n": 3}))? == 9);
    ensure!(freeze(agent)? == 1);
    // What the operator lets run then, if it was loaded before: nothing is read now.
    ensure!(agent.run("guest-test-vectors", json!({"n": 4}))? == 16);
    let (class, desc) = agent.refused("guest-test-late", json!({"n": 3}))?;
    let unread = "Command guest-test-late has been disabled: extension late: not loaded before filesystems were frozen";
    ensure!((&*class, &*desc) == ("CommandNotFound", unread), "{class}: {desc}");
    let (class, desc) = agent.refused("guest-acme-greet", json!({"name": "Ada"}))?;
    let text = "Command guest-acme-greet has been disabled: the command is not allowed";
    ensure!((&*class, &*desc) == ("CommandNotFound", text), "{class}: {desc}");
    let (code, desc) = ask_inside(guest, "guest-acme-greet name=Ada")?;
    ensure!(code == 1 && desc.contains(text), "{code}: {desc}");
    ensure!(status(agent)? == "frozen");
    ensure!(thaw(agent)? == 1);
    are_writable(guest, &["/mnt/data"])?;
    ensure!(agent.run("guest-acme-greet", json!({"name": "Ada"}))? == "Good morning, Ada!");
    ensure!(agent.run("guest-test-late", json!({"n": 3}))? == 9);

    // All the time the other one ran, and ends with its client.
    ensure!(one(agent, "runaway")?["running"] == 1);
    guest.shell(&format!("kill {client}"))?;
    await_until("the call's end", LIMIT, || Ok((one(agent, "runaway")?["running"] == 0).then_some(())))
}

/// libvirt tells this error of a command.
fn fails(libvirt: &Libvirt, command: &str, arguments: &Value, text: &str) -> Result<()> {
    let reply = ask(libvirt, command, arguments);
    let error = reply.err().with_context(|| format!("{command} should have failed"))?;
    ensure!(format!("{error:#}").contains(text), "{error:#}");
    ask(libvirt, "guest-ping", &json!({})).map(drop)
}
