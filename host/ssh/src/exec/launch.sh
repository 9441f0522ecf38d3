# Becomes the program of a command. POSIX sh. The plugin's variables must reach this
# program only: so the program, `env` and `setsid` are located first, with the
# environment of the login. From then on only positional parameters are used, which
# no variable can change.

# Sets vd_path to the program $1. Skips relative entries of PATH: they depend on the
# working directory, which the plugin chooses.
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

# The same; exits when there is none.
vd_need() {
    vd_locate "$1" && return
    printf 'sh: %s: not found\n' "$1" >&2
    exit 127
}

# `env` would parse a program with `=` in its path as a variable.
vd_no_equals() {
    case $1 in
        *=*)
            # shellcheck disable=SC2016 # backticks of the message
            printf 'sh: %s: has a `=` in its path and cannot be given variables\n' "$1" >&2
            exit 126
            ;;
    esac
}
