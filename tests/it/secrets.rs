//! No secret reaches the log or the audit, at any verbosity: every command the agent has is run with secrets wherever one can stand.

use std::collections::HashSet;
use std::fs;

use serde_json::{Value, json};
use waga_tests::agent::{Agent, Program};
use waga_tests::client::Client;

use crate::program;

/// A secret and its base64; no command has a name or a path like it.
const PLAIN: &str = "secret-tulip";
const ENCODED: &str = "c2VjcmV0LXR1bGlw";

/// What each command is asked, with secrets in its secret places; further ones get secrets where none belong (see [`strangers`]).
///
/// What would change this machine stands here with arguments that it refuses.
fn cases(command: &str) -> Option<Vec<Value>> {
    let plain = |text: &str| format!("{text}{PLAIN}");
    Some(match command {
        "guest-exec" => vec![
            json!({"path": "cat", "arg": [plain("--")], "env": [plain("KEY="), "PATH=/bin"], "input-data": ENCODED, "capture-output": true}),
            json!({"path": "sh", "arg": ["-c", plain("echo ")], "capture-output": true}),
            json!({"path": "/nonexistent", "arg": [PLAIN], "env": [ENCODED]}),
            json!({"path": "cat", "input-data": format!("{ENCODED}.")}),
            json!({"path": "cat", "arg": PLAIN, "env": {PLAIN: ENCODED}}),
        ],
        // Asked after `guest-exec`, whose programs have written secrets.
        "guest-exec-status" => vec![json!({"pid": 1}), json!({"pid": {"x": PLAIN}})],
        "guest-file-open" => vec![json!({"path": "f", "mode": "w+"}), json!({"path": "/nonexistent/f"})],
        "guest-file-write" => vec![
            json!({"handle": 1000, "buf-b64": ENCODED}),
            json!({"handle": 1000, "buf-b64": ENCODED, "count": 1}),
            json!({"handle": 1000, "buf-b64": PLAIN}),
            json!({"handle": 1, "buf-b64": ENCODED}),
            json!({"handle": {"x": PLAIN}, "buf-b64": ENCODED}),
        ],
        "guest-file-seek" => vec![json!({"handle": 1000, "offset": 0, "whence": "set"})],
        "guest-file-read" => vec![json!({"handle": 1000, "count": 100}), json!({"handle": 1})],
        "guest-file-flush" | "guest-file-close" => vec![json!({"handle": 1})],
        "guest-sync" | "guest-sync-delimited" => vec![json!({"id": 1}), json!({"id": {"x": PLAIN}})],
        "guest-set-vcpus" => {
            vec![json!({"vcpus": []}), json!({"vcpus": [{"logical-id": PLAIN, "online": true}]})]
        }
        "guest-set-memory-blocks" => {
            vec![json!({"mem-blks": []}), json!({"mem-blks": [{"phys-index": PLAIN, "online": true}]})]
        }
        "guest-set-time" => vec![json!({"time": i64::MAX}), json!({"time": {"x": PLAIN}})],
        "guest-shutdown" => vec![json!({"mode": "x"}), json!({"mode": {"x": PLAIN}})],
        // Without an argument they would do it.
        "guest-suspend-disk" | "guest-suspend-hybrid" | "guest-suspend-ram" => vec![json!({"x": PLAIN})],
        // A name that is none may be anything.
        "waga-get-schema" => vec![json!({"command": "guest-ping"}), json!({"command": PLAIN})],
        "guest-ssh-get-authorized-keys" => vec![json!({"username": "nonexistent-user"})],
        "guest-fsfreeze-status"
        | "guest-get-cpustats"
        | "guest-get-diskstats"
        | "guest-get-disks"
        | "guest-get-fsinfo"
        | "guest-get-host-name"
        | "guest-get-load"
        | "guest-get-memory-block-info"
        | "guest-get-memory-blocks"
        | "guest-get-osinfo"
        | "guest-get-time"
        | "guest-get-timezone"
        | "guest-get-users"
        | "guest-get-vcpus"
        | "guest-info"
        | "guest-network-get-interfaces"
        | "guest-network-get-route"
        | "guest-ping"
        | "waga-get-freeze-report"
        | "waga-get-extensions"
        | "waga-get-stats"
        | "waga-reload"
        | "guest-get-devices" => vec![json!({})],
        // Never with arguments that it takes: this machine is not to be frozen.
        "guest-fsfreeze-freeze" | "guest-fsfreeze-thaw" => vec![json!({"no-such": PLAIN})],
        "guest-fsfreeze-freeze-list" => {
            vec![json!({"mountpoints": 5}), json!({PLAIN: []})]
        }
        // Not on this machine: what a command of these would change is not there.
        "guest-set-user-password" => vec![
            json!({"username": "nonexistent-user", "password": ENCODED, "crypted": false}),
            json!({"username": "nonexistent-user", "password": PLAIN, "crypted": true}),
        ],
        "guest-ssh-add-authorized-keys" | "guest-ssh-remove-authorized-keys" => {
            vec![json!({"username": "nonexistent-user", "keys": [plain("ssh-ed25519 "), ENCODED]})]
        }
        // What is trimmed are filesystems of this machine, so it is refused.
        "guest-fstrim" => vec![json!({"minimum": {"x": PLAIN}})],
        _ => return None,
    })
}

