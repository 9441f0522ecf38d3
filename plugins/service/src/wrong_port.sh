# Shell functions about a service that listens on the wrong port; prepended to a
# script, after `process.sh`.
# shellcheck disable=SC2154 # session is set by look_at of process.sh

# Prints `ADDRESS:PORT:INODE` of all sockets that listen; the first two in hex.
all_listening() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null </dev/null |
        sed -n 's/^ *[0-9]*: \([0-9A-F]*\):\([0-9A-F]*\) [0-9A-F:]* 0A [^ ]* [^ ]* [^ ]* *[0-9]* *[0-9]* *\([0-9]*\) .*/\1:\2:\3/p'
}

# Sets `wrong_ports` to the ports other than $1 on which process $2, a descendant or
# a process of its session listens: `PORT:PID` each, and `PORT:PID:local` for a
# loopback port, such as that of a debugger.
find_wrong_ports() {
    wrong_ports=
    sockets=$(all_listening)
    for entry in /proc/[0-9]*; do
        member=${entry#/proc/}
        look_at "$member" || continue
        [ "$session" = "$2" ] || comes_from "$member" "$2" || continue
        links=$(ls -l "$entry/fd" 2>/dev/null </dev/null)
        for socket in $sockets; do
            case $links in *"socket:[${socket##*:}]"*) ;; *) continue ;; esac
            number=${socket%:*}
            number=$((0x${number#*:}))
            [ "$number" != "$1" ] || continue
            found=$number:$member
            case ${socket%%:*} in
                ??????7F | 0000000000000000FFFF0000??????7F | 00000000000000000000000001000000)
                    found=$found:local
                    ;;
            esac
            case " $wrong_ports " in *" $found "*) ;; *) wrong_ports="$wrong_ports $found" ;; esac
        done
    done
}

# Checks once a second on which other ports process $2 listens instead of $1, and
# reports each port once on standard error. Succeeds when the service came up on a
# wrong port. $3 is `yes` once its log has the ready line; $4 is its timeout in
# seconds. A service can open a port for metrics or a debugger first. So a wrong port
# counts only 5 s after the ready line, or after a quarter of the timeout without
# one, and a loopback port counts only after the ready line.
is_on_wrong_port() {
    now=$(date +%s)
    [ "$now" != "${looked_at:-}" ] || return 1
    looked_at=$now
    find_wrong_ports "$1" "$2"
    counts=
    for found in $wrong_ports; do
        number=${found%%:*} member=${found#*:}
        case " $named " in
            *" $number "*) ;;
            *)
                named="$named $number"
                echo "the new process listens on port $number (pid ${member%:*}), not on port $1 yet" >&2
                ;;
        esac
        case $found in
            *:local) [ -z "$3" ] || counts=yes ;;
            *) counts=yes ;;
        esac
    done
    if [ -z "$counts" ]; then
        wrong_since=
        return 1
    fi
    # Restart the grace period when the ready line appears.
    [ "${said_ready:-}" = "$3" ] || wrong_since=
    said_ready=$3
    wrong_since=${wrong_since:-$now}
    grace=$(($4 / 4))
    [ "$grace" -gt 0 ] || grace=1
    if [ -n "$3" ] && [ "$grace" -gt 5 ]; then grace=5; fi
    [ $((now - wrong_since)) -ge "$grace" ]
}
