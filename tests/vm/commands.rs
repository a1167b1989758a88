//! The standard commands over a real virtio-serial port, compared with what the guest's shell says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waga_tests::client::Client;
use waga_tests::vm::{Disk, Guest, await_until};

use crate::{image, in_guest, step};

#[test]
fn commands_agree_with_the_guest() -> Result<()> {
    let image = image().disk(Disk::ext4(32, "/mnt/data")).disk(Disk::blank(8));
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("ping", || ping(agent))?;
        step("info", || info(agent))?;
        step("osinfo", || osinfo(agent, guest))?;
        step("files", || files(agent, guest))?;
        step("exec", || exec(agent, guest))?;
        step("network", || network(agent, guest))?;
        step("fsinfo", || fsinfo(agent, guest))?;
        step("disks", || disks(agent))?;
        step("vcpus", || vcpus(agent))?;
        step("memory blocks", || memory_blocks(agent, guest))
    })
}

fn ping(agent: &mut Client) -> Result<()> {
    ensure!(agent.run("guest-ping", json!({}))? == json!({}));
    Ok(())
}

fn info(agent: &mut Client) -> Result<()> {
    let info = agent.run("guest-info", json!({}))?;
    ensure!(info["version"].is_string(), "{info}");
    let commands = info["supported_commands"].as_array().context("no list of commands")?;
    for name in ["guest-ping", "guest-get-fsinfo", "guest-exec", "guest-file-open"] {
        let command = commands.iter().find(|command| command["name"] == name);
        ensure!(command.is_some_and(|command| command["enabled"] == true), "{name}: {command:?}");
    }
    Ok(())
}

fn osinfo(agent: &mut Client, guest: &Guest) -> Result<()> {
    let told = agent.run("guest-get-osinfo", json!({}))?;
    for (member, command) in [
        ("kernel-release", "uname -r"),
        ("kernel-version", "uname -v"),
        ("machine", "uname -m"),
        ("id", ". /etc/os-release; echo \"$ID\""),
        ("name", ". /etc/os-release; echo \"$NAME\""),
        ("pretty-name", ". /etc/os-release; echo \"$PRETTY_NAME\""),
        ("version", ". /etc/os-release; echo \"$VERSION\""),
        ("version-id", ". /etc/os-release; echo \"$VERSION_ID\""),
        ("variant", ". /etc/os-release; echo \"$VARIANT\""),
        ("variant-id", ". /etc/os-release; echo \"$VARIANT_ID\""),
    ] {
        let wanted = guest.shell(command)?;
        ensure!(told[member] == wanted, "{member}: {} where the shell says {wanted:?}", told[member]);
    }
    let name = agent.run("guest-get-host-name", json!({}))?;
    ensure!(name["host-name"] == guest.shell("hostname")?, "{name}");
    Ok(())
}

fn files(agent: &mut Client, guest: &Guest) -> Result<()> {
    let path = "/mnt/data/handed-over";
    let content: Vec<u8> = (0..=255).cycle().take(70_000).collect();

    let handle = agent.run("guest-file-open", json!({"path": path, "mode": "w"}))?;
    let written =
        agent.run("guest-file-write", json!({"handle": handle, "buf-b64": STANDARD.encode(&content)}))?;
    ensure!(written["count"] == content.len(), "{written}");
    agent.run("guest-file-close", json!({"handle": handle}))?;
    let (status, seen) = guest.shell_status(&format!("cat {path}"))?;
    ensure!(status == 0 && seen == content, "the shell reads {} other bytes", seen.len());

    guest.shell("printf 'from the shell' >/mnt/data/to-be-read")?;
    let handle = agent.run("guest-file-open", json!({"path": "/mnt/data/to-be-read", "mode": "r"}))?;
    let read = agent.run("guest-file-read", json!({"handle": handle, "count": 4096}))?;
    ensure!(read["buf-b64"] == STANDARD.encode("from the shell") && read["eof"] == true, "{read}");
    agent.run("guest-file-close", json!({"handle": handle}))?;
    Ok(())
}

fn exec(agent: &mut Client, guest: &Guest) -> Result<()> {
    let started = agent.run(
        "guest-exec",
        json!({
            "path": "/bin/sh",
            "arg": ["-c", "echo \"$WORD $(cat)\"; echo oops >&2; exit 7"],
            "env": ["WORD=answer", "PATH=/bin"],
            "input-data": STANDARD.encode("to the input"),
            "capture-output": true,
        }),
    )?;
    let pid = &started["pid"];
    ensure!(pid.is_i64(), "{started}");
    let ended = await_until("the end of the program", Duration::from_secs(30), || {
        let status = agent.run("guest-exec-status", json!({"pid": pid}))?;
        Ok((status["exited"] == true).then_some(status))
    })?;
    ensure!(ended["exitcode"] == 7, "{ended}");
    ensure!(ended["out-data"] == STANDARD.encode("answer to the input\n"), "{ended}");
    ensure!(ended["err-data"] == STANDARD.encode("oops\n"), "{ended}");
    // It was reaped: nothing of it is left in the guest.
    guest.shell(&format!("[ ! -e /proc/{pid} ]"))?;
    Ok(())
}

