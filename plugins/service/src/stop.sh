# Terminates one process, identified by pid and start time, and waits for its port.
# $1 pid, $2 start time, $3 seconds from TERM to KILL, $4 port.
# Prints `ended=WORD`, and `port=taken` when the port stays taken.
# shellcheck disable=SC2034,SC2154 # shared with process.sh
main() {
    end_process "$1" "$2" "$3"
    echo "ended=$ended"
    case $ended in denied | stuck) return 0 ;; esac
    pause=0.05
    until_time=$(($(date +%s) + 5))
    while find_sockets "$4"; do
        if [ "$(date +%s)" -gt "$until_time" ]; then
            echo "port=taken"
            return 0
        fi
        back_off
    done
}
main "$@"
