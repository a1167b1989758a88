//! What nobody asked for: a deadline, a signal, a disk that hangs or fails, a client that leaves. Nothing stays frozen.

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waga_tests::client::Client;
use waga_tests::vm::{Disk, Guest, await_until};

use super::{
    LIMIT, TWO_CHANNELS, are_writable, ask_inside, begin_writing, entry, error, freeze, have_written,
    kill_agent, report, start_agent, status, thaw, wait_for_a_thaw,
};
use crate::{image, in_guest, only_waga, step};

const FOLDERS: [&str; 3] = ["/mnt/mapped", "/mnt/data", "/mnt/scratch"];

#[test]
fn whatever_happens_nothing_stays_frozen() -> Result<()> {
    if !only_waga("a rescue") {
        return Ok(());
    }
    let config = format!(
        "{TWO_CHANNELS}
[policy]
block = ['guest-fsfreeze-thaw', 'guest-fsfreeze-status', 'guest-ping']
[log]
file = '/mnt/data/log'
verbose = true
[audit]
file = '/mnt/data/audit'
[freeze]
exclude = ['/mnt/scr*']
"
    );
    let image = image()
        .config(&config)
        .disk(Disk::ext4(32, FOLDERS[0]).mapped())
        .disk(Disk::ext4(32, FOLDERS[1]))
        .disk(Disk::ext4(32, FOLDERS[2]));
    in_guest(&image, |guest| {
        let mut client = step("the first answer", || guest.connect())?;
        let agent = &mut client;
        agent.patience(LIMIT)?;
        step("a policy that blocks what thaws, and files on what is frozen", || frozen_files(guest, agent))?;
        let plain = format!("{TWO_CHANNELS}[freeze]\nexclude = ['/mnt/scratch']\n");
        configured(guest, agent, &plain)?;
        step("the client leaves", || agent.send("{\"execute\":\"guest-fsfreeze-freeze\"}\n"))?;
        guest.await_host(true)?;
        drop(client);
        let agent = &mut step("another client", || guest.connect())?;
        agent.patience(LIMIT)?;
        step("it finds all frozen", || {
            ensure!(status(agent)? == "frozen");
            ensure!(thaw(agent)? == 2);
            are_writable(guest, &FOLDERS)
        })?;
        step("a disk hangs", || hanging_disk(guest, agent))?;
        step("a disk hangs that is frozen", || hanging_thaw(guest, agent))?;
        step("a freeze while a thaw looks for what others froze", || at_once(guest, agent))?;
        step("SIGTERM", || signal(guest, agent))?;
        configured(guest, agent, &format!("{TWO_CHANNELS}[freeze]\ndeadline = '8s'\n"))?;
        step("a deadline", || deadline(guest, agent))?;
        step("a disk fails", || failing_disk(guest, agent))
    })
}

/// Starts the agent anew with another configuration.
fn configured(guest: &Guest, agent: &mut Client, config: &str) -> Result<()> {
    step("another configuration", || {
        guest.shell(&format!("echo {} | base64 -d >/etc/waga/agent.toml", STANDARD.encode(config)))?;
        kill_agent(guest, "TERM")?;
        start_agent(guest)?;
        agent.sync(2001)
    })
}

