#!/bin/sh
# The stages of a sandbox, from the outside to the inside. Each runs this file anew.
#
#   guard DIR LIVE...   holds the disk, and switches the machine on and off as standard input says
#   enrol DIR LIVE...   process 1 of the new namespaces: joins the control groups made for it
#   setup DIR LIVE...   the same process: builds the file tree, turns into it, becomes systemd
#
# DIR belongs to the test and is empty apart from this file and the socket `notify`. The disk is mounted
# at DIR/disk in the guard's own mount namespace, so the host's table of mounts never shows it, and the kernel
# lets go of it with the last process in there. LIVE are the host's directories that the inside shares.
set -eu
umask 022
stage=$1 dir=$2
shift 2

# ---- The disk: what outlives a loss of power --------------------------------------------------

# The upper layer of an overlay must not lie within the lower one, which is `/`: it lies in memory.
make_disk() {
    mkdir "$dir/disk"
    mount -t tmpfs -o mode=0755 disk "$dir/disk"
    cd "$dir/disk"
    mkdir upper work root
    mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work disk root
    cd root
    forget_the_host
    configure
    mask
    cd /
}

# Leaves what packages bring, and takes away what was decided on this host.
forget_the_host() {
    rm -rf etc/systemd/system etc/systemd/user etc/rc?.d etc/fstab etc/crypttab etc/machine-id
    rm -rf var/log/journal var/lib/systemd/linger var/lib/systemd/timers
    mkdir -p etc/systemd/system etc/systemd/system-generators etc/systemd/journald.conf.d
    mkdir -p etc/tmpfiles.d var/log/journal var/lib/systemd/linger
}

configure() {
    tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
    echo sandbox >etc/hostname
    printf '127.0.0.1 localhost sandbox\n::1 localhost\n' >etc/hosts
    ln -s /lib/systemd/system/multi-user.target etc/systemd/system/default.target
    # The distribution's own file empties /tmp while booting. It stops at what is mounted there; that the
    # host's files survive should not hang on this alone.
    echo 'd /tmp 1777 root root -' >etc/tmpfiles.d/tmp.conf
    cat >etc/systemd/journald.conf.d/sandbox.conf <<'END'
[Journal]
Storage=persistent
RateLimitIntervalSec=0
RateLimitBurst=0
SystemMaxUse=256M
END
}

# What would only cost time in here, or reach for what belongs to the host.
mask() {
    for unit in \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
        man-db.timer systemd-tmpfiles-clean.timer systemd-timesyncd.service \
        getty.target console-getty.service systemd-ask-password-console.path \
        systemd-ask-password-wall.path systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
        systemd-firstboot.service systemd-hwdb-update.service systemd-machine-id-commit.service \
        systemd-modules-load.service systemd-pstore.service systemd-random-seed.service \
        systemd-remount-fs.service systemd-sysctl.service systemd-sysusers.service \
        systemd-udevd.service systemd-udev-trigger.service systemd-update-utmp.service \
        systemd-update-utmp-runlevel.service systemd-networkd.socket systemd-resolved.service \
        systemd-journald-audit.socket systemd-initctl.socket systemd-journal-catalog-update.service \
        ldconfig.service kmod-static-nodes.service modprobe@.service dev-hugepages.mount \
        dev-mqueue.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
        sys-fs-fuse-connections.mount
    do
        ln -s /dev/null "etc/systemd/system/$unit"
    done
    # Generators translate this host's own tables of disks, consoles and scripts, at every reload.
    for generator in usr/lib/systemd/system-generators/*; do
        [ -e "$generator" ] || continue
        ln -s /dev/null "etc/systemd/system-generators/${generator##*/}"
    done
}

# ---- Control groups: made by each boot, removed with it -----------------------------------------

