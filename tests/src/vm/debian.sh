#!/bin/busybox sh
# The first process of a Debian guest: finds the system's disk, adds the test's files, and becomes systemd.

/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin

mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "$module" || echo "init: $module was not loaded"
done </module-order

tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 500 ] || { echo 'init: no disk'; break; }
    sleep 0.02
done
mount -t ext4 /dev/vda /system || echo 'init: the system was not mounted'
# Once: the machine may start anew.
[ -e /system/etc/guest/shell ] || cp -a /overlay/. /system/

for folder in proc sys dev; do
    mount -o move "/$folder" "/system/$folder"
done
exec switch_root /system /sbin/init
