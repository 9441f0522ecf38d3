# Starts a job on this machine or attaches to it, and shows its output. POSIX sh
# with head, tail, split, cat, wc, setsid and /proc.
#
# A job is one change of one run. It outlives the connection: its output and its
# status are in files, for whoever reconnects:
# ~/.vdeploy/jobs/<run>/<number>.*
#
#   run    created once, never overwritten (noclobber): whoever creates it starts
#          the job. First line: process id, start time and boot id of the
#          recorder; second line: process id and start time of the command
#   in.*   its standard input, removed as soon as the command has it open
#   out    its standard output (err: its standard error)
#   end    its status and who stopped it; valid only with its line end. Blank
#          until then, so that the status needs no new disk space
#   sym    the same as a symbolic link, which a full disk still accepts
#   room   created and removed to check for disk space
#   stop   who stops it: `host`, or `limit` when no host was connected
#   dog    the process that waits for the limit, as a symbolic link
#
# A rollback must be able to start jobs on a full disk. So the first job of a run
# reserves some space in ~/.vdeploy/jobs/<run>/reserve, and the first job without
# space for its files releases it.
#
# The host puts launch.sh before this text, and `vd_secrets` and `vd_become`, which
# it generates for the command.
#
# Processes: this shell shows the output and ends with the connection; the
# listener reads the lines of the host; the recorder waits for the command; the
# command has a session of its own; the dog (watchdog) lives as long as the job,
# and short jobs have none. Only this shell and the listener hold the connection.
#
# Arguments: MODE RUN NUMBER MARK OUT ERR LIMIT INPUT ALL WORD...
# MODE is `start` (start or attach), `attach` or `stop`. OUT and ERR are the bytes
# of both outputs that the host has. LIMIT is in seconds. ALL bytes follow on
# standard input: lines with secrets, then INPUT bytes for the command. Then the
# host sends `MARK tick` (is there more output?) or `MARK stop`.
# Every line of this script begins with MARK, on both outputs; bytes before `begin`
# are noise of the login shell. `again` means: nothing has started and it may start
# now, so send everything once more.
vd_mode=$1 vd_run=$2 vd_dir=$HOME/.vdeploy/jobs/$2 vd_mark=$4 vd_out=$5 vd_err=$6
vd_limit=$7 vd_input=$8 vd_all=$9
vd_j=$vd_dir/$3 vd_recorder='' vd_command=''
shift 9

vd_say() {
    printf '%s %s\n' "$vd_mark" "$1"
    printf '%s %s\n' "$vd_mark" "$1" >&2
}

vd_fail() {
    vd_say "fail $1"
    exit
}

# Reserves disk space: in pieces, since a disk may run out of inodes instead of
# blocks; random bytes, since a disk may compress. A part of it helps too.
vd_put_aside() {
    mkdir "$vd_dir/reserve" &&
        head -c 524288 /dev/urandom | split -b 16384 - "$vd_dir/reserve/"
} 2>/dev/null

# There is no space to start the command, for the reason $1. The input has been
# read, so only the host has all of it.
vd_full() {
    [ "$vd_spool" = /dev/null ] || rm -f "$vd_spool"
    if [ -d "$vd_dir/reserve" ] && rm -rf "$vd_dir/reserve"; then
        vd_say again
        exit
    fi
    vd_fail "$1; is the disk full?"
}

# Sets vd_me: the id of this process and its start time. In a subshell `$$` is
# that of the parent.
vd_self() {
    read -r vd_line </proc/self/stat
    vd_me=${vd_line%% *}
    vd_line=${vd_line##*) }
    # shellcheck disable=SC2086 # split into words
    set -- $vd_line
    vd_me="$vd_me ${20}"
}

# Sets vd_born and vd_state of process $1; empty where there is none.
vd_look() {
    vd_born='' vd_state='' vd_group='' vd_line=''
    [ -e "/proc/$1/stat" ] || return 0
    { read -r vd_line; } 2>/dev/null <"/proc/$1/stat"
    [ -n "$vd_line" ] || return 0
    # shellcheck disable=SC2086 # split into words
    set -- ${vd_line##*) }
    vd_state=$1 vd_group=$3 vd_born=${20}
}

# Whether process $1 with the start time $2 still runs. A zombie does not.
vd_alive() {
    vd_look "${1:-none}"
    [ -n "$vd_born" ] && [ "$vd_born" = "${2:-}" ] || return 1
    case $vd_state in
        Z | X) return 1 ;;
    esac
}

# Sends the signal $1 to the group $2. dash takes no group without `--`, and the
# `kill` of busybox does not know `--`.
vd_signal_group() {
    kill -s "$1" -- "-$2" || kill -s "$1" "-$2"
} 2>/dev/null

# Whether a process of group $1 still runs.
vd_group_alive() {
    vd_signal_group 0 "$1" || return 1
    for vd_path in /proc/[0-9]*; do
        vd_look "${vd_path##*/}"
        case $vd_group.$vd_state in
            *.Z | *.X) ;;
            "$1".*) return 0 ;;
        esac
    done
    return 1
}

