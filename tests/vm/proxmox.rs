//! What Proxmox VE says to an agent, word for word and in its order, and what it must find in the answers.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waga_tests::client::PATIENCE;
use waga_tests::vm::{self, Guest, await_until};

use crate::accounts::{verifies, with_passwords};
use crate::{in_guest, only_waga, step};

/// Told to freeze, it waits until a test lets it go on.
const HOOK: &str = "#!/bin/sh
[ \"$1\" = freeze ] || exit 0
[ ! -e /run/hold ] || touch /run/held
while [ -e /run/hold ]; do sleep 0.1; done
";

#[test]
fn proxmox_is_served() -> Result<()> {
    let image = match with_passwords() {
        Ok(image) => image.file("/etc/hook", 0o755, HOOK).argument("-F/etc/hook"),
        Err(missing) => return vm::left_out(missing),
    };
    in_guest(&image, |guest| {
        step("the first answer", || guest.connect())?;
        let host = &mut Proxmox { guest, count: 0 };
        step("what it shows", || shown_by_proxmox(host))?;
        step("a backup", || backup(host))?;
        step("a freeze that takes longer than it waits", || slow_freeze(host))?;
        step("trim after a move", || host.answered("guest-fstrim", &json!({})).map(drop))?;
        step("exec", || proxmox_exec(host))?;
        step("a file written and read", || proxmox_files(host))?;
        step("a password", || proxmox_password(host))?;
        if only_waga("a shutdown that needs no program") {
            step("shutdown", || shutdown(host))?;
            step("the end of the machine", || guest.await_off())?;
        }
        Ok(())
    })
}

/// Proxmox VE: a connection for each command, with the sync and the command in one write.
struct Proxmox<'a> {
    guest: &'a Guest,
    count: u32,
}

impl Proxmox<'_> {
    /// Asks whether the agent is there, as before almost everything, then for something.
    fn pinged(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        ensure!(self.answered("guest-ping", &json!({}))? == json!({}));
        self.answered(command, arguments)
    }

    fn answered(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let reply = self.said(command, arguments, false)?.context("no reply")?;
        reply.get("return").cloned().with_context(|| format!("{command}: {reply}"))
    }

    /// One command over a connection of its own. `may_end`: no reply is fine, for the guest may be gone.
    fn said(&mut self, command: &str, arguments: &Value, may_end: bool) -> Result<Option<Value>> {
        let (id, request) = self.request(command, arguments)?;
        let mut stream = self.guest.bare()?.stream().try_clone()?;
        stream.write_all(request.as_bytes())?;
        let mut read = Vec::new();
        loop {
            let mut piece = [0; 8192];
            let count = match stream.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::ConnectionReset && may_end => 0,
                count => count.with_context(|| format!("so far: {:?}", String::from_utf8_lossy(&read)))?,
            };
            read.extend_from_slice(&piece[..count]);
            // All up to the last 0xFF is what others left.
            let start = read.iter().rposition(|&byte| byte == 0xff).map_or(read.len(), |at| at + 1);
            let text = std::str::from_utf8(&read[start..])?;
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let whole = |line: &&str| line.ends_with("}\n");
            match lines[..] {
                [sync, reply] if whole(&sync) && whole(&reply) => {
                    ensure!(serde_json::from_str::<Value>(sync)? == json!({"return": id}), "{sync}");
                    return Ok(Some(serde_json::from_str(reply)?));
                }
                [_, _, _, ..] => bail!("more than was asked for: {text}"),
                [sync] if whole(&sync) && count == 0 && may_end => {
                    ensure!(serde_json::from_str::<Value>(sync)? == json!({"return": id}), "{sync}");
                    return Ok(None);
                }
                _ => ensure!(count > 0, "{command}: the end came after {text:?}"),
            }
        }
    }

    /// Its numbers are its process's, a nought and a count, in one.
    fn request(&mut self, command: &str, arguments: &Value) -> Result<(u64, String)> {
        self.count += 1;
        let id = format!("{}0{}", std::process::id(), self.count).parse()?;
        let sync = format!(r#"{{"execute":"guest-sync-delimited","arguments":{{"id":{id}}}}}"#);
        // A hash of Perl has no order.
        let request = if self.count.is_multiple_of(2) {
            format!("{sync}\n{{\"execute\":\"{command}\",\"arguments\":{arguments}}}\n")
        } else {
            format!("{sync}\n{{\"arguments\":{arguments},\"execute\":\"{command}\"}}\n")
        };
        Ok((id, request))
    }
}

