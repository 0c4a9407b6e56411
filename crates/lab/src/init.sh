#!/bin/busybox sh
# The first process of a guest: makes the machine ready, runs the test, says how it ended, switches the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts /dev/disk/by-id
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/cryptsetup
exec </dev/null >/dev/console 2>&1

verdict() {
    stty -F /dev/ttyS1 raw # waits until the test's output has left the machine
    echo "$1" >/dev/ttyS2
    poweroff -n -f # without sync, which would wait for a server that is gone
}

stty -F /dev/ttyS1 raw
stty -F /dev/ttyS2 raw
while read -r module; do
    insmod "/lib/modules/$module" || verdict "module $module"
done </lab/modules
for disk in /sys/block/vd*; do
    ln -s "../../${disk##*/}" "/dev/disk/by-id/virtio-$(cat "$disk/serial")"
done
hostname lab
ifconfig lo 127.0.0.1 up

for word in $(cat /proc/cmdline); do
    case $word in
        lab.test=*) test=${word#*=} ;;
        lab.bytes=*) bytes=${word#*=} ;;
    esac
done
dd if=/dev/disk/by-id/virtio-lab-test of=/lab/test bs=1M 2>/dev/null || verdict "program"
truncate -s "$bytes" /lab/test
chmod 755 /lab/test

# Starts servers for the test, in no group of its own and with none of its files, which may be on the server to be started.
mkfifo /lab/start
(while true; do while read -r command; do $command; done </lab/start; done) &

# The test says itself that it passed, and nobody waits for its end then: it may have files on a server that is gone.
mkfifo /lab/end
(read -r end </lab/end; verdict "$end") &
cd /
(
    env -i PATH="$PATH" LC_ALL=C HOME=/tmp \
        /lab/test --exact "$test" --nocapture --test-threads=1 </dev/null >/dev/ttyS1 2>&1
    echo "exit $?" >/lab/end
) &
# Orphans are children of the first process.
while true; do wait; sleep 1; done
