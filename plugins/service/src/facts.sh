# Says what the target is like, as KEY=VALUE lines. Changes nothing.
# $1 app directory, $2 port or nothing, $3 log file.
say() { printf '%s=%s\n' "$1" "$2"; }

# The first line that program $1 prints for --version; nothing if it is absent.
version() {
    command -v "$1" >/dev/null 2>&1 || return 0
    "$1" --version 2>/dev/null </dev/null | head -n 1
}

marker() {
    [ -r "$2" ] && say "$1" "$(tr '\n' ' ' <"$2")"
}

data_state() {
    if [ -d data ]; then
        if [ -w data ] && [ -x data ]; then echo writable; else echo readonly; fi
    elif [ -e data ]; then
        echo no-directory
    elif [ -w . ]; then
        echo absent
    else
        echo readonly
    fi
}

# Prints the loaded systemd services that work in the checkout $1, as
# `unit=NAME STATE/SUBSTATE ENABLED`.
units() {
    command -v systemctl >/dev/null 2>&1 || return 0
    systemctl show --property=Id,WorkingDirectory,ActiveState,SubState,UnitFileState '*.service' \
        2>/dev/null </dev/null | {
        id= dir= active= sub= enabled=
        # An empty line ends each service; the last one has none.
        while read -r line || [ -n "$line" ]; do
            case $line in
                Id=*) id=${line#*=} ;;
                WorkingDirectory=*) dir=${line#*=} ;;
                ActiveState=*) active=${line#*=} ;;
                SubState=*) sub=${line#*=} ;;
                UnitFileState=*) enabled=${line#*=} ;;
                '')
                    claim "$1"
                    id= dir= active= sub= enabled=
                    ;;
            esac
        done
        claim "$1"
    }
}

claim() {
    dir=${dir#[-!]}
    case $dir in /*) ;; *) return 0 ;; esac
    [ "$(cd "$dir" 2>/dev/null && pwd -P)" = "$1" ] || return 0
    say unit "$id $active/$sub ${enabled:-unknown}"
}

checkout() {
    if ! top=$(git rev-parse --show-toplevel 2>&1 </dev/null); then
        say git-error "$(printf '%s' "$top" | tr '\n' ' ')"
        return 0
    fi
    say top "$(cd "$top" 2>/dev/null && pwd -P)"
    say sha "$(git rev-parse --verify --quiet 'HEAD^{commit}' </dev/null)"
    say branch "$(git symbolic-ref --quiet --short HEAD </dev/null)"
    git remote 2>/dev/null </dev/null | sed 's/^/remote=/'
    # The index is not refreshed on disk: a probe writes nothing.
    GIT_OPTIONAL_LOCKS=0 git status --porcelain 2>/dev/null </dev/null |
        grep -v '^?? \.vdeploy/' | head -n 200 | sed 's/^/hot-fix=/'
    say unpushed "$(git rev-list --count HEAD --not --remotes 2>/dev/null </dev/null)"
}

main() {
    app=$1 port=${2:-${PORT:-3000}} log=$3
    case $log in
        /*) ;;
        *) temp=${TMPDIR:-/tmp} log=${temp%/}/$log ;;
    esac
    say port "$port"
    say log "$log"
    say node-env "${NODE_ENV:-}"
    for tool in git node npm; do say "$tool" "$(version "$tool")"; done
    cd "$app" 2>/dev/null || return 0
    say app "$(pwd -P)"
    df -Pk . 2>/dev/null | {
        read -r _
        read -r _ _ _ free _
        say free-kb "$free"
    }
    if [ -w . ]; then say app-writable yes; fi
    say data "$(data_state)"
    units "$(pwd -P)"
    marker build .vdeploy/build.json
    marker running .vdeploy/running.json
    checkout
}
main "$@"
