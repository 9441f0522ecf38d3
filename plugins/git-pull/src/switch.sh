# Checks out commit $1 in the current directory. $2 is the branch or nothing, $3 the
# run, $4 to $6 see mark_running. Saves what reset would drop. Prints the state from
# before the run as KEY=VALUE lines, also when repeated.
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

# Saves tracked changes as a patch. Untracked files stay and are only listed in it;
# those that the new commit would overwrite are copied.
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
    # The files of the checkout are not private.
    umask "$mask"
    saved=$patch
}

# Writes the running marker of process $1, which began at $2 from commit $3, if no run
# started it: after the checkout changes, nothing else on the target records that.
mark_running() {
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
    mark_running "$4" "$5" "$6"
    # Keeps commits that were never pushed.
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