fn frozen_files(guest: &Guest, agent: &mut Client) -> Result<()> {
    ensure!(error(agent, "guest-fsfreeze-thaw")?.contains("not allowed"));
    ensure!(freeze(agent)? == 2);
    ensure!(error(agent, "guest-ping")?.contains("not allowed"));
    ensure!(status(agent)? == "frozen");
    for id in 0..200 {
        ensure!(agent.run("guest-sync", json!({"id": 7000 + id}))? == 7000 + id);
    }
    ensure!(error(agent, "guest-get-time")?.contains("not allowed"));
    guest.shell("kill -HUP $(cat /run/agent.pid)")?;
    begin_writing(guest, &FOLDERS)?;
    wait_for_a_thaw(guest, &FOLDERS[..2])?;
    have_written(guest, &FOLDERS[2..])?;
    let told = report(agent)?;
    let scratch = entry(&told, "/mnt/scratch")?;
    ensure!(scratch["reason"] == "excluded by the configuration", "{scratch}");
    ensure!(thaw(agent)? == 2);
    have_written(guest, &FOLDERS)?;
    ensure!(error(agent, "guest-fsfreeze-status")?.contains("not allowed"));
    await_until("what was held back", LIMIT, || {
        let audited = guest.shell("grep -c guest-sync /mnt/data/audit || true")?;
        let logged = guest.shell("grep -c 'called command=\"guest-sync\"' /mnt/data/log || true")?;
        Ok((audited.parse::<u32>()? >= 200 && logged.parse::<u32>()? >= 200).then_some(()))
    })?;
    guest.shell("grep guest-get-time /mnt/data/audit | grep -q '\"by\": \"frozen\"'")?;
    guest.shell("grep -q 'not reloaded: filesystems are frozen' /mnt/data/log").map(drop)
}

/// One that is written to and does not answer: the others are thawed at once, and it when it answers again.
fn hanging_disk(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.shell(
        "DM_DISABLE_UDEV=1 dmsetup suspend --nolockfs --noflush volume-a; echo dirty >/mnt/mapped/dirty",
    )?;
    agent.send("{\"execute\":\"guest-fsfreeze-freeze\"}\n")?;
    await_until("the freeze of the one that answers", LIMIT, || {
        let (code, told) = ask_inside(guest, "waga-get-freeze-report")?;
        ensure!(code == 0, "{told}");
        let told: serde_json::Value = serde_json::from_str(&told)?;
        let state = |folder| entry(&told, folder).map(|entry| entry["state"].clone());
        Ok((state("/mnt/data")? == "frozen" && state("/mnt/mapped")? == "freezing").then_some(()))
    })?;
    begin_writing(guest, &["/mnt/data"])?;
    let (code, told) = ask_inside(guest, "guest-ping")?;
    ensure!(code == 0, "another channel waits: {told}");
    guest.shell("/usr/sbin/agent-under-test call --socket /run/agent.sock --timeout 300 guest-fsfreeze-thaw >/run/thawed 2>&1 &")?;
    have_written(guest, &["/mnt/data"])?;
    guest.shell("DM_DISABLE_UDEV=1 dmsetup resume volume-a")?;
    let reply = agent.text()?;
    ensure!(reply.contains("the filesystems were thawed while they were being frozen"), "{reply}");
    await_until("the thaw's answer", LIMIT, || Ok((guest.shell("cat /run/thawed")? == "2").then_some(())))?;
    ensure!(status(agent)? == "thawed");
    are_writable(guest, &FOLDERS)
}

/// Another client's thaw, of what somebody else froze, takes long: it must not thaw what is frozen meanwhile.
fn at_once(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.shell(
        "fsfreeze --freeze /mnt/mapped && DM_DISABLE_UDEV=1 dmsetup suspend --nolockfs --noflush volume-a; \
         /usr/sbin/agent-under-test call --socket /run/agent.sock --timeout 300 guest-fsfreeze-thaw >/run/thawed 2>&1 &",
    )?;
    await_until("the thaw's waiting for the disk", LIMIT, || {
        let (code, _) =
            guest.shell_status("cat /proc/$(cat /run/agent.pid)/task/*/stack | grep -q thaw_super")?;
        Ok((code == 0).then_some(()))
    })?;
    let desc = error(agent, "guest-fsfreeze-freeze")?;
    ensure!(desc == "filesystems are being frozen or thawed already", "{desc}");
    guest.shell("DM_DISABLE_UDEV=1 dmsetup resume volume-a")?;
    await_until("the thaw's answer", LIMIT, || Ok((guest.shell("cat /run/thawed")? == "1").then_some(())))?;
    ensure!(status(agent)? == "thawed");
    are_writable(guest, &FOLDERS)
}

