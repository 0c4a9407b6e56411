#!/bin/busybox sh
# The first process of a guest with a console: loads the modules, then runs what the console says and answers.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts /mnt
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
exec </dev/null >/dev/console 2>&1
while read -r module; do
    insmod "/lib/modules/$module"
done </lab/modules
hostname guest
ifconfig lo 127.0.0.1 up
# The terminal must not answer with what it hears, nor change a byte.
stty -F /dev/ttyS0 raw -echo
exec </dev/ttyS0 >/dev/ttyS0 2>&1
cd /tmp
while true; do
    IFS= read -r line || continue
    case $line in
        "run "*" "*) ;;
        *) continue ;;
    esac
    line=${line#run }
    number=${line%% *}
    printf '\n%s begin\n' "$number"
    (eval "${line#* }") </dev/null
    printf '\n%s end %s\n' "$number" "$?"
done
