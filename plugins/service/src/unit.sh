# Restarts or stops a systemd service and waits until it serves.
# $1 `restart` or `stop`, $2 unit, $3 app directory, $4 port or nothing,
# $5 ready line, $6 warning of an open server, $7 seconds, $8 commit, $9 run.
# Prints what start.sh prints, with the unit's journal as the log.
fact() {
    systemctl show -p "$1" "$unit" </dev/null 2>/dev/null | sed -n "s/^$1=//p"
}

lines() {
    journalctl -u "$unit" "_SYSTEMD_INVOCATION_ID=$invocation" -o cat -n 200 --no-pager \
        </dev/null 2>/dev/null
}

answer() {
    echo "state=$1"
    [ -z "$pid" ] || echo "pid=$pid"
    [ -z "$begin" ] || echo "start=$begin"
    [ -z "$owner" ] || echo "listener=$owner"
    [ -z "$owner" ] || ! look_at "$owner" || echo "listener-start=$start"
    [ -z "$code" ] || echo "exit=$code"
    [ -z "$seen" ] || echo "ready-line=seen"
    [ -z "$forgotten" ] || echo "forgotten=yes"
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
        invocation=$(fact InvocationID)
        pid=$(fact MainPID)
        log=$(lines)
        case $log in *"$ready"*) seen=yes ;; *) seen= ;; esac
        if [ -n "$warning" ]; then
            case $log in *"$warning"*) verdict=open && return ;; esac
        fi
        case $(fact ActiveState)/$(fact SubState) in
            failed/* | */auto-restart | inactive/*)
                code=$(fact ExecMainStatus)
                pid= verdict=died
                return
                ;;
        esac
        now=$(date +%s)
        # A unit that logs to a file has no lines here: then the port decides.
        # The journal is a little late, so it gets the time to say its warning.
        if { [ -n "$seen" ] || [ -z "$log" ]; } && [ "${pid:-0}" -gt 0 ] &&
            look_at "$pid" && begin=$start && find_owner "$port" "$pid"; then
            serves_since=${serves_since:-$now}
            if [ -n "$seen" ] || [ "$now" -ge $((serves_since + 2)) ]; then
                verdict=ready
                return
            fi
        fi
        if [ "$now" -ge "$until_time" ]; then
            verdict=late
            return
        fi
        back_off
    done
}

main() {
    verb=$1 unit=$2 app=$3 port=${4:-${PORT:-3000}} ready=$5 warning=$6 seconds=$7 sha=$8 run=$9
    pid= begin= owner= code= seen= said= log= invocation= forgotten= serves_since=
    started_at=$(date +%s)
    if ! said=$(systemctl "$verb" "$unit" </dev/null 2>&1); then
        invocation=$(fact InvocationID)
        log=$(lines)
        answer failed
    fi
    [ "$verb" = restart ] || answer stopped
    watch
    case $verdict in
        ready) look_at "$owner" && remember "$owner" "$start" || forgotten=yes ;;
        open | late) systemctl stop "$unit" </dev/null >/dev/null 2>&1 ;;
    esac
    answer "$verdict"
}
main "$@"
