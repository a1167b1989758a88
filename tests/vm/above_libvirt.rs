//! What KubeVirt, vdsm and Ansible say to an agent through libvirt, word for word and in their order, and what they must find in the
//! answers. Here without libvirt itself: the text goes over the port as libvirt passes it on.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waga_tests::client::{Client, PATIENCE};
use waga_tests::vm::{Guest, await_until};

use crate::accounts::inhabited;
use crate::{in_guest, step};

#[test]
fn tools_above_libvirt_are_served() -> Result<()> {
    in_guest(&inhabited(), |guest| {
        step("the first answer", || guest.connect())?;
        let host = &mut step("libvirt's sync", || Libvirt::connect(guest))?;
        step("KubeVirt polls", || kubevirt_polls(host))?;
        step("KubeVirt freezes", || kubevirt_freezes(host))?;
        step("KubeVirt puts keys by hand", || kubevirt_keys(host, guest))?;
        step("vdsm", || vdsm(host))?;
        step("Ansible", || ansible(host, guest))
    })
}

/// libvirt's own end of the port: one connection, a plain sync, then a line for a line.
struct Libvirt(Client);

impl Libvirt {
    fn connect(guest: &Guest) -> Result<Self> {
        let mut client = guest.bare()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let id = u64::try_from(now)?;
        client.send(format!("{{\"execute\":\"guest-sync\", \"arguments\":{{\"id\":{id}}}}}\n"))?;
        let mut garbage = 0;
        loop {
            let line = client.line()?.context("the end")?;
            match serde_json::from_slice::<Value>(&line) {
                Ok(reply) if reply == json!({"return": id}) => return Ok(Self(client)),
                Ok(reply) => ensure!(reply.get("return").is_some(), "{reply}"),
                Err(_) => garbage += 1,
            }
            ensure!(garbage < 2, "{}", String::from_utf8_lossy(&line));
        }
    }

