# Prints facts about the target as KEY=VALUE lines. Changes nothing.
# $1 app directory, $2 port or nothing, $3 log file, $4 `data` to list its files.
say() { printf '%s=%s\n' "$1" "$2"; }

# The first line that program $1 prints for --version; nothing if it is absent.
version() {
    command -v "$1" >/dev/null 2>&1 || return 0
    "$1" --version 2>/dev/null </dev/null | head -n 1
}

marker() {
    [ -r "$2" ] && say "$1" "$(tr '\n' ' ' <"$2")"
}

# The marker of the live build. A marker older than the artifacts is ignored:
# somebody built by hand.
build_marker() {
    [ -r .vdeploy/build.json ] || return 0
    newer=$(find dist -type f -newer .vdeploy/build.json 2>/dev/null </dev/null | head -n 1)
    if [ -z "$newer" ]; then marker build .vdeploy/build.json; fi
}

# The node version that the project requires; ignores a huge package.json.
node_wanted() {
    if [ -r .nvmrc ]; then say nvmrc "$(head -n 1 .nvmrc)"; fi
    if [ -r package.json ] && [ "$(wc -c <package.json)" -le 65536 ]; then
        marker package package.json
    fi
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

# Prints each file in data/ as `data-file=BYTES SECONDS NAME`, the line count of
# each .jsonl file as `data-lines=LINES NAME`, and `data-files=all`, or `many` for
# more than 300 files.
data_files() {
    [ -d data ] || {
        say data-files all
        return
    }
    within=
    if command -v timeout >/dev/null 2>&1; then within='timeout 20'; fi
    # `data` may be a symbolic link.
    list=$($within find data/ -type f -exec stat -c '%s %Y %n' {} + 2>/dev/null </dev/null | head -n 301)
    [ "$(printf '%s\n' "$list" | wc -l)" -le 300 ] || {
        say data-files many
        return
    }
    if [ -n "$list" ]; then printf '%s\n' "$list" | sort -k 3 | sed 's/^/data-file=/'; fi
    for file in data/*.jsonl; do
        if [ -f "$file" ] && [ -r "$file" ] && [ "$(wc -c <"$file")" -le 16777216 ]; then
            say data-lines "$(wc -l <"$file") $file"
        fi
    done
    say data-files all
}

# Prints the loaded systemd services whose working directory is the checkout $1,
# as `unit=NAME STATE/SUBSTATE ENABLED`.
# shellcheck disable=SC2030 # claim runs in the same subshell
units() {
    command -v systemctl >/dev/null 2>&1 || return 0
    systemctl show --property=Id,WorkingDirectory,ActiveState,SubState,UnitFileState '*.service' \
        2>/dev/null </dev/null | {
        id='' dir='' active='' sub='' enabled=''
        # An empty line ends each service but the last.
        while read -r line || [ -n "$line" ]; do
            case $line in
                Id=*) id=${line#*=} ;;
                WorkingDirectory=*) dir=${line#*=} ;;
                ActiveState=*) active=${line#*=} ;;
                SubState=*) sub=${line#*=} ;;
                UnitFileState=*) enabled=${line#*=} ;;
                '')
                    claim "$1"
                    id='' dir='' active='' sub='' enabled=''
                    ;;
            esac
        done
        claim "$1"
    }
}

# shellcheck disable=SC2031 # units calls it in the subshell that sets them
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
    # Without optional locks git does not refresh the index: a probe writes nothing.
    GIT_OPTIONAL_LOCKS=0 git status --porcelain 2>/dev/null </dev/null |
        grep -v '^?? \.vdeploy/' | head -n 200 | sed 's/^/hot-fix=/'
    say unpushed "$(git rev-list --count HEAD --not --remotes 2>/dev/null </dev/null)"
}

main() {
    app=$1 port=${2:-${PORT:-3000}} log=$3
    say port "$port"
    say node-env "${NODE_ENV:-}"
    for tool in git node npm; do say "$tool" "$(version "$tool")"; done
    if ! cd "$app" 2>/dev/null; then
        # The path of a plain name depends on the directory.
        case $log in /*) say log "$log" ;; esac
        return 0
    fi
    app=$(pwd -P)
    say app "$app"
    log_path "$log" "$app"
    say log "$log"
    # shellcheck disable=SC2154 # set by check_log of log.sh
    check_log || say log-refused "$refused"
    df -Pk . 2>/dev/null | {
        read -r _
        read -r _ _ _ free _
        say free-kb "$free"
    }
    # Not every file system counts inodes, and not every df supports -i.
    df -Pi . 2>/dev/null | {
        read -r _
        read -r _ total _ free _
        if [ "${total:-0}" -gt 0 ] 2>/dev/null; then say free-inodes "$free"; fi
    }
    if [ -w . ]; then say app-writable yes; fi
    if [ -d node_modules ]; then say modules yes; fi
    node_wanted
    say data "$(data_state)"
    units "$(pwd -P)"
    build_marker
    marker running .vdeploy/running.json
    checkout
    if [ "$4" = data ]; then data_files; fi
}
main "$@"
