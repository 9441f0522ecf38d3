# Prints the process that listens on port $1 as KEY=VALUE lines. Changes nothing.
# Needs only /proc and `sockets.sh`. Prints `hidden` for a process of another user
# that it cannot inspect.
say() { printf '%s=%s\n' "$1" "$2"; }

# Prints the pids of the processes that hold one of `inodes`.
holders() {
    # shellcheck disable=SC2012 # the names are numbers
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
    parent='' start=''
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The second field, a name in parentheses, can contain anything.
    stat=${stat##*) }
    # shellcheck disable=SC2086 # split into words
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

# Prints the unit that runs process $1: `unit=NAME` for a systemd service,
# `user-unit=NAME` for one of a systemd user instance; nothing without a unit. It is
# the innermost service of the control group, if the process is its main process or
# a descendant. A login shell is also in the group of a service (ssh.service,
# user@0.service), but that service does not run what the shell started.
unit_of() {
    command -v systemctl >/dev/null 2>&1 || return 0
    while IFS= read -r line; do
        path=${line#*:*:}
        while [ -n "$path" ]; do
            unit=${path##*/}
            path=${path%/*}
            case $unit in
                ssh.service | sshd.service | ssh@*.service | sshd@*.service) continue ;;
                user@*.service | rc-local.service) continue ;;
                *.service) ;;
                *) continue ;;
            esac
            case $path in
                */user@*.service/* | */user@*.service)
                    say user-unit "$unit"
                    return 0
                    ;;
            esac
            if runs "$unit" "$1"; then
                say unit "$unit"
                return 0
            fi
        done
    done <"/proc/$1/cgroup"
}

# Whether unit $1 runs process $2 of its control group. A forking service with an
# unknown main process runs its whole group. A oneshot service (cloud-final.service)
# runs nothing: a restart would run its script again.
runs() {
    main=$(systemctl show --property=MainPID "$1" 2>/dev/null </dev/null)
    main=${main#MainPID=}
    if [ "${main:-0}" -gt 1 ] 2>/dev/null; then
        comes_from "$2" "$main"
        return
    fi
    [ "$(systemctl show --property=Type "$1" 2>/dev/null </dev/null)" = Type=forking ]
}

# Prints the start time of a process that began at tick $1, in UTC.
began() {
    ticks=$(getconf CLK_TCK 2>/dev/null) || ticks=100
    boot=$(sed -n 's/^btime //p' /proc/stat)
    date -u -d "@$((boot + $1 / ticks))" '+%Y-%m-%d %H:%M:%S UTC' 2>/dev/null
}

describe() {
    look_at "$1" || return 0
    say pid "$1"
    say start "$start"
    say since "$(began "$start")"
    say ppid "$parent"
    say uid "$(stat -c %u "/proc/$1" 2>/dev/null)"
    say user "$(stat -c %U "/proc/$1" 2>/dev/null)"
    say cwd "$(readlink "/proc/$1/cwd" 2>/dev/null)"
    say exe "$(readlink "/proc/$1/exe" 2>/dev/null)"
    unit_of "$1" 2>/dev/null
    tr '\n\0' ' \n' <"/proc/$1/cmdline" | sed 's/^/arg=/'
}

# A process that ends closes its files shortly before its sockets disappear, so a
# socket without a holder is checked again.
for pause in '' 0.1 0.1; do
    [ -z "$pause" ] || sleep "$pause" 2>/dev/null </dev/null || sleep 1 </dev/null
    inodes='' users='' pids=''
    for pair in $(listening "$1"); do
        users="$users${pair%:*} " inodes="${inodes}[${pair#*:}] "
    done
    [ -n "$inodes" ] || exit 0
    pids=$(holders)
    [ -z "$pids" ] || break
done
if [ -z "$pids" ]; then say hidden "${users%% *}"; fi
for pid in $pids; do describe "$pid"; done
