# Archives directories under a temporary name, reads the archive back, and renames
# it. $1 store, $2 id, $3 archives to keep, $4 MiB that stay
# free, $5 label, $6 run, $7 commit, $8 and $9 pid and start time of the process
# to suspend or nothing, $10 an archive that is never deleted, $11 number
# of directories; then the directories, then the excluded paths.
# Needs the functions of process.sh, restore.sh (value, sum_of) and restore_text.
# Prints KEY=VALUE lines.
answer() {
    resume
    case $1 in made | kept) ;; *) rm -rf "$part" ;; esac
    echo "state=$1"
    [ -z "$2" ] || echo "why=$2"
    exit 0
}

# A watcher resumes the process even when this script is killed.
pause_process() {
    [ -n "$pid" ] && is_same "$pid" "$begin" || return 0
    detach='nohup'
    if command -v setsid >/dev/null 2>&1; then detach=setsid; fi
    # shellcheck disable=SC2016 # arguments of the inner shell
    $detach sh -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; kill -CONT "$2"' \
        resume "$$" "$pid" </dev/null >/dev/null 2>&1 &
    kill -STOP "$pid" 2>/dev/null || answer pause "process $pid cannot be suspended"
    paused=$pid
}

resume() {
    [ -z "$paused" ] || kill -CONT "$paused" 2>/dev/null
    paused=
}

free_kb() {
    df -Pk "$1" 2>/dev/null </dev/null | {
        read -r _
        read -r _ _ _ free _
        echo "$free"
    }
}

# Writes the absolute path of each directory to `dirs`, one a line; refuses a
# directory that cannot be restored.
resolve() {
    newline='
'
    for given in "$@"; do
        dir=$(cd "$given" 2>/dev/null && pwd -P) || answer no-directory "$given cannot be entered"
        case $dir in
            *"$newline"*) answer name "the name of $given has a line end" ;;
            /) answer name "the root directory cannot be replaced by a restored one" ;;
        esac
        case $store/ in "$dir"/*) answer store "the store $store is in $dir, which is archived; set \`store\`" ;; esac
        case $dir/ in "$store"/*) answer store "$dir is in the store $store" ;; esac
        while IFS= read -r other; do
            case $dir/ in "$other"/*) answer nested "$dir is in $other, which is archived too" ;; esac
            case $other/ in "$dir"/*) answer nested "$other is in $dir, which is archived too" ;; esac
        done <"$part/dirs"
        parent=${dir%/*}
        [ -w "${parent:-/}" ] || answer parent "a restore replaces $dir, and $parent cannot be written"
        mount=$(df -Pk "$dir" 2>/dev/null </dev/null | {
            read -r _
            read -r _ _ _ _ _ mount
            printf '%s' "$mount"
        })
        [ "$mount" != "$dir" ] || answer mount "$dir is a mount point and cannot be replaced by a restored one; list the directories in it"
        printf '%s\n' "$dir" >>"$part/dirs" || answer no-space "cannot write $part/dirs"
    done
}

size_kb() {
    size=$(cd "$1" && du -sk -X "$part/exclude" . 2>/dev/null </dev/null) ||
        size=$(du -sk "$1" 2>/dev/null </dev/null)
    size=${size%%[!0-9]*}
    echo "${size:-0}"
}

# Packs directory $1 into $2. Retries when a file changes meanwhile; `moving` names
# one that changed in every try.
pack() {
    for _ in 1 2 3; do
        status=failed moving=
        rm -f "$part/status"
        if [ -n "$zip" ]; then
            if ! {
                tar $owners ${excluded:+-X} ${excluded:+"$excluded"} -C "$1" -cf - . 2>"$part/errors" </dev/null
                echo "$?" >"$part/status"
            } | gzip -1 >"$2" 2>"$part/zip-errors"; then
                status=zip
                break
            fi
        else
            tar $owners ${excluded:+-X} ${excluded:+"$excluded"} -C "$1" -cf "$2" . 2>"$part/errors" </dev/null
            echo "$?" >"$part/status"
        fi
        read -r status <"$part/status" || status=failed
        [ "$status" = 1 ] || break
        grep -v -e 'file changed as we read it' -e 'removed before we read it' -e 'socket ignored' \
            "$part/errors" >/dev/null </dev/null && break
        moving=$(grep -v 'socket ignored' "$part/errors" </dev/null | head -n 1)
    done
    case $status in
        0) return 0 ;;
        1) [ -n "$moving" ] && return 0 ;;
        zip) answer pack "$(tail -n 2 "$part/zip-errors" </dev/null | tr '\n' ' ')" ;;
    esac
    answer pack "tar of $1: $(tail -n 2 "$part/errors" 2>/dev/null </dev/null | tr '\n' ' ')"
}

read_back() {
    if [ -n "$zip" ]; then
        gzip -t "$1" 2>/dev/null </dev/null && gzip -dc "$1" </dev/null | tar -tf - >/dev/null 2>&1
    else
        tar -tf "$1" >/dev/null 2>&1 </dev/null
    fi
}

# Deletes the oldest archives of the same directories.
prune() {
    key=$(value dirs-sum "$store/$id/manifest")
    for manifest in "$store"/*/manifest; do
        [ -f "$manifest" ] || continue
        other=${manifest%/manifest} other=${other##*/}
        [ "$other" != "$id" ] && [ "$other" != "$protect" ] || continue
        [ "$(value dirs-sum "$manifest")" = "$key" ] || continue
        echo "$(value created "$manifest") $other"
    done | sort -rn | tail -n "+$keep" | while read -r _ other; do
        mv "$store/$other" "$store/.$other.part" && rm -rf "$store/.$other.part" && echo "pruned=$other"
    done
}

