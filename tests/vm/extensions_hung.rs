//! A disk that does not answer, below a folder that an extension was granted: its calls end, and nobody else waits.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waga_tests::client::Client;
use waga_tests::example;
use waga_tests::vm::{Disk, Guest, await_until};

use crate::extensions::{guest_with, one, waga_ext};
use crate::freeze::{ask_inside, kill_agent, start_agent};
use crate::{in_guest, step};

/// How long what is to happen by itself may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// No more of its calls than two are under way at once, and no more of its threads than that.
const CONCURRENCY: usize = 2;

const TABLES: &[(&str, &str)] = &[
    (
        "hung",
        "add = ['guest-test-file']\nread = ['/mnt/hung/granted']\nlimits = { cpu = '10s', time = '5s', concurrency = 2 }",
    ),
    (
        "sound",
        "add = ['guest-test-sum']\nread = ['/mnt/data/files/']\nlimits = { cpu = '10s', time = '60s' }",
    ),
];

const TIME: &str = "extension hung: guest-test-file did not answer in time (limits.time = \"5s\")";

#[test]
fn hung_filesystem_is_its_own_extensions_trouble_alone() -> Result<()> {
    let Some(waga_ext) = waga_ext()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let files = example::build(&waga_ext, "tests/components/files", folder.path())?;
    let files = fs::read(files)?;
    let made = [("hung", files.clone()), ("sound", files)];
    let Some(image) = guest_with("native", TABLES, &[], &made, &["hung", "sound"])? else { return Ok(()) };
    let image = image.disk(Disk::ext4(16, "/mnt/hung").mapped()).setup(
        "mkdir /mnt/data/files && printf abc >/mnt/data/files/sound
        mkdir /mnt/hung/granted && cd /mnt/hung/granted
        for name in one two three four; do mkdir $name && echo $name >$name/file; done",
    );
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(LIMIT)?;
        step("it works", || {
            ensure!(read(agent, "/mnt/hung/granted/one/file")? == "one\n");
            others_are_served(guest)
        })?;
        step("it hangs", || hang(guest))?;
        let before = threads(agent)?;
        step("calls that open a file", || {
            for name in ["two", "three"] {
                ends_in_time(guest, agent, &format!("/mnt/hung/granted/{name}/file"))?;
            }
            Ok(())
        })?;
        step("calls without a thread for them", || crowd(guest, agent, before))?;
        step("the configuration is read anew", || {
            guest.shell("kill -HUP $(cat /run/agent.pid)")?;
            others_are_served(guest)?;
            agent.run("guest-ping", json!({})).map(drop)
        })?;
        step("it answers again", || answers(guest, agent))?;
        step("no thread is left of it", || {
            await_until("the end of its threads", LIMIT, || Ok((waiting(guest)? == 0).then_some(())))
        })?;
        step("a call that reads a file which is open", || {
            // What it is is known, what is in it is not.
            guest.shell("sync; echo 3 >/proc/sys/vm/drop_caches; ls -l /mnt/hung/granted/four/file")?;
            suspend(guest)?;
            ends_in_time(guest, agent, "/mnt/hung/granted/four/file")?;
            answers(guest, agent)
        })?;
        step("an agent that starts while it hangs", || {
            kill_agent(guest, "TERM")?;
            hang(guest)?;
            start_agent(guest)?;
            agent.sync(2001)?;
            others_are_served(guest)?;
            // What it was granted is not open yet, unless the kernel still knew that folder.
            let (class, desc) = refused(agent, "/mnt/hung/granted/one/file")?;
            let is_starting = class == "CommandNotFound" && desc.ends_with("extension hung: starting");
            ensure!(is_starting || (class == "GenericError" && desc == TIME), "{class}: {desc}");
            others_are_served(guest)?;
            answers(guest, agent)
        })
    })
}

/// Nothing of the disk is in memory, and it does not answer.
fn hang(guest: &Guest) -> Result<()> {
    guest.shell("sync; echo 3 >/proc/sys/vm/drop_caches")?;
    suspend(guest)?;
    // Whoever waits in the kernel cannot be killed: it is not waited for.
    guest.shell("{ cat /mnt/hung/granted/one/file; touch /run/answered; } >/dev/null 2>&1 & usleep 500000; [ ! -e /run/answered ]")?;
    Ok(())
}

fn suspend(guest: &Guest) -> Result<()> {
    guest.shell("DM_DISABLE_UDEV=1 dmsetup suspend --nolockfs --noflush volume-b").map(drop)
}