# Sets vd_recorder and vd_command from the file.
vd_find() {
    # Once read, the file is not needed any more.
    [ -e "$vd_j.run" ] || return 0
    vd_recorder='' vd_command=''
    {
        read -r vd_recorder
        read -r vd_command
    } <"$vd_j.run"
    return 0
}

# Sets vd_end when the job has one.
vd_ended() {
    vd_end=
    [ -e "$vd_j.end" ] && { read -r vd_end; } <"$vd_j.end" && return
    vd_end=
    [ -L "$vd_j.sym" ] && vd_end=$(readlink "$vd_j.sym")
}

# Ends the watchdog.
vd_undog() {
    [ -L "$vd_j.dog" ] || return 0
    vd_dog=$(readlink "$vd_j.dog")
    # shellcheck disable=SC2086 # split into words
    vd_alive $vd_dog && kill "${vd_dog%% *}" 2>/dev/null
    return 0
}

# Starts the watchdog, which waits for the limit when no host does. Safe to repeat.
vd_watch() {
    [ -L "$vd_j.dog" ] && return
    (
        trap '' HUP
        trap 'kill $! 2>/dev/null; exit' TERM
        vd_self
        # Who sees the link may remove the files, so read the command before that.
        vd_find
        ln -s "$vd_me" "$vd_j.dog" || exit
        # The recorder ends the watchdog after it has written the end.
        vd_ended && exit
        vd_find
        sleep "$vd_limit" &
        wait $!
        vd_stop limit
    ) </dev/null >/dev/null 2>&1 3<&- 4<&- 5<&- &
}

# Stops the command with its whole group, for the reason $1: TERM, then KILL.
# Processes that the command left running when it ended by itself stay.
vd_stop() {
    vd_result=gone
    if [ ! -e "$vd_j.stop" ] && vd_ended; then
        return
    fi
    printf '%s\n' "$1" >"$vd_j.stop"
    for vd_signal in TERM KILL; do
        vd_turn=0 vd_sent=
        while [ "$vd_turn" -lt 20 ]; do
            vd_turn=$((vd_turn + 1))
            vd_find
            if [ -z "$vd_command" ]; then
                # It is just starting, or its recorder is dead.
                # shellcheck disable=SC2086 # split into words
                vd_alive $vd_recorder || break 2
            else
                # shellcheck disable=SC2086 # split into words
                set -- $vd_command
                vd_look "$1"
                # Another process may have its id by now.
                [ -z "$vd_born" ] || [ "$vd_born" = "$2" ] || break 2
                vd_alive "$1" "$2" || vd_group_alive "$1" || break 2
                if [ -z "$vd_sent" ]; then
                    vd_sent=yes
                    vd_signal_group "$vd_signal" "$1" || kill -s "$vd_signal" "$1"
                fi
            fi
            sleep 0.1 || sleep 1
        done
        [ "$vd_signal" = TERM ] || vd_result=stays
    done
    vd_undog
}

# Allocates the status, and checks for space for the output: without it a command
# may fail because it cannot print.
vd_has_room() {
    if [ -d "$vd_dir/reserve" ]; then
        # A file of its own: one that is cut short goes to the disk at once.
        printf '%65536s' '' >"$vd_j.room"
        vd_code=$?
        rm -f "$vd_j.room" &
        [ "$vd_code" = 0 ] || return
        # For the last lines of a command that fills the disk. Not every target has
        # the program, and busybox's cannot do it. It gets the open file: by name it
        # would recreate one that was removed meanwhile.
        { /usr/bin/fallocate -n -l 8192 /proc/self/fd/7 & } 7>>"$vd_j.err"
    fi
    printf '%32s' '' >"$vd_j.end"
}