describe() {
    echo "store=$store"
    kb=$(du -sk "$store/$id" 2>/dev/null </dev/null | tr -c '0-9\n' ' ' | {
        read -r kb _
        echo "$kb"
    })
    echo "kb=$kb"
    sed -n 's/^dir-[0-9]*=/dir=/p' "$store/$id/manifest"
}

main() {
    store=$1 id=$2 keep=$3 min_free=$4 label=$5 run=$6 sha=$7 pid=$8 begin=$9
    shift 9
    protect=$1 count=$2
    shift 2
    paused='' part=''
    umask 077
    mkdir -p "$store" 2>/dev/null && store=$(cd "$store" 2>/dev/null && pwd -P) ||
        answer store "the store $1 cannot be made; set \`store\`"
    [ -w "$store" ] || answer store "the store $store cannot be written; set \`store\`"
    [ -n "$(sum_of /dev/null)" ] || answer tool "the target has neither sha256sum nor shasum nor openssl"
    command -v tar >/dev/null 2>&1 || answer tool "the target has no tar"
    if [ -f "$store/$id/manifest" ] && sums_hold "$store/$id"; then
        # An earlier try of this run made it.
        describe
        answer kept
    fi
    part=$store/.$id.part
    # Partial archives of killed runs.
    find "$store/." ! -name . -prune -name '.*.part' -mtime +0 -exec rm -rf {} + </dev/null
    rm -rf "$part" "${store:?}/$id"
    mkdir "$part" || answer store "cannot make $part"
    trap resume EXIT
    trap 'exit 1' HUP INT TERM

    : >"$part/dirs"
    n=0
    for word in "$@"; do
        n=$((n + 1))
        [ "$n" -le "$count" ] || printf './%s\n' "${word#./}"
    done >"$part/exclude" || answer no-space "cannot write $part/exclude"
    excluded=
    if [ -s "$part/exclude" ]; then excluded=$part/exclude; fi
    n=0
    for word in "$@"; do
        n=$((n + 1))
        [ "$n" -gt "$count" ] || resolve "$word"
    done
    zip='' owners=''
    if command -v gzip >/dev/null 2>&1; then zip=.gz; fi
    if tar --numeric-owner -cf /dev/null /dev/null 2>/dev/null </dev/null; then owners=--numeric-owner; fi

    need=0
    while IFS= read -r dir; do need=$((need + $(size_kb "$dir"))); done <"$part/dirs"
    free=$(free_kb "$store")
    [ $((${free:-0} - need)) -ge $((min_free * 1024)) ] ||
        answer no-space "$store has $((${free:-0} / 1024)) MiB free; the archive may need $((need / 1024)) MiB, and $min_free MiB must stay free: set \`store\`, \`exclude\` or \`keep\`"

    {
        echo "vdeploy-archive=1"
        echo "id=$id"
        echo "label=$label"
        echo "run=$run"
        echo "commit=$sha"
        echo "created=$(date +%s)"
        echo "dirs-sum=$(sum_of "$part/dirs")"
    } >"$part/manifest" || answer pack "cannot write $part/manifest"
    pause_process
    n=0
    while IFS= read -r dir; do
        n=$((n + 1)) file=$n.tar$zip
        pack "$dir" "$part/$file"
        [ -z "$moving" ] || echo "moving=$moving"
        read_back "$part/$file" || answer pack "$file cannot be read back"
        {
            echo "dir-$n=$dir"
            echo "file-$n=$file"
            echo "sha256-$n=$(sum_of "$part/$file")"
            echo "kb-$n=$(size_kb "$dir")"
        } >>"$part/manifest" || answer pack "cannot write $part/manifest"
        others=$(find "$dir" ! -user "$(id -un)" -print 2>/dev/null </dev/null | head -n 1)
        [ "$(id -u)" = 0 ] || [ -z "$others" ] || echo "other-owner=$others"
    done <"$part/dirs"
    resume
    restore_text >"$part/restore.sh" || answer pack "cannot write $part/restore.sh"
    rm -f "$part/status" "$part/errors" "$part/zip-errors"
    sums_hold "$part" || answer pack "the written archive does not match its checksum"
    # Flush the data before the rename, and the rename before the declaration.
    sync
    mv "$part" "$store/$id" || answer pack "cannot rename $part"
    sync
    prune
    describe
    answer made
}
main "$@"
