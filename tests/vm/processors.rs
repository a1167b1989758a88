//! Processors and memory blocks are switched off and on, as the guest's kernel sees it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use waga_tests::client::Client;
use waga_tests::vm::{Guest, await_until, note};

use crate::{image, in_guest, step};

#[test]
fn processors_and_memory_are_switched() -> Result<()> {
    in_guest(&image(), |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("a processor off and on", || processor(agent, guest))?;
        step("processors that cannot be switched", || stubborn_processors(agent, guest))?;
        step("a processor that is plugged in", || plugged(agent, guest))?;
        step("a memory block off and on", || memory_block(agent, guest))?;
        step("memory blocks that cannot be switched", || stubborn_blocks(agent, guest))
    })
}

/// Asks for processors to be switched, each by its number.
fn set(agent: &mut Client, wanted: &[(i64, bool)]) -> Result<Value> {
    agent.run("guest-set-vcpus", vcpus(wanted))
}

fn vcpus(wanted: &[(i64, bool)]) -> Value {
    let wanted: Vec<_> =
        wanted.iter().map(|(id, online)| json!({"logical-id": id, "online": online})).collect();
    json!({"vcpus": wanted})
}

/// Which are on, as the agent tells and as the kernel does.
fn on(agent: &mut Client, guest: &Guest, wanted: &[u64]) -> Result<()> {
    let told = agent.run("guest-get-vcpus", json!({}))?;
    let told = told.as_array().context("no list of processors")?;
    let mut online: Vec<_> = told
        .iter()
        .filter(|cpu| cpu["online"] == true)
        .filter_map(|cpu| cpu["logical-id"].as_u64())
        .collect();
    // The original lists them in no order.
    online.sort_unstable();
    ensure!(online == wanted, "{told:?}");
    let kernel = guest.shell("grep ^processor /proc/cpuinfo | sed 's/.*: //'")?;
    let kernel: Vec<u64> = kernel.lines().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(kernel == wanted, "the kernel has {kernel:?}");
    ensure!(guest.shell("nproc")? == wanted.len().to_string());
    Ok(())
}

fn processor(agent: &mut Client, guest: &Guest) -> Result<()> {
    on(agent, guest, &[0, 1])?;
    // With all that libvirt sends, which sends what it was told.
    let all = json!({"vcpus": [{"logical-id": 1, "online": false, "can-offline": true}]});
    ensure!(agent.run("guest-set-vcpus", all)? == 1);
    on(agent, guest, &[0])?;
    ensure!(guest.shell("cat /sys/devices/system/cpu/online")? == "0");
    ensure!(set(agent, &[(1, false)])? == 1, "it is off already");
    ensure!(set(agent, &[(0, true), (1, true)])? == 2);
    on(agent, guest, &[0, 1])?;
    ensure!(guest.shell("cat /sys/devices/system/cpu/online")? == "0-1");
    Ok(())
}

fn stubborn_processors(agent: &mut Client, guest: &Guest) -> Result<()> {
    let (class, desc) = agent.refused("guest-set-vcpus", vcpus(&[(0, false), (1, false)]))?;
    ensure!(
        (&*class, &*desc) == ("GenericError", "logical processor #0 can't be offlined"),
        "{class} {desc}"
    );
    on(agent, guest, &[0, 1])?;
    // The last one that is on, though it could be off.
    ensure!(set(agent, &[(1, false), (0, false), (1, true)])? == 1, "the first was switched, and no more");
    on(agent, guest, &[0])?;
    for id in [7, -1] {
        let (_, desc) = agent.refused("guest-set-vcpus", vcpus(&[(id, true), (1, true)]))?;
        ensure!(
            desc.ends_with(&format!("cpu{id}/': No such file or directory")) || desc.contains("open("),
            "{desc}"
        );
    }
    on(agent, guest, &[0])?;
    ensure!(set(agent, &[])? == 0);
    ensure!(set(agent, &[(1, true), (7, true)])? == 1);
    on(agent, guest, &[0, 1])
}

