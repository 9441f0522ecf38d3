# Restores the artifacts from before run $1 in the current directory, a checkout;
# does nothing when another run made the live build. The rest are the artifacts.
# Prints KEY=VALUE lines.
fail() {
    echo "$1" >&2
    exit 1
}

run=$1
shift
# The staged build is no longer needed, and a rollback on a full disk needs its
# space.
rm -rf .vdeploy/build .vdeploy/index
if [ -d .vdeploy/previous.new ]; then
    # The promotion was interrupted.
    for artifact in "$@"; do
        [ -e ".vdeploy/previous.new/$artifact" ] || continue
        rm -rf "$artifact" && mv ".vdeploy/previous.new/$artifact" "$artifact" || fail "cannot restore $artifact"
    done
    rm -rf .vdeploy/previous.new
    echo state=restored
    exit 0
fi
live=$(sed -n 's/.*"run":"\([^"]*\)".*/\1/p' .vdeploy/build.json 2>/dev/null </dev/null)
if [ "$live" != "$run" ]; then
    echo state=untouched
    exit 0
fi
state=removed
for artifact in "$@"; do
    previous=.vdeploy/previous/$artifact undone=.vdeploy/undone/$artifact
    # An interrupted restore has moved this artifact from `previous` already, and
    # the new one to `undone`.
    [ -e "$previous" ] || [ ! -e "$undone" ] || continue
    mkdir -p "${undone%/*}" || fail "cannot write .vdeploy"
    if [ -e "$artifact" ]; then
        rm -rf "$undone"
        mv "$artifact" "$undone" || fail "cannot move the new $artifact away"
    fi
    if [ -e "$previous" ]; then
        mv "$previous" "$artifact" || fail "cannot restore $artifact"
        state=restored
    fi
done
# Without a marker the previous build was made by hand.
if [ -f .vdeploy/previous/build.json ]; then
    mv -f .vdeploy/previous/build.json .vdeploy/build.json || fail "cannot restore the build marker"
    state=restored
else
    rm -f .vdeploy/build.json
fi
rm -rf .vdeploy/undone
echo "state=$state"
