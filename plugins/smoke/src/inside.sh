# Checks the service from inside the target.
# $1 port or nothing, $2 path of the health check, $3 log or nothing, $4 warning
# of an open server, $5 app directory or nothing. Prints KEY=VALUE lines and, after `--log--`, the last lines
# of the log. A status of 000 means no answer.

ask() {
    if command -v curl >/dev/null 2>&1; then
        curl -g -s -m 10 -o /dev/null -w '%{http_code}' "$1" </dev/null
    elif command -v node >/dev/null 2>&1; then
        node -e '
            const done = (status) => { process.stdout.write(String(status)); process.exit(0); };
            setTimeout(() => done("000"), 10000);
            require("http").get(process.argv[1], (answer) => done(answer.statusCode)).on("error", () => done("000"));
        ' "$1" </dev/null
    elif command -v wget >/dev/null 2>&1; then
        if wget -q -T 10 -O /dev/null "$1" </dev/null; then echo 200; else echo 000; fi
    else
        echo none
    fi
}

main() {
    port=${1:-${PORT:-3000}} log=$3
    echo "port=$port"
    echo "ipv4=$(ask "http://127.0.0.1:$port$2")"
    # Every machine with IPv6 has the loopback address.
    if grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null </dev/null; then
        echo "ipv6=$(ask "http://[::1]:$port$2")"
    fi
    case $log in
        '' | /*) ;;
        # A plain name belongs to an app directory.
        *) if app=$(cd "${5:-/nowhere}" 2>/dev/null && pwd -P); then log_path "$log" "$app"; else log=; fi ;;
    esac
    if [ -n "$log" ] && [ -r "$log" ]; then
        echo "log=$log"
        if [ -n "$4" ] && grep -qF -e "$4" "$log" </dev/null; then echo "open=yes"; fi
        echo "--log--"
        tail -n 20 "$log" </dev/null
    fi
}
main "$@"
