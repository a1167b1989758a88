//! Log and audit in a real journal: systemd's journald and its `/dev/log`, in a mount namespace of their own.

use std::path::Path;
use std::process::Command;

use waga_tests::agent::{Program, left_out};

use crate::program;

/// Runs in the namespace: `$1` is the agent. Everything is below a `/run` that ends with it.
const SCRIPT: &str = r#"
set -e
waga=$1
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal /run/agent
journald=$(command -v systemd-journald || echo /lib/systemd/systemd-journald)
start_journald() { "$journald" & journal=$!; await '[ -S /run/systemd/journal/socket ]'; }
await() { for try in $(seq 300); do eval "$1" && return; sleep 0.1; done; echo "never came: $1"; exit 1; }
read_journal() { journalctl -D /run/log/journal --no-pager -o "$1" $2; }
start_journald
cd /run/agent
printf '[log]\ntarget = "%s"\nverbose = true\n[audit]\ntarget = "%s"\n' "$2" "$2" >agent.toml
"$waga" -c agent.toml -m unix-listen -p s -t . & agent=$!
await '"$waga" call --socket s guest-ping >ping 2>&1'
"$waga" call --socket s guest-file-open path=/nonexistent/tulip || [ $? -eq 1 ]
await 'read_journal cat SYSLOG_IDENTIFIER=waga-audit | grep -q tulip'
kill "$journal"; wait "$journal" || true
"$waga" call --socket s guest-get-time >time
rm -f /run/systemd/journal/socket
start_journald
"$waga" call --socket s guest-get-host-name >name
await 'read_journal cat SYSLOG_IDENTIFIER=waga-audit | grep -q guest-get-host-name'
read_journal cat SYSLOG_IDENTIFIER=waga
read_journal cat SYSLOG_IDENTIFIER=waga-audit
read_journal json WAGA_COMMAND=guest-file-open
kill "$agent"; wait "$agent"
kill "$journal"
"#;

#[test]
fn log_and_audit_reach_a_real_journal_and_survive_its_restart() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let has_journald = ["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"];
    if !has_journald.iter().any(|path| Path::new(path).exists()) {
        left_out("a real journal, which takes systemd's journald");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(crate::NAMESPACE_OF_ROOT.iter().filter(|_| !nix::unistd::geteuid().is_root()));
    // With a process namespace, too: whatever happens, nothing outlives it.
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"])
        .arg(program.path())
        .arg("journal");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    for expected in [
        "guest-file-open path=\"/nonexistent/tulip\" mode=\"r\"",
        "\"values\": {\"path\": \"/nonexistent/tulip\"}, \"outcome\": \"error\", \"class\": \"GenericError\"",
        // Structured, for who looks for a command.
        "\"WAGA_CHANNEL\":\"unix-listen\"",
        // What came while there was no journal is counted.
        "lines of the log were lost",
        "\"lost\": ",
        "\"command\": \"guest-get-host-name\"",
    ] {
        assert!(said.contains(expected), "{expected} is not in: {said}");
    }
}
