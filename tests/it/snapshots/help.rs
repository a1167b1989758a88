//! What `--help` prints, of the agent, of its verbs and under the name of the original.

use expect_test::expect;

use super::check;

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
                                         .toml, else qemu-ga.conf; or this folder, as
                                         /etc/waga
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
                                         .toml, else qemu-ga.conf; or this folder, as
                                         /etc/waga
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
                                         .toml, else qemu-ga.conf; or this folder, as
                                         /etc/waga
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
                   waga call --help COMMAND

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
              -h, --help               print this; with COMMAND: what that takes and returns

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
              waga call --socket /run/vm.agent --help guest-exec
              waga call --domain web1 guest-file-open path=/etc/motd mode=r
              waga call --domain web1 guest-exec path=/bin/uname 'arg=["-a"]' \
                  capture-output=true
        "#]],
    );
}
