# Starts the service detached and waits until it serves, or prints why not.
# $1 app directory, $2 command, $3 port or nothing, $4 log, $5 ready line (none:
# the port decides), $6 warning of an open server, $7 seconds, $8 commit, $9 run.
# The token is in the environment, never in an argument.
# Prints KEY=VALUE lines and, after `--log--`, the last lines of the log.
# shellcheck disable=SC2034,SC2154 # shared with process.sh, marker.sh, wrong_port.sh and log.sh
answer() {
    echo "state=$1"
    [ -z "$pid" ] || echo "pid=$pid"
    [ -z "$begin" ] || echo "start=$begin"
    [ -z "$owner" ] || echo "listener=$owner"
    [ -z "$owner" ] || ! look_at "$owner" || echo "listener-start=$start"
    [ -z "$code" ] || echo "exit=$code"
    [ -z "$seen" ] || echo "ready-line=seen"
    [ -z "$adopted" ] || echo "adopted=yes"
    [ -z "$marker_failed" ] || echo "marker=failed"
    [ -z "$wrong_ports" ] || echo "wrong-ports=$wrong_ports"
    [ -z "$refused" ] || echo "log-refused=$refused"
    [ "$started_at" = 0 ] || echo "started-at-ms=${started_at}000"
    echo "port=$port"
    echo "log=$log"
    echo "app=$app"
    echo "--log--"
    [ -n "$refused" ] || tail -n 40 "$log" 2>/dev/null </dev/null
    exit 0
}

launch() {
    open_log || answer no-log
    PORT=$port
    export PORT
    detach='nohup'
    if command -v setsid >/dev/null 2>&1; then detach=setsid; fi
    # A plain command replaces its shell, so `ps` shows no wrapper.
    case $command in
        *['=;&|()<>`']*) line=$command ;;
        *) line="exec $command" ;;
    esac
    # The service inherits no descriptor of this connection.
    $detach sh -c "$line" </dev/null >&9 2>&1 \
        3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    pid=$!
    exec 9>&-
    started_at=$(date +%s)
    # An ended process keeps its entry until `wait`.
    look_at "$pid"
    begin=$start
}

# Whether the log has the ready line.
has_ready_line() {
    [ -n "$ready" ] && grep -qF -e "$ready" "$log" 2>/dev/null </dev/null
}

watch() {
    pause=0.05
    until_time=$(($(date +%s) + seconds))
    while :; do
        is_same "$pid" "$begin" && alive=yes || alive=
        if [ -n "$warning" ] && grep -qF -e "$warning" "$log" 2>/dev/null </dev/null; then
            verdict=open
            return
        fi
        if [ -z "$alive" ]; then
            verdict=died
            [ -n "$adopted" ] || {
                wait "$pid"
                code=$?
            }
            return
        fi
        if has_ready_line; then seen=yes; fi
        if { [ -n "$seen" ] || [ -z "$ready" ]; } && find_owner "$port" "$pid"; then
            # The warning may have appeared between the two checks of the log.
            verdict=ready
            if [ -n "$warning" ] && grep -qF -e "$warning" "$log" </dev/null; then verdict=open; fi
            return
        fi
        if is_on_wrong_port "$port" "$pid" "$seen" "$seconds"; then
            verdict=wrong-port
            return
        fi
        if [ "$(date +%s)" -gt "$until_time" ]; then
            verdict=late
            return
        fi
        back_off
    done
}

main() {
    app=$1 command=$2 port=${3:-${PORT:-3000}} log=$4 ready=$5 warning=$6
    seconds=$7 sha=$8 run=$9
    pid='' begin='' owner='' code='' adopted='' marker_failed='' seen='' wrong_ports='' named='' refused=''
    started_at=0
    cd "$app" 2>/dev/null || answer no-directory
    app=$(pwd -P)
    log_path "$log" "$app"
    if find_earlier_try; then
        adopted=yes
    else
        launch
        write_marker "$pid" "$begin" || marker_failed=yes
    fi
    watch
    case $verdict in
        ready)
            if [ "$owner" != "$pid" ] && look_at "$owner"; then
                write_marker "$owner" "$start" || marker_failed=yes
            fi
            ;;
        open | late | wrong-port)
            # Leaves no open or half-started server behind.
            end_family "$pid" 5
            # Output between the last check and its end counts too.
            if has_ready_line; then seen=yes; fi
            ;;
    esac
    answer "$verdict"
}
main "$@"
