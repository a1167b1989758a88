//! libvirt's own calls to the agent, and the main job through it: asked, handed a file, made to run it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waga_tests::vm::{self, DOMAIN, Disk, Image, Libvirt, await_until};

use crate::{image, step};

/// The program that the host hands over and lets the guest run.
const PROGRAM: &str = "#!/bin/sh\necho \"$# arguments, the second is $2, on $(uname -s)\"\n";

/// Boots a guest under libvirt and runs a case when its agent answers; without libvirt the case is left out.
pub(crate) fn under_libvirt(image: &Image, case: impl FnOnce(&Libvirt) -> Result<()>) -> Result<()> {
    if let Some(reason) = vm::missing_for_libvirt() {
        return vm::left_out(reason);
    }
    let libvirt = Libvirt::boot(image)?;
    let first = step("the first answer", || answers(&libvirt));
    first.and_then(|()| case(&libvirt)).map_err(|error| libvirt.explain(error))
}

/// Waits until the agent answers: libvirt refuses to ask before it has been told that the guest has opened its port.
pub(crate) fn answers(libvirt: &Libvirt) -> Result<()> {
    await_until("an answer to guest-ping", Duration::from_secs(120), || {
        Ok(ask(libvirt, "guest-ping", &json!({})).ok())
    })
    .map(drop)
}

#[test]
fn libvirt_is_served() -> Result<()> {
    under_libvirt(&image().disk(Disk::ext4(32, "/mnt/data")), served)
}

fn served(libvirt: &Libvirt) -> Result<()> {
    step("guestinfo", || guestinfo(libvirt))?;
    step("domifaddr", || domifaddr(libvirt))?;
    step("domfsinfo", || domfsinfo(libvirt))?;
    step("domhostname", || {
        let name = libvirt.virsh(&["domhostname", DOMAIN, "--source", "agent"])?;
        ensure!(name == libvirt.shell("hostname")?, "{name}");
        Ok(())
    })?;
    step("the main job", || main_job(libvirt))?;
    step("waga call", || call(libvirt))
}

fn guestinfo(libvirt: &Libvirt) -> Result<()> {
    let told = libvirt.virsh(&["guestinfo", DOMAIN])?;
    let kernel = libvirt.shell("uname -r")?;
    for line in [
        "os.id : waga-guest".to_owned(),
        format!("os.kernel-release : {kernel}"),
        "hostname : waga-guest".to_owned(),
        "fs.count : 1".to_owned(),
        "fs.0.name : vda".to_owned(),
        "fs.0.mountpoint : /mnt/data".to_owned(),
        "fs.0.fstype : ext4".to_owned(),
        "fs.0.disk.0.alias : vda".to_owned(),
    ] {
        let found = told.lines().any(|told| words(told) == words(&line));
        ensure!(found, "no {line:?} in:\n{told}");
    }
    Ok(())
}

fn domifaddr(libvirt: &Libvirt) -> Result<()> {
    let told = libvirt.virsh(&["domifaddr", DOMAIN, "--source", "agent"])?;
    let mac = libvirt.shell("cat /sys/class/net/eth0/address")?;
    let line = format!("eth0 {mac} ipv4 10.0.2.15/24");
    ensure!(told.lines().any(|told| words(told) == words(&line)), "no {line:?} in:\n{told}");
    Ok(())
}

fn domfsinfo(libvirt: &Libvirt) -> Result<()> {
    let told = libvirt.virsh(&["domfsinfo", DOMAIN])?;
    // Mountpoint, name, type, and the target that libvirt finds by the controller's address.
    let line = "/mnt/data vda ext4 vda";
    ensure!(told.lines().any(|told| words(told) == words(line)), "no {line:?} in:\n{told}");
    Ok(())
}

