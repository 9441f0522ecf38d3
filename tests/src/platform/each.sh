# Every SSH command of a watched VM comes through here (`command=` of its
# authorized_keys). The log tells of it. With a file `stop` it waits for a word
# before it begins, and for another one before its end is told; with a file `hold`
# of its own nothing that it prints is told before that either.
log=/run/watch
line=$SSH_ORIGINAL_COMMAND
unset SSH_ORIGINAL_COMMAND SSH2_CLIENT
PATH=$log/bin:$PATH
export PATH
printf '%s' "$line" >"$log/$$.line"
echo "came $$" >>"$log/log"
if [ -e "$log/stop" ]; then
    until [ -e "$log/$$.begin" ]; do sleep 0.02; done
    if [ -e "$log/$$.hold" ]; then exec 3>&1 4>&2 >"$log/$$.out" 2>"$log/$$.err"; fi
    # A group of its own, as sshd gives to each command.
    setsid --wait "${SHELL:-/bin/sh}" -c "$line" 3>&- 4>&-
    status=$?
    echo "ended $$" >>"$log/log"
    until [ -e "$log/$$.end" ]; do sleep 0.02; done
    if [ -e "$log/$$.hold" ]; then
        cat "$log/$$.out" >&3
        cat "$log/$$.err" >&4
    fi
    exit "$status"
fi
exec "${SHELL:-/bin/sh}" -c "$line"
