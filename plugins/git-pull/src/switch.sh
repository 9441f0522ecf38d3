# Brings the checkout in the current directory to commit $1. $2 is the branch
# to be on, or nothing; $3 the run; $4 to $6 see note_what_serves. Keeps what
# reset would lose. Prints KEY=VALUE lines: what was there before, also when this
# is repeated.
fail() {
    echo "$1" >&2
    exit 1
}

untracked() { git -c core.quotePath=false ls-files --others --exclude-standard </dev/null | grep -v '^\.vdeploy/'; }

# Untracked files that the new commit would overwrite.
in_the_way() {
    untracked | while IFS= read -r path; do
        git cat-file -e "$sha:$path" 2>/dev/null </dev/null && printf '%s\n' "$path"
    done
}

# Tracked changes become a patch. Untracked files stay where they are and are
# only listed in it; those in the way are copied.
save_hot_fixes() {
    saved=
    patch=.vdeploy/hotfix-$run.patch
    copies=.vdeploy/hotfix-$run
    lost=$(in_the_way)
    git diff --quiet HEAD </dev/null 2>/dev/null && [ -z "$lost" ] && return 0
    mask=$(umask)
    umask 077
    {
        untracked | sed 's/^/# untracked: /'
        git diff --binary --no-color --no-ext-diff HEAD </dev/null
    } >"$patch.new" || fail "cannot save the hot-fixes to $patch"
    printf '%s' "$lost${lost:+
}" | while IFS= read -r path; do
        mkdir -p "$copies/$(dirname "$path")" && cp -p "$path" "$copies/$path" ||
            fail "cannot keep a copy of $path"
    done || exit 1
    mv -f "$patch.new" "$patch" || fail "cannot save the hot-fixes to $patch"
    # The checkout's files are not private.
    umask "$mask"
    saved=$patch
}

# Notes that process $1, begun at $2, serves commit $3, where no run has started
# it: once the checkout has moved on, nothing else on the target says so.
note_what_serves() {
    [ -n "$1" ] && [ -n "$3" ] || return 0
    printf '{"pid":%s,"start-ticks":%s,"started-at-ms":0,"node":"","sha":"%s","run":""}\n' "$1" "$2" "$3" \
        >.vdeploy/running.json.new && mv -f .vdeploy/running.json.new .vdeploy/running.json
}

sha=$1 branch=$2 run=$3
make_workdir || fail "cannot make .vdeploy in the checkout"
before=.vdeploy/before-$run
if [ ! -f "$before" ]; then
    head=$(git rev-parse --verify --quiet 'HEAD^{commit}' </dev/null)
    on=$(git symbolic-ref --quiet --short HEAD </dev/null)
    save_hot_fixes
    note_what_serves "$4" "$5" "$6"
    # Commits that were made here and never pushed stay in the repository.
    [ -z "$head" ] || git update-ref "refs/vdeploy/before/$run" "$head" </dev/null ||
        fail "cannot keep a reference to $head"
    rm -f .vdeploy/before-*
    printf 'old-sha=%s\nold-branch=%s\nhot-fixes=%s\n' "$head" "$on" "$saved" >"$before.new" &&
        mv "$before.new" "$before" || fail "cannot write $before"
fi
git reset --quiet --hard </dev/null || fail "git reset failed"
if [ -n "$branch" ]; then
    git checkout --quiet --force -B "$branch" "$sha" </dev/null || fail "git checkout $branch failed"
else
    git checkout --quiet --force --detach "$sha" </dev/null || fail "git checkout failed"
fi
git reset --quiet --hard "$sha" </dev/null || fail "git reset to $sha failed"
cat "$before"
