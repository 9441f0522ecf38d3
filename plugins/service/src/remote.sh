# Runs git with the given arguments. Never prompts for a password or a host key.
GIT_TERMINAL_PROMPT=0
GIT_SSH_COMMAND=${GIT_SSH_COMMAND:-$(git config core.sshCommand </dev/null)}
GIT_SSH_COMMAND=${GIT_SSH_COMMAND:-ssh}
case $GIT_SSH_COMMAND in
    ssh | ssh\ * | */ssh | */ssh\ *) GIT_SSH_COMMAND="$GIT_SSH_COMMAND -o BatchMode=yes" ;;
esac
export GIT_TERMINAL_PROMPT GIT_SSH_COMMAND
exec git "$@" </dev/null
