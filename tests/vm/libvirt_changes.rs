//! libvirt's calls that change the guest, each seen in the guest itself: what an operator types in place of `qemu-agent-command`.

use std::os::unix::fs::MetadataExt;

use anyhow::{Result, bail, ensure};
use serde_json::json;
use waga_tests::client::PATIENCE;
use waga_tests::vm::{DOMAIN, Disk, Libvirt, await_until};

use crate::accounts::PAM;
use crate::libvirt::{answers, ask, under_libvirt};
use crate::{image, step};

/// What is written, deleted and given back, in bytes.
const MUCH: u64 = 16 << 20;

/// Somebody to have a password and keys.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000::/home/tester:/bin/sh\n";
const GROUP: &str = "root:x:0:\ntester:x:1000:\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\ntester:!:19000:0:99999:7:::\n";

#[test]
fn libvirt_changes_the_guest() -> Result<()> {
    let image = image()
        .disk(Disk::ext4(64, "/mnt/data"))
        .file("/etc/passwd", 0o644, PASSWD)
        .file("/etc/group", 0o644, GROUP)
        .file("/etc/shadow", 0o600, SHADOW)
        .setup("mkdir -p /home/tester && chown tester:tester /home/tester")
        .program("chpasswd")
        .program(PAM[0])
        .program(PAM[1])
        .file("/etc/pam.d/chpasswd", 0o644, "password required pam_unix.so sha512\n");
    under_libvirt(&image, |libvirt| {
        step("domfstrim", || domfstrim(libvirt))?;
        step("domfsfreeze and domfsthaw", || domfsfreeze(libvirt))?;
        step("domtime", || domtime(libvirt))?;
        step("guestvcpus", || guestvcpus(libvirt))?;
        step("set-user-password", || password(libvirt))?;
        step("set-user-sshkeys", || ssh_keys(libvirt))?;
        step("dompmsuspend and dompmwakeup", || dompmsuspend(libvirt))
    })
}

fn domfstrim(libvirt: &Libvirt) -> Result<()> {
    let on_host = || anyhow::Ok(std::fs::metadata(libvirt.disk(0))?.blocks() * 512);
    libvirt.shell(&format!("dd if=/dev/zero of=/mnt/data/much bs=1M count={} && sync", MUCH >> 20))?;
    let before = on_host()?;
    libvirt.shell("rm /mnt/data/much && sync")?;
    libvirt.virsh(&["domfstrim", DOMAIN])?;
    let after = on_host()?;
    ensure!(after + MUCH / 2 < before, "{before}, then {after} bytes on the host");
    libvirt.virsh(&["domfstrim", DOMAIN, "--minimum", "65536"]).map(drop)
}

fn domfsfreeze(libvirt: &Libvirt) -> Result<()> {
    for words in [&["domfsfreeze", DOMAIN][..], &["domfsfreeze", DOMAIN, "/mnt/data"]] {
        libvirt.virsh(words)?;
        ensure!(ask(libvirt, "guest-fsfreeze-status", &json!({}))? == "frozen");
        libvirt.shell(
            "rm -f /run/written; { sh -c 'echo $$ >/run/writer; exec touch /mnt/data/new'; touch /run/written; } &",
        )?;
        await_until("the writer blocks", PATIENCE, || {
            let (status, _) = libvirt.shell_status(
                "grep -q '^State:.D' /proc/$(cat /run/writer)/status && test ! -e /run/written",
            )?;
            Ok((status == 0).then_some(()))
        })?;
        libvirt.virsh(&["domfsthaw", DOMAIN])?;
        ensure!(ask(libvirt, "guest-fsfreeze-status", &json!({}))? == "thawed");
        await_until("the writer goes on", PATIENCE, || {
            Ok((libvirt.shell_status("test -e /run/written && rm /mnt/data/new")?.0 == 0).then_some(()))
        })?;
    }
    Ok(())
}

/// The clock and the hardware's, in seconds; some go by between being set and being looked at.
fn clocks(libvirt: &Libvirt) -> Result<[i64; 2]> {
    let told = libvirt.shell("date +%s; cat /sys/class/rtc/rtc0/since_epoch")?;
    let mut lines = told.lines().map(str::parse);
    match (lines.next(), lines.next()) {
        (Some(clock), Some(hardware)) => Ok([clock?, hardware?]),
        _ => bail!("{told}"),
    }
}