    /// Sends text as a tool gave it; the reply must be an object with what libvirt knows.
    fn raw(&mut self, request: &str) -> Result<Value> {
        self.0.send(format!("{request}\n"))?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Value> {
        let line = self.0.line()?.context("the end")?;
        ensure!(line.len() < 10 << 20, "libvirt takes no such line");
        let reply: Value = serde_json::from_slice(&line)?;
        ensure!(reply.get("return").is_some() || reply.get("error").is_some(), "{reply}");
        Ok(reply)
    }

    fn returned(&mut self, request: &str) -> Result<Value> {
        let reply = self.raw(request)?;
        reply.get("return").cloned().with_context(|| format!("{request}: {reply}"))
    }

    /// As Python's `json.dumps` writes it.
    fn asked(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let spaced = arguments.to_string().replace("\":", "\": ").replace(",\"", ", \"");
        self.returned(&format!("{{\"execute\": \"{command}\", \"arguments\": {spaced}}}"))
    }
}

/// Right after it has connected all its pollers want something.
fn kubevirt_polls(host: &mut Libvirt) -> Result<()> {
    let burst = [
        "guest-info",
        "guest-get-fsinfo",
        "guest-fsfreeze-status",
        "guest-network-get-interfaces",
        "guest-get-users",
        "guest-get-osinfo",
    ];
    let requests = burst.map(|command| format!("{{\"execute\":\"{command}\"}}\n")).concat();
    host.0.send(requests)?;
    let mut replies = burst.iter().map(|command| {
        let reply = host.reply()?;
        reply.get("return").cloned().with_context(|| format!("{command}: {reply}"))
    });
    let mut next = || replies.next().context("the end")?;
    let info = next()?;
    ensure!(info["version"].is_string(), "{info}");
    let enabled = enabled(&info)?;
    for name in
        "guest-ping guest-get-time guest-info guest-shutdown guest-network-get-interfaces guest-get-fsinfo \
                 guest-get-host-name guest-get-users guest-get-timezone guest-get-osinfo"
            .split_whitespace()
    {
        ensure!(enabled.contains(name), "not supported without {name}");
    }
    let fsinfo = next()?;
    let filesystem = &fsinfo[0];
    for (member, is_right) in [
        ("name", Value::is_string as fn(&Value) -> bool),
        ("mountpoint", Value::is_string),
        ("type", Value::is_string),
        ("used-bytes", Value::is_i64),
        ("total-bytes", Value::is_i64),
        ("disk", Value::is_array),
    ] {
        ensure!(is_right(&filesystem[member]), "{member}: {fsinfo}");
    }
    ensure!(filesystem["disk"][0]["bus-type"] == "virtio", "{fsinfo}");
    ensure!(next()? == "thawed");
    let interfaces = next()?;
    ensure!(
        interfaces.as_array().is_some_and(|list| list.iter().any(|entry| entry["name"] == "eth0")),
        "{interfaces}"
    );
    ensure!(next()?.is_array());
    ensure!(next()?["id"] == "waga-guest");
    drop(replies);
    for command in ["guest-get-load", "guest-get-cpustats", "guest-get-diskstats", "guest-network-get-route"]
    {
        let reply = host.raw(&format!("{{\"execute\":\"{command}\"}}"))?;
        // What an agent does not have it says so.
        ensure!(reply.get("return").is_some() || reply["error"]["class"] == "CommandNotFound", "{reply}");
    }
    ensure!(host.returned(r#"{"execute":"guest-ping"}"#)? == json!({}));
    // An exec probe: its words are put into the text as they are.
    let pid = host.returned(r#"{"execute": "guest-exec", "arguments": { "path": "cat", "arg": [ "/etc/os-release" ], "capture-output":true } }"#)?;
    let pid = pid["pid"].as_i64().filter(|&pid| pid > 0).context("no pid")?;
    let ended = await_until("the probe's end", PATIENCE, || {
        let status = host
            .returned(&format!(r#"{{"execute": "guest-exec-status", "arguments": {{ "pid": {pid} }} }}"#))?;
        Ok((status["exited"] == true).then_some(status))
    })?;
    ensure!(ended["exitcode"] == 0 && ended["out-data"].is_string(), "{ended}");
    Ok(())
}

fn enabled(info: &Value) -> Result<BTreeSet<String>> {
    let commands = info["supported_commands"].as_array().context("no list of commands")?;
    let enabled = commands.iter().filter(|command| command["enabled"] == true);
    Ok(enabled.filter_map(|command| Some(command["name"].as_str()?.to_owned())).collect())
}

fn kubevirt_freezes(host: &mut Libvirt) -> Result<()> {
    let status = r#"{"execute":"guest-fsfreeze-status"}"#;
    ensure!(host.returned(status)? == "thawed");
    ensure!(host.returned(r#"{"execute":"guest-fsfreeze-freeze"}"#)?.is_i64());
    ensure!(host.returned(status)? == "frozen");
    // A second freeze must fail, and as a command that cannot be called now.
    let again = host.raw(r#"{"execute":"guest-fsfreeze-freeze"}"#)?;
    ensure!(again["error"]["class"] == "CommandNotFound", "{again}");
    ensure!(host.returned(status)? == "frozen");
    ensure!(host.returned(r#"{"execute":"guest-fsfreeze-thaw"}"#)?.is_i64());
    ensure!(host.returned(status)? == "thawed");
    Ok(())
}

/// Runs a program to its end, as those do who go through libvirt.
fn exec(host: &mut Libvirt, path: &str, words: &[&str]) -> Result<Value> {
    let started = host.asked("guest-exec", &json!({"path": path, "capture-output": true, "arg": words}))?;
    await_until("the program's end", PATIENCE, || {
        let status = host.asked("guest-exec-status", &json!({"pid": started["pid"]}))?;
        Ok((status["exited"] == true).then_some(status))
    })
}

/// What it does where libvirt has no word for keys.
fn kubevirt_keys(host: &mut Libvirt, guest: &Guest) -> Result<()> {
    let text = |ended: &Value| -> Result<String> {
        ensure!(ended["exitcode"] == 0, "{ended}");
        let data = STANDARD.decode(ended["out-data"].as_str().unwrap_or_default())?;
        Ok(String::from_utf8(data)?)
    };
    let user = text(&exec(host, "/usr/bin/id", &["-u", "alice"])?)?;
    ensure!(user == "1000\n", "{user}");
    for (program, words) in [
        ("mkdir", &["-p", "/home/alice/.ssh"][..]),
        ("chown", &["1000:1000", "/home/alice/.ssh"]),
        ("chmod", &["700", "/home/alice/.ssh"]),
    ] {
        text(&exec(host, program, words)?)?;
    }
    let file = "/home/alice/.ssh/authorized_keys";
    let keys: String = (0..200).map(|number| format!("ssh-ed25519 AAAA{number} somebody\n")).collect();
    let handle = host.asked("guest-file-open", &json!({"path": file, "mode": "w"}))?;
    host.asked("guest-file-write", &json!({"handle": handle, "buf-b64": STANDARD.encode(&keys)}))?;
    host.asked("guest-file-close", &json!({"handle": handle}))?;
    let handle = host.asked("guest-file-open", &json!({"path": file, "mode": "r"}))?;
    let mut read = String::new();
    loop {
        let piece = host.asked("guest-file-read", &json!({"handle": handle}))?;
        ensure!(piece["count"].as_u64().is_some_and(|count| count <= 4096), "{piece}");
        read += &String::from_utf8(STANDARD.decode(piece["buf-b64"].as_str().context("no data")?)?)?;
        if piece["eof"] == true {
            break;
        }
    }
    host.asked("guest-file-close", &json!({"handle": handle}))?;
    ensure!(read == keys && guest.shell(&format!("cat {file}"))? == keys.trim_end(), "{read}");
    Ok(())
}

/// Calls what is told to be on, and nothing else.
fn vdsm(host: &mut Libvirt) -> Result<()> {
    let info = host.returned(r#"{"execute":"guest-info"}"#)?;
    ensure!(info["version"].is_string(), "{info}");
    let enabled = enabled(&info)?;
    let mut told = |command: &str| {
        ensure!(enabled.contains(command), "{command} is off");
        host.returned(&format!("{{\"execute\":\"{command}\"}}"))
    };
    let os = told("guest-get-osinfo")?;
    ensure!(os["id"].is_string() && os["kernel-release"].is_string(), "{os}");
    ensure!(told("guest-get-host-name")?["host-name"] == "waga-guest");
    ensure!(told("guest-get-timezone")?["offset"].as_i64().is_some_and(|offset| offset % 60 == 0));
    ensure!(told("guest-get-users")?.is_array());
    let processors = told("guest-get-vcpus")?;
    ensure!(
        processors
            .as_array()
            .is_some_and(|list| list.iter().filter(|cpu| cpu["online"] == true).count() == 2)
    );
    ensure!(told("guest-network-get-interfaces")?.is_array() && told("guest-get-disks")?.is_array());
    ensure!(told("guest-get-fsinfo")?[0]["total-bytes"].is_u64());
    ensure!(!enabled.contains("guest-get-devices"), "that is Windows'");
    Ok(())
}

fn ansible(host: &mut Libvirt, guest: &Guest) -> Result<()> {
    let info = host.returned(r#"{"execute": "guest-info"}"#)?;
    let commands = info["supported_commands"].as_array().context("no list of commands")?;
    for name in ["exec", "exec-status", "file-close", "file-open", "file-read", "file-write"] {
        // `in` of Python compares all of it.
        let wanted = json!({"enabled": true, "name": format!("guest-{name}"), "success-response": true});
        ensure!(commands.contains(&wanted), "no {wanted}");
    }
    let ended = exec(host, "/bin/sh", &["-c", "echo ~ && sleep 0 ; echo \"quoted 'words'\" >&2; exit 4"])?;
    ensure!(ended["exitcode"] == 4, "{ended}");
    ensure!(
        ended["out-data"].is_string() && ended["err-data"] == STANDARD.encode("quoted 'words'\n"),
        "{ended}"
    );

    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).take(200_000).collect();
    let chunk = 64 << 10;
    let handle = host.asked("guest-file-open", &json!({"path": "/home/put", "mode": "wb+"}))?;
    for piece in content.chunks(chunk) {
        let write = json!({"handle": handle, "buf-b64": STANDARD.encode(piece)});
        ensure!(host.asked("guest-file-write", &write)?["count"] == piece.len());
    }
    host.asked("guest-file-close", &json!({"handle": handle}))?;
    let (status, seen) = guest.shell_status("cat /home/put")?;
    ensure!(status == 0 && seen == content, "{} other bytes", seen.len());

    let handle = host.asked("guest-file-open", &json!({"path": "/home/put", "mode": "r"}))?;
    let mut fetched = Vec::new();
    loop {
        let piece = host.asked("guest-file-read", &json!({"handle": handle, "count": chunk}))?;
        fetched.extend(STANDARD.decode(piece["buf-b64"].as_str().context("no data")?)?);
        if piece["eof"] == true {
            break;
        }
    }
    host.asked("guest-file-close", &json!({"handle": handle}))?;
    ensure!(fetched == content, "{} other bytes", fetched.len());
    Ok(())
}
