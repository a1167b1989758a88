//! A full `agent.toml`: something of every table, as an operator with many wishes would have it.

/// Everything but the audit.
pub(super) const FULL: &str = r#"
[[channel]]
method = "virtio-serial"
[[channel]]
method = "unix-listen"
path = "backup.sock"
name = "backup"
mode = "0600"
[policy]
block = ["guest-get-users", "guest-ssh-get-authorized-keys", "guest-set-user-password", "guest-suspend-disk", "guest-suspend-ram"]
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
[policy.channel.backup]
allow = ["guest-sync", "guest-sync-delimited", "guest-ping", "guest-info", "guest-fsfreeze-status", "guest-get-fsinfo"]
[policy.channel.virtio-serial]
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
