//! waga as a service of a whole Debian: put in qemu-ga's place by the README's steps, and taken out again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use serde_json::{Value, json};
use waga_tests::client::{Client, PATIENCE};
use waga_tests::vm::{self, Debian, Guest, await_until};

use crate::{agent, another_agent, step};

/// Where the checkout is in the guest, as far as it is needed there.
const CHECKOUT: &str = "/root/waga";

/// What RHEL 9.4 and later has in `/etc/sysconfig/qemu-ga`, shortened.
const SYSCONFIG: &str = "\
# This is a systemd environment file, not a shell script.
FILTER_RPC_ARGS=\"--allow-rpcs=guest-sync-delimited,guest-sync,guest-ping,guest-info,guest-get-time\"
FSFREEZE_HOOK_PATHNAME=/etc/qemu-ga/fsfreeze-hook
";

/// What RHEL 8 has there.
const OLD_SYSCONFIG: &str = "\
BLACKLIST_RPC=guest-file-open,guest-exec
FSFREEZE_HOOK_PATHNAME=
";

/// What Debian's operators have in `/etc/default/qemu-guest-agent`, for its init script.
const DEFAULTS: &str = "DAEMON_ARGS=\"--block-rpcs=guest-get-users --verbose\"\n";

#[test]
fn in_the_place_of_qemu_ga_and_back() -> Result<()> {
    in_debian(&debian()?, |guest| {
        let before = step("qemu-ga serves", || answers(guest, "qemu-ga"))?;
        step("the README's steps", || follow("## Replace qemu-ga", guest))?;
        let with_waga = step("waga serves", || answers(guest, "waga"))?;
        ensure!(with_waga == before, "qemu-ga said {before}, waga says {with_waga}");
        step("the unit", || unit(guest))?;
        step("what others do to the name", || by_others(guest))?;
        step("reload", || reload(guest))?;
        step("killed", || killed(guest))?;
        step("killed while the disk is frozen", || killed_while_frozen(guest))?;
        step("a program outlives a restart", || restart(guest))?;
        step("the port goes and comes", || port(guest))?;
        step("qemu-ga's defaults files", || defaults(guest))?;
        step("the README's steps back", || follow("And back again:", guest))?;
        let after = step("qemu-ga serves again", || answers(guest, "qemu-ga"))?;
        ensure!(after == before, "qemu-ga said {before}, and now {after}");
        let left = "find /usr/local /etc/waga -type f 2>/dev/null || true";
        let left = guest.shell(left)?;
        ensure!(left.is_empty(), "left behind: {left}");
        Ok(())
    })
}

#[test]
fn sleep_restart_and_power_off_through_systemd() -> Result<()> {
    in_debian(&installed()?, |guest| {
        let boot = step("the first boot", || {
            answers(guest, "waga")?;
            guest.shell("cat /proc/sys/kernel/random/boot_id")
        })?;
        step("sleep", || {
            see(guest, "SUSPEND", "guest-suspend-ram", json!({}))?;
            guest.qmp("system_wakeup", &json!({}))?;
            guest.await_event("WAKEUP")?;
            answers(guest, "waga")?;
            // It was not the kernel that was told, past everybody.
            guest.shell("journalctl --boot --unit=systemd-suspend | grep -q Finished").map(drop)
        })?;
        // In between, for this machine cannot be powered off in the boot in which it slept.
        step("restart", || {
            let reset = see(guest, "RESET", "guest-shutdown", json!({"mode": "reboot"}))?;
            ensure!(reset == json!({"guest": true, "reason": "guest-reset"}), "{reset}");
            answers(guest, "waga")?;
            ensure!(guest.shell("cat /proc/sys/kernel/random/boot_id")? != boot, "it is the same boot");
            Ok(())
        })?;
        step("power-off", || {
            let shutdown = see(guest, "SHUTDOWN", "guest-shutdown", json!({}))?;
            ensure!(shutdown == json!({"guest": true, "reason": "guest-shutdown"}), "{shutdown}");
            guest.await_off()?;
            clean(&guest.disk(0))
        })
    })
}

/// Boots such a guest and runs a case in it; where there is none, or for another agent, the case is left out.
fn in_debian(debian: &Debian, case: impl FnOnce(&mut Guest) -> Result<()>) -> Result<()> {
    if let Some(reason) = vm::missing_for_debian() {
        return vm::left_out(reason);
    }
    if let Some(other) = another_agent() {
        vm::note(format_args!("left out: the unit is waga's, not of {}", other.display()));
        return Ok(());
    }
    let mut guest = Guest::boot_debian(debian)?;
    case(&mut guest).map_err(|error| explain(&guest, error))
}