/// Requests of any command with secrets where nothing belongs: an argument's name, its value, the `id`, another member.
fn strangers(command: &str) -> Vec<String> {
    [
        json!({"execute": command, "arguments": {PLAIN: ENCODED}}),
        json!({"execute": command, "arguments": {ENCODED: {PLAIN: [PLAIN]}}, "id": PLAIN}),
        json!({"execute": command, "arguments": [PLAIN], "id": ENCODED}),
        json!({"execute": command, PLAIN: 1}),
        json!({"execute": command, "arguments": {"x": "x".repeat(1 << 19) + PLAIN}}),
    ]
    .iter()
    .map(Value::to_string)
    .chain([
        format!("{{\"execute\":\"{command}\",\"arguments\":{{\"x\":\"{PLAIN}\u{1}\"}}}}"),
        format!("{{\"execute\":\"{command}\",\"arguments\":{{\"{PLAIN}\":{ENCODED}}}}}"),
        format!("{{\"execute\":\"{command}\",\"id\":\"{ENCODED}\"]"),
    ])
    .collect()
}

fn ask_everything(agent: &Agent) {
    let mut client = agent.client();
    let info = client.run("guest-info", json!({})).unwrap();
    let commands: Vec<&str> = info["supported_commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    // In the table's own order: a file has to be open before it is written to.
    let mut order: Vec<&str> =
        ["guest-file-open", "guest-file-write", "guest-file-seek", "guest-file-read", "guest-exec"].to_vec();
    let first: HashSet<&str> = order.iter().copied().collect();
    order.extend(commands.iter().filter(|command| !first.contains(*command)));
    for command in order {
        assert!(commands.contains(&command), "{command} is gone");
        let cases = cases(command)
            .unwrap_or_else(|| panic!("{command} is new: say in `cases` where its secrets can stand"));
        for arguments in cases {
            let reply = ask(&mut client, &json!({"execute": command, "arguments": arguments}).to_string());
            if command == "guest-exec"
                && let Some(pid) = reply["return"]["pid"].as_i64()
            {
                while client.run("guest-exec-status", json!({"pid": pid})).unwrap()["exited"] != json!(true) {
                }
            }
        }
        for request in strangers(command) {
            ask(&mut client, &request);
        }
    }
    // A typing mistake, and messages that are broken everywhere.
    for request in strangers("guest-set-user-pasword").into_iter().chain([
        json!({"execute": ENCODED}).to_string(),
        json!({"execute": {PLAIN: PLAIN}}).to_string(),
        json!(PLAIN).to_string(),
        json!([PLAIN]).to_string(),
        format!("{PLAIN}\n{ENCODED} {PLAIN}]"),
    ]) {
        ask(&mut client, &request);
    }
    client.send(format!("{{\"execute\":\"guest-ping\",\"id\":\"{ENCODED}")).unwrap();
    drop(client);
    agent.client().sync(7).unwrap();
}

/// Sends a text, and brings the stream into step whatever it was; the first reply, if there was one.
fn ask(client: &mut Client, text: &str) -> Value {
    client.send(format!("{text}\n")).unwrap();
    client.send(b"\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":424242}}\n").unwrap();
    let mut first = Value::Null;
    loop {
        let line = client.line().unwrap().expect("the agent goes on");
        if line.ends_with(b"{\"return\": 424242}") {
            return first;
        }
        if first == Value::Null {
            first = serde_json::from_slice(&line).unwrap_or_default();
        }
    }
}

#[test]
fn no_secret_is_written_down() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    for (verbose, log) in [(true, "file"), (true, "stderr"), (false, "file")] {
        let setup = if verbose { program.setup() } else { program.setup().quiet() };
        let (config, audit) = (setup.dir().join("agent.toml"), setup.dir().join("audit"));
        fs::write(&config, format!("[audit]\nfile = {audit:?}\n[policy]\nenable = ['waga-reload']\n"))
            .unwrap();
        let setup = setup.options(["-c".into(), config]);
        let setup = if log == "stderr" { setup.options(["-l", "/dev/stderr"]) } else { setup };
        let agent = setup.start();
        ask_everything(&agent);
        let agent = agent.restart(nix::sys::signal::Signal::SIGTERM);
        let (log, audit) = (agent.log(), fs::read_to_string(audit).unwrap());
        assert_eq!(log.contains("guest-exec"), verbose, "{log}");
        for command in ["guest-exec", "guest-file-write", "guest-ssh-get-authorized-keys"] {
            assert!(audit.contains(command), "{command} is not audited");
        }
        for secret in [PLAIN, ENCODED] {
            for line in log.lines().chain(audit.lines()) {
                assert!(!line.contains(secret), "{line}");
            }
        }
    }
}