fn domtime(libvirt: &Libvirt) -> Result<()> {
    let close = |what: &str, clock: i64, wanted: i64| {
        ensure!((-2..600).contains(&(clock - wanted)), "{what}: {clock}, not about {wanted}");
        Ok(())
    };
    let before = clocks(libvirt)?[0];
    let told = libvirt.virsh(&["domtime", DOMAIN])?;
    let told: i64 = told.rsplit(' ').next().unwrap_or_default().parse()?;
    close("told", told, before)?;

    for wanted in [1_900_000_000, 1_600_000_000] {
        libvirt.virsh(&["domtime", DOMAIN, "--time", &wanted.to_string()])?;
        let [clock, hardware] = clocks(libvirt)?;
        close("the clock", clock, wanted)?;
        close("the hardware clock", hardware, wanted)?;
    }
    let host = || anyhow::Ok(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs().cast_signed());
    let before = host()?;
    libvirt.virsh(&["domtime", DOMAIN, "--now"])?;
    let [clock, hardware] = clocks(libvirt)?;
    close("the clock", clock, before)?;
    close("the hardware clock", hardware, before)?;

    // From the hardware clock, which goes on as it is.
    libvirt.shell("date -s @1500000000")?;
    let hardware = clocks(libvirt)?[1];
    libvirt.virsh(&["domtime", DOMAIN, "--sync"])?;
    close("the clock", clocks(libvirt)?[0], hardware)
}

fn guestvcpus(libvirt: &Libvirt) -> Result<()> {
    let cpu1 = || libvirt.shell("cat /sys/devices/system/cpu/cpu1/online");
    let told = || {
        let told = libvirt.virsh(&["guestvcpus", DOMAIN])?;
        let online =
            told.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "online");
        anyhow::Ok(online.map(|(_, cpus)| cpus.trim().to_owned()).unwrap_or(told))
    };
    ensure!(told()? == "0-1", "{}", told()?);
    libvirt.virsh(&["guestvcpus", DOMAIN, "--cpulist", "1", "--disable"])?;
    ensure!(cpu1()? == "0" && told()? == "0", "{} {}", cpu1()?, told()?);
    libvirt.virsh(&["guestvcpus", DOMAIN, "--cpulist", "1", "--enable"])?;
    ensure!(cpu1()? == "1" && told()? == "0-1", "{} {}", cpu1()?, told()?);
    Ok(())
}

fn password(libvirt: &Libvirt) -> Result<()> {
    let hash = || libvirt.shell("sed -n 's/^tester:\\([^:]*\\):.*/\\1/p' /etc/shadow");
    let set = |password: &str, further: &[&str]| {
        let words = ["set-user-password", DOMAIN, "--user", "tester", "--password", password];
        libvirt.virsh(&[&words, further].concat())
    };
    set("an open door", &[])?;
    let set_now = hash()?;
    let ["", "6", salt, _] = set_now.split('$').collect::<Vec<_>>()[..] else { bail!("no hash: {set_now}") };
    let again = libvirt.shell(&format!("mkpasswd -m sha512 -S '{salt}' 'an open door'"))?;
    ensure!(set_now == again, "{set_now} is not the hash of the password: {again}");

    let ready = libvirt.shell("mkpasswd -m sha512 -S abcdefgh another")?;
    set(&ready, &["--encrypted"])?;
    ensure!(hash()? == ready, "{}: {ready}", hash()?);
    ensure!(
        libvirt.virsh(&["set-user-password", DOMAIN, "--user", "nobody-here", "--password", "x"]).is_err()
    );
    Ok(())
}

fn ssh_keys(libvirt: &Libvirt) -> Result<()> {
    let keys = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFirst first",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAISecond second",
    ];
    let [one, both] = [libvirt.put("one", keys[0])?, libvirt.put("both", &keys.join("\n"))?];
    let file = "/home/tester/.ssh/authorized_keys";
    let there = || libvirt.shell(&format!("cat {file}"));
    let told = || libvirt.virsh(&["get-user-sshkeys", DOMAIN, "tester"]);
    let set = |words: &[&str]| libvirt.virsh(&[&["set-user-sshkeys", DOMAIN, "tester"], words].concat());

    set(&["--file", &one.display().to_string()])?;
    ensure!(there()? == keys[0] && told()? == keys[0], "{}", there()?);
    let modes = libvirt.shell(&format!("stat -c '%U:%G %a' {file} /home/tester/.ssh"))?;
    ensure!(modes == "tester:tester 600\ntester:tester 700", "{modes}");
    set(&["--file", &both.display().to_string()])?;
    ensure!(there()? == keys.join("\n"), "{}", there()?);
    set(&["--remove", "--file", &one.display().to_string()])?;
    ensure!(there()? == keys[1] && told()? == keys[1], "{}", there()?);
    set(&["--reset", "--file", &one.display().to_string()])?;
    ensure!(there()? == keys[0], "{}", there()?);
    Ok(())
}

fn dompmsuspend(libvirt: &Libvirt) -> Result<()> {
    let state = |wanted: &str| {
        await_until(wanted, PATIENCE, || Ok((libvirt.virsh(&["domstate", DOMAIN])? == wanted).then_some(())))
    };
    libvirt.virsh(&["dompmsuspend", DOMAIN, "mem"])?;
    state("pmsuspended")?;
    libvirt.virsh(&["dompmwakeup", DOMAIN])?;
    state("running")?;
    answers(libvirt)?;
    ensure!(libvirt.shell("dmesg")?.contains("PM: suspend exit"));
    Ok(())
}
