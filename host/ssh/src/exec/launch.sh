# Becomes the program of a command. POSIX sh. What the plugin sets must reach
# this program only: so program, `env` and `setsid` are found first, by the
# environment of the login, and from then on only positional parameters count,
# which no variable can change.

# Sets vd_path to the program $1. A relative entry of PATH does not count: what it
# means depends on the directory, and that is the plugin's choice.
vd_locate() {
    vd_path=$1
    case $1 in
        */*)
            [ -e "$1" ]
            return
            ;;
    esac
    vd_rest=${PATH:-/usr/bin:/bin}:
    while [ -n "$vd_rest" ]; do
        vd_at=${vd_rest%%:*}
        vd_rest=${vd_rest#*:}
        case $vd_at in
            /*)
                vd_path=$vd_at/$1
                [ -f "$vd_path" ] && [ -x "$vd_path" ] && return
                ;;
        esac
    done
    return 1
}

# The same for a command that has to end where there is none.
vd_need() {
    vd_locate "$1" && return
    printf 'sh: %s: not found\n' "$1" >&2
    exit 127
}

# `env` takes a program with `=` in its path for a variable.
vd_no_equals() {
    case $1 in
        *=*)
            # shellcheck disable=SC2016 # backticks of the message
            printf 'sh: %s: has a `=` in its path and cannot be given variables\n' "$1" >&2
            exit 126
            ;;
    esac
}
