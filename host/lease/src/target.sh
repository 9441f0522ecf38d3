# The lease on this machine: which run of vdeploy may change it now. POSIX sh.
#
# Each change of the lease is a symbolic link of its own in ~/.vdeploy-lease:
# `r.<number>`, whose text is `<run>:<token>:<claim>:<end>`. The run `-` is nobody.
# The end is in seconds since 1970, by this machine's clock. The highest number
# counts, and it is never removed.
#
# A claim is one process's wish for the lease: a run that is resumed makes a new
# one. A question may arrive after its asker has given up waiting, and twice.
# `over.<claim>` is the mark of a claim that was given back, broken or followed by
# another one: its late `take` takes nothing. A `take` that comes twice has one
# answer. A late `renew` finds another token, or nobody.
#
# A change makes the link with the next number. `ln -s` fails where the name
# exists, so of all who saw the same record only one goes on from it: two who
# take an expired lease, or one who takes it while its holder renews it. Links
# need no room for data, so a full disk does not end a lease.
#
# `lost.<run>` is the mark of a run that lost it to another one or to a person,
# or that is over: `job.sh` starts no change of that run any more. It stays for a
# week. `left.<run>` says that what such a run began here may still go on. Whoever
# takes the lease is told, ends it before its first change, and says so with
# `settle`; else the next one is told.
#
# `changed` is a link whose text is the run that has begun a change here last; it
# is made by `job.sh`. `take` answers with it as `changed:<run>`.
#
# Arguments: take TTL RUN LEAST WHO CLAIM | renew TTL RUN TOKEN | release TTL RUN
# CLAIM | settle TTL RUN TOKEN LEFT... | break TTL RUN BY [CLAIM] | look TTL. LEAST
# is the largest token of the claim so far. `break` with the claim of who breaks
# it does nothing when that claim is over. Answers in one line, for `held`, `lost`
# and `fenced` with a second one; status 1 with a reason on stderr where nothing
# could be done.
set -u
umask 077
first=100000000000
digits='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]'

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