/// Adds what the guest's journal says to a failure.
fn explain(guest: &Guest, error: Error) -> Error {
    let journal = guest.shell_status("journalctl --no-pager --boot --lines=40 --unit=qemu-guest-agent");
    let journal = journal.map(|(_, text)| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    guest.explain(error.context(journal))
}

/// A Debian with what a built checkout has for it.
fn debian() -> Result<Debian> {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("packaging");
    let mut debian = Debian::new();
    for entry in std::fs::read_dir(&packaging)? {
        let path = entry?.path();
        let name = path.file_name().context("a file without a name")?.to_string_lossy().into_owned();
        let permissions = if name == "install" { 0o755 } else { 0o644 };
        debian = debian.file(&format!("{CHECKOUT}/packaging/{name}"), permissions, std::fs::read(&path)?);
    }
    Ok(debian.file(&format!("{CHECKOUT}/target/release/waga"), 0o755, std::fs::read(agent())?))
}

/// A Debian in which the agent was installed as into an image, from outside.
fn installed() -> Result<Debian> {
    let root = tempfile::tempdir()?;
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("packaging");
    let mut install = Command::new(packaging.join("install"));
    install.env("DESTDIR", root.path()).env("WAGA", agent()).env_remove("PREFIX");
    ensure!(install.status()?.success(), "{install:?}");
    let places = [
        ("/usr/local/sbin/waga", 0o755),
        ("/usr/local/lib/systemd/system/qemu-guest-agent.service", 0o644),
        ("/usr/local/lib/udev/rules.d/60-qemu-guest-agent.rules", 0o644),
    ];
    // As where the package of qemu-ga is not: nothing but the rule of ours starts the agent.
    let debian = Debian::new().file("/usr/lib/udev/rules.d/60-qemu-guest-agent.rules", 0o644, "");
    places.iter().try_fold(debian, |debian, (path, permissions)| {
        let content = std::fs::read(root.path().join(&path[1..])).with_context(|| (*path).to_owned())?;
        Ok(debian.file(path, *permissions, content))
    })
}

/// Sends a command that is not answered, and waits for what QEMU tells of its effect.
fn see(guest: &Guest, event: &str, command: &str, arguments: Value) -> Result<Value> {
    let mut host = connect(guest)?;
    host.send(format!("{}\n", json!({"execute": command, "arguments": arguments})))?;
    // Only then the host leaves: what the agent has not read yet would be lost.
    guest.await_event(event)
}

/// Whether a disk was let go of in good order.
fn clean(disk: &Path) -> Result<()> {
    let run = |program: &str, option: &str| {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let output = Command::new(program).env("PATH", path).arg(option).arg(disk).output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{program}: {told}");
        Ok(told)
    };
    let told = run("dumpe2fs", "-h")?;
    ensure!(!told.contains("needs_recovery"), "the journal was not written back: {told}");
    run("e2fsck", "-fn").map(drop)
}

/// Does in the guest what a part of the README says, line by line.
fn follow(heading: &str, guest: &Guest) -> Result<()> {
    let readme = include_str!("../../README.md");
    let part = readme.split_once(heading).context("no such part")?.1;
    let steps = part.split("```").nth(1).context("no commands")?.trim_start_matches("sh\n");
    ensure!(steps.lines().count() >= 3, "{steps}");
    steps.lines().try_for_each(|line| guest.shell(&format!("cd {CHECKOUT} && {line}")).map(drop))
}

/// Connects to the agent. A whole system takes an emulated machine its time to boot, much more where others work.
fn connect(guest: &Guest) -> Result<Client> {
    await_until("the agent", Duration::from_secs(600), || {
        // A machine that has ended boots no more.
        guest.qmp("query-status", &json!({}))?;
        Ok(guest.connect().ok())
    })
}

/// Waits for an agent to serve the port, and returns what must be the same whoever it is.
fn answers(guest: &Guest, program: &str) -> Result<Value> {
    let mut host = connect(guest)?;
    let running =
        guest.shell("cat /proc/$(systemctl show --property=MainPID --value qemu-guest-agent)/comm")?;
    ensure!(running == program, "{running} serves");
    let mut all = json!({});
    for command in ["guest-get-osinfo", "guest-get-host-name", "guest-get-timezone", "guest-get-vcpus"] {
        all[command] = host.run(command, json!({})).with_context(|| command.to_owned())?;
    }
    let mut filesystems = host.run("guest-get-fsinfo", json!({}))?;
    for filesystem in filesystems.as_array_mut().context("no filesystems")? {
        // How full it is changes.
        filesystem.as_object_mut().context("no filesystem")?.retain(|key, _| !key.contains("-bytes"));
    }
    all["guest-get-fsinfo"] = filesystems;
    // qemu-ga lists them as the folder does.
    let processors = all["guest-get-vcpus"].as_array_mut().context("no processors")?;
    processors.sort_by_key(|processor| processor["logical-id"].as_i64());
    Ok(all)
}

/// A property of the unit.
fn property(guest: &Guest, name: &str) -> Result<String> {
    guest.shell(&format!("systemctl show --property={name} --value qemu-guest-agent"))
}

/// The arguments that the agent was started with.
fn arguments(guest: &Guest) -> Result<Vec<String>> {
    let line = guest.shell(&format!("tr '\\0' '\\n' </proc/{}/cmdline", property(guest, "MainPID")?))?;
    Ok(line.split('\n').skip(1).map(str::to_owned).collect())
}

fn unit(guest: &Guest) -> Result<()> {
    for (name, expected) in [
        ("Type", "notify"),
        ("ActiveState", "active"),
        // What the agent itself told.
        ("StatusText", "serving"),
        ("FragmentPath", "/usr/local/lib/systemd/system/qemu-guest-agent.service"),
    ] {
        let told = property(guest, name)?;
        ensure!(told == expected, "{name} is {told:?}");
    }
    let arguments = arguments(guest)?;
    ensure!(arguments == ["--block-rpcs=", "--block-rpcs="], "{arguments:?}");
    // Of a misspelt setting or a variable that is not there, systemd tells only the journal.
    let warned = "journalctl --boot --priority=warning --unit=qemu-guest-agent --output=cat";
    let warned = guest.shell(&format!("{warned} | grep -F -e waga -e 'local/lib' -e 'unset' || true"))?;
    ensure!(warned.is_empty(), "{warned}");
    Ok(())
}

/// Tools that set up a guest enable it, and an upgrade of Debian's package ends with its script.
fn by_others(guest: &Guest) -> Result<()> {
    guest.shell("systemctl enable --now qemu-guest-agent && systemctl is-enabled qemu-guest-agent")?;
    let agent = property(guest, "MainPID")?;
    guest.shell("/var/lib/dpkg/info/qemu-guest-agent.postinst configure 1:7.0")?;
    ensure!(property(guest, "MainPID")? != agent, "the upgrade restarts nothing");
    answers(guest, "waga")?;
    guest.shell("systemctl disable qemu-guest-agent").map(drop)
}

fn reload(guest: &Guest) -> Result<()> {
    let agent = property(guest, "MainPID")?;
    let mut host = connect(guest)?;
    host.run("guest-get-load", json!({}))?;
    guest.shell("mkdir -p /etc/waga && echo '[policy]' >/etc/waga/agent.toml")?;
    guest.shell("echo 'block = [\"guest-get-load\"]' >>/etc/waga/agent.toml")?;
    guest.shell("systemctl reload qemu-guest-agent")?;
    await_until("the new policy", PATIENCE, || {
        let reply = host.ask(&json!({"execute": "guest-get-load"}))?;
        Ok((reply["error"]["class"] == "CommandNotFound").then_some(()))
    })?;
    await_until("the end of the reload", PATIENCE, || {
        Ok((property(guest, "ActiveState")? == "active").then_some(()))
    })?;
    ensure!(property(guest, "MainPID")? == agent, "it was started anew");
    guest.shell("rm -r /etc/waga").map(drop)
}

fn killed(guest: &Guest) -> Result<()> {
    kill(guest)?;
    let told = connect(guest)?.run("guest-get-host-name", json!({}))?;
    ensure!(told == json!({"host-name": "waga-debian"}), "{told}");
    Ok(())
}

/// Ends the agent without a word, and waits for the next one.
fn kill(guest: &Guest) -> Result<()> {
    let agent = property(guest, "MainPID")?;
    guest.shell(&format!("kill -KILL {agent}"))?;
    await_until("another agent", PATIENCE, || {
        let now = property(guest, "MainPID")?;
        Ok((now != "0" && now != agent).then_some(()))
    })
}

/// It comes back and thaws, though a program that it started hangs on the frozen disk.
fn killed_while_frozen(guest: &Guest) -> Result<()> {
    let mut host = connect(guest)?;
    let write = "while :; do echo >/root/written; done";
    let program = host.run("guest-exec", json!({"path": "sh", "arg": ["-c", write]}))?["pid"].clone();
    host.run("guest-fsfreeze-freeze", json!({}))?;
    await_until("a program that hangs", PATIENCE, || {
        let (status, _) = guest.shell_status(&format!("grep -q '^State:.*D' /proc/{program}/status"))?;
        Ok((status == 0).then_some(()))
    })?;
    drop(host);
    kill(guest)?;
    let mut host = connect(guest)?;
    host.ask(&json!({"execute": "guest-fsfreeze-thaw"}))?;
    ensure!(host.run("guest-fsfreeze-status", json!({}))? == json!("thawed"));
    guest.shell(&format!("kill -KILL {program} && sync /root/written && rm /root/written")).map(drop)
}

/// The host may restart its agent through the agent, and what it started before goes on.
fn restart(guest: &Guest) -> Result<()> {
    let agent = property(guest, "MainPID")?;
    let mut host = connect(guest)?;
    let sleep = host.run("guest-exec", json!({"path": "sleep", "arg": ["infinity"]}))?["pid"].clone();
    host.run("guest-exec", json!({"path": "systemctl", "arg": ["restart", "qemu-guest-agent"]}))?;
    drop(host);
    await_until("another agent", PATIENCE, || {
        let now = property(guest, "MainPID")?;
        Ok((now != "0" && now != agent && property(guest, "ActiveState")? == "active").then_some(()))
    })?;
    connect(guest)?;
    guest.shell(&format!("grep -q ^sleep /proc/{sleep}/comm && kill {sleep}")).map(drop)
}

fn port(guest: &Guest) -> Result<()> {
    guest.unplug_port()?;
    await_until("the end of the unit", PATIENCE, || {
        Ok((property(guest, "ActiveState")? == "inactive").then_some(()))
    })?;
    guest.plug_port()?;
    answers(guest, "waga")?;
    ensure!(property(guest, "StatusText")? == "serving");
    Ok(())
}

/// Whether a command is switched off; the others are on.
fn is_off(guest: &Guest, command: &str) -> Result<bool> {
    let reply = connect(guest)?.ask(&json!({"execute": command}))?;
    Ok(reply["error"]["class"] == "CommandNotFound")
}

/// Files as the distributions have them keep holding, alone and together.
fn defaults(guest: &Guest) -> Result<()> {
    let put = |path: &str, content: &str| {
        let words = content.trim_end().replace('\'', r"'\''").replace('\n', "\\n");
        guest.shell(&format!("mkdir -p /etc/sysconfig && printf '{words}\\n' >{path}"))?;
        guest.shell("systemctl restart qemu-guest-agent").map(drop)
    };
    let expect = |arguments_expected: &[&str], off: &[&str], on: &[&str]| {
        let arguments = arguments(guest)?;
        ensure!(arguments == arguments_expected, "{arguments:?}");
        for (command, expected) in off.iter().map(|off| (off, true)).chain(on.iter().map(|on| (on, false))) {
            ensure!(is_off(guest, command)? == expected, "{command}");
        }
        Ok(())
    };
    let allow = "--allow-rpcs=guest-sync-delimited,guest-sync,guest-ping,guest-info,guest-get-time";

    put("/etc/sysconfig/qemu-ga", SYSCONFIG)?;
    expect(
        &["-F/etc/qemu-ga/fsfreeze-hook", "--block-rpcs=", "--block-rpcs=", allow],
        &["guest-exec", "guest-file-open", "guest-get-osinfo"],
        &["guest-ping", "guest-get-time"],
    )?;

    put("/etc/sysconfig/qemu-ga", OLD_SYSCONFIG)?;
    expect(
        &["-F", "--block-rpcs=", "--block-rpcs=guest-file-open,guest-exec"],
        &["guest-exec", "guest-file-open"],
        &["guest-file-close", "guest-get-users"],
    )?;

    put("/etc/default/qemu-guest-agent", DEFAULTS)?;
    expect(
        &[
            "-F",
            "--block-rpcs=",
            "--block-rpcs=guest-file-open,guest-exec",
            "--block-rpcs=guest-get-users",
            "--verbose",
        ],
        &["guest-exec", "guest-file-open", "guest-get-users"],
        &["guest-get-osinfo"],
    )?;
    // As docs/replace-qemu-ga.md has it.
    let told = guest.shell(&format!(
        "xargs -0 -a /proc/{}/cmdline sh -c '\"$0\" check \"$@\"'",
        property(guest, "MainPID")?
    ))?;
    let exec = told.lines().find(|line| line.starts_with("guest-exec ")).context("no guest-exec")?;
    ensure!(exec.contains(" off "), "{exec}");
    guest.shell("rm -r /etc/sysconfig /etc/default/qemu-guest-agent").map(drop)
}
