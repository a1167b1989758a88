//! What people read, to the letter: help, `--dump-conf`, `check`. `UPDATE_EXPECT=1 cargo test -p waga-tests --test it snapshots` writes down
//! what there is now; read the difference before it is committed.

use std::fs;

use expect_test::{Expect, expect};
use waga_tests::agent::Program;

use crate::daemon::CHECKED;
use crate::program;

/// What it prints for these words, in a folder with these files.
fn check(called: &str, files: &[(&str, &str)], words: &[&str], expected: &Expect) {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let program = program.called(called);
    let mut command = program.command();
    let output =
        command.args(words).current_dir(dir.path()).env("QGA_CONF", "no-such.conf").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    expected.assert_eq(&String::from_utf8(output.stdout).unwrap());
}

#[test]
fn help() {
    check(
        "waga",
        &[],
        &["--help"],
        &expect![[r#"
            Usage: waga [<options>]            be the guest agent
                   waga check [<options>]      explain what the configuration means
                   waga schema [<options>]     print what commands take and give
                   waga call [<options>] ...   ask an agent, from the host

            'waga VERB --help' says more.
            Configuration: /etc/waga/agent.toml, /etc/waga/agent.d/*.toml, then
            /etc/qemu/qemu-ga.conf, or the file that QGA_CONF names.

              -c, --config=FILE          read only this file: agent.toml if it ends in
                                         .toml, else qemu-ga.conf
              -m, --method=METHOD        transport: virtio-serial (default), isa-serial,
                                         unix-listen or vsock-listen
              -p, --path=PATH            device, socket or CID:PORT (default
                                         /dev/virtio-ports/org.qemu.guest_agent.0, or
                                         /dev/ttyS0 for isa-serial)
              -l, --logfile=FILE         log to this file instead of the journal or stderr
              -f, --pidfile=FILE         with -d: keep the process number in this file
                                         (default /var/run/qemu-ga.pid)
              -F, --fsfreeze-hook[=HOOK] run this program with 'freeze' and 'thaw' (default
                                         /etc/qemu/fsfreeze-hook); attach it: -F/path or
                                         --fsfreeze-hook=/path
              -t, --statedir=DIR         keep state in this folder (default /var/run)
              -v, --verbose              log everything, not only errors
              -V, --version              print the version
              -d, --daemonize            go to the background once every channel is open
              -b, --block-rpcs=NAMES     switch these commands off, separated by commas;
                                         'help' lists all
              -a, --allow-rpcs=NAMES     switch all but these off, separated by commas;
                                         'help' lists all
              -D, --dump-conf            print the configuration that results from files and
                                         options
              -r, --retry-path           try again and again to open a channel that is not
                                         there or failed
              -h, --help                 print this
        "#]],
    );
    check(
        "qemu-ga",
        &[],
        &["--help"],
        &expect![[r#"
            Usage: qemu-ga [-m <method> -p <path>] [<options>]
            QEMU Guest Agent 11.1.3, served by waga 0.1.0
            Configuration: /etc/qemu/qemu-ga.conf, or the file that QGA_CONF names.

              -c, --config=FILE          read this file instead
              -m, --method=METHOD        transport: virtio-serial (default), isa-serial,
                                         unix-listen or vsock-listen
              -p, --path=PATH            device, socket or CID:PORT (default
                                         /dev/virtio-ports/org.qemu.guest_agent.0, or
                                         /dev/ttyS0 for isa-serial)
              -l, --logfile=FILE         log to this file instead of the journal or stderr
              -f, --pidfile=FILE         with -d: keep the process number in this file
                                         (default /var/run/qemu-ga.pid)
              -F, --fsfreeze-hook[=HOOK] run this program with 'freeze' and 'thaw' (default
                                         /etc/qemu/fsfreeze-hook); attach it: -F/path or
                                         --fsfreeze-hook=/path
              -t, --statedir=DIR         keep state in this folder (default /var/run)
              -v, --verbose              log everything, not only errors
              -V, --version              print the version
              -d, --daemonize            go to the background once every channel is open
              -b, --block-rpcs=NAMES     switch these commands off, separated by commas;
                                         'help' lists all
              -a, --allow-rpcs=NAMES     switch all but these off, separated by commas;
                                         'help' lists all
              -D, --dump-conf            print the configuration that results from files and
                                         options
              -r, --retry-path           try again and again to open a channel that is not
                                         there or failed
              -h, --help                 print this
        "#]],
    );
    check(
        "waga",
        &[],
        &["schema", "--help"],
        &expect![[r#"
        Usage: waga schema [COMMAND] [--format=FORMAT] [<options of the agent>]
        Prints what a command takes and gives, or what all do: the agent's own, and
        those of the configuration's extensions that the agent has compiled before.
        Configuration: /etc/waga/agent.toml, /etc/waga/agent.d/*.toml, then
        /etc/qemu/qemu-ga.conf, or the file that QGA_CONF names.

          -c, --config=FILE          read only this file: agent.toml if it ends in
                                     .toml, else qemu-ga.conf
          -m, --method=METHOD        transport: virtio-serial (default), isa-serial,
                                     unix-listen or vsock-listen
          -p, --path=PATH            device, socket or CID:PORT (default
                                     /dev/virtio-ports/org.qemu.guest_agent.0, or
                                     /dev/ttyS0 for isa-serial)
          -l, --logfile=FILE         log to this file instead of the journal or stderr
          -f, --pidfile=FILE         with -d: keep the process number in this file
                                     (default /var/run/qemu-ga.pid)
          -F, --fsfreeze-hook[=HOOK] run this program with 'freeze' and 'thaw' (default
                                     /etc/qemu/fsfreeze-hook); attach it: -F/path or
                                     --fsfreeze-hook=/path
          -t, --statedir=DIR         keep state in this folder (default /var/run)
          -v, --verbose              log everything, not only errors
          -V, --version              print the version
          -d, --daemonize            go to the background once every channel is open
          -b, --block-rpcs=NAMES     switch these commands off, separated by commas;
                                     'help' lists all
          -a, --allow-rpcs=NAMES     switch all but these off, separated by commas;
                                     'help' lists all
          -D, --dump-conf            print the configuration that results from files and
                                     options
          -r, --retry-path           try again and again to open a channel that is not
                                     there or failed
          -h, --help                 print this
              --format=FORMAT        json-schema (default), or qapi: text as in QEMU's
                                     qga/qapi-schema.json
    "#]],
    );
    check(
        "waga",
        &[],
        &["check", "--help"],
        &expect![[r#"
            Usage: waga check [--json] [<options of the agent>]
            Reads the configuration as the agent would, and tells for each command whether
            it is on and what decided it. Exit code: 0, or 1 if the configuration is wrong.
            Configuration: /etc/waga/agent.toml, /etc/waga/agent.d/*.toml, then
            /etc/qemu/qemu-ga.conf, or the file that QGA_CONF names.

              -c, --config=FILE          read only this file: agent.toml if it ends in
                                         .toml, else qemu-ga.conf
              -m, --method=METHOD        transport: virtio-serial (default), isa-serial,
                                         unix-listen or vsock-listen
              -p, --path=PATH            device, socket or CID:PORT (default
                                         /dev/virtio-ports/org.qemu.guest_agent.0, or
                                         /dev/ttyS0 for isa-serial)
              -l, --logfile=FILE         log to this file instead of the journal or stderr
              -f, --pidfile=FILE         with -d: keep the process number in this file
                                         (default /var/run/qemu-ga.pid)
              -F, --fsfreeze-hook[=HOOK] run this program with 'freeze' and 'thaw' (default
                                         /etc/qemu/fsfreeze-hook); attach it: -F/path or
                                         --fsfreeze-hook=/path
              -t, --statedir=DIR         keep state in this folder (default /var/run)
              -v, --verbose              log everything, not only errors
              -V, --version              print the version
              -d, --daemonize            go to the background once every channel is open
              -b, --block-rpcs=NAMES     switch these commands off, separated by commas;
                                         'help' lists all
              -a, --allow-rpcs=NAMES     switch all but these off, separated by commas;
                                         'help' lists all
              -D, --dump-conf            print the configuration that results from files and
                                         options
              -r, --retry-path           try again and again to open a channel that is not
                                         there or failed
              -h, --help                 print this
                  --json                 print JSON instead of a table
        "#]],
    );
    check(
        "waga",
        &[],
        &["call", "--help"],
        &expect![[r#"
            Calls a command of a guest agent, waga or qemu-ga, and prints what it returns

            Usage: waga call (--socket PATH | --vsock CID:PORT | --domain NAME) [OPTIONS]
                             [COMMAND [key=value... | JSON | -]]

            Arguments:
              [COMMAND]      what to call; without it, all that the agent has is listed
              [ARGUMENT]...  an argument, as described below

            Options:
                  --socket <PATH>      the agent's unix socket, or that of QEMU's chardev
                  --vsock <CID:PORT>   a port of a virtual machine: two decimal numbers
                  --domain <NAME>      a guest of libvirt (name, id or UUID), by virsh
                  --connect <URI>      with --domain: the libvirt to ask
                  --timeout <SECONDS>  time for it all [default: 30; freeze, trim: 600]
                  --pretty             print JSON on many lines, as on a terminal
                  --compact            print JSON on one line, as into a pipe
                  --json               without COMMAND: the list as JSON, as in a pipe
              -h, --help               Print help

            Ways to write arguments:
              key=value   The value is JSON if it can be read as JSON: a number, true,
                          false, null, [1,2], {"a":1}, "text". Else it is a string. A string
                          that looks like JSON needs quotes of its own: key='"123"'
              JSON        All arguments as one object: '{"path":"/etc/motd"}'
              -           The same, from stdin: for scripts, and for secrets, which others
                          see on a command line (with --domain they do, on that of virsh)

            Printed is what the command returned, as JSON. A command that does not answer
            when it succeeds (guest-shutdown, guest-suspend-*) prints nothing; it has three
            seconds to say that it failed.

            Exit codes:
              0  success
              1  the agent answered with an error
              2  the command line makes no sense
              3  the agent could not be reached, or gave no valid answer
              4  the time was over

            Examples:
              waga call --socket /run/vm.agent guest-get-osinfo
              waga call --domain web1 guest-file-open path=/etc/motd mode=r
              waga call --domain web1 guest-exec path=/bin/uname 'arg=["-a"]' \
                  capture-output=true
        "#]],
    );
}

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

#[test]
fn schema_as_qapi() {
    check(
        "waga",
        &[],
        &["schema", "guest-file-seek", "--format=qapi"],
        &expect![[r#"
        # -*- Mode: Python -*-
        # vim: filetype=python
        #
        # Made by waga schema.

        ##
        # @Whence:
        #
        # What an offset counts from.
        #
        # @set: The beginning of the file.
        #
        # @cur: Where the position is.
        #
        # @end: The end of the file.
        ##
        { 'enum': 'Whence',
          'data': [ 'set',
                    'cur',
                    'end' ] }

        ##
        # @GuestFileSeekWhence:
        #
        # @word: the word for it
        #
        # @number: what older clients write for it
        ##
        { 'alternate': 'GuestFileSeekWhence',
          'data': { 'word': 'Whence',
                    'number': 'int' } }

        ##
        # @FileSeek:
        #
        # Where the position is now.
        #
        # @position: Bytes from the beginning of the file, which may lie
        #     beyond its end.
        #
        # @eof: Always false.
        ##
        { 'struct': 'FileSeek',
          'data': { 'position': 'uint64',
                    'eof': 'bool' } }

        ##
        # @guest-file-seek:
        #
        # Moves a file's position.
        #
        # @handle: which file
        #
        # @offset: bytes, also backwards
        #
        # @whence: what they count from
        ##
        { 'command': 'guest-file-seek',
          'data': { 'handle': 'int',
                    'offset': 'int',
                    'whence': 'GuestFileSeekWhence' },
          'returns': 'FileSeek' }
    "#]],
    );
    check(
        "waga",
        &[],
        &["schema", "guest-get-cpustats", "--format=qapi"],
        &expect![[r#"
        # -*- Mode: Python -*-
        # vim: filetype=python
        #
        # Made by waga schema.

        ##
        # @CpuStatsType:
        #
        # The cases of CpuStats.
        #
        # @linux: As Linux counts it.
        ##
        { 'enum': 'CpuStatsType',
          'data': [ 'linux' ] }

        ##
        # @CpuStatsLinux:
        #
        # As Linux counts it.
        #
        # @cpu: The processor's number.
        #
        # @user: In programs.
        #
        # @nice: In programs of low priority.
        #
        # @system: In the kernel.
        #
        # @idle: With nothing to do.
        #
        # @iowait: With nothing to do but wait for a device.
        #
        # @irq: Serving interrupts.
        #
        # @softirq: Serving what interrupts left for later.
        #
        # @steal: Taken by the host for others.
        #
        # @guest: Running guests of the guest's own.
        #
        # @guestnice: Running such guests of low priority.
        ##
        { 'struct': 'CpuStatsLinux',
          'data': { 'cpu': 'uint32',
                    'user': 'uint64',
                    'nice': 'uint64',
                    'system': 'uint64',
                    'idle': 'uint64',
                    '*iowait': 'uint64',
                    '*irq': 'uint64',
                    '*softirq': 'uint64',
                    '*steal': 'uint64',
                    '*guest': 'uint64',
                    '*guestnice': 'uint64' } }

        ##
        # @CpuStats:
        #
        # What a processor did since the guest started.
        #
        # @type: which case it is
        ##
        { 'union': 'CpuStats',
          'base': { 'type': 'CpuStatsType' },
          'discriminator': 'type',
          'data': { 'linux': 'CpuStatsLinux' } }

        ##
        # @guest-get-cpustats:
        #
        # Tells what each processor that is on did since the guest started.
        ##
        { 'command': 'guest-get-cpustats',
          'returns': ['CpuStats'] }
    "#]],
    );
}

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
