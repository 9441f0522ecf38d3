# Shell functions about `.vdeploy`, vdeploy's directory in the checkout; put in
# front of a script that has gone to the checkout.

# Makes the directory and keeps it out of git.
make_workdir() {
    mkdir -p .vdeploy || return 1
    exclude=$(git rev-parse --git-path info/exclude </dev/null) || return 1
    grep -qxF '.vdeploy/' "$exclude" 2>/dev/null </dev/null && return 0
    mkdir -p "${exclude%/*}" && printf '.vdeploy/\n' >>"$exclude"
}