/// What people run an agent for: it tells of itself, takes a file, runs it and hands back what it printed.
fn main_job(libvirt: &Libvirt) -> Result<()> {
    let told = ask(libvirt, "guest-get-osinfo", &json!({}))?;
    ensure!(told["kernel-release"] == libvirt.shell("uname -r")?, "{told}");

    let path = "/root/handed-over";
    let handle = ask(libvirt, "guest-file-open", &json!({"path": path, "mode": "w"}))?;
    let write = json!({"handle": handle, "buf-b64": STANDARD.encode(PROGRAM)});
    let written = ask(libvirt, "guest-file-write", &write)?;
    ensure!(written["count"] == PROGRAM.len(), "{written}");
    ask(libvirt, "guest-file-close", &json!({"handle": handle}))?;
    ensure!(libvirt.shell(&format!("cat {path}"))? == PROGRAM.trim_end());

    let run = json!({"path": "/bin/sh", "arg": [path, "one", "two words"], "capture-output": true});
    let started = ask(libvirt, "guest-exec", &run)?;
    let ended = await_until("the end of the program", Duration::from_secs(30), || {
        let status = ask(libvirt, "guest-exec-status", &json!({"pid": started["pid"]}))?;
        Ok((status["exited"] == true).then_some(status))
    })?;
    let printed = STANDARD.encode("2 arguments, the second is two words, on Linux\n");
    ensure!(ended["exitcode"] == 0 && ended["out-data"] == printed, "{ended}");
    Ok(())
}

/// The host's verb, which goes through this libvirt: answers, and what kinds of failure the exit code tells apart.
fn call(libvirt: &Libvirt) -> Result<()> {
    // The client is waga, whatever the agent in the guest is.
    let waga = Path::new(env!("CARGO_BIN_EXE_agent-under-test"));
    let call = |words: &[&str]| {
        let output = libvirt.call(waga, words)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        anyhow::Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    };
    let told = call(&["--domain", DOMAIN, "guest-get-osinfo"])?;
    ensure!(told.0 == Some(0) && told.2.is_empty(), "{told:?}");
    let info: Value = serde_json::from_str(&told.1)?;
    ensure!(info["kernel-release"] == libvirt.shell("uname -r")?, "{told:?}");

    let told = call(&["--domain", DOMAIN, "guest-sync", "id=9007199254740993"])?;
    ensure!(told.0 == Some(0) && told.1 == "9007199254740993\n", "{told:?}");
    let told = call(&["--domain", DOMAIN])?;
    ensure!(told.0 == Some(0) && told.1.contains("\"supported_commands\":["), "{told:?}");

    let told = call(&["--domain", DOMAIN, "guest-nope"])?;
    let error = "waga: guest-nope: The command guest-nope has not been found\n";
    ensure!(told.0 == Some(1) && told.2 == error, "{told:?}");
    let told = call(&["--domain", "nobody", "guest-ping"])?;
    ensure!(told.0 == Some(3) && told.2.contains("nobody"), "{told:?}");

    libvirt.shell("kill -STOP $(cat /run/agent.pid)")?;
    let stopped = call(&["--domain", DOMAIN, "guest-ping", "--timeout", "1.5"])?;
    // Also of an agent that need not answer: it has to be there.
    let told = call(&["--domain", DOMAIN, "guest-suspend-ram", "--timeout", "1.5"])?;
    libvirt.shell("kill -CONT $(cat /run/agent.pid)")?;
    for told in [stopped, told] {
        ensure!(told.0 == Some(4) && !told.2.is_empty(), "{told:?}");
    }
    let told = call(&["--domain", DOMAIN, "guest-ping"])?;
    ensure!(told.0 == Some(0) && told.1 == "{}\n", "{told:?}");
    Ok(())
}

/// Sends one command as an operator does, and returns what it returned.
pub(crate) fn ask(libvirt: &Libvirt, command: &str, arguments: &Value) -> Result<Value> {
    let request = json!({"execute": command, "arguments": arguments}).to_string();
    let printed = libvirt.virsh(&["qemu-agent-command", DOMAIN, &request])?;
    let mut reply: Value = serde_json::from_str(&printed).with_context(|| format!("not JSON: {printed}"))?;
    match reply.get_mut("return") {
        Some(returned) => Ok(returned.take()),
        None => bail!("{command}: {reply}"),
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
