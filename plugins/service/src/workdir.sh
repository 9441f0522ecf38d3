# Creates `.vdeploy` in the checkout and excludes it from git. Prepended to a script
# that runs in the checkout.
make_workdir() {
    mkdir -p .vdeploy || return 1
    exclude=$(git rev-parse --git-path info/exclude </dev/null) || return 1
    grep -qxF '.vdeploy/' "$exclude" 2>/dev/null </dev/null && return 0
    mkdir -p "${exclude%/*}" && printf '.vdeploy/\n' >>"$exclude"
}