/// As `virsh setvcpus` does: the host plugs it in, the agent switches it on.
fn plugged(agent: &mut Client, guest: &Guest) -> Result<()> {
    // From 6.9 on, Linux has room for more only under a hypervisor that it knows, and an emulated machine is none.
    if guest.shell("cat /sys/devices/system/cpu/possible")? == "0-1" {
        note("left out: a processor that is plugged in: this kernel takes none");
        return Ok(());
    }
    let places = guest.qmp("query-hotpluggable-cpus", &json!({}))?;
    let mut places = places.as_array().context("no list of places")?.iter();
    let place = places.find(|place| place.get("qom-path").is_none()).context("no place is free")?;
    let mut device = place["props"].clone();
    device["driver"] = place["type"].clone();
    device["id"] = json!("third");
    guest.qmp("device_add", &device)?;
    await_until("the new processor", Duration::from_secs(60), || {
        let told = agent.run("guest-get-vcpus", json!({}))?;
        Ok(told.as_array().is_some_and(|cpus| cpus.len() == 3).then_some(()))
    })?;
    on(agent, guest, &[0, 1])?;
    ensure!(set(agent, &[(0, true), (1, true), (2, true)])? == 3);
    on(agent, guest, &[0, 1, 2])?;
    ensure!(set(agent, &[(1, false)])? == 1);
    on(agent, guest, &[0, 2])
}

fn state(guest: &Guest, block: u64) -> Result<String> {
    guest.shell(&format!("cat /sys/devices/system/memory/memory{block}/state"))
}

fn total(guest: &Guest) -> Result<u64> {
    Ok(guest.shell("grep ^MemTotal: /proc/meminfo | sed 's/[^0-9]//g'")?.parse()?)
}

/// Asks for memory blocks to be switched; what became of each.
fn switch(agent: &mut Client, wanted: &[(u64, bool)]) -> Result<Vec<Value>> {
    let wanted: Vec<_> =
        wanted.iter().map(|(id, online)| json!({"phys-index": id, "online": online})).collect();
    match agent.run("guest-set-memory-blocks", json!({"mem-blks": wanted}))? {
        Value::Array(told) => Ok(told),
        told => bail!("no list: {told}"),
    }
}

fn success(block: u64) -> Value {
    json!({"phys-index": block, "response": "success"})
}

fn memory_block(agent: &mut Client, guest: &Guest) -> Result<()> {
    let told = agent.run("guest-get-memory-blocks", json!({}))?;
    let told = told.as_array().context("no list of memory blocks")?;
    let before = total(guest)?;
    // Not the first and the last: there is the kernel itself. In between some block has nothing that cannot be moved.
    let mut blocks = told.iter().filter_map(|block| block["phys-index"].as_u64()).collect::<Vec<_>>();
    blocks.sort_unstable();
    let mut off = None;
    for &block in &blocks[1..blocks.len() - 1] {
        if switch(agent, &[(block, false)])? == [success(block)] {
            off = Some(block);
            break;
        }
        ensure!(state(guest, block)? == "online");
    }
    let block = off.context("no block could be switched off")?;
    ensure!(state(guest, block)? == "offline");
    let size = agent.run("guest-get-memory-block-info", json!({}))?["size"].as_u64().context("no size")?;
    ensure!(total(guest)? + size / 1024 == before, "the kernel has less by a block");
    let told = agent.run("guest-get-memory-blocks", json!({}))?;
    let entry = told.as_array().into_iter().flatten().find(|entry| entry["phys-index"] == block);
    ensure!(entry.is_some_and(|entry| entry["online"] == false), "{told}");

    ensure!(switch(agent, &[(block, false)])? == [success(block)], "it is off already");
    let missing = json!({"phys-index": 9999, "response": "not-found", "error-code": 2});
    ensure!(
        switch(agent, &[(9999, true), (block, true), (block, true)])?
            == [missing, success(block), success(block)]
    );
    ensure!(state(guest, block)? == "online");
    ensure!(total(guest)? == before);
    ensure!(switch(agent, &[])?.is_empty());
    Ok(())
}

/// The kernel says no, and says why.
fn stubborn_blocks(agent: &mut Client, guest: &Guest) -> Result<()> {
    let told = switch(agent, &[(0, false), (0, true)])?;
    let failed = json!({"phys-index": 0, "response": "operation-failed", "error-code": 22});
    ensure!(told == [failed, success(0)], "{told:?}");
    ensure!(state(guest, 0)? == "online");
    Ok(())
}
