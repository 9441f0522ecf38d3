# Says who listens on port $1, as KEY=VALUE lines. Changes nothing. Needs only
# /proc; without rights over a process of another user it says `hidden`.
hex=$(printf '%04X' "$1")
say() { printf '%s=%s\n' "$1" "$2"; }

# Sets `inodes` to the sockets that listen on the port, as `[1] [2] `, and
# `users` to the user ids that made them.
find_sockets() {
    inodes= users=
    for table in /proc/net/tcp /proc/net/tcp6; do
        [ -r "$table" ] || continue
        while read -r _ here _ st _ _ _ user _ inode _; do
            [ "$st" = 0A ] || continue
            case $here in *":$hex") inodes="$inodes[$inode] " users="$users$user " ;; esac
        done <"$table"
    done
}

# Prints the pids of the processes that hold one of `inodes`.
holders() {
    ls -l /proc/[0-9]*/fd 2>/dev/null | while read -r line; do
        case $line in
            /proc/*/fd:)
                pid=${line#/proc/}
                pid=${pid%/fd:}
                ;;
            *' -> socket:['*)
                case $inodes in *"${line##* -> socket:}"*) echo "$pid" ;; esac
                ;;
        esac
    done | sort -un
}

# Sets `parent` and `start` of process $1.
look_at() {
    parent= start=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The second field is a name in brackets that may hold anything.
    stat=${stat##*) }
    set -- $stat
    parent=$2
    shift 19
    start=$1
}

comes_from() {
    child=$1
    while [ "$child" -gt 1 ] 2>/dev/null; do
        [ "$child" = "$2" ] && return 0
        look_at "$child" || return 1
        child=$parent
    done
    return 1
}

# Prints the systemd service whose main process is process $1 or an ancestor
# of it. A login shell also lives in a service's control group (ssh.service,
# user@0.service), but does not manage what was started from it.
unit_of() {
    command -v systemctl >/dev/null 2>&1 || return 0
    while IFS= read -r line; do
        unit=${line##*/}
        case $unit in
            ssh.service | sshd.service | ssh@*.service | sshd@*.service) continue ;;
            *.service) ;;
            *) continue ;;
        esac
        main=$(systemctl show --property=MainPID "$unit" 2>/dev/null </dev/null)
        main=${main#MainPID=}
        [ "${main:-0}" -gt 1 ] 2>/dev/null || continue
        if comes_from "$1" "$main"; then
            echo "$unit"
            return 0
        fi
    done <"/proc/$1/cgroup"
}

describe() {
    look_at "$1" || return 0
    say pid "$1"
    say start "$start"
    say ppid "$parent"
    say uid "$(stat -c %u "/proc/$1" 2>/dev/null)"
    say cwd "$(readlink "/proc/$1/cwd" 2>/dev/null)"
    say exe "$(readlink "/proc/$1/exe" 2>/dev/null)"
    say unit "$(unit_of "$1" 2>/dev/null)"
    tr '\n\0' ' \n' <"/proc/$1/cmdline" | sed 's/^/arg=/'
}

find_sockets
if [ -n "$inodes" ]; then
    pids=$(holders)
    if [ -z "$pids" ]; then say hidden "${users%% *}"; fi
    for pid in $pids; do describe "$pid"; done
fi