started() { # when process $1 started, in ticks since the kernel did; nothing when it has ended
    [ -r "/proc/$1/stat" ] || return 0
    read -r stat <"/proc/$1/stat" || return 0
    # The name of the program may hold spaces; what follows its bracket does not.
    set -- ${stat##*) }
    [ "$1" = Z ] || echo "${20}"
}

belongs_to_somebody() { # GROUP: whether the guard that this name was given by is still there
    id=${1#deploykit-sandbox-}
    [ "$(started "${id%-*}")" = "${id#*-}" ]
}

parents() { # the directory to make a group in, for each hierarchy of this host
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        own=$(visible /sys/fs/cgroup "$(sed -n 's/^0:://p' /proc/self/cgroup)")
        at=$own
        # A group with processes of its own hands no controllers down: look for one that does.
        while [ "$at" != /sys/fs/cgroup ] && [ -z "$(cat "$at/cgroup.subtree_control")" ]; do
            at=${at%/*}
        done
        if [ -n "$(cat "$at/cgroup.subtree_control")" ]; then echo "$at"; else echo "$own"; fi
        return
    fi
    while IFS=: read -r _ controllers path; do
        name=${controllers#name=}
        [ ! -d "/sys/fs/cgroup/${name:-unified}" ] || visible "/sys/fs/cgroup/${name:-unified}" "$path"
    done </proc/self/cgroup
}

# In a container a hierarchy may begin at the container's own group, while the kernel names it from further up.
visible() { # HIERARCHY PATH
    if [ "$2" != / ] && [ -d "$1$2" ]; then echo "$1$2"; else echo "$1"; fi
}

make_groups() {
    : >"$dir/groups"
    for parent in $(parents); do
        sweep_groups "$parent"
        made=$parent/${owner:?}
        echo "$made" >>"$dir/groups"
        mkdir "$made"
        if [ -e "$parent/cpuset.cpus" ] && [ -e "$parent/cgroup.clone_children" ]; then
            # The first version starts a set of processors empty, and an empty one takes no process.
            cat "$parent/cpuset.cpus" >"$made/cpuset.cpus"
            cat "$parent/cpuset.mems" >"$made/cpuset.mems"
            echo 1 >"$made/cgroup.clone_children"
        fi
    done
}

# Removes a group with those below it that are empty, and refuses to look at any that is not a sandbox's.
remove_group() { # GROUP
    case ${1##*/} in
        deploykit-sandbox-[0-9]*) find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || : ;;
        *) echo "not a group of a sandbox: $1" >&2; return 1 ;;
    esac
}

# What a guard leaves behind that was killed itself is nothing but empty groups, and its directory.
sweep_groups() { # PARENT
    for old in "$1"/deploykit-sandbox-*; do
        [ -d "$old" ] || continue
        belongs_to_somebody "${old##*/}" || remove_group "$old"
    done
}

remove_groups() {
    [ -e "$dir/groups" ] || return 0
    while read -r made; do
        tries=0
        while [ -d "$made" ]; do
            remove_group "$made" || return 1
            [ -d "$made" ] || break
            # The kernel takes a killed process out of its group a moment after its parent has heard.
            tries=$((tries + 1))
            [ "$tries" -lt 250 ] || { echo "left behind: $made" >&2; return 1; }
            sleep 0.02
        done
    done <"$dir/groups"
    rm -f "$dir/groups"
}

# ---- The guard ------------------------------------------------------------------------------------

machine='' init=''

power_on() {
    make_groups
    # Whoever ends, by whatever signal, takes the next one along: guard, unshare, process 1, everything.
    setpriv --pdeathsig KILL unshare --fork --kill-child --pid --net --uts --ipc \
        --mount --propagation private sh "$dir/boot.sh" enrol "$dir" "$@" \
        </dev/null >"$dir/pid" &
    machine=$!
    if read -r init <"$dir/pid"; then
        echo "on $init"
    else
        power_off
        echo failed
    fi
}

# The end of process 1 of a process namespace ends every process in it, at once. It is dead, and unshare
# with it, when they all are.
power_off() {
    if [ -n "$init" ]; then kill -KILL "$init" 2>/dev/null || :; fi
    if [ -n "$machine" ]; then wait "$machine" || :; fi
    machine='' init=''
    remove_groups
}

finish() {
    status=$?
    trap - EXIT
    power_off || status=1
    cd /
    umount "$dir/disk/root" 2>/dev/null || umount -l "$dir/disk/root" 2>/dev/null || :
    umount "$dir/disk" 2>/dev/null || umount -l "$dir/disk" 2>/dev/null || :
    [ "$status" != 0 ] || rm -f "$dir/log"
    remove_directory "$dir"
    exit "$status"
}

