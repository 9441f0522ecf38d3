# Watches one process for a while. $1 pid, $2 start time, $3 port, $4 seconds, $5
# whether its past uptime counts: yes or no.
# Prints `stable=yes`, or as soon as known `stable=ended` for an ended process or
# `stable=silent` for a closed port.

# Fails when the process listens on the port again. A crashing process closes its
# port shortly before it ends, and the socket table can miss an entry while another
# socket changes, so this checks several times. One gap is allowed.
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
    # A container can have another uptime: then watch the whole window.
    [ "$5" = yes ] && [ "$age" -ge 0 ] || age=0
    until_time=$(($(date +%s) + $4 - age))
    while :; do
        is_same "$1" "$2" || {
            echo stable=ended
            return
        }
        if ! find_sockets "$3" && still_silent "$@"; then return; fi
        [ "$(date +%s)" -le "$until_time" ] || break
        # A short fixed interval, to see a crash at once.
        sleep 0.2 </dev/null 2>/dev/null || sleep 1 </dev/null
    done
    echo stable=yes
}
main "$@"
