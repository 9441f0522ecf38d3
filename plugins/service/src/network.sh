# Prints as KEY=VALUE lines whether the target resolves the names of the git remote
# and npm registry and connects to the registry. All in parallel, each with a
# deadline. Changes nothing. Runs in the checkout.
say() { printf '%s=%s\n' "$1" "$2"; }

# Runs the rest with a deadline of $1 seconds, if the target has `timeout`.
within() {
    if command -v timeout >/dev/null 2>&1; then
        timeout "$@"
    else
        shift
        "$@"
    fi
}

# The host in a URL or in USER@HOST:PATH; nothing for a path.
host_of() {
    case $1 in
        file:* | /* | ./* | ../*) return 0 ;;
        *://*) rest=${1#*://} rest=${rest%%/*} ;;
        *:*) rest=${1%%:*} ;;
        *) return 0 ;;
    esac
    rest=${rest##*@}
    case $rest in
        \[*) return 0 ;;
        *) echo "${rest%%:*}" ;;
    esac
}

# Addresses and localhost need no DNS.
name_of() {
    name=$(host_of "$1")
    case $name in
        '' | localhost | *.localhost | *[!0-9.]*) ;;
        *) name= ;;
    esac
    case $name in localhost | *.localhost) name= ;; esac
    echo "$name"
}

resolves() {
    if command -v getent >/dev/null 2>&1; then
        if within 10 getent hosts "$1" >/dev/null 2>&1 </dev/null; then
            say resolves "$1"
        else
            say unresolved "$1"
        fi
    fi
}

# npm uses its own proxies, certificates and login.
registry() {
    say registry "$(printf '%s' "$1" | sed 's#//[^/@]*@#//#')"
    if said=$(within 30 npm ping --fetch-retries=0 --fetch-timeout=10000 2>&1 </dev/null); then
        say registry-answer ok
    else
        code=$(printf '%s\n' "$said" | sed -n 's/^npm [Ee][Rr][Rr][a-z!]* code //p' | head -n 1)
        say registry-answer "${code:-no answer}"
        say registry-said "$(printf '%s\n' "$said" | sed -n 's/^npm [Ee][Rr][Rr][a-z!]* //p' | sed -n '2,3p' | tr '\n' ' ')"
    fi
}

main() {
    # Keeps npm from writing a log, deleting older ones, making a cache and
    # recording an available update.
    export npm_config_logs_max=0 npm_config_logs_dir=/dev/null
    export npm_config_cache=/dev/null/none npm_config_update_notifier=false
    remote=$(name_of "$(git remote get-url origin 2>/dev/null </dev/null)")
    if [ -n "$remote" ]; then resolves "$remote" & fi
    if command -v npm >/dev/null 2>&1; then
        url=$(npm config get registry 2>/dev/null </dev/null)
        name=$(name_of "$url")
        if [ -n "$name" ] && [ "$name" != "$remote" ]; then resolves "$name" & fi
        if [ -n "$url" ]; then registry "$url" & fi
    fi
    wait
}
main
