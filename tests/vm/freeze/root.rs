//! An agent whose own root is frozen, with too little memory in the guest: what thaws must not need either.

use anyhow::{Result, ensure};
use serde_json::json;
use waga_tests::vm::{Disk, await_until};

use super::{LIMIT, begin_writing, freeze, have_written, kill_agent, status, thaw, wait_for_a_thaw};
use crate::{image, in_guest, step};

/// Copies the guest's system to a disk and changes the agent's root to that.
const MOVE: &str = "cp -a /bin /sbin /usr /lib /lib64 /etc /mnt/root 2>/dev/null; \
    for folder in proc sys dev run; do mkdir -p /mnt/root/$folder && mount --bind /$folder /mnt/root/$folder; done; \
    ls /mnt/root/usr/sbin";

#[test]
fn its_own_root_is_frozen_and_memory_is_short() -> Result<()> {
    let image = image().disk(Disk::ext4(256, "/mnt/root"));
    in_guest(&image, |guest| {
        step("the first answer", || guest.connect().map(drop))?;
        step("the agent moves to a disk", || {
            kill_agent(guest, "TERM")?;
            guest.shell(MOVE)?;
            guest.shell("sed 's/^exec/exec chroot \\/mnt\\/root/' /etc/guest/agent >/etc/guest/moved")?;
            guest.shell(
                "setsid sh -c 'echo $$ >/run/agent.pid; . /etc/guest/moved' </dev/null >/dev/console 2>&1 &",
            )?;
            Ok(())
        })?;
        let agent = &mut step("its answer from there", || guest.connect())?;
        agent.patience(LIMIT)?;
        step("freeze", || {
            ensure!(guest.shell("readlink /proc/$(cat /run/agent.pid)/root")? == "/mnt/root");
            ensure!(freeze(agent)? == 1);
            begin_writing(guest, &["/mnt/root"])?;
            wait_for_a_thaw(guest, &["/mnt/root"])
        })?;
        step("memory is short", || {
            // What reads without end from nothing, without a line in it, takes all memory until the kernel ends it; over and over.
            guest.shell(
                "(while [ ! -e /run/enough ]; do tail /dev/zero; echo >>/run/ended; done) >/dev/null 2>&1 &",
            )?;
            // To fill it takes an emulated machine its time.
            await_until("the kernel's want of memory", 3 * LIMIT, || {
                guest.shell("echo 3 >/proc/sys/vm/drop_caches")?;
                let ended = guest.shell("cat /run/ended 2>/dev/null | wc -l")?;
                Ok((ended.parse::<u32>()? >= 2).then_some(()))
            })
        })?;
        step("no thread can be started", || {
            // As many as it has, and not one more.
            guest.shell("mkdir -p /run/cgroup && mount -t cgroup2 none /run/cgroup && echo +pids >/run/cgroup/cgroup.subtree_control")?;
            guest.shell("mkdir /run/cgroup/agent && cat /run/agent.pid >/run/cgroup/agent/cgroup.procs")?;
            guest.shell("cat /run/cgroup/agent/pids.current >/run/cgroup/agent/pids.max").map(drop)
        })?;
        step("thaw", || {
            ensure!(agent.run("guest-ping", json!({}))? == json!({}));
            ensure!(status(agent)? == "frozen");
            ensure!(thaw(agent)? == 1);
            have_written(guest, &["/mnt/root"])?;
            guest.shell("touch /run/enough; echo max >/run/cgroup/agent/pids.max")?;
            agent.run("guest-get-time", json!({})).map(drop)
        })
    })
}
