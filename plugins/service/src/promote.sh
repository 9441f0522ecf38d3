# Promotes `.vdeploy/build` in the current directory, a checkout; the old artifacts
# move to `.vdeploy/previous`. $1 commit, $2 node, $3 lock, $4 install
# command, $5 run, $6 milliseconds since 1970; the rest are the artifacts.
fail() {
    echo "$1" >&2
    exit 1
}

sha=$1 node=$2 lock=$3 install=$4 run=$5 now=$6
shift 6
for artifact in "$@"; do
    [ -e ".vdeploy/build/$artifact" ] || fail "the build made no $artifact"
done
modules=
[ -f .vdeploy/build/node_modules/.package-lock.json ] &&
    modules=$(git hash-object --no-filters .vdeploy/build/node_modules/.package-lock.json </dev/null)
rm -rf .vdeploy/undone
mkdir -p .vdeploy/previous.new || fail "cannot write .vdeploy"
for artifact in "$@"; do
    case $artifact in
        */*) mkdir -p "${artifact%/*}" ".vdeploy/previous.new/${artifact%/*}" || fail "cannot make the directory of $artifact" ;;
    esac
    if [ -e "$artifact" ] || [ -L "$artifact" ]; then
        mv "$artifact" ".vdeploy/previous.new/$artifact" || fail "cannot move the live $artifact away"
    fi
    mv ".vdeploy/build/$artifact" "$artifact" || fail "cannot move the new $artifact in"
done
if [ -f .vdeploy/build.json ]; then cp -p .vdeploy/build.json .vdeploy/previous.new/build.json; fi
printf '{"sha":"%s","node":"%s","lock":"%s","modules":"%s","install":"%s","built-at-ms":%s,"run":"%s"}\n' \
    "$sha" "$node" "$lock" "$modules" "$install" "$now" "$run" >.vdeploy/build.json.new &&
    rm -rf .vdeploy/previous &&
    mv .vdeploy/previous.new .vdeploy/previous &&
    mv -f .vdeploy/build.json.new .vdeploy/build.json || fail "cannot write the build marker"
rm -rf .vdeploy/build
for artifact in "$@"; do
    if [ -e ".vdeploy/previous/$artifact" ]; then echo previous=kept; fi
done
