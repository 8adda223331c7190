# Sourced by the families: small vocabulary for checks, and where each one stands.
# Environment: BOOTSTRAP, VARVE (the binary), WORK (scratch), DATA (the broker's data directory).

# step NAME: what is being checked now; printed when it failed.
step() { STEP=$1; echo "  $1"; }

# same WHAT GOT WANT: fail unless the two strings are equal.
same() {
  [ "$2" = "$3" ] && return
  echo "FAIL: $STEP: $1: got '$2', want '$3'" >&2
  exit 1
}

# contains WHAT TEXT PATTERN: fail unless TEXT has a match of the extended regular expression.
contains() {
  grep -qE -- "$3" <<<"$2" && return
  echo "FAIL: $STEP: $1: nothing matches '$3' in:" >&2
  echo "$2" >&2
  exit 1
}

# eventually SECONDS COMMAND...: until the command succeeds.
eventually() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $until ] || { echo "FAIL: $STEP: not in time: $*" >&2; exit 1; }
    sleep 0.2
  done
}

# tiered TOPIC: more than nine tenths of the topic's bytes are only in the bucket.
tiered() {
  "$VARVE" tier status "$1" --output json | python3 -c '
import json, sys
rows = json.load(sys.stdin)
local, remote = sum(r["local_bytes"] for r in rows), sum(r["remote_bytes"] for r in rows)
sys.exit(0 if remote > 9 * local else 1)'
}
trap 'echo "FAIL: ${STEP:-start} (line $LINENO: $BASH_COMMAND)" >&2' ERR