/// The disk answers again, and so does the extension once it has rested.
fn answers(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.shell("DM_DISABLE_UDEV=1 dmsetup resume volume-b; rm -f /run/answered")?;
    for name in ["one", "two", "three", "four"] {
        let mut last = String::new();
        let answer = await_until("an answer", LIMIT, || {
            match read(agent, &format!("/mnt/hung/granted/{name}/file")) {
                Ok(text) => Ok(Some(text)),
                Err(error) => {
                    last = error.to_string();
                    Ok(None)
                }
            }
        });
        ensure!(answer.with_context(|| last)? == format!("{name}\n"));
    }
    others_are_served(guest)
}

fn request(path: &str) -> Value {
    json!({"what": "read", "path": path})
}

fn read(agent: &mut Client, path: &str) -> Result<Value> {
    agent.run("guest-test-file", request(path))
}

fn refused(agent: &mut Client, path: &str) -> Result<(String, String)> {
    agent.refused("guest-test-file", request(path))
}

/// On another channel, the agent's own commands and another extension's.
fn others_are_served(guest: &Guest) -> Result<()> {
    let told = ask_inside(guest, "guest-ping")?;
    ensure!(told == (0, "{}".to_owned()), "{told:?}");
    let told = ask_inside(guest, "guest-test-sum path=/mnt/data/files/sound piece=10")?;
    ensure!(told == (0, "[3,294]".to_owned()), "{told:?}");
    Ok(())
}

/// A call fails, others are served meanwhile, and its channel goes on.
fn ends_in_time(guest: &Guest, agent: &mut Client, path: &str) -> Result<()> {
    agent.send(format!("{}\n", json!({"execute": "guest-test-file", "arguments": request(path)})))?;
    let is_running = || -> Result<bool> {
        let (code, told) = ask_inside(guest, "waga-get-extensions")?;
        ensure!(code == 0, "{told}");
        let told: Value = serde_json::from_str(&told)?;
        let mut all = told.as_array().context("no list")?.iter();
        Ok(all.any(|it| it["name"] == "hung" && it["running"] == 1))
    };
    ensure!(is_running()?, "it does not hang");
    others_are_served(guest)?;
    let reply: Value = serde_json::from_str(&agent.text()?)?;
    ensure!(reply["error"] == json!({"class": "GenericError", "desc": TIME}), "{reply}");
    ensure!(agent.run("guest-ping", json!({}))? == json!({}));
    ensure!(!is_running()?);
    Ok(())
}

/// Further calls find no thread, then the command rests, and whoever calls it again and again gets no further.
fn crowd(guest: &Guest, agent: &mut Client, before: u64) -> Result<()> {
    ensure!(waiting(guest)? == CONCURRENCY, "{} threads wait", waiting(guest)?);
    ends_in_time(guest, agent, "/mnt/hung/granted/four/file")?;
    // On a busy machine the first pauses are over before anybody looks.
    await_until("a pause", LIMIT, || {
        let (class, desc) = refused(agent, "/mnt/hung/granted/one/file")?;
        ensure!(class == "GenericError", "{class}: {desc}");
        let rests = "extension hung: guest-test-file rests for another ";
        ensure!(desc == TIME || desc.starts_with(rests), "{desc}");
        Ok((desc != TIME).then_some(()))
    })?;
    // Two at once, until the pause is over and they were called in vain. More of them would rest for minutes.
    let failures = one(agent, "hung")?["failures"].as_u64().context("failures")?;
    await_until("calls in vain", LIMIT, || {
        let call = "/usr/sbin/agent-under-test call --socket /run/agent.sock --timeout 120 guest-test-file";
        guest.shell(&format!(
            "for name in one four; do {call} what=read path=/mnt/hung/granted/$name/file >/dev/null 2>&1 & done; wait"
        ))?;
        Ok((one(agent, "hung")?["failures"].as_u64() > Some(failures)).then_some(()))
    })?;
    ensure!(waiting(guest)? == CONCURRENCY, "{} threads wait", waiting(guest)?);
    // Beside them there may be some that come for a request and go.
    let now = threads(agent)?;
    ensure!(now <= before + CONCURRENCY as u64 + 2, "{now} threads after {before}");
    others_are_served(guest)
}

/// How many threads of the agent wait for a disk.
fn waiting(guest: &Guest) -> Result<usize> {
    // One that ends meanwhile is none of them.
    let look = "cat /proc/$(cat /run/agent.pid)/task/*/status 2>/dev/null | grep -c '^State:.D' || true";
    Ok(guest.shell(look)?.trim().parse()?)
}

fn threads(agent: &mut Client) -> Result<u64> {
    let told = agent.run("waga-get-stats", json!({}))?;
    told["process"]["threads"].as_u64().with_context(|| format!("no threads in {told}"))
}