/// What `MIME::Base64` makes: lines of 76, each with its end.
fn in_lines(data: &[u8]) -> String {
    let text = STANDARD.encode(data);
    text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned() + "\n").collect()
}

fn shown_by_proxmox(host: &mut Proxmox<'_>) -> Result<()> {
    for (command, is_right) in [
        ("guest-info", Value::is_object as fn(&Value) -> bool),
        ("guest-get-time", Value::is_i64),
        ("guest-get-fsinfo", Value::is_array),
        ("guest-get-vcpus", Value::is_array),
        ("guest-get-memory-blocks", Value::is_array),
        ("guest-get-memory-block-info", Value::is_object),
        ("guest-get-host-name", Value::is_object),
        ("guest-get-osinfo", Value::is_object),
        ("guest-get-users", Value::is_array),
        ("guest-get-timezone", Value::is_object),
    ] {
        let told = host.pinged(command, &json!({}))?;
        ensure!(is_right(&told), "{command}: {told}");
    }
    // Terraform and Packer look for an address here, all in whole numbers.
    let interfaces = host.pinged("guest-network-get-interfaces", &json!({}))?;
    let interfaces = interfaces.as_array().context("no list")?;
    let eth0 = interfaces.iter().find(|interface| interface["name"] == "eth0").context("no eth0")?;
    ensure!(eth0["hardware-address"].is_string(), "{eth0}");
    let address = &eth0["ip-addresses"][0];
    ensure!(address["ip-address"] == "10.0.2.15" && address["prefix"] == 24, "{eth0}");
    ensure!(address["ip-address-type"] == "ipv4", "{eth0}");
    for counter in ["bytes", "dropped", "errs", "packets"] {
        for way in ["rx", "tx"] {
            ensure!(eth0["statistics"][format!("{way}-{counter}")].is_u64(), "{eth0}");
        }
    }
    Ok(())
}

fn status(host: &mut Proxmox<'_>) -> Result<Value> {
    host.answered("guest-fsfreeze-status", &json!({}))
}

fn backup(host: &mut Proxmox<'_>) -> Result<()> {
    host.answered("guest-ping", &json!({}))?;
    ensure!(status(host)? == "thawed");
    let frozen = host.answered("guest-fsfreeze-freeze", &json!({}))?;
    ensure!(frozen == 1, "{frozen}");
    host.guest.shell("(echo x >/home/during; touch /run/written) >/dev/null 2>&1 &")?;
    ensure!(status(host)? == "frozen");
    host.guest.shell("[ ! -e /run/written ]")?;
    let thawed = host.answered("guest-fsfreeze-thaw", &json!({}))?;
    ensure!(thawed == 1, "{thawed}");
    ensure!(status(host)? == "thawed");
    await_until("the write", Duration::from_secs(30), || {
        Ok((host.guest.shell_status("[ -e /run/written ]")?.0 == 0).then_some(()))
    })
}

/// It gives up waiting for the freeze, and asks how things stand: that must wait behind the freeze.
fn slow_freeze(host: &mut Proxmox<'_>) -> Result<()> {
    host.guest.shell("touch /run/hold")?;
    let (_, freeze) = host.request("guest-fsfreeze-freeze", &json!({}))?;
    let mut stream = host.guest.bare()?.stream().try_clone()?;
    stream.write_all(freeze.as_bytes())?;
    await_until("the hook", PATIENCE, || {
        Ok((host.guest.shell_status("[ -e /run/held ]")?.0 == 0).then_some(()))
    })?;
    drop(stream);
    let guest = host.guest;
    let told = std::thread::scope(|scope| {
        let asked = scope.spawn(|| status(host));
        // The agent has the question before the freeze is over, or not: either way "thawed" would be wrong.
        std::thread::sleep(Duration::from_millis(500));
        let early = asked.is_finished();
        guest.shell("rm /run/hold")?;
        let told = asked.join().expect("no panic")?;
        ensure!(!early, "answered amid the freeze: {told}");
        Ok(told)
    })?;
    ensure!(told == "frozen", "{told}");
    ensure!(host.answered("guest-fsfreeze-thaw", &json!({}))? == 1);
    ensure!(status(host)? == "thawed");
    Ok(())
}

