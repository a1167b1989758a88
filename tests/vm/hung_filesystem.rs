//! A filesystem whose server is dead hangs whoever asks it for its size: the agent must answer all the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use waga_tests::vm::{Disk, note};

use crate::{another_agent, image, in_guest, step};

/// Mounts a disk with FUSE and keeps the connection to the kernel open, never answering anything on it.
pub(crate) const NEVER_ANSWERS: &str = "mkdir -p /mnt/hung && exec 9<>/dev/fuse && \
    mount -i -t fuseblk -o fd=9,rootmode=40000,user_id=0,group_id=0 /dev/vdb /mnt/hung && \
    { sleep 1000000 & }";

#[test]
fn hung_filesystem_does_not_hang_the_agent() -> Result<()> {
    if let Some(other) = another_agent() {
        note(format_args!("left out: a hung filesystem: it hangs {} for good", other.display()));
        return Ok(());
    }
    let image = image().module("fuse").disk(Disk::ext4(16, "/mnt/data")).disk(Disk::blank(8));
    in_guest(&image, |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        step("the mount hangs", || {
            guest.shell(NEVER_ANSWERS)?;
            let (status, _) = guest.shell_status("timeout -s KILL 1 stat -f /mnt/hung")?;
            ensure!(status != 0, "it answers");
            Ok(())
        })?;
        for round in 1..=3 {
            step(&format!("fsinfo, round {round}"), || {
                agent.patience(Duration::from_secs(15))?;
                let told = agent.run("guest-get-fsinfo", json!({}))?;
                let list = told.as_array().context("no list of filesystems")?;
                let of = |folder| list.iter().find(|filesystem| filesystem["mountpoint"] == folder);
                let hung = of("/mnt/hung").with_context(|| format!("the hung one is missing: {told}"))?;
                ensure!(hung["type"] == "fuseblk" && hung["name"] == "vdb", "{hung}");
                ensure!(hung.get("used-bytes").is_none() && hung.get("total-bytes").is_none(), "{hung}");
                let data = of("/mnt/data").with_context(|| format!("the sound one is missing: {told}"))?;
                ensure!(data["total-bytes"].is_u64(), "{data}");
                Ok(())
            })?;
            step("the same channel goes on", || agent.run("guest-ping", json!({})))?;
        }
        Ok(())
    })
}
