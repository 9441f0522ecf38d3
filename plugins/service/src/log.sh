# Shell functions about the log of the service; prepended to a script.

# Sets `log` to the path of log $1 of the service in the app directory $2. A plain
# name is in a private directory of the login user, one for each app directory: in a
# directory that others can write, they could replace the log by a link.
log_path() {
    case $1 in
        /*)
            log=$1
            return
            ;;
    esac
    own=$(printf '%s' "${2#"$HOME"/}" | tr / %)
    # A directory name has at most 255 bytes.
    [ "${#own}" -le 200 ] || own=$(printf '%s' "$2" | cksum | tr ' ' -)
    log=$HOME/.vdeploy/logs/$own/$1
}

# Prints why file $1 cannot be the log; nothing when it can.
not_a_log() {
    if [ -L "$1" ]; then
        echo 'a symbolic link'
    elif [ ! -e "$1" ]; then
        return 0
    elif [ ! -f "$1" ]; then
        echo 'not a regular file'
    elif [ ! -O "$1" ]; then
        echo 'a file of another user'
    fi
}

# Sets `refused` to the file that cannot be a log, and why; empty if there is none.
check_log() {
    refused=
    for file in "$log" "$log.previous"; do
        why=$(not_a_log "$file")
        [ -z "$why" ] || refused="$file is $why"
    done
    [ -z "$refused" ]
}

# Opens an empty `log` on descriptor 9, for appending; the old log becomes
# `LOG.previous`. The file is created exclusively, so no link is followed, and opened
# again by descriptor, not by name. Fails with `refused`, or without it when the
# directory cannot be written.
open_log() {
    check_log || return 1
    mask=$(umask)
    umask 077
    case $log in "$HOME"/.vdeploy/logs/*) mkdir -p "${log%/*}" 2>/dev/null ;; esac
    if [ -s "$log" ]; then mv -f "$log" "$log.previous"; else rm -f "$log"; fi 2>/dev/null
    set -C
    opened=
    { command exec 8>"$log" && command exec 9>>/proc/self/fd/8 && opened=yes; } 2>/dev/null
    set +C
    exec 8>&-
    umask "$mask"
    [ -n "$opened" ]
}
