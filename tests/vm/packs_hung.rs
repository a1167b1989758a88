//! A disk that does not answer, with the store of packs on it: an agent starts and reloads all the same, without what it cannot know.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use waga_tests::client::Client;
use waga_tests::component::component;
use waga_tests::vm::{Disk, Guest, await_until};

use crate::extensions::{guest_with, waga_ext};
use crate::freeze::{LIMIT, kill_agent, start_agent};
use crate::{in_guest, step};

/// Where a store is unless something else is said, and where it comes from here.
const STORE: &str = "/var/lib/waga/packs";
const MADE: &str = "/usr/lib/waga-packs";

/// One component is both: the module, whose file is elsewhere, and the pack.
const TABLES: &[(&str, &str)] = &[
    ("here", "add = ['guest-test-here']\nlimits = { cpu = '10s', time = '30s' }"),
    (
        "one",
        "pack = 'one'\nversion = '1.0.0'\nadd = ['guest-test-packed']\nlimits = { cpu = '10s', time = '30s' }",
    ),
];

/// Made for this test; whose secret half nobody has.
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

const SILENT: &str = "Command guest-test-packed has been disabled: extension one: pack one 1.0.0: /var/lib/waga/packs does not answer";

#[test]
fn hung_store_of_packs_keeps_no_agent_from_serving() -> Result<()> {
    if waga_ext()?.is_none() {
        return Ok(());
    }
    let made = component(
        "package test:it; interface i { guest-test-here: func() -> u32; guest-test-packed: func() -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-here") (result i32) (i32.const 1))
        (func (export "test:it/i#guest-test-packed") (result i32) (i32.const 2))"#,
    );
    let digest: String = Sha256::digest(&made).iter().map(|byte| format!("{byte:02x}")).collect();
    let receipt = json!({
        "name": "one", "version": "1.0.0", "publisher": "Acme GmbH", "description": "One",
        "digest": "0".repeat(64), "archive": "1".repeat(64), "signer": {"name": "acme", "key": KEY},
        "component": "one.wasm", "files": {"one.wasm": digest},
    });
    let Some(image) = guest_with("native", TABLES, &[], &[("here", made.clone())], &["here"])? else {
        return Ok(());
    };
    let image = image
        .file("/etc/waga/trust.d/acme.pub", 0o644, KEY)
        .file(&format!("{MADE}/one/1.0.0/one.wasm"), 0o644, made)
        .file(&format!("{MADE}/one/1.0.0/receipt.json"), 0o644, receipt.to_string())
        .disk(Disk::ext4(16, STORE).mapped())
        .setup(&format!("cp -R {MADE}/one {STORE}/one"));
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(LIMIT)?;
        step("a pack", || serves(agent))?;
        step("an agent that starts while its disk hangs", || {
            kill_agent(guest, "TERM")?;
            hang(guest)?;
            start_agent(guest)?;
            agent.sync(1)?;
            is_silent(agent)
        })?;
        step("a reload while it hangs", || {
            // Others are served all the time that it waits for the disk; and the signal is for none of those that wait.
            guest.shell("kill -HUP $(cat /run/agent.pid)")?;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(8) {
                ensure!(agent.run("guest-test-here", json!({}))? == 1);
            }
            is_silent(agent)
        })?;
        step("it answers again", || answers(guest, agent))?;
        step("an agent that goes to the background while it hangs", || {
            kill_agent(guest, "TERM")?;
            hang(guest)?;
            guest.shell("sh -c \"$(cat /etc/guest/agent) -d -f /run/agent.pid\"")?;
            agent.sync(2)?;
            is_silent(agent)?;
            answers(guest, agent)
        })
    })
}

fn serves(agent: &mut Client) -> Result<()> {
    let (here, packed) =
        (agent.run("guest-test-here", json!({}))?, agent.run("guest-test-packed", json!({}))?);
    ensure!((&here, &packed) == (&json!(1), &json!(2)), "{here} {packed}");
    Ok(())
}

/// Only the pack is not there, and the reason is told.
fn is_silent(agent: &mut Client) -> Result<()> {
    ensure!(agent.run("guest-test-here", json!({}))? == 1);
    let (class, desc) = agent.refused("guest-test-packed", json!({}))?;
    ensure!((&*class, &*desc) == ("CommandNotFound", SILENT), "{class}: {desc}");
    let all: Value = agent.run("waga-get-extensions", json!({}))?;
    let one = all.as_array().and_then(|all| all.iter().find(|it| it["name"] == "one"));
    ensure!(one.is_some_and(|one| one["state"] == "refused"), "{all}");
    Ok(())
}

/// The disk answers again, and after a reload so does the pack.
fn answers(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.shell("DM_DISABLE_UDEV=1 dmsetup resume volume-b; kill -HUP $(cat /run/agent.pid)")?;
    let mut last = String::new();
    let served = await_until("the pack", LIMIT, || {
        Ok(serves(agent).map_err(|error| last = format!("{error:#}")).ok())
    });
    served.with_context(|| last)
}

/// Nothing of the disk is in memory, and it does not answer.
fn hang(guest: &Guest) -> Result<()> {
    guest.shell("sync; echo 3 >/proc/sys/vm/drop_caches")?;
    guest.shell("DM_DISABLE_UDEV=1 dmsetup suspend --nolockfs --noflush volume-b").map(drop)
}
