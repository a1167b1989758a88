//! The hook: told of both, or of neither; never waited for for ever.

use anyhow::{Result, ensure};
use waga_tests::client::Client;
use waga_tests::vm::{Disk, Guest};

use super::{LIMIT, are_writable, error, freeze, kill_agent, report, status, thaw};
use crate::hung_filesystem::NEVER_ANSWERS;
use crate::{image, in_guest, only_waga, step};

const CONFIG: &str = r#"
[[channel]]
method = "virtio-serial"

[freeze]
hook = "/etc/hook"
hook-timeout = "3s"
"#;

/// Notes what it is told, then does what a file says for that.
const HOOK: &str = "#!/bin/sh\necho $1 >>/run/hook.log\n[ ! -e /run/hook-$1 ] || . /run/hook-$1\n";

#[test]
fn a_hook_is_told_and_cannot_hang_the_agent() -> Result<()> {
    if !only_waga("a hook's timeout") {
        return Ok(());
    }
    let image = image().config(CONFIG).file("/etc/hook", 0o755, HOOK).disk(Disk::ext4(32, "/mnt/data"));
    let image = image.disk(Disk::blank(8)).module("fuse");
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(LIMIT)?;
        step("told of both", || {
            ensure!(freeze(agent)? == 1);
            told(guest, "freeze")?;
            ensure!(thaw(agent)? == 1);
            told(guest, "thaw")?;
            ensure!(thaw(agent)? == 0);
            told(guest, "thaw")?;
            let told = report(agent)?;
            ensure!(
                told["hooks"].as_array().is_some_and(|hooks| hooks.len() == 2),
                "not of this freeze: {told}"
            );
            Ok(())
        })?;
        step("nothing to freeze", || {
            ensure!(agent.run("guest-fsfreeze-freeze-list", serde_json::json!({"mountpoints": []}))? == 0);
            ensure!(status(agent)? == "thawed");
            told(guest, "freeze thaw")
        })?;
        step("the freeze hook fails", || {
            does(guest, "freeze", "echo no room; exit 3")?;
            let desc = error(agent, "guest-fsfreeze-freeze")?;
            ensure!(desc == "child process has failed to execute fsfreeze hook: no room\n", "{desc}");
            told(guest, "freeze thaw")?;
            nothing_is_frozen(guest, agent)
        })?;
        step("the freeze hook hangs, and so does what it left behind", || {
            does(guest, "freeze", "setsid sh -c 'echo $$ >/run/left; sleep 1000' & echo begun; sleep 1000")?;
            let desc = error(agent, "guest-fsfreeze-freeze")?;
            ensure!(desc.contains("it had not ended after 3s: begun"), "{desc}");
            told(guest, "freeze thaw")?;
            let (status, _) = guest.shell_status("kill -0 $(cat /run/left)")?;
            ensure!(status != 0, "what it left behind outlived it");
            nothing_is_frozen(guest, agent)
        })?;
        step("what a hook leaves behind holds up nobody", || {
            does(guest, "freeze", "sleep 1000 & echo $! >/run/left")?;
            ensure!(freeze(agent)? == 1);
            ensure!(thaw(agent)? == 1);
            told(guest, "freeze thaw")?;
            guest.shell("kill $(cat /run/left)").map(drop)
        })?;
        step("the thaw hook fails", || {
            does(guest, "freeze", "exit 0")?;
            does(guest, "thaw", "exit 4")?;
            ensure!(freeze(agent)? == 1);
            let desc = error(agent, "guest-fsfreeze-thaw")?;
            ensure!(desc == "child process has failed to execute fsfreeze hook: exit status 4", "{desc}");
            told(guest, "freeze thaw")?;
            nothing_is_frozen(guest, agent)
        })?;
        step("the thaw hook hangs", || {
            does(guest, "thaw", "sleep 1000")?;
            ensure!(freeze(agent)? == 1);
            let desc = error(agent, "guest-fsfreeze-thaw")?;
            ensure!(desc.contains("it had not ended after 3s"), "{desc}");
            told(guest, "freeze thaw")?;
            nothing_is_frozen(guest, agent)
        })?;
        step("the report", || {
            let told = report(agent)?;
            let hooks = told["hooks"].as_array().map(Vec::as_slice).unwrap_or_default();
            ensure!(
                hooks.len() == 2 && hooks[0]["action"] == "freeze" && hooks[1]["action"] == "thaw",
                "{told}"
            );
            ensure!(hooks[0].get("error").is_none() && hooks[1]["error"].is_string(), "{told}");
            Ok(())
        })?;
        step("the agent ends while the freeze hook hangs", || {
            does(guest, "freeze", "sleep 1000")?;
            does(guest, "thaw", "exit 0")?;
            agent.send("{\"execute\":\"guest-fsfreeze-freeze\"}\n")?;
            guest.shell("until [ -s /run/hook.log ]; do usleep 10000; done")?;
            kill_agent(guest, "TERM")?;
            told(guest, "freeze thaw")?;
            ensure!(guest.console().contains("it is to go on no longer"), "{}", guest.console());
            guest.shell(
                "setsid sh -c 'echo $$ >/run/agent.pid; . /etc/guest/agent' </dev/null >/dev/console 2>&1 &",
            )?;
            agent.sync(3001)?;
            nothing_is_frozen(guest, agent)
        })?;
        step("no hook there", || {
            guest.shell("rm /etc/hook")?;
            let desc = error(agent, "guest-fsfreeze-freeze")?;
            ensure!(
                desc == "child process has failed to execute fsfreeze hook: failed to exec '/etc/hook': No such file or directory\n",
                "{desc}"
            );
            nothing_is_frozen(guest, agent)
        })?;
        step("a hook on a disk that does not answer", || {
            guest.shell(&format!("{NEVER_ANSWERS} && ln -s /mnt/hung/hook /etc/hook"))?;
            let desc = error(agent, "guest-fsfreeze-freeze")?;
            ensure!(desc.contains("it had not ended after 3s"), "{desc}");
            nothing_is_frozen(guest, agent)
        })
    })
}

/// What the hook was told since it was last asked.
fn told(guest: &Guest, expected: &str) -> Result<()> {
    let told = guest.shell("cat /run/hook.log; rm -f /run/hook.log")?;
    ensure!(told.replace('\n', " ") == expected, "{told:?}");
    Ok(())
}

/// Tells the hook what to do.
fn does(guest: &Guest, action: &str, script: &str) -> Result<()> {
    let script = script.replace('\\', "\\\\").replace('$', "\\$").replace('"', "\\\"");
    guest.shell(&format!("echo \"{script}\" >/run/hook-{action}")).map(drop)
}

fn nothing_is_frozen(guest: &Guest, agent: &mut Client) -> Result<()> {
    ensure!(status(agent)? == "thawed");
    ensure!(guest.shell("ls /run/agent-state")?.lines().all(|name| name != "qga.state.isfrozen"));
    are_writable(guest, &["/mnt/data"])
}
