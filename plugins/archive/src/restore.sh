# Restores directories from an archive of vdeploy. By hand, with the service
# stopped: sh restore.sh. Otherwise $1 is the action (`unpack` next to the live
# directories, `swap` by renames, or `all`), $2 the directory of the archive, $3 a
# suffix. Keeps the replaced directories as DIR.before-restore-SUFFIX. Prints
# KEY=VALUE lines.

# The value of key $1 in file $2.
value() { sed -n "s/^$1=//p" "$2" 2>/dev/null </dev/null | head -n 1; }

# The SHA-256 of file $1.
sum_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum <"$1"
    elif command -v shasum >/dev/null 2>&1; then
        shasum -a 256 <"$1"
    else
        openssl dgst -sha256 -r <"$1" 2>/dev/null
    fi | sed 's/[^0-9a-f].*//'
}

# Whether every file of archive $1 matches its checksum.
sums_hold() {
    n=1
    while [ -n "$(value "dir-$n" "$1/manifest")" ]; do
        file=$1/$(value "file-$n" "$1/manifest")
        [ -f "$file" ] && [ "$(sum_of "$file")" = "$(value "sha256-$n" "$1/manifest")" ] || return 1
        n=$((n + 1))
    done
    [ "$n" -gt 1 ]
}

restore_answer() {
    echo "state=$1"
    [ -z "$2" ] || echo "why=$2"
    exit "${3:-0}"
}

# Sets dir, file, beside and before for the directory number $1.
entry() {
    dir=$(value "dir-$1" "$here/manifest")
    [ -n "$dir" ] || return 1
    file=$here/$(value "file-$1" "$here/manifest")
    beside=${dir%/*}/.${dir##*/}.restore-$tag
    before=$dir.before-restore-$tag
}

# Deletes partly unpacked directories and answers.
not_unpacked() {
    why="$2"
    state=$1
    n=1
    while entry "$n"; do
        n=$((n + 1))
        rm -rf "$beside"
    done
    restore_answer "$state" "$why"
}

unpack() {
    [ -f "$here/manifest" ] || restore_answer gone "there is no archive $here"
    sums_hold "$here" || restore_answer damaged "the files of $here do not match the checksums of its manifest; nothing was touched"
    owners=
    if tar --numeric-owner -cf /dev/null /dev/null 2>/dev/null </dev/null; then owners=--numeric-owner; fi
    n=1
    while entry "$n"; do
        kb=$(value "kb-$n" "$here/manifest")
        n=$((n + 1))
        # An earlier try swapped it.
        if [ -e "$before" ] && [ ! -e "$beside" ]; then continue; fi
        parent=${dir%/*}
        rm -rf "$beside"
        free=$(df -Pk "${parent:-/}" 2>/dev/null </dev/null | {
            read -r _
            read -r _ _ _ free _
            echo "$free"
        })
        [ "${free:-0}" -gt "${kb:-0}" ] ||
            not_unpacked no-space "$parent has $((${free:-0} / 1024)) MiB free, and what is restored needs $((${kb:-0} / 1024)) MiB next to the live directory; nothing was touched"
        mkdir "$beside" || not_unpacked unpack "cannot make $beside"
        case $file in
            *.gz) gzip -dc "$file" </dev/null | tar $owners -C "$beside" -xpf - ;;
            *) tar $owners -C "$beside" -xpf "$file" </dev/null ;;
        esac 2>"$beside.errors" || {
            why=$(tail -n 2 "$beside.errors" | tr '\n' ' ')
            rm -f "$beside.errors"
            not_unpacked unpack "tar of $dir: $why"
        }
        rm -f "$beside.errors"
    done
    sync
}

# Moves excluded paths from the replaced directory into the restored one.
carry_over() {
    while IFS= read -r pattern; do
        pattern=${pattern#./}
        IFS=
        for found in "$before"/$pattern; do
            part=${found#"$before"/}
            [ -e "$found" ] || [ -L "$found" ] || continue
            [ ! -e "$dir/$part" ] && [ ! -L "$dir/$part" ] || continue
            case $part in */*) mkdir -p "$dir/${part%/*}" ;; esac
            if mv "$found" "$dir/$part"; then echo "carried=$part"; fi
        done
        unset IFS
    done <"$here/exclude"
}

# Undoes the swap of the directories before number $1.
swap_back() {
    failed=$1
    back=1
    while [ "$back" -lt "$failed" ] && entry "$back"; do
        back=$((back + 1))
        mv "$dir" "$beside"
        [ ! -e "$before" ] || mv "$before" "$dir"
    done
}

swap() {
    [ -f "$here/manifest" ] || restore_answer gone "there is no archive $here"
    n=1
    while entry "$n"; do
        if [ -e "$beside" ]; then
            [ ! -e "$before" ] || {
                swap_back "$n"
                restore_answer swap "$before exists already"
            }
            if [ -e "$dir" ] || [ -L "$dir" ]; then
                mv "$dir" "$before" || {
                    swap_back "$n"
                    restore_answer swap "cannot rename $dir"
                }
            fi
            if ! mv "$beside" "$dir"; then
                [ ! -e "$before" ] || mv "$before" "$dir"
                swap_back "$n"
                restore_answer swap "cannot rename $beside"
            fi
        elif [ ! -e "$before" ]; then
            swap_back "$n"
            restore_answer swap "nothing was unpacked for $dir"
        fi
        n=$((n + 1))
    done
    n=1
    while entry "$n"; do
        n=$((n + 1))
        [ ! -e "$before" ] || carry_over
        echo "restored=$dir"
        [ ! -e "$before" ] || echo "kept=$before"
    done
    sync
}

restore() {
    action=${1:-all} here=$2 tag=${3:-by-hand-$(date +%s)}
    [ -n "$here" ] || here=$(cd "${0%/*}" && pwd -P)
    case $action in
        unpack) unpack && restore_answer unpacked ;;
        swap) swap && restore_answer swapped ;;
        all) unpack && swap && restore_answer swapped ;;
        *) restore_answer usage "actions are unpack, swap and all" ;;
    esac
}
