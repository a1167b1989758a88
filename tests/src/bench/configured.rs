//! A full `agent.toml`: something of every table, as an operator with many wishes would have it.

/// Everything but the audit.
pub(super) const FULL: &str = r#"
[[channel]]
method = "virtio-serial"
[[channel]]
method = "unix-listen"
path = "backup.sock"
mode = "0600"
retry-path = true
[policy]
block = ["guest-get-users", "guest-ssh-get-authorized-keys", "guest-get-disks", "guest-get-memory-blocks", "guest-get-load"]
[policy.exec]
allow = [
    { program = "/usr/bin/uptime" },
    { program = "/usr/bin/systemctl", args = ["restart", "acme-*"] },
    { program = "/usr/bin/journalctl", args = ["--unit", "acme-*", "**"], env = ["LANG=C.UTF-8"] },
    { program = "/usr/sbin/fstrim", args = ["--all"] },
]
[policy.file]
read = ["/etc/os-release", "/var/log", "/srv/acme"]
write = ["/srv/acme/in"]
[policy.channel.unix-listen]
allow = ["guest-sync", "guest-sync-delimited", "guest-ping", "guest-info", "guest-fsfreeze-status", "guest-get-fsinfo"]
block = ["guest-get-diskstats"]
[log]
target = "stderr"
verbose = false
[daemon]
pidfile = "waga.pid"
"#;

/// The audit, to a file.
pub(super) const AUDIT: &str = r#"
[audit]
file = "audit"
"#;
