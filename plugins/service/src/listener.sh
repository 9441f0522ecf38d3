main() {
    find_sockets "$1" || return 0
    for entry in /proc/[0-9]*; do
        p=${entry#/proc/}
        if holds_socket "$p" && look_at "$p"; then
            echo "pid=$p"; echo "start=$start"; echo "ppid=$parent"
            echo "cwd=$(readlink "$entry/cwd")"; echo "exe=$(readlink "$entry/exe")"
            echo "argv=$(tr '\0' ' ' <"$entry/cmdline")"
            return 0
        fi
    done
}
main "$@"