fn network(agent: &mut Client, guest: &Guest) -> Result<()> {
    // Both at the same moment: an address of IPv6 comes up by itself some time after boot.
    let (told, wanted) = await_until("the same addresses twice", Duration::from_secs(20), || {
        let before = guest.shell("ip -o addr")?;
        let told = agent.run("guest-network-get-interfaces", json!({}))?;
        Ok((before == guest.shell("ip -o addr")?).then_some((told, before)))
    })?;
    // A line is "2: eth0    inet 10.0.2.15/24 scope global eth0\...".
    let mut addresses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in wanted.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        addresses.entry(words[1].to_owned()).or_default().insert(words[3].to_owned());
    }
    let interfaces = told.as_array().context("no list of interfaces")?;
    let told_addresses: BTreeMap<String, BTreeSet<String>> = interfaces
        .iter()
        .map(|interface| {
            let of = interface["ip-addresses"].as_array().into_iter().flatten().map(|address| {
                format!("{}/{}", address["ip-address"].as_str().unwrap_or("?"), address["prefix"])
            });
            (interface["name"].as_str().unwrap_or("?").to_owned(), of.collect())
        })
        .collect();
    ensure!(told_addresses == addresses, "{told} where the shell says {wanted}");

    let eth0 = interfaces.iter().find(|interface| interface["name"] == "eth0").context("no eth0")?;
    ensure!(eth0["hardware-address"] == guest.shell("cat /sys/class/net/eth0/address")?, "{eth0}");
    ensure!(eth0["statistics"]["tx-packets"].is_u64(), "{eth0}");
    Ok(())
}

fn fsinfo(agent: &mut Client, guest: &Guest) -> Result<()> {
    let told = agent.run("guest-get-fsinfo", json!({}))?;
    let filesystems = told.as_array().context("no list of filesystems")?;
    ensure!(filesystems.len() == 1, "one filesystem has a disk: {told}");
    let data = &filesystems[0];
    ensure!(data["name"] == "vda" && data["mountpoint"] == "/mnt/data" && data["type"] == "ext4", "{data}");

    let numbers = guest.shell("stat -f -c '%s %b %f %a' /mnt/data")?;
    let numbers: Vec<u64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [block, blocks, free, available] = numbers[..] else { anyhow::bail!("stat says {numbers:?}") };
    let used = blocks - free;
    ensure!(data["used-bytes"] == used * block, "{data}: {numbers:?}");
    // What an ordinary user could fill: without the blocks that are root's.
    ensure!(data["total-bytes"] == (used + available) * block, "{data}: {numbers:?}");

    let disk = &data["disk"][0];
    ensure!(disk["bus-type"] == "virtio" && disk["dev"] == "/dev/vda", "{disk}");
    // `../../../virtio2/block/vda` below the device of the PCI bus: domain:bus:slot.function
    let path = guest.shell("readlink -f /sys/block/vda/device/..")?;
    let place = path.rsplit('/').next().unwrap_or_default();
    let controller = &disk["pci-controller"];
    let number = |member: &str| controller[member].as_i64().unwrap_or(-1);
    let told_place = format!(
        "{:04x}:{:02x}:{:02x}.{:x}",
        number("domain"),
        number("bus"),
        number("slot"),
        number("function")
    );
    ensure!(told_place == place, "{disk} where sysfs says {path}");
    Ok(())
}

fn disks(agent: &mut Client) -> Result<()> {
    let told = agent.run("guest-get-disks", json!({}))?;
    let disks = told.as_array().context("no list of disks")?;
    for name in ["/dev/vda", "/dev/vdb"] {
        let disk =
            disks.iter().find(|disk| disk["name"] == name).with_context(|| format!("{name}: {told}"))?;
        ensure!(disk["partition"] == false, "{disk}");
        ensure!(disk["address"]["bus-type"] == "virtio", "{disk}");
    }
    Ok(())
}

fn vcpus(agent: &mut Client) -> Result<()> {
    let told = agent.run("guest-get-vcpus", json!({}))?;
    let cpus = told.as_array().context("no list of CPUs")?;
    let online: BTreeMap<_, _> =
        cpus.iter().map(|cpu| (cpu["logical-id"].as_i64(), &cpu["online"])).collect();
    ensure!(online == BTreeMap::from([(Some(0), &json!(true)), (Some(1), &json!(true))]), "{told}");
    Ok(())
}

fn memory_blocks(agent: &mut Client, guest: &Guest) -> Result<()> {
    let size = guest.shell("cat /sys/devices/system/memory/block_size_bytes")?;
    let told = agent.run("guest-get-memory-block-info", json!({}))?;
    ensure!(told["size"].as_u64() == Some(u64::from_str_radix(&size, 16)?), "{told}: {size}");

    let told = agent.run("guest-get-memory-blocks", json!({}))?;
    let blocks = told.as_array().context("no list of memory blocks")?;
    let wanted = guest.shell("ls -d /sys/devices/system/memory/memory* | sed 's/.*memory//' | sort -n")?;
    let wanted: BTreeSet<u64> = wanted.lines().map(str::parse).collect::<Result<_, _>>()?;
    let ids: BTreeSet<u64> = blocks.iter().filter_map(|block| block["phys-index"].as_u64()).collect();
    ensure!(ids == wanted, "{told}: {wanted:?}");
    Ok(())
}
