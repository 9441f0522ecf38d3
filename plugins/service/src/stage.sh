# Checks out commit $1 into `.vdeploy/build` of the current directory, a checkout.
# $2 is what node --version says, $3 the install command, $4 whether modules may be
# reused; the rest are the artifacts. Prints KEY=VALUE lines.
fail() {
    echo "$1" >&2
    exit 1
}

# Hash of file $1 as git makes it; nothing when there is no file.
hash_of() { [ -f "$1" ] && git hash-object --no-filters "$1" </dev/null; }

# The value of string key $1 in the build marker.
marked() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" .vdeploy/build.json 2>/dev/null </dev/null; }

# Reverts an interrupted promotion.
revert() {
    [ -d .vdeploy/previous.new ] || return 0
    for artifact in "$@"; do
        [ -e ".vdeploy/previous.new/$artifact" ] || continue
        rm -rf "$artifact" && mv ".vdeploy/previous.new/$artifact" "$artifact" ||
            fail "cannot put $artifact back from .vdeploy/previous.new"
    done
    rm -rf .vdeploy/previous.new
}

check_out() {
    rm -rf .vdeploy/build .vdeploy/index && mkdir -p .vdeploy/build || fail "cannot empty .vdeploy/build"
    GIT_INDEX_FILE=$(pwd -P)/.vdeploy/index
    export GIT_INDEX_FILE
    git read-tree "$1" </dev/null || fail "commit $1 is not in the checkout"
    git checkout-index --all --force --prefix=.vdeploy/build/ </dev/null || fail "cannot write .vdeploy/build"
    unset GIT_INDEX_FILE
    rm -f .vdeploy/index
}

# Hard links take neither time nor space, where the file system has them.
reuse() {
    [ -n "$lock" ] && [ -d node_modules ] && [ ! -L node_modules ] || return 1
    [ "$(marked lock)" = "$lock" ] && [ "$(marked node)" = "$1" ] && [ "$(marked install)" = "$2" ] || return 1
    now=$(hash_of node_modules/.package-lock.json)
    [ -n "$now" ] && [ "$(marked modules)" = "$now" ] || return 1
    cp -al node_modules .vdeploy/build/node_modules 2>/dev/null && return 0
    rm -rf .vdeploy/build/node_modules
    cp -Rp node_modules .vdeploy/build/node_modules 2>/dev/null && return 0
    rm -rf .vdeploy/build/node_modules
    return 1
}

sha=$1 node=$2 install=$3 may_reuse=$4
shift 4
make_workdir || fail "cannot make .vdeploy in the checkout"
revert "$@"
check_out "$sha"
# Only this build may make the artifacts.
for artifact in "$@"; do rm -rf ".vdeploy/build/$artifact"; done
lock=$(hash_of .vdeploy/build/package-lock.json || hash_of .vdeploy/build/npm-shrinkwrap.json)
# The install command must refuse a lock file that does not match package.json, so
# modules are reused only when neither file changed.
[ -z "$lock" ] || lock="$lock-$(hash_of .vdeploy/build/package.json)"
echo "lock=$lock"
if [ "$may_reuse" = yes ] && reuse "$node" "$install"; then echo modules=reused; fi
