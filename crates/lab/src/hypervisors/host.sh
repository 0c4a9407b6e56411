# The first process of a host: takes the host's own view of the machine, then starts what it is told to, line by line.
# $1: the host's name, $2: the directory of the lab. Descriptor 900 brings the lines and ends with the lab, 901 takes answers.
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/tmp
own=$2/$1

# The number that the outside knows this process by: /proc is still the outside's.
read -r outer _ </proc/self/stat
mount --make-rprivate /
mount -t proc proc /proc
echo "$1" >/proc/sys/kernel/hostname
ip link set lo up

# No /dev/kvm: where it is there and does not work, libvirt asks QEMU for its abilities at every start, for 24 seconds.
# The rest is the machine's, devices that appear later included.
mkdir "$own/dev"
mount -t tmpfs -o mode=755 dev "$own/dev"
mkdir "$own/dev/outer" "$own/dev/pts" "$own/dev/shm"
mount --rbind /dev "$own/dev/outer"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$own/dev/"
[ ! -e /dev/fuse ] || cp -a /dev/fuse "$own/dev/"
mount --bind /dev/pts "$own/dev/pts"
mount -t tmpfs -o mode=1777 shm "$own/dev/shm"
(cd "$own/dev" && ln -s pts/ptmx ptmx && ln -s /proc/self/fd fd && ln -s outer/loop-control outer/loop{0..255} outer/mapper outer/disk .)
mount --move "$own/dev" /dev

mount -t tmpfs -o mode=755 run /run
mkdir /run/libvirt /run/lock
mount --bind "$own/run" /run/libvirt
mount --bind "$own/etc" /etc/libvirt
mount --bind "$own/lib" /var/lib/libvirt
mount --bind "$own/log" /var/log/libvirt
mount --bind "$own/cache" /var/cache/libvirt
mount --bind "$own/local" "$2/local"
mount --bind "$2/hosts" /etc/hosts

echo "$outer" >&901
while IFS= read -r line <&900; do
    eval "exec setsid $line 900<&- 901>&-" &
    echo "$!" >&901
done
