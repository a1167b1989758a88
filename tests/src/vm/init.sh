#!/bin/busybox sh
# The first process of a test guest: brings the machine up, starts the agent, then serves the tests' shell.
# What it does is told by the files in /etc/guest; what goes wrong is told on the console.

/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

# What halt, poweroff and reboot tell the first process, as busybox's own init understands it.
for end in 'USR1 halt' 'USR2 poweroff' 'TERM reboot'; do
    trap "echo 'init: ${end#* }'; sync; busybox ${end#* } -f" "${end% *}"
done

mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
hostname waga-guest

while read -r module; do
    insmod "$module" || echo "init: $module was not loaded"
done </etc/guest/module-order

# There is no udev here, and the host tells a port's name only after the port is there.
mkdir -p /dev/virtio-ports /run/port-state
while read -r wanted; do
    tries=0
    until [ -e "/dev/virtio-ports/$wanted" ]; do
        for port in /sys/class/virtio-ports/*/name; do
            [ ! -e "$port" ] || read -r name <"$port" || continue
            port=${port%/name}
            if [ "$name" = "$wanted" ]; then
                # What the kernel thinks of the port goes below a fixed name too.
                ln -s "/sys/kernel/debug/virtio-ports/${port##*/}" "/run/port-state/$wanted"
                ln -s "/dev/${port##*/}" "/dev/virtio-ports/$wanted"
            fi
        done
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || { echo "init: no port $wanted"; break; }
        [ -e "/dev/virtio-ports/$wanted" ] || sleep 0.02
    done
done </etc/guest/ports

# The addresses of QEMU's user-mode network.
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2

# The disks and what a test adds.
sh -e /etc/guest/setup || echo "init: the guest was not set up"

# The subshell becomes the agent, so its number is the agent's.
mkdir -p /run/agent-state
(
    sh -c 'echo $$ >/run/agent.pid; . /etc/guest/agent' </dev/null
    echo "init: the agent ended with status $?"
) &

# In this very process: it is the one that halt, poweroff and reboot tell.
. /etc/guest/shell
