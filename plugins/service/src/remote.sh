# Runs git with the arguments it is given, against a remote, without ever
# asking a person: no password prompt, no host key question.
GIT_TERMINAL_PROMPT=0
GIT_SSH_COMMAND=${GIT_SSH_COMMAND:-$(git config core.sshCommand </dev/null)}
GIT_SSH_COMMAND=${GIT_SSH_COMMAND:-ssh}
case $GIT_SSH_COMMAND in
    ssh | ssh\ * | */ssh | */ssh\ *) GIT_SSH_COMMAND="$GIT_SSH_COMMAND -o BatchMode=yes" ;;
esac
export GIT_TERMINAL_PROMPT GIT_SSH_COMMAND
exec git "$@" </dev/null