/// One that does not answer when it is to be thawed, which writes to it: it keeps none of the others.
fn hanging_thaw(guest: &Guest, agent: &mut Client) -> Result<()> {
    ensure!(freeze(agent)? == 2);
    // Without the filesystem's knowledge, which waits in the kernel for its thaw.
    guest.shell("DM_DISABLE_UDEV=1 dmsetup suspend --nolockfs --noflush volume-a")?;
    begin_writing(guest, &FOLDERS[..2])?;
    wait_for_a_thaw(guest, &FOLDERS[..2])?;
    agent.send("{\"execute\":\"guest-fsfreeze-thaw\"}\n")?;
    have_written(guest, &["/mnt/data"])?;
    let (code, told) = ask_inside(guest, "guest-fsfreeze-status")?;
    ensure!(code == 0 && told == "\"frozen\"", "{told}");
    guest.shell("DM_DISABLE_UDEV=1 dmsetup resume volume-a")?;
    let reply = agent.text()?;
    ensure!(reply == "{\"return\": 2}", "{reply}");
    have_written(guest, &FOLDERS[..2])
}

/// Thaws, then ends; the next agent tells the host once.
fn signal(guest: &Guest, agent: &mut Client) -> Result<()> {
    ensure!(freeze(agent)? == 2);
    begin_writing(guest, &FOLDERS[..2])?;
    wait_for_a_thaw(guest, &FOLDERS[..2])?;
    kill_agent(guest, "TERM")?;
    have_written(guest, &FOLDERS[..2])?;
    ensure!(guest.shell("ls /run/agent-state")?.lines().all(|name| name != "qga.state.isfrozen"));
    start_agent(guest)?;
    agent.sync(2002)?;
    ensure!(status(agent)? == "thawed");
    let desc = error(agent, "guest-fsfreeze-thaw")?;
    ensure!(
        desc.starts_with("the filesystems were thawed already at 20") && desc.contains("the agent was ended"),
        "{desc}"
    );
    ensure!(thaw(agent)? == 0);
    Ok(())
}

fn deadline(guest: &Guest, agent: &mut Client) -> Result<()> {
    // One that the host ends in time is none.
    ensure!(freeze(agent)? == 3);
    ensure!(thaw(agent)? == 3);
    ensure!(freeze(agent)? == 3);
    begin_writing(guest, &FOLDERS)?;
    have_written(guest, &FOLDERS)?;
    await_until("the end of the freeze", LIMIT, || Ok((status(agent)? == "thawed").then_some(())))?;
    let told = report(agent)?;
    ensure!(told["thawed-by"] == "deadline", "{told}");
    let held =
        told["thawed-at"].as_i64().zip(told["frozen-at"].as_i64()).map(|(thawed, frozen)| thawed - frozen);
    ensure!(held.is_some_and(|held| held > 2_000_000_000), "{told}");
    let desc = error(agent, "guest-fsfreeze-thaw")?;
    ensure!(desc.contains("the deadline of 8s had passed"), "{desc}");
    ensure!(thaw(agent)? == 0);
    // What was not asked for once is no business of the next.
    ensure!(freeze(agent)? == 3);
    ensure!(thaw(agent)? == 3);
    Ok(())
}

/// One whose data cannot be written out: the freeze fails, and nothing is left of it.
fn failing_disk(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.shell(
        "export DM_DISABLE_UDEV=1; size=$(dmsetup table volume-a | cut -d ' ' -f 2); \
         dmsetup suspend --nolockfs --noflush volume-a; echo more >/mnt/mapped/more; \
         dmsetup load volume-a --table \"0 $size error\"; dmsetup resume volume-a",
    )?;
    let desc = error(agent, "guest-fsfreeze-freeze")?;
    ensure!(desc.starts_with("failed to freeze /mnt/mapped: "), "{desc}");
    ensure!(status(agent)? == "thawed");
    let told = report(agent)?;
    ensure!(told["thawed-by"] == "failure" && told["error"] == desc.as_str(), "{told}");
    ensure!(
        entry(&told, "/mnt/mapped")?["state"] == "failed" && entry(&told, "/mnt/data")?["state"] == "thawed",
        "{told}"
    );
    are_writable(guest, &FOLDERS[1..])
}