# Name by name, never recursively: directories that are shared with the inside may be mounted near.
remove_directory() {
    rm -f "$1/boot.sh" "$1/groups" "$1/notify" "$1/owner" "$1/pid"
    rmdir "$1/disk" "$1" 2>/dev/null || :
}

sweep_directories() {
    for old in "${dir%/*}"/deploykit-sandbox-*; do
        [ -e "$old/owner" ] && read -r other <"$old/owner" || continue
        belongs_to_somebody "$other" && continue
        rm -f "$old/log"
        remove_directory "$old"
    done
}

guard() {
    trap finish EXIT
    owner=deploykit-sandbox-$$-$(started $$)
    echo "$owner" >"$dir/owner"
    sweep_directories
    mkfifo "$dir/pid"
    make_disk
    echo ready
    while read -r order; do
        case $order in
            on) power_on "$@" ;;
            off) power_off && echo off ;;
        esac
    done
}

# ---- The inside -----------------------------------------------------------------------------------

enrol() {
    # The host's /proc is still there: it shows the number by which the outside knows this process.
    read -r pid _ </proc/self/stat
    while read -r made; do echo 0 >"$made/cgroup.procs"; done <"$dir/groups"
    echo "$pid"
    # The group a process is in when it gets a namespace of groups is that namespace's root.
    exec unshare --cgroup sh "$dir/boot.sh" setup "$dir" "$@" >&2
}

bind() { # FROM TO
    mount --bind "$1" "$2"
}

mount_proc() {
    mount -t proc -o nosuid,nodev,noexec proc proc
    for part in sys sysrq-trigger irq bus fs; do
        [ -e "proc/$part" ] || continue
        bind "proc/$part" "proc/$part"
        mount -o remount,bind,ro "proc/$part"
    done
    cat /proc/sys/kernel/random/uuid >run/host/boot_id
    bind run/host/boot_id proc/sys/kernel/random/boot_id
}

mount_dev() {
    mount -t tmpfs -o mode=0755,nosuid dev dev
    for node in null zero full random urandom tty; do
        : >"dev/$node"
        bind "/dev/$node" "dev/$node"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec devpts dev/pts
    mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    ln -s fd/0 dev/stdin
    ln -s fd/1 dev/stdout
    ln -s fd/2 dev/stderr
}

# The same hierarchies as the host has, each beginning at this sandbox's own group.
mount_groups() {
    options=nosuid,nodev,noexec
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mount -t cgroup2 -o "$options" cgroup2 sys/fs/cgroup
        return
    fi
    mount -t tmpfs -o "mode=0755,$options" cgroup sys/fs/cgroup
    while IFS=: read -r _ controllers _; do
        name=${controllers#name=}
        at=sys/fs/cgroup/${name:-unified}
        [ -d "/$at" ] || continue
        mkdir "$at"
        case $controllers in
            '') mount -t cgroup2 -o "$options" cgroup2 "$at" ;;
            name=*) mount -t cgroup -o "$options,none,$controllers" cgroup "$at" ;;
            *) mount -t cgroup -o "$options,$controllers" cgroup "$at" ;;
        esac
    done </proc/self/cgroup
}

setup() {
    cd "$dir/disk/root"
    mount -t tmpfs -o mode=0755,nosuid,nodev run run
    mount -t tmpfs -o mode=1777,nosuid,nodev tmp tmp
    mkdir run/host run/before
    : >run/host/notify
    bind "$dir/notify" run/host/notify
    for live; do
        mkdir -p ".$live"
        bind "$live" ".$live"
    done
    mount_proc
    mount -t sysfs -o nosuid,nodev,noexec,ro sysfs sys
    mount_groups
    mount_dev

    pivot_root . run/before
    cd /
    umount -l /run/before
    rmdir /run/before
    # Units get their credentials and private mounts through propagation from here.
    mount --make-rshared /
    # What reaches beyond the namespaces, to the one kernel, is given up.
    exec env -i container=deploykit-testkit NOTIFY_SOCKET=/run/host/notify LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time,-syslog,-audit_control,-wake_alarm \
        /lib/systemd/systemd --system --log-target=journal --show-status=no
}

case $stage in
    guard | enrol | setup) "$stage" "$@" ;;
    *) echo "unknown stage: $stage" >&2; exit 64 ;;
esac