# Sets seq to the number of the record that counts.
highest() {
    seq=$first
    for path in "$dir"/r.$digits; do
        [ -L "$path" ] && seq=${path##*/r.}
    done
}

# Reads the record that counts: seq, holder, token, claim, end.
newest() {
    looks=0
    while :; do
        holder=- token=0 claim=- end=0
        highest
        [ "$seq" = "$first" ] && return
        # It may be gone by now: then there is a newer one.
        record=$(readlink "$dir/r.$seq" 2>/dev/null) && break
        looks=$((looks + 1))
        [ "$looks" -lt 100 ] || fail "$dir/r.$seq cannot be read"
    done
    holder=${record%%:*}
    end=${record##*:}
    token=${record#*:}
    claim=${token#*:}
    claim=${claim%:*}
    token=${token%%:*}
    case $token$end in
        *[!0-9]*) fail "$dir/r.$seq is no record of a lease: $record" ;;
    esac
}

# Makes $1 the record after the one that was read. Fails when another did.
become() {
    mine=$((seq + 1))
    if ! why=$(ln -s -- "$1" "$dir/r.$mine" 2>&1); then
        seen=$seq
        newest
        if [ "$seq" = "$seen" ] && [ ! -L "$dir/r.$mine" ]; then
            fail "$why"
        fi
        return 1
    fi
    # The number may have been used and removed while we slept.
    highest
    if [ "$seq" != "$mine" ]; then
        rm -f "$dir/r.$mine"
        return 1
    fi
    for path in "$dir"/r.$digits; do
        [ "${path##*/r.}" -lt "$mine" ] && rm -f "$path"
    done
    return 0
}

# Whether somebody has it. An end that is further away than any lease lasts (10
# minutes) comes from a clock that was set back.
is_held() {
    [ "$holder" != - ] && [ "$end" -ge "$now" ] && [ $((end - now)) -le 660 ]
}

# Says who has it, since when, for how many seconds more.
tell() {
    since=0 by=
    if [ -r "$dir/who.$holder" ]; then
        {
            read -r since
            IFS= read -r by
        } <"$dir/who.$holder"
    fi
    left=$((end - now + 1))
    [ "$left" -gt 0 ] || left=0
    printf '%s %s %s %s\n%s\n' "$1" "$holder" "$since" "$left" "$by"
}

# The lease of this run is gone. Who broke it has left a word.
lose() {
    if [ -r "$dir/broken.$run" ]; then
        by=
        { IFS= read -r by; } <"$dir/broken.$run"
        printf 'fenced\n%s\n' "$by"
    else
        tell lost
    fi
    exit
}

# What run $1 has begun here may go on. Before the lease changes hands: this
# script may be killed right after it. A link, for a full disk.
mark_left() {
    ln -s left "$dir/left.$1" 2>/dev/null
}

# From now on nothing of run $1 begins here.
mark_lost() {
    ln -s lost "$dir/lost.$1" 2>/dev/null
}

# Claim $1 takes nothing here any more.
mark_over() {
    [ "$1" = - ] || ln -s over "$dir/over.$1" 2>/dev/null
}

is_over() {
    [ -L "$dir/over.$1" ]
}

verb=$1 ttl=$2 run=${3:--}
[ -n "${HOME:-}" ] || fail "HOME is not set"
dir=$HOME/.vdeploy-lease
# Before the record is read: a `take` that is on its way looks for the mark after
# it has made its record, so one of the two sees the other.
if [ "$verb" = release ]; then
    [ -d "$dir" ] || mkdir -p "$dir" || exit 1
    mark_over "$4"
fi
tries=0
while [ "$tries" -lt 1000 ]; do
    tries=$((tries + 1))
    now=$(date +%s)
    case $now in
        '' | *[!0-9]*) fail "\`date +%s\` gives no time: $now" ;;
    esac
    [ "$verb" != take ] || [ -d "$dir" ] || mkdir -p "$dir" || exit 1
    newest
    case $verb in
        look)
            if is_held; then tell held; else echo free; fi
            exit
            ;;
        take)
            ! is_over "$6" || lose
            if is_held && [ "$holder" != "$run" ]; then
                tell held
                exit
            fi
            # One that comes twice has the token of the first.
            if [ "$claim" != "$6" ] || [ "$token" -le "$4" ]; then
                [ "$token" -ge "$4" ] || token=$4
                token=$((token + 1))
            fi
            earlier=$claim
            # Without room for it the holder only has no name.
            { printf '%s\n%s\n' "$now" "$5" >"$dir/who.$run"; } 2>/dev/null || :
            granted=$token former=
            [ "$holder" = - ] || [ "$holder" = "$run" ] || former=$holder
            [ -z "$former" ] || mark_left "$former"
            if become "$run:$granted:$6:$((now + ttl))"; then
                if is_over "$6"; then
                    become "-:$granted:-:0" && rm -f "$dir/who.$run"
                    newest
                    lose
                fi
                [ "$earlier" = "$6" ] || mark_over "$earlier"
                for path in "$dir"/who.*; do
                    [ "$path" = "$dir/who.$run" ] || rm -f "$path"
                done
                for path in "$dir"/*."$run"; do
                    case $path in
                        */broken.* | */lost.* | */left.*) rm -f "$path" ;;
                    esac
                done
                said="taken $granted"
                changed=$(readlink "$dir/changed" 2>/dev/null) && said="$said changed:$changed"
                if [ -n "$former" ] && [ ! -L "$dir/left.$former" ]; then
                    mark_lost "$former"
                    said="$said $former"
                fi
                for path in "$dir"/left.*; do
                    [ -L "$path" ] || continue
                    mark_lost "${path##*/left.}"
                    said="$said ${path##*/left.}"
                done
                echo "$said"
                exit
            fi
            ;;
        settle)
            if [ "$holder" != "$run" ] || [ "$token" != "$4" ]; then
                lose
            fi
            shift 4
            for left in "$@"; do
                rm -f "$dir/left.$left"
            done
            echo settled
            exit
            ;;
        renew)
            if [ "$holder" != "$run" ] || [ "$token" != "$4" ]; then
                lose
            fi
            become "$run:$4:$claim:$((now + ttl))" && echo renewed && exit
            ;;
        release)
            [ "$claim" = "$4" ] || lose
            become "-:$token:-:0" && rm -f "$dir/who.$run" && echo released && exit
            ;;
        break)
            if [ -n "${5:-}" ] && is_over "$5"; then
                echo free
                exit
            fi
            # Also one that ran out: its holder may still come back.
            if [ "$holder" != "$run" ]; then
                if is_held; then tell held; else echo free; fi
                exit
            fi
            # First, so that its holder finds it.
            { printf '%s\n' "$4" >"$dir/broken.$run"; } 2>/dev/null || :
            mark_left "$run"
            broken=$claim
            if become "-:$token:-:0"; then
                mark_over "$broken"
                for path in "$dir"/broken.*; do
                    [ "$path" = "$dir/broken.$run" ] || rm -f "$path"
                done
                rm -f "$dir/who.$run"
                mark_lost "$run"
                echo broken
                exit
            fi
            ;;
        *) fail "unknown verb: $verb" ;;
    esac
done
fail "the lease in $dir changes all the time"
