# Shell functions about the running marker, `.vdeploy/running.json` under `app`.
# Uses the variables app, sha, run and started_at (seconds since 1970).
# shellcheck disable=SC2154 # app, sha and run are set by the script

# Writes the marker for process $1 that began at $2.
write_marker() {
    node=$(node --version 2>/dev/null </dev/null)
    mkdir -p "$app/.vdeploy" 2>/dev/null &&
        printf '{"pid":%s,"start-ticks":%s,"started-at-ms":%s000,"node":"%s","sha":"%s","run":"%s"}\n' \
            "$1" "$2" "$started_at" "$node" "$sha" "$run" 2>/dev/null \
            >"$app/.vdeploy/running.json.new" &&
        mv -f "$app/.vdeploy/running.json.new" "$app/.vdeploy/running.json"
}

# Sets `value` to the number after key $1 in the marker `known`.
number() {
    value=${known#*"\"$1\":"}
    value=${value%%[!0-9]*}
}

# Sets pid, begin and started_at to the process that an earlier try of this run
# started from this commit. Fails when there is none or it has ended.
find_earlier_try() {
    { read -r known <"$app/.vdeploy/running.json"; } 2>/dev/null || return 1
    case $known in *"\"sha\":\"$sha\",\"run\":\"$run\"}") ;; *) return 1 ;; esac
    number pid && pid=$value
    number start-ticks && begin=$value
    is_same "$pid" "$begin" || {
        pid='' begin=''
        return 1
    }
    number started-at-ms && started_at=${value%000}
}
