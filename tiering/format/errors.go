package format

import (
	"errors"
	"hash/crc32"
)

// Errors of this package. They are returned wrapped, with what was found.
var (
	// ErrCorrupt means that bytes are not those that were written.
	ErrCorrupt = errors.New("object of the remote tier is corrupt")
	// ErrUnsupportedFormat means that another version of Varve wrote the bytes: a newer one, or one
	// from before the formats were fixed.
	ErrUnsupportedFormat = errors.New("object has a format that this version does not read")
	// ErrReadOnly means that a newer version of Varve wrote a document in a way that this one can
	// read but must not change.
	ErrReadOnly = errors.New("remote tier must not be changed by this version")
	// ErrTooLarge means that a document would exceed MaxDocumentBytes, and was not encoded.
	ErrTooLarge = errors.New("document of the remote tier is too large")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32C of b, as in all formats of the remote tier.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
