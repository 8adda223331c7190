package format

import (
	"errors"
	"hash/crc32"
)

// Errors of this package. They come wrapped with what was found.
var (
	// ErrCorrupt says that bytes are not those that were written.
	ErrCorrupt = errors.New("object of the remote tier is corrupt")
	// ErrUnsupportedFormat says that another version of Varve wrote the bytes: a newer one, or one from
	// before the formats were fixed.
	ErrUnsupportedFormat = errors.New("object has a format that this version does not read")
	// ErrReadOnly says that a newer version of Varve wrote a document in a way that this one can read,
	// but must not change.
	ErrReadOnly = errors.New("remote tier must not be changed by this version")
	// ErrTooLarge says that a document is above MaxDocumentBytes, and was not encoded.
	ErrTooLarge = errors.New("document of the remote tier is too large")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C of b, as in all formats of the remote tier.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
