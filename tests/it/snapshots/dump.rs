//! What `--dump-conf` prints: ours, and the original's under its name.

use expect_test::expect;

use super::check;
use crate::daemon::CHECKED;

#[test]
fn dump_conf() {
    check(
        "waga",
        &[("empty.toml", "")],
        &["-c", "empty.toml", "-D"],
        &expect![[r#"
            [[channel]]
            method = "virtio-serial"
            path = "/dev/virtio-ports/org.qemu.guest_agent.0"
            name = "virtio-serial"
            retry-path = false

            [policy]
            block = []

            [log]
            target = "auto"
            verbose = false

            [state]
            dir = "/var/run"

            [daemon]
            daemonize = false
            pidfile = "/var/run/qemu-ga.pid"
        "#]],
    );
    check(
        "waga",
        &[("agent.toml", CHECKED)],
        &["-D", "-c", "agent.toml", "-b", "guest-get-load", "-F", "-l", "log"],
        &expect![[r#"
            [[channel]]
            method = "virtio-serial"
            path = "/dev/virtio-ports/org.qemu.guest_agent.0"
            name = "virtio-serial"
            retry-path = false

            [[channel]]
            method = "unix-listen"
            path = "/run/waga.sock"
            name = "backup"
            retry-path = true

            [policy]
            block = ["guest-exce", "guest-get-load", "guest-get-users"]

            [[policy.exec.allow]]
            program = "/usr/bin/uptime"
            args = []
            env = []

            [policy.channel.backup]
            allow = ["guest-exec", "guest-ping"]
            block = []

            [log]
            target = "file"
            file = "log"
            verbose = false

            [state]
            dir = "/var/run"

            [daemon]
            daemonize = false
            pidfile = "/var/run/qemu-ga.pid"

            [freeze]
            hook = "/etc/qemu/fsfreeze-hook"
        "#]],
    );
    check(
        "qemu-ga",
        &[],
        &["-D", "-v", "-F/hook", "-m", "isa-serial", "-b", "a,b"],
        &expect![[r#"
        [general]
        daemon=false
        method=isa-serial
        path=/dev/ttyS0
        pidfile=/var/run/qemu-ga.pid
        fsfreeze-hook=/hook
        statedir=/var/run
        verbose=true
        retry-path=false
        block-rpcs=b,a
        allow-rpcs=
    "#]],
    );
}
