# Restores commit $1 on branch $2 (or none) with the hot-fixes in patch $3 in the
# checkout of the current directory. When $1 is empty, reads them from the note of
# the interrupted run $4. Prints KEY=VALUE lines.
fail() {
    echo "$1" >&2
    exit 1
}

sha=$1 branch=$2 patch=$3 run=$4
before=.vdeploy/before-$run
if [ -z "$sha" ]; then
    if [ ! -f "$before" ]; then
        echo state=untouched
        exit 0
    fi
    while IFS='=' read -r key value; do
        case $key in
            old-sha) sha=$value ;;
            old-branch) branch=$value ;;
            hot-fixes) patch=$value ;;
        esac
    done <"$before"
fi
[ -n "$sha" ] || fail "the checkout had no commit before"
git cat-file -e "$sha^{commit}" </dev/null || fail "commit $sha is no longer in the checkout"
git reset --quiet --hard </dev/null || fail "git reset failed"
if [ -n "$branch" ]; then
    git checkout --quiet --force -B "$branch" "$sha" </dev/null || fail "git checkout $branch failed"
else
    git checkout --quiet --force --detach "$sha" </dev/null || fail "git checkout failed"
fi
git reset --quiet --hard "$sha" </dev/null || fail "git reset to $sha failed"
if [ -n "$patch" ] && [ -f "$patch" ]; then
    if grep -q '^diff ' "$patch" </dev/null && ! git apply --whitespace=nowarn "$patch" </dev/null; then
        echo hot-fixes=failed
    fi
    kept=${patch%.patch}
    if [ -d "$kept" ]; then cp -Rp "$kept/." . || echo hot-fixes=failed; fi
fi
echo state=restored
