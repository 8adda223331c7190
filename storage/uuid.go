package storage

import (
	"encoding/base64"
	"fmt"
)

// formatUUID formats an id as Kafka does: base64url without padding.
func formatUUID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func parseUUID(s string) (id [16]byte, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: %q is no id of 16 bytes in base64url", ErrCorrupt, s)
	}
	return [16]byte(b), nil
}