# Waits for the command and records its status. Exits with 3 when another recorder
# was first, with 4 when the disk is full, with 5 when the run is fenced. Whoever
# fences it makes the mark and then searches for jobs to stop, so a job that sees
# no mark here is found there.
vd_record() {
    trap '' HUP INT QUIT TERM
    # Here and not at the call: some shells keep the replaced files open there.
    exec </dev/null >/dev/null 2>&1 3<&- 4<&- 5<&-
    vd_self
    set -C
    if ! { true >"$vd_j.run"; }; then
        [ -e "$vd_j.run" ] && exit 3
        exit 4
    fi
    set +C
    if [ -L "$HOME/.vdeploy-lease/lost.$vd_run" ]; then
        rm -f "$vd_j.run"
        exit 5
    fi
    # Whoever resumes a run learns who has changed this machine since. Once per run:
    # a run that another one followed is not resumed.
    if [ ! -L "$vd_dir/changed" ]; then
        ln -sf "$vd_run" "$HOME/.vdeploy-lease/changed" && ln -s told "$vd_dir/changed"
    fi
    exec 6<"$vd_spool"
    if [ "$vd_spool" != /dev/null ]; then
        rm -f "$vd_spool" &
    fi
    if ! printf '%s %s\n' "$vd_me" "$vd_boot" >>"$vd_j.run" || ! vd_has_room; then
        rm -f "$vd_j.run" "$vd_j.end"
        exit 4
    fi
    (
        trap - HUP INT QUIT TERM
        vd_self
        printf '%s\n' "$vd_me" >>"$vd_j.run" || exit 125
        vd_become "$@"
    ) <&6 >>"$vd_j.out" 2>>"$vd_j.err" 6<&-
    vd_end=$?
    # The background children above have long ended.
    wait
    if [ "$vd_end" = 125 ] && vd_find && [ -z "$vd_command" ]; then
        rm -f "$vd_j.run" "$vd_j.end"
        exit 4
    fi
    if [ -e "$vd_j.stop" ]; then
        vd_by=
        { read -r vd_by; } <"$vd_j.stop"
        vd_end="$vd_end ${vd_by:-host}"
    fi
    printf '%s\n' "$vd_end" 1<>"$vd_j.end" || ln -s "$vd_end" "$vd_j.sym"
    vd_undog
}

# The recorder of this shell has started nothing. If another one was first, attaches
# to its job.
vd_other_first() {
    kill "$vd_listener" 2>/dev/null
    if [ ! -e "$vd_j.run" ]; then
        [ -L "$HOME/.vdeploy-lease/lost.$vd_run" ] && vd_fail fenced
        vd_full "cannot write in $vd_dir"
    fi
    [ "$vd_spool" = /dev/null ] || rm -f "$vd_spool"
}

# Reads the host's lines while this shell waits for the recorder.
vd_listen() {
    trap '' HUP
    exec <&5 3<&- 4<&- 5<&-
    while IFS= read -r vd_line; do
        vd_heard
    done
    vd_watch
    kill $$
}

vd_heard() {
    case $vd_line in
        "$vd_mark tick")
            vd_watch
            [ -z "$vd_listener" ] || kill -s USR1 $$
            ;;
        "$vd_mark stop")
            vd_stop host
            vd_say "$vd_result"
            ;;
    esac 2>/dev/null
}

# Shows new output. Both files stay open, so each `cat` resumes where the last one
# stopped.
vd_show() {
    [ -s "$vd_j.out" ] && cat <&3
    [ -s "$vd_j.err" ] && cat <&4 >&2
    return 0
}

[ -n "${HOME:-}" ] || vd_fail 'HOME is not set'
[ -r /proc/self/stat ] || vd_fail '/proc cannot be read'
read -r vd_boot </proc/sys/kernel/random/boot_id || vd_boot=unknown
if [ "$vd_mode" != attach ] && [ ! -d "$vd_dir" ]; then
    vd_why=$( (umask 077 && mkdir -p "$vd_dir") 2>&1) || vd_fail "$vd_why"
    [ "$vd_mode" = stop ] || vd_put_aside
