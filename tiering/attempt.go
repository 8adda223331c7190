package tiering

import (
	"crypto/rand"
	"encoding/hex"
)

// newAttempt makes the part of a name that no other attempt has, of whichever leader, so that nobody
// can ever overwrite an object, or delete one that was written after it.
func newAttempt() string {
	var b [8]byte
	// crypto/rand.Read never fails: it ends the process instead.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
