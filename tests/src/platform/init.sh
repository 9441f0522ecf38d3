# Process 1 of a VM. Standard input is a pipe that the tests hold: when they
# end, however they end, this ends, and the kernel kills every process here.
set -eu
disk=$1
builds=$2
builds_inside=$3
free_mib=$4
sshd=$5
if [ -n "$free_mib" ]; then
    used_mib=$(du -s --block-size=1M "$disk/root" | cut -f1)
    mount -t tmpfs -o "mode=700,size=$((used_mib + free_mib))m" tmpfs /root
    cp -a "$disk/root/." /root/
else
    mount --bind "$disk/root" /root
fi
mount --bind "$disk/ssh" /etc/ssh
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd "$builds_inside"
mount --bind "$builds" "$builds_inside"
# Last: the disk itself may be below /tmp.
mount --bind "$disk/tmp" /tmp
ip link set lo up
cd /
"$sshd" -D -e -f /etc/ssh/sshd_config </dev/null >/dev/null 2>/run/sshd.log &
echo up
# The shell waits here, and takes in processes whose parent has ended.
cat >/dev/null
