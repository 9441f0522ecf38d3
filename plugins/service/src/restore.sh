# Puts what was live before run $1 back in the current directory, a checkout;
# does nothing when the live build is of another run. The rest are the
# artifacts. Prints KEY=VALUE lines.
fail() {
    echo "$1" >&2
    exit 1
}

run=$1
shift
# What this run has staged is of no use any more, and where it has filled the
# disk, going back needs its space.
rm -rf .vdeploy/build .vdeploy/index
if [ -d .vdeploy/previous.new ]; then
    # The swap did not come to its end.
    for artifact in "$@"; do
        [ -e ".vdeploy/previous.new/$artifact" ] || continue
        rm -rf "$artifact" && mv ".vdeploy/previous.new/$artifact" "$artifact" || fail "cannot put $artifact back"
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
    # An artifact that was put back before this was interrupted is in `undone`
    # and no longer in `previous`.
    [ -e "$previous" ] || [ ! -e "$undone" ] || continue
    mkdir -p "${undone%/*}" || fail "cannot write .vdeploy"
    if [ -e "$artifact" ]; then
        rm -rf "$undone"
        mv "$artifact" "$undone" || fail "cannot move the new $artifact away"
    fi
    if [ -e "$previous" ]; then
        mv "$previous" "$artifact" || fail "cannot put $artifact back"
        state=restored
    fi
done
# Without a marker what is live again was built by hand.
if [ -f .vdeploy/previous/build.json ]; then
    mv -f .vdeploy/previous/build.json .vdeploy/build.json || fail "cannot put the build marker back"
    state=restored
else
    rm -f .vdeploy/build.json
fi
rm -rf .vdeploy/undone
echo "state=$state"
