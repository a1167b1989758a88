//! What `waga check` prints.

use expect_test::expect;

use super::check;
use crate::daemon::CHECKED;

#[test]
fn check_of_everything() {
    check(
        "waga",
        &[("agent.toml", CHECKED)],
        &["check", "-c", "agent.toml", "-b", "guest-get-load"],
        &expect![[r#"
            files     agent.toml
            channel   virtio-serial: virtio-serial at /dev/virtio-ports/org.qemu.guest_agent.0
            channel   backup: unix-listen at /run/waga.sock, tried again and again
            warning   agent.toml:9:29: [policy] block: no command is called 'guest-exce'; did you mean 'guest-exec'?
            warning   channel backup: guest-sync and guest-sync-delimited are off; most clients begin with one of them

            guest-sync-delimited                on   by default
            guest-sync                          on   by default
            guest-ping                          on   by default
            guest-info                          on   by default
            guest-get-time                      on   by default
            guest-set-time                      on   by default
            guest-get-timezone                  on   by default
            guest-shutdown                      on   by default
            guest-suspend-disk                  on   by default
            guest-suspend-ram                   on   by default
            guest-suspend-hybrid                on   by default
            guest-file-open                     on   by default
            guest-file-close                    on   by default
            guest-file-read                     on   by default
            guest-file-write                    on   by default
            guest-file-seek                     on   by default
            guest-file-flush                    on   by default
            guest-fsfreeze-status               on   by default
            guest-fsfreeze-freeze               on   by default
            guest-fsfreeze-freeze-list          on   by default
            guest-fsfreeze-thaw                 on   by default
            waga-get-freeze-report              on   by default
            guest-network-get-interfaces        on   by default
            guest-network-get-route             on   by default
            guest-get-vcpus                     on   by default
            guest-set-vcpus                     on   by default
            guest-get-cpustats                  on   by default
            guest-get-load                      off  listed in --block-rpcs (-b)
            guest-get-disks                     on   by default
            guest-get-fsinfo                    on   by default
            guest-get-diskstats                 on   by default
            guest-fstrim                        on   by default
            guest-get-memory-blocks             on   by default
            guest-set-memory-blocks             on   by default
            guest-get-memory-block-info         on   by default
            guest-exec-status                   on   by default
            guest-exec                          on   by default; limited by agent.toml:10:1: [policy.exec]
            guest-get-host-name                 on   by default
            guest-get-osinfo                    on   by default
            guest-get-users                     off  listed in agent.toml:9:10: [policy] block
            guest-set-user-password             on   by default
            guest-ssh-get-authorized-keys       on   by default
            guest-ssh-add-authorized-keys       on   by default
            guest-ssh-remove-authorized-keys    on   by default
            waga-get-extensions                 on   by default
            waga-get-schema                     on   by default
            waga-get-stats                      on   by default
            waga-reload                         off  by default

            on channel backup
            guest-sync-delimited                off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-sync                          off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-ping                          on   listed in agent.toml:13:10: [policy.channel.backup] allow
            guest-info                          off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-time                      off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-set-time                      off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-timezone                  off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-shutdown                      off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-suspend-disk                  off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-suspend-ram                   off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-suspend-hybrid                off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-file-open                     off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-file-close                    off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-file-read                     off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-file-write                    off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-file-seek                     off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-file-flush                    off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-fsfreeze-status               off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-fsfreeze-freeze               off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-fsfreeze-freeze-list          off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-fsfreeze-thaw                 off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            waga-get-freeze-report              off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-network-get-interfaces        off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-network-get-route             off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-vcpus                     off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-set-vcpus                     off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-cpustats                  off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-disks                     off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-fsinfo                    off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-diskstats                 off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-fstrim                        off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-memory-blocks             off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-set-memory-blocks             off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-memory-block-info         off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-exec-status                   off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-exec                          on   listed in agent.toml:13:24: [policy.channel.backup] allow; limited by agent.toml:10:1: [policy.exec]
            guest-get-host-name                 off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-get-osinfo                    off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-set-user-password             off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-ssh-get-authorized-keys       off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-ssh-add-authorized-keys       off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            guest-ssh-remove-authorized-keys    off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            waga-get-extensions                 off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            waga-get-schema                     off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            waga-get-stats                      off  not listed in agent.toml:13:9: [policy.channel.backup] allow
            waga-reload                         off  not listed in agent.toml:13:9: [policy.channel.backup] allow
        "#]],
    );
}
