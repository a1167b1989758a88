//! Extensions laid over standard commands, in a guest under libvirt, which knows no others: what its own calls then tell; and a pack that
//! looks at the guest's filesystems.

use anyhow::{Result, ensure};
use serde_json::json;
use waga_tests::vm::{DOMAIN, Libvirt};

use crate::extensions::guest_with;
use crate::libvirt::{ask, under_libvirt};
use crate::step;

/// The tables of examples and packs. What is compiled comes from this machine.
const TABLES: &[(&str, &str)] = &[
    (
        "net-filter",
        "wrap = ['guest-network-get-interfaces']\nconfig = { interfaces = ['lo', 'eth0:*'], addresses = ['10.9.0.0/16', 'ipv6'] }\nlimits = { cpu = '10s', time = '30s' }",
    ),
    (
        "host-name",
        "override = ['guest-get-host-name']\nconfig = { host-name = 'web-1.example.org' }\nlimits = { cpu = '10s', time = '30s' }",
    ),
    ("report", "commands = ['guest-get-fsinfo', 'guest-get-osinfo']\nlimits = { cpu = '10s', time = '30s' }"),
    (
        "fs-usage",
        "commands = ['guest-get-fsinfo']\nexec = [{ program = '/bin/df', args = ['-P', '-i', '-l'] }, { program = '/bin/cat', args = ['/proc/self/mounts'] }]\n\
         config = { df = '/bin/df', cat = '/bin/cat' }\nlimits = { cpu = '10s', time = '30s' }",
    ),
];

#[test]
fn libvirt_is_told_what_they_make_of_it() -> Result<()> {
    let names = ["net-filter", "host-name", "report", "fs-usage"];
    let Some(image) = guest_with("pulley", TABLES, &names, &[], &names)? else { return Ok(()) };
    // Busybox's know less, and there are but a few filesystems.
    let applet = |command: &str| format!("#!/bin/sh\nexec busybox {command}\n").into_bytes();
    let image = image.file("/bin/df", 0o755, applet("df -P -i"));
    let image = image.file("/bin/cat", 0o755, applet("cat /proc/self/mounts"));
    under_libvirt(&image, |libvirt| {
        step("domifaddr", || addresses(libvirt))?;
        step("guestinfo", || information(libvirt))?;
        step("a report", || report(libvirt))?;
        step("inodes, and a disk that becomes read-only", || usage(libvirt))?;
        step("none of them failed", || {
            let all = ask(libvirt, "waga-get-extensions", &json!({}))?;
            for extension in all.as_array().into_iter().flatten() {
                let well = extension["state"] == "ready" && extension["failures"] == 0;
                ensure!(well && extension["calls"].as_u64() > Some(0), "{extension}");
            }
            Ok(())
        })
    })
}

/// The guest has four addresses and libvirt learns of the one that it is to be reached by.
fn addresses(libvirt: &Libvirt) -> Result<()> {
    libvirt
        .shell("ip addr add 172.17.0.1/16 dev eth0 label eth0:docker && ip addr add 10.9.9.9/24 dev eth0")?;
    let inside = libvirt.shell("ip addr show")?;
    for address in ["127.0.0.1/8", "172.17.0.1/16", "10.9.9.9/24", "10.0.2.15/24"] {
        ensure!(inside.contains(address), "no {address} in:\n{inside}");
    }
    let mac = libvirt.shell("cat /sys/class/net/eth0/address")?;
    let told = libvirt.virsh(&["domifaddr", DOMAIN, "--source", "agent"])?;
    let rows: Vec<String> =
        told.lines().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    ensure!(rows == [format!("eth0 {mac} ipv4 10.0.2.15/24")], "{told}");
    Ok(())
}

fn information(libvirt: &Libvirt) -> Result<()> {
    let name = libvirt.virsh(&["domhostname", DOMAIN, "--source", "agent"])?;
    ensure!(name == "web-1.example.org" && libvirt.shell("hostname")? == "waga-guest", "{name}");
    let told = libvirt.virsh(&["guestinfo", DOMAIN, "--hostname", "--interface"])?;
    let lines: Vec<String> =
        told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in ["hostname : web-1.example.org", "if.count : 1", "if.0.name : eth0", "if.0.addr.count : 1"] {
        ensure!(lines.iter().any(|it| it == line), "no {line:?} in:\n{told}");
    }
    Ok(())
}

fn report(libvirt: &Libvirt) -> Result<()> {
    let report = ask(libvirt, "guest-acme-report", &json!({}))?;
    let kernel = libvirt.shell("uname -r")?;
    ensure!(report["kernel"] == kernel, "{report}");
    let filesystems = report["filesystems"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [data] = filesystems else { anyhow::bail!("{report}") };
    ensure!(data["mountpoint"] == "/mnt/data" && data["type"] == "ext4", "{report}");
    libvirt.shell("dd if=/dev/zero of=/mnt/data/half bs=1M count=15 && sync")?;
    let fuller = ask(libvirt, "guest-acme-report", &json!({"at-least": 50}))?;
    ensure!(fuller["filesystems"][0]["mountpoint"] == "/mnt/data", "{fuller}");
    let full = ask(libvirt, "guest-acme-report", &json!({"at-least": 100}))?;
    ensure!(full["filesystems"] == json!([]), "{full}");
    Ok(())
}

fn usage(libvirt: &Libvirt) -> Result<()> {
    let data = |level: &str| {
        let report = ask(libvirt, "guest-get-fs-usage", &json!({"mountpoint": "/mnt/data"}))?;
        let expected = report["unknown"] == json!([]) && report["level"] == level;
        ensure!(expected, "{report}");
        Ok(report["filesystems"][0].clone())
    };
    let before = data("ok")?;
    libvirt.shell("cd /mnt/data && i=0; while [ $i -lt 100 ]; do : >file-$i; i=$((i + 1)); done")?;
    let after = data("ok")?;
    let used = |of: &serde_json::Value| of["inodes-used"].as_u64().unwrap_or_default();
    ensure!(used(&before) > 0 && used(&after) == used(&before) + 100, "{before} {after}");
    ensure!(after["read-only"] == false && after["inodes"] == before["inodes"], "{before} {after}");
    libvirt.shell("dd if=/dev/zero of=/mnt/data/rest bs=1M; mount -o remount,ro /mnt/data")?;
    let full = data("critical")?;
    ensure!(full["used-percent"].as_u64() >= Some(99) && full["read-only"] == true, "{full}");
    libvirt.shell("mount -o remount,rw /mnt/data && rm /mnt/data/rest").map(drop)
}
