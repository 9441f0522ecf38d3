# Restarts a systemd service and waits until it serves, or stops it.
# $1 `restart` or `stop`, $2 unit, $3 app directory, $4 port or nothing,
# $5 ready line (none: the port decides), $6 warning of an open server, $7 seconds, $8 commit, $9 run,
# $10 the variable that holds the token.
# Prints the lines of start.sh, with the journal of this start as the log. Never
# prints the environment of the unit, which has the token.
# shellcheck disable=SC2034,SC2154 # shared with process.sh, marker.sh and wrong_port.sh
control() { systemctl --no-ask-password "$@" </dev/null; }

fact() {
    systemctl show -p "$1" "$unit" </dev/null 2>/dev/null | sed -n "s/^$1=//p"
}

# The journal of the service and of systemd for this start only.
lines() {
    [ -n "$invocation" ] || return 0
    journalctl "_SYSTEMD_INVOCATION_ID=$invocation" + "INVOCATION_ID=$invocation" \
        -o cat -n 200 --no-pager </dev/null 2>/dev/null
}

# Whether the service will have variable $1: `yes`, `no`, or nothing when unknown.
# Without a wrapper the service gets the environment of the unit; a wrapper can set
# the variable itself, which the running process shows.
has_variable() {
    case " $(fact Environment) " in *" $1="[!\ ]* | *" \"$1="[!\"]*) echo yes && return ;; esac
    for file in $(systemctl show -p EnvironmentFiles "$unit" </dev/null 2>/dev/null |
        sed -n 's/^EnvironmentFiles=\(.*\) (ignore_errors=.*)$/\1/p'); do
        [ -e "$file" ] || continue
        [ -r "$file" ] || return 0
        sed -n "s/^[[:space:]]*$1=[\"']*\(.\).*/yes/p" "$file" </dev/null | grep -q yes && echo yes && return
    done
    [ -z "$(fact PassEnvironment)" ] || return 0
    program=$(fact ExecStart | sed -n 's/^{ path=\([^ ]*\) .*/\1/p')
    case ${program##*/} in node | nodejs) echo no && return ;; esac
    looked=
    for process in $(members); do
        [ -r "/proc/$process/environ" ] || continue
        tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | grep -q "^$1=." && echo yes && return
        looked=yes
    done
    [ -z "$looked" ] || echo no
}

# The processes of the unit's control group.
members() {
    group=$(fact ControlGroup)
    [ -n "$group" ] || return 0
    cat "/sys/fs/cgroup$group/cgroup.procs" "/sys/fs/cgroup/unified$group/cgroup.procs" \
        "/sys/fs/cgroup/systemd$group/cgroup.procs" </dev/null 2>/dev/null
}

answer() {
    echo "state=$1"
    [ -z "$pid" ] || echo "pid=$pid"
    [ -z "$begin" ] || echo "start=$begin"
    [ -z "$owner" ] || echo "listener=$owner"
    [ -z "$owner" ] || ! look_at "$owner" || echo "listener-start=$start"
    [ -z "$code" ] || echo "exit=$code"
    [ -z "$seen" ] || echo "ready-line=seen"
    [ -z "$marker_failed" ] || echo "marker=failed"
    [ -z "$wrong_ports" ] || echo "wrong-ports=$wrong_ports"
    [ "$(fact NeedDaemonReload)" != yes ] || echo "reload=needed"
    echo "started-at-ms=${started_at}000"
    echo "port=$port"
    echo "log=journal of $unit"
    echo "app=$app"
    echo "--log--"
    [ -z "$said" ] || printf '%s\n' "$said"
    printf '%s\n' "$log" | tail -n 40
    exit 0
}

watch() {
    pause=0.05
    until_time=$(($(date +%s) + seconds))
    while :; do
        pid=$(fact MainPID)
        log=$(lines)
        # systemd restarted it: the watched start has ended.
        if [ "$(fact InvocationID)" != "$invocation" ]; then
            pid='' verdict=died
            return
        fi
        case $log in *"$ready"*) seen=yes ;; *) seen= ;; esac
        if [ -n "$warning" ]; then
            case $log in *"$warning"*) verdict=open && return ;; esac
        fi
        case $(fact ActiveState)/$(fact SubState) in
            failed/* | */auto-restart | inactive/*)
                code=$(fact ExecMainStatus)
                pid='' verdict=died
                return
                ;;
        esac
        now=$(date +%s)
        # A unit that logs to a file has no lines here: then the port decides.
        # The journal is late, so wait for a possible warning.
        if { [ -n "$seen" ] || [ -z "$log" ]; } && [ "${pid:-0}" -gt 0 ] &&
            look_at "$pid" && begin=$start && find_owner "$port" "$pid"; then
            serves_since=${serves_since:-$now}
            if [ -n "$seen" ] || [ "$now" -ge $((serves_since + 2)) ]; then
                verdict=ready
                return
            fi
        fi
        says_ready=
        if [ -n "$ready" ] && [ -n "$seen" ]; then says_ready=yes; fi
        if [ "${pid:-0}" -gt 0 ] && is_on_wrong_port "$port" "$pid" "$says_ready" "$seconds"; then
            verdict=wrong-port
            return
        fi
        if [ "$now" -gt "$until_time" ]; then
            verdict=late
            return
        fi
        back_off
    done
}

main() {
    verb=$1 unit=$2 app=$3 port=${4:-${PORT:-3000}} ready=$5 warning=$6 seconds=$7 sha=$8 run=$9
    variable=${10}
    pid='' begin='' owner='' code='' seen='' said='' log='' invocation='' marker_failed='' serves_since=''
    wrong_ports='' named=''
    started_at=$(date +%s)
    if [ "$verb" = restart ]; then
        if [ -n "$variable" ] && [ "$(has_variable "$variable")" = no ]; then answer no-token; fi
        # A unit that failed too often is refused until its failures are reset.
        control reset-failed "$unit" >/dev/null 2>&1
    fi
    if ! said=$(control "$verb" "$unit" 2>&1); then
        invocation=$(fact InvocationID)
        log=$(lines)
        [ "$verb" = stop ] || control stop "$unit" >/dev/null 2>&1
        answer failed
    fi
    [ "$verb" = restart ] || answer stopped
    invocation=$(fact InvocationID)
    watch
    if [ "$verdict" = ready ]; then
        look_at "$owner" && write_marker "$owner" "$start" || marker_failed=yes
    else
        # Leaves neither an open server behind nor one that restarts in a loop.
        control stop "$unit" >/dev/null 2>&1
        journalctl --sync </dev/null >/dev/null 2>&1
        log=$(lines)
    fi
    answer "$verdict"
}
main "$@"
