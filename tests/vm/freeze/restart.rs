//! An agent that dies while filesystems are frozen, and its successor.

use anyhow::{Result, ensure};
use serde_json::json;
use waga_tests::client::Client;
use waga_tests::vm::{Disk, Guest, await_until, note};

use super::{
    LIMIT, TWO_CHANNELS, are_writable, begin_writing, error, freeze, have_written, kill_agent, report,
    start_agent, status, thaw, wait_for_a_thaw,
};
use crate::{image, in_guest, only_waga, step};

/// Freezes, kills the agent so many microseconds later, starts another and lets it thaw; then every filesystem takes a write, or the
/// loop ends in failure. It is all in the guest, for the moments to be near each other.
const KILLED: &str = r#"#!/bin/sh
call() { /usr/sbin/agent-under-test call --socket /run/agent.sock --timeout 60 "$@"; }
for delay in $(seq $1 $3 $2); do
    call guest-fsfreeze-freeze >/run/frozen 2>&1 &
    if [ "$4" = freeze ]; then
        while [ ! -e /run/agent-state/qga.state.isfrozen ]; do :; done
    else
        wait $!
        call guest-fsfreeze-thaw >/run/frozen 2>&1 &
    fi
    usleep $delay
    pid=$(cat /run/agent.pid)
    kill -9 $pid
    while [ -e /proc/$pid ]; do usleep 1000; done
    wait
    marked=no; [ ! -e /run/agent-state/qga.state.isfrozen ] || marked=yes
    setsid sh -c 'echo $$ >/run/agent.pid; . /etc/guest/agent' </dev/null >/dev/null 2>&1 &
    until status=$(call guest-fsfreeze-status 2>/dev/null); do usleep 1000; done
    thawed=$(call guest-fsfreeze-thaw 2>&1)
    echo "after $delay: marked $marked, found $status, thawed $thawed"
    [ "$(call guest-fsfreeze-status)" = '"thawed"' ] || exit 2
    [ ! -e /run/agent-state/qga.state.isfrozen ] || exit 3
    for folder in /mnt/*; do timeout -s KILL 30 sh -c "echo $delay >$folder/delay && sync $folder/delay" || exit 4; done
done
"#;

#[test]
fn an_agent_that_is_killed_leaves_nothing_frozen() -> Result<()> {
    if !only_waga("what a killed agent leaves") {
        return Ok(());
    }
    let mut image = image().config(&format!("{TWO_CHANNELS}[log]\nfile = '/mnt/a/log'\n")).file(
        "/etc/killed",
        0o755,
        KILLED,
    );
    for letter in 'a'..='f' {
        image = image.disk(Disk::ext4(16, &format!("/mnt/{letter}")));
    }
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(LIMIT)?;
        step("killed while frozen", || {
            ensure!(freeze(agent)? == 6);
            begin_writing(guest, &["/mnt/a", "/mnt/f"])?;
            wait_for_a_thaw(guest, &["/mnt/a", "/mnt/f"])?;
            kill_agent(guest, "KILL")?;
            start_agent(guest)
        })?;
        step("the successor's first answer", || agent.sync(1001))?;
        step("it goes on being frozen", || goes_on(guest, agent))?;
        step("it crashes", || crashes(guest, agent))?;
        step("frozen by somebody else", || another(guest, agent))?;
        step("a socket on what is frozen", || unreachable(guest, agent))?;
        step("a port that is gone", || gone(guest, agent))?;
        step("a configuration with a fault", || unfit(guest, agent))?;
        step("a daemon's pid file waits for the thaw", || background(guest))?;
        for (what, least, most) in [("freeze", 0, 270_000), ("thaw", 0, 220_000)] {
            step(&format!("killed at every moment of a {what}"), || {
                let told =
                    guest.shell(&format!("/etc/killed {least} {most} {} {what} 2>&1", (most - least) / 9))?;
                let moments = |words: &str| told.lines().filter(|line| line.contains(words)).count();
                let thawed: Vec<_> = told.lines().filter_map(|line| line.rsplit(' ').next()).collect();
                note(format_args!(
                    "killed {} times within a {what}, {} times after it; left to the next agent: {}",
                    moments("marked yes"),
                    moments("marked no"),
                    thawed.join(" ")
                ));
                ensure!(moments("marked yes") > 0, "{told}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn goes_on(guest: &Guest, agent: &mut Client) -> Result<()> {
    ensure!(status(agent)? == "frozen");
    ensure!(agent.run("guest-ping", json!({}))? == json!({}));
    ensure!(error(agent, "guest-get-time")?.contains("disabled"));
    ensure!(error(agent, "guest-fsfreeze-freeze")?.contains("disabled"));
    ensure!(thaw(agent)? == 6);
    have_written(guest, &["/mnt/a", "/mnt/f"])?;
    ensure!(status(agent)? == "thawed");
    ensure!(report(agent)?["thawed-by"] == "host");
    ensure!(thaw(agent)? == 0);
    agent.run("guest-get-time", json!({}))?;
    ensure!(freeze(agent)? == 6);
    ensure!(thaw(agent)? == 6);
    Ok(())
}

/// A core that has to wait for the thaw would keep the port from whoever is to thaw.
fn crashes(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.shell(
        "cat /proc/sys/kernel/core_pattern >/run/pattern; echo /mnt/a/core >/proc/sys/kernel/core_pattern",
    )?;
    kill_agent(guest, "TERM")?;
    guest.shell(
        "setsid sh -c 'ulimit -c unlimited; echo $$ >/run/agent.pid; . /etc/guest/agent' </dev/null >/dev/console 2>&1 &",
    )?;
    agent.sync(1007)?;
    ensure!(freeze(agent)? == 6);
    guest.shell("pid=$(cat /run/agent.pid); kill -ABRT $pid; timeout 30 sh -c \"while [ -e /proc/$pid ]; do usleep 10000; done\"")?;
    start_agent(guest)?;
    agent.sync(1008)?;
    ensure!(status(agent)? == "frozen");
    ensure!(thaw(agent)? == 6);
    guest.shell("[ ! -e /mnt/a/core ] && cat /run/pattern >/proc/sys/kernel/core_pattern").map(drop)
}

/// A channel's socket cannot be made before the thaw, which would have to come over a channel: the agent thaws, and says so.
fn unreachable(guest: &Guest, agent: &mut Client) -> Result<()> {
    let config = "/etc/waga/agent.toml";
    guest.shell(&format!("cp {config} /run/config; printf '[[channel]]\\nmethod = \"unix-listen\"\\npath = \"/mnt/b/sock\"\\n' >>{config}"))?;
    kill_agent(guest, "TERM")?;
    start_agent(guest)?;
    agent.sync(1003)?;
    ensure!(freeze(agent)? == 6);
    kill_agent(guest, "KILL")?;
    start_agent(guest)?;
    agent.sync(1004)?;
    ensure!(status(agent)? == "thawed");
    let desc = error(agent, "guest-fsfreeze-thaw")?;
    ensure!(desc.contains("a channel could not be opened otherwise"), "{desc}");
    ensure!(thaw(agent)? == 0);
    guest.shell(&format!("test -S /mnt/b/sock && cp /run/config {config}"))?;
    kill_agent(guest, "TERM")?;
    start_agent(guest)?;
    agent.sync(1005)
}

/// A successor that cannot open a channel ends, as ever, and nobody may come after it: it thaws first.
fn gone(guest: &Guest, agent: &mut Client) -> Result<()> {
    let config = "/etc/waga/agent.toml";
    ensure!(freeze(agent)? == 6);
    guest.shell(&format!("cp {config} /run/config; printf '[[channel]]\\nmethod = \"virtio-serial\"\\npath = \"/dev/virtio-ports/gone\"\\n' >>{config}"))?;
    kill_agent(guest, "KILL")?;
    let (code, told) = guest.shell_status("(. /etc/guest/agent) </dev/null 2>&1")?;
    ensure!(code == 1, "{code}: {}", String::from_utf8_lossy(&told));
    ensure!(guest.shell("ls /run/agent-state")?.lines().all(|name| name != "qga.state.isfrozen"));
    are_writable(guest, &["/mnt/a", "/mnt/f"])?;
    guest.shell(&format!("cp /run/config {config}"))?;
    start_agent(guest)?;
    agent.sync(1006)?;
    ensure!(error(agent, "guest-fsfreeze-thaw")?.contains("the agent could not start"));
    ensure!(thaw(agent)? == 0);
    Ok(())
}

/// The successor cannot start, and nobody else would thaw. But one that is started beside a living agent leaves its freeze alone.
fn unfit(guest: &Guest, agent: &mut Client) -> Result<()> {
    let start = "/usr/sbin/agent-under-test -c /run/unfit.toml -t /run/agent-state";
    guest.shell("echo '[polcy]' >/run/unfit.toml")?;
    ensure!(freeze(agent)? == 6);
    let (code, said) = guest.shell_status(start)?;
    let said = String::from_utf8_lossy(&said);
    ensure!(code == 1 && !said.contains("thawed"), "{said}");
    ensure!(status(agent)? == "frozen");
    begin_writing(guest, &["/mnt/a", "/mnt/f"])?;
    wait_for_a_thaw(guest, &["/mnt/a", "/mnt/f"])?;
    kill_agent(guest, "KILL")?;
    let (code, said) = guest.shell_status(start)?;
    let said = String::from_utf8_lossy(&said);
    ensure!(
        code == 1 && said.contains("filesystems that an agent before had left frozen were thawed"),
        "{said}"
    );
    have_written(guest, &["/mnt/a", "/mnt/f"])?;
    start_agent(guest)?;
    agent.sync(1010)?;
    ensure!(status(agent)? == "thawed");
    let desc = error(agent, "guest-fsfreeze-thaw")?;
    ensure!(desc.contains("the agent could not start again with its configuration"), "{desc}");
    ensure!(thaw(agent)? == 0);
    // Of another boot: nothing is frozen.
    kill_agent(guest, "TERM")?;
    guest.shell("echo 00000000-0000-0000-0000-000000000000 >/run/agent-state/qga.state.isfrozen")?;
    start_agent(guest)?;
    agent.sync(1011)?;
    ensure!(status(agent)? == "thawed");
    guest.shell("[ ! -e /run/agent-state/qga.state.isfrozen ]").map(drop)
}

/// One in the background, with files of its own, beside the one under test.
fn background(guest: &Guest) -> Result<()> {
    let agent = "/usr/sbin/agent-under-test";
    let call = format!("{agent} call --socket /run/d.sock");
    guest.shell("mkdir /run/d && touch /run/d/qga.state.isfrozen")?;
    guest.shell(&format!(
        "{agent} -d -m unix-listen -p /run/d.sock -t /run/d -f /run/d.pid -l /run/d.log -v"
    ))?;
    ensure!(guest.shell(&format!("{call} guest-fsfreeze-status"))? == "\"frozen\"");
    guest.shell("[ ! -e /run/d.pid ] && [ ! -e /run/d.log ]")?;
    ensure!(guest.shell(&format!("{call} guest-fsfreeze-thaw"))? == "0");
    await_until("its pid file", LIMIT, || {
        let (status, _) =
            guest.shell_status("[ -s /run/d.pid ] && grep -q 'left filesystems frozen' /run/d.log")?;
        Ok((status == 0).then_some(()))
    })?;
    guest.shell("kill $(cat /run/d.pid); while [ -e /run/d.pid ]; do usleep 10000; done").map(drop)
}

/// qemu-ga, say: its marker, and filesystems that nobody here froze, one of them twice.
fn another(guest: &Guest, agent: &mut Client) -> Result<()> {
    kill_agent(guest, "KILL")?;
    guest.shell(
        "fsfreeze --freeze /mnt/a; fsfreeze --freeze /mnt/c; touch /run/agent-state/qga.state.isfrozen",
    )?;
    start_agent(guest)?;
    agent.sync(1002)?;
    ensure!(status(agent)? == "frozen");
    ensure!(thaw(agent)? == 2);
    are_writable(guest, &["/mnt/a", "/mnt/c"])?;
    // Without a marker too: as qemu-ga, it thaws what it finds.
    guest.shell("fsfreeze --freeze /mnt/d")?;
    ensure!(status(agent)? == "thawed");
    ensure!(thaw(agent)? == 1);
    are_writable(guest, &["/mnt/d"])
}
