# Shell functions about the service's log; put in front of a script.

# Sets `log` to the path of log $1 of the service in the app directory $2. A plain
# name is in a directory of the login user's own, one for each app directory: in
# a directory that others can write, they could put a link in its place.
log_path() {
    case $1 in
        /*)
            log=$1
            return
            ;;
    esac
    own=$(printf '%s' "${2#"$HOME"/}" | tr / %)
    # No name of a directory is longer than 255 bytes.
    [ "${#own}" -le 200 ] || own=$(printf '%s' "$2" | cksum | tr ' ' -)
    log=$HOME/.vdeploy/logs/$own/$1
}

# Says why file $1 cannot be a log of ours; nothing when it can.
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

# Sets `refused` to the file that keeps `log` from being a log of ours, and why;
# empty when nothing does.
look_at_log() {
    refused=
    for file in "$log" "$log.previous"; do
        why=$(not_a_log "$file")
        [ -z "$why" ] || refused="$file is $why"
    done
    [ -z "$refused" ]
}

# Opens an empty `log` on descriptor 9, for appending; what was there becomes
# `LOG.previous`. The file is made new, so no link is followed, and opened again
# by its number, not by its name. Fails with `refused`, or without it when the
# directory cannot be written.
open_log() {
    look_at_log || return 1
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