fi
vd_spool=/dev/null vd_recording='' vd_listener=''
case $vd_mode in
    stop)
        # Whoever creates the file decides: now nobody can start it any more.
        set -C
        if { true >"$vd_j.run"; } 2>/dev/null; then
            vd_result=gone
        else
            set +C
            vd_stop host
        fi
        vd_say "$vd_result"
        exit
        ;;
    start)
        if [ -e "$vd_j.run" ]; then
            [ "$vd_all" = 0 ] || head -c "$vd_all" >/dev/null
        else
            # shellcheck disable=SC2016 # backticks of the message
            vd_locate /usr/bin/setsid || vd_locate setsid ||
                vd_fail 'there is no program `setsid` (package util-linux)'
            # shellcheck disable=SC2034 # used by vd_become
            vd_setsid=$vd_path
            # Input that ends too early ends the script: the host is gone.
            vd_secrets
            if [ "$vd_input" != 0 ]; then
                vd_spool=$vd_j.in.$$
                vd_why=$(head -c "$vd_input" 2>&1 >"$vd_spool") ||
                    vd_full "its input cannot be kept in $vd_dir: $vd_why"
                if [ "$(wc -c <"$vd_spool")" -ne "$vd_input" ]; then
                    rm -f "$vd_spool"
                    exit
                fi
            fi
            { true >>"$vd_j.out" && true >>"$vd_j.err"; } 2>/dev/null ||
                vd_full "cannot write in $vd_dir"
            exec 3<"$vd_j.out" 4<"$vd_j.err" 5<&0
            trap : USR1
            vd_record "$@" &
            vd_recording=$!
            vd_listener=yes
            vd_listen &
            vd_listener=$!
            vd_say begin
        fi
        ;;
esac

while [ -n "$vd_recording" ]; do
    vd_gone=
    kill -s 0 "$vd_recording" 2>/dev/null || vd_gone=yes
    vd_ended
    vd_show
    [ -z "$vd_end" ] || break
    # A tick interrupts it. Some shells have reaped the child already and know.
    wait "$vd_recording"
    vd_code=$?
    if [ "$vd_code" = 3 ] || [ "$vd_code" = 4 ] || [ "$vd_code" = 5 ]; then
        vd_other_first
        vd_recording=
    elif [ -n "$vd_gone" ]; then
        # bash can lose its status to a tick. The file names the job's recorder.
        vd_find
        [ "${vd_recorder%% *}" != "$vd_recording" ] && [ -d "$vd_dir" ] || break
        vd_other_first
        vd_recording=
    fi
done

if [ -z "$vd_recording" ]; then
    if [ ! -e "$vd_j.run" ] || [ ! -e "$vd_j.out" ] || [ ! -e "$vd_j.err" ]; then
        vd_say begin
        vd_say lost
        exit
    fi
    [ -n "$vd_listener" ] || vd_say begin
    vd_listener=
    exec 3<"$vd_j.out" 4<"$vd_j.err"
    [ "$vd_out" = 0 ] || tail -c "+$((vd_out + 1))" <&3
    [ "$vd_err" = 0 ] || tail -c "+$((vd_err + 1))" <&4 >&2
    vd_looks=0
    while :; do
        vd_gone=
        vd_find
        # shellcheck disable=SC2086 # split into words
        set -- $vd_recorder
        if [ -z "${3:-}" ]; then
            # It is just starting, or was when this machine went down.
            vd_looks=$((vd_looks + 1))
            [ "$vd_looks" -lt 30 ] || vd_gone=yes
        elif [ "$3" != "$vd_boot" ] || ! vd_alive "$1" "$2"; then
            vd_gone=yes
        fi
        vd_ended
        vd_show
        [ -z "$vd_end$vd_gone" ] || break
        if ! IFS= read -r vd_line; then
            vd_watch
            exit
        fi
        vd_heard
    done
fi

if [ -n "$vd_end" ]; then
    vd_say "end $vd_end"
else
    vd_find
    # shellcheck disable=SC2086 # split into words
    set -- $vd_command
    # shellcheck disable=SC2086 # an empty one is no word
    if vd_alive ${1:-0} ${2:-}; then
        vd_say 'lost running'
    else
        vd_undog
        vd_say lost
    fi
fi
# Report the result of a stop to whoever asked for it.
if [ -e "$vd_j.stop" ] && [ -n "$vd_listener" ]; then
    wait "$vd_listener"
elif [ -n "$vd_listener" ]; then
    kill "$vd_listener" 2>/dev/null
fi