fn proxmox_exec(host: &mut Proxmox<'_>) -> Result<()> {
    let arguments = json!({
        "path": "sh", "arg": ["-c", "cat; echo oops >&2; exit 3"],
        "capture-output": true, "input-data": in_lines("päyload".repeat(100).as_bytes()),
    });
    let pid = host.pinged("guest-exec", &arguments)?["pid"].clone();
    let ended = await_until("the end of the program", PATIENCE, || {
        let status = host.pinged("guest-exec-status", &json!({"pid": pid}))?;
        Ok((status["exited"] == true).then_some(status))
    })?;
    ensure!(ended["exitcode"] == 3, "{ended}");
    ensure!(ended["out-data"] == STANDARD.encode("päyload".repeat(100)), "{ended}");
    ensure!(ended["err-data"] == STANDARD.encode("oops\n"), "{ended}");
    Ok(())
}

fn proxmox_files(host: &mut Proxmox<'_>) -> Result<()> {
    let content: Vec<u8> = (0..=255).cycle().take(60 << 10).collect();
    let handle = host.pinged("guest-file-open", &json!({"path": "/home/file", "mode": "wb"}))?;
    let write = json!({"handle": handle, "buf-b64": in_lines(&content)});
    let written = host.answered("guest-file-write", &write)?;
    ensure!(written["count"] == content.len(), "{written}");
    host.answered("guest-file-close", &json!({"handle": handle}))?;
    let (status, seen) = host.guest.shell_status("cat /home/file")?;
    ensure!(status == 0 && seen == content, "{} other bytes", seen.len());

    let handle = host.pinged("guest-file-open", &json!({"path": "/home/file"}))?;
    let seek = json!({"handle": handle, "offset": 1000, "whence": "set"});
    ensure!(host.answered("guest-file-seek", &seek)?["position"] == 1000);
    let mut read = Vec::new();
    loop {
        let piece = host.answered("guest-file-read", &json!({"handle": handle, "count": 1 << 20}))?;
        read.extend(STANDARD.decode(piece["buf-b64"].as_str().context("no data")?)?);
        if piece["eof"] == true {
            break;
        }
    }
    host.answered("guest-file-close", &json!({"handle": handle}))?;
    ensure!(read == content[1000..], "{} other bytes", read.len());
    Ok(())
}

fn proxmox_password(host: &mut Proxmox<'_>) -> Result<()> {
    let password = "a password that is so long that its base64 needs more than just one line of text";
    let encoded = in_lines(password.as_bytes());
    ensure!(encoded.lines().count() == 2 && encoded.ends_with('\n'));
    let arguments = json!({"username": "alice", "password": encoded, "crypted": false});
    ensure!(host.pinged("guest-set-user-password", &arguments)? == json!({}));
    verifies(host.guest, "alice", password)?;
    let unknown = json!({"username": "nobody-here", "password": encoded, "crypted": false});
    let reply = host.said("guest-set-user-password", &unknown, false)?.context("no reply")?;
    ensure!(reply["error"]["class"] == "GenericError", "{reply}");
    Ok(())
}

fn shutdown(host: &mut Proxmox<'_>) -> Result<()> {
    // The first process of these guests does not heed them.
    host.guest.shell("rm -f /sbin/poweroff /sbin/shutdown")?;
    host.answered("guest-ping", &json!({}))?;
    // Success is not answered: the sync may be all that comes.
    host.said("guest-shutdown", &json!({}), true).map(drop)
}
