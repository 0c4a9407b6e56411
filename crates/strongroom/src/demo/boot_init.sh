#!/bin/busybox sh
# The first process, in memory: makes the disk visible and goes on from there.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do
    /bin/busybox insmod "/modules/$module"
done </modules/order
/bin/busybox mount -t ext4 /dev/vda /new || { echo "strongroom failed: no root on /dev/vda"; /bin/busybox poweroff -f; }
/bin/busybox mount --move /dev /new/dev
/bin/busybox mount --move /proc /new/proc
exec /bin/busybox switch_root -c /dev/console /new /sbin/init
