# Shell functions about single processes of the target; prepended to a script,
# after `sockets.sh`. Needs only POSIX sh and /proc. Results are global variables, so
# that inspecting a process forks nothing.

# Sets `state`, `parent`, `session` and `start` (ticks since boot) of process $1.
# Fails when there is none. A zombie counts as none.
look_at() {
    state='' parent='' session='' start=''
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The second field, a name in parentheses, can contain anything.
    line=${line##*) }
    # shellcheck disable=SC2086 # split into words
    set -- $line
    [ $# -ge 20 ] || return 1
    state=$1 parent=$2 session=$4
    shift 19
    start=$1
    case $state in Z | X) return 1 ;; esac
}

# Whether process $1 is still the one that began at $2.
is_same() { look_at "$1" && [ "$start" = "$2" ]; }

# Whether process $1 is process $2 or a descendant.
comes_from() {
    child=$1
    while [ "$child" -gt 1 ] 2>/dev/null; do
        [ "$child" = "$2" ] && return 0
        look_at "$child" || return 1
        child=$parent
    done
    return 1
}

# Sets `inodes` to the sockets that listen on port $1, as `[1] [2] `.
find_sockets() {
    inodes=
    for pair in $(listening "$1"); do inodes="${inodes}[${pair#*:}] "; done
    [ -n "$inodes" ]
}

# Whether process $1 holds one of `inodes`.
holds_socket() {
    links=$(ls -l "/proc/$1/fd" 2>/dev/null </dev/null)
    for inode in $inodes; do
        case $links in *"socket:$inode"*) return 0 ;; esac
    done
    return 1
}

# Sets `owner` to the process $2 or its descendant that listens on port $1; of
# several that share the socket, their common ancestor.
find_owner() {
    owner=
    find_sockets "$1" || return 1
    if holds_socket "$2"; then
        owner=$2
        return 0
    fi
    for entry in /proc/[0-9]*; do
        candidate=${entry#/proc/}
        comes_from "$candidate" "$2" && holds_socket "$candidate" || continue
        if [ -z "$owner" ] || comes_from "$owner" "$candidate"; then owner=$candidate; fi
    done
    [ -n "$owner" ]
}

# Waits `pause` seconds and then doubles it, from 50 ms up to 1 s.
back_off() {
    sleep "$pause" </dev/null 2>/dev/null || sleep 1 </dev/null
    case $pause in
        0.05) pause=0.1 ;;
        0.1) pause=0.2 ;;
        0.2) pause=0.4 ;;
        0.4) pause=0.8 ;;
        *) pause=1 ;;
    esac
}

# Waits at most $3 seconds until process $1 that began at $2 has ended.
wait_for_end() {
    pause=0.05
    until_time=$(($(date +%s) + $3))
    while is_same "$1" "$2"; do
        [ "$(date +%s)" -le "$until_time" ] || return 1
        back_off
    done
}

# Terminates process $1 that began at $2: TERM, and KILL after $3 seconds. Sets
# `ended` to gone, stopped, killed, denied or stuck.
# shellcheck disable=SC2034 # the caller reads ended
end_process() {
    ended=gone
    is_same "$1" "$2" || return 0
    if ! kill -TERM "$1" 2>/dev/null; then
        is_same "$1" "$2" || return 0
        ended=denied
        return 1
    fi
    ended=stopped
    wait_for_end "$1" "$2" "$3" && return 0
    ended=killed
    kill -KILL "$1" 2>/dev/null
    wait_for_end "$1" "$2" 5 && return 0
    ended=stuck
    return 1
}

# Terminates process $1, its descendants and its session, each with $2 seconds from
# TERM to KILL. For a failed start.
end_family() {
    for _ in 1 2 3; do
        family=
        for entry in /proc/[0-9]*; do
            member=${entry#/proc/}
            look_at "$member" || continue
            begin_of_member=$start
            if [ "$session" = "$1" ] || comes_from "$member" "$1"; then
                family="$family $member:$begin_of_member"
            fi
        done
        [ -n "$family" ] || return 0
        for member in $family; do
            end_process "${member%%:*}" "${member#*:}" "$2"
        done
    done
}
