# Watches one process for a while. $1 pid, $2 start time, $3 port, $4 seconds, $5
# whether what it has lived already counts: yes or no.
# Prints `stable=yes`, or `stable=ended` or `stable=silent` as soon as it is so:
# it has ended, or it has let go of the port.

# Fails when the port is listened on again. A process that crashes lets go of its
# port a moment before it is gone, and the table of sockets that another one
# changes can lack an entry for once: so it is looked at some times more. A port
# that comes back is forgiven once.
still_silent() {
    looks=0 gaps=$((gaps + 1))
    while [ "$looks" -lt 10 ]; do
        is_same "$1" "$2" || {
            echo stable=ended
            return 0
        }
        sleep 0.1 </dev/null 2>/dev/null || sleep 1 </dev/null
        if [ "$gaps" = 1 ] && find_sockets "$3"; then return 1; fi
        looks=$((looks + 1))
    done
    echo stable=silent
}

main() {
    ticks=$(getconf CLK_TCK 2>/dev/null </dev/null) || ticks=100
    gaps=0
    up=$(cut -d. -f1 /proc/uptime </dev/null)
    age=$((up - $2 / ticks))
    # A container can have an uptime of its own: then the whole window is watched.
    [ "$5" = yes ] && [ "$age" -ge 0 ] || age=0
    until_time=$(($(date +%s) + $4 - age))
    while :; do
        is_same "$1" "$2" || {
            echo stable=ended
            return
        }
        if ! find_sockets "$3" && still_silent "$@"; then return; fi
        [ "$(date +%s)" -le "$until_time" ] || break
        # Short and even: a crash is to be seen, not waited for.
        sleep 0.2 </dev/null 2>/dev/null || sleep 1 </dev/null
    done
    echo stable=yes
}
main "$@"
