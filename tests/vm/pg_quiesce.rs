//! The pack `pg-quiesce`: a real PostgreSQL in a guest writes a checkpoint before the disk that it is on is frozen.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use waga_tests::example;
use waga_tests::vm::{Disk, Guest, Image, await_until, left_out};

use crate::extensions::{guest_with, waga_ext};
use crate::freeze::{LIMIT, error, freeze, report, status, thaw};
use crate::{in_guest, step};

/// Where this machine has PostgreSQL, which the guest is given.
const PROGRAMS: &str = "/usr/lib/postgresql";
const SHARED: &str = "/usr/share/postgresql";

/// What the pack asks for; `psql` runs as the guest's user 70, for nothing there knows more of users.
const TABLE: &str = r#"freeze-hooks = true
limits = { cpu = '10s', time = '120s' }
config = { psql = ["/usr/bin/setpriv", "--reuid=70", "--regid=70", "--clear-groups", "PROGRAMS/psql"] }
[[extension.pg-quiesce.exec]]
program = "/usr/bin/setpriv"
args = ["--reuid=70", "--regid=70", "--clear-groups", "PROGRAMS/psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1",
    "-p", "*", "-d", "postgres", "-c", "CHECKPOINT"]
env = ["PGOPTIONS=-c statement_timeout=100s"]
"#;

/// Makes a cluster and starts its server. Nothing of it is to survive a power cut.
const START: &str = r#"#!/bin/sh
exec >/run/server 2>&1
set -e
as="/usr/bin/setpriv --reuid=70 --regid=70 --clear-groups"
mkdir -p /var/run/postgresql /dev/shm
mount -t tmpfs shm /dev/shm
chmod 1777 /dev/shm
chown 70:70 /mnt/pg /var/run/postgresql
cd /mnt/pg
$as PROGRAMS/initdb -D /mnt/pg/data -A trust --no-sync --no-locale --wal-segsize=1
exec $as PROGRAMS/postgres -D /mnt/pg/data -c listen_addresses= -c shared_buffers=4MB -c checkpoint_timeout=1d -c max_wal_size=1GB
"#;

#[test]
fn postgresql_writes_a_checkpoint_before_a_freeze() -> Result<()> {
    let Some(waga_ext) = waga_ext()? else { return Ok(()) };
    let (Some(programs), Some(shared)) = (newest(PROGRAMS), newest(SHARED)) else {
        return left_out("PostgreSQL (Debian's package postgresql)");
    };
    let programs = programs.join("bin");
    let folder = tempfile::tempdir()?;
    let pack = example::build(&waga_ext, "extensions/pg-quiesce", folder.path())?;
    let told = |text: &str| text.replace("PROGRAMS", &programs.to_string_lossy());
    let made = [("pg-quiesce", fs::read(pack)?)];
    let table = told(TABLE);
    let Some(image) = guest_with("native", &[("pg-quiesce", &table)], &[], &made, &["pg-quiesce"])? else {
        return Ok(());
    };
    let mut image = image
        .disk(Disk::ext4(256, "/mnt/pg"))
        .program("setpriv")
        .file("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/:/bin/sh\n")
        .file("/etc/server", 0o755, told(START));
    for name in ["postgres", "initdb", "psql", "pg_controldata"] {
        image = image.program(&programs.join(name).to_string_lossy());
    }
    let libraries = programs.with_file_name("lib");
    for name in ["dict_snowball.so", "plpgsql.so"] {
        let file = libraries.join(name);
        image = image.file(&file.to_string_lossy(), 0o755, fs::read(&file)?);
    }
    in_guest(&with_all_of(image, &shared)?, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        agent.patience(4 * LIMIT)?;
        let run = |statement: &str| {
            guest.shell_status(&format!(
                "/usr/bin/setpriv --reuid=70 --regid=70 --clear-groups {}/psql -X -q -A -t -c \"{statement}\" postgres 2>&1",
                programs.display()
            ))
        };
        let sql = |statement: &str| {
            let (code, said) = run(statement)?;
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            ensure!(code == 0, "{statement}: {said}");
            Ok(said)
        };
        step("no server", || {
            let desc = error(agent, "guest-fsfreeze-freeze")?;
            let begins = "extension pg-quiesce: the freeze hook failed: no checkpoint of PostgreSQL on port 5432: exit code 2: ";
            ensure!(desc.starts_with(begins), "{desc}");
            ensure!(status(agent)? == "thawed");
            Ok(())
        })?;
        step("a server", || {
            guest.shell("setsid /etc/server </dev/null >/dev/null 2>&1 &")?;
            let is_up = || Ok((run("SELECT 1")?.0 == 0).then_some(()));
            let up = await_until("the server", 3 * LIMIT, is_up);
            up.with_context(|| guest.shell("tail -n 20 /run/server").unwrap_or_default())
        })?;
        step("a checkpoint before the freeze", || {
            sql("CREATE TABLE t AS SELECT g FROM generate_series(1, 10000) g")?;
            let (before, written) = (checkpoint(guest, &programs)?, sql("SELECT pg_current_wal_lsn()")?);
            ensure!(freeze(agent)? == 2);
            let after = checkpoint(guest, &programs)?;
            // It is that of the file on the disk that is frozen by now.
            ensure!(before != after && place(&after)? >= place(&written)?, "{before}, {written}, {after}");
            ensure!(thaw(agent)? == 2);
            let told = report(agent)?;
            let hooks = told["hooks"].as_array().context("no hooks")?;
            ensure!(hooks.len() == 2 && hooks.iter().all(|it| it.get("error").is_none()), "{told}");
            ensure!(sql("SELECT count(*) FROM t")? == "10000");
            for line in ["PostgreSQL on port 5432 has written a checkpoint", "thawed, 1 server of PostgreSQL"]
            {
                ensure!(guest.console().contains(line), "{line}: {}", guest.console());
            }
            Ok(())
        })
    })
}

/// The folder of the highest version below this one.
fn newest(folder: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    versions.filter(|path| number(path).is_some()).max_by_key(|path| number(path))
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Puts a folder of this machine into the guest.
fn with_all_of(mut image: Image, folder: &Path) -> Result<Image> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?.path();
        if entry.is_dir() {
            image = with_all_of(image, &entry)?;
        } else if entry.is_file() {
            image = image.file(&entry.to_string_lossy(), 0o644, fs::read(&entry)?);
        }
    }
    Ok(image)
}

/// Where the last checkpoint is, as the file on the disk has it.
fn checkpoint(guest: &Guest, programs: &Path) -> Result<String> {
    let told = guest.shell(&format!("{}/pg_controldata /mnt/pg/data", programs.display()))?;
    let line = told.lines().find_map(|line| line.strip_prefix("Latest checkpoint location:"));
    Ok(line.with_context(|| told.clone())?.trim().to_owned())
}

/// A place in the log of changes, as a number.
fn place(text: &str) -> Result<u64> {
    let (high, low) = text.split_once('/').context("no place")?;
    Ok((u64::from_str_radix(high, 16)? << 32) | u64::from_str_radix(low, 16)?)
}
