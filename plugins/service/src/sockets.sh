# Prints `USER:INODE` of each socket that listens on port $1. Needs only /proc.
# Uses `sed` instead of `read`: a shell reads byte by byte, and a busy target has
# thousands of lines. An empty result is read again: the tables can miss a socket
# while others open and close.
listening() { read_tables "$1" || read_tables "$1"; }

read_tables() {
    found=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null </dev/null | sed -n "$(listens "$1")")
    [ -n "$found" ] && printf '%s\n' "$found"
}

# The columns: number, local and remote address, state (0A: it listens), queues,
# timer, retransmissions, user, timeout, inode.
listens() {
    printf 's/^ *[0-9]*: [0-9A-F]*:%04X [0-9A-F:]* 0A ' "$1"
    printf '[^ ]* [^ ]* [^ ]* *\\([0-9]*\\) *[0-9]* *\\([0-9]*\\) .*/\\1:\\2/p'
}
