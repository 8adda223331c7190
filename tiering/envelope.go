package tiering

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Manifests and pages share one envelope: a line of text that names the format,
// its version, the length and the CRC32C of what follows, then JSON. People can
// read it with cat on the day they need to, fields can be added without a new
// version, and damage is told from a format that is merely another. Version 1 was
// that of builds which were never released.
//
//	varve-manifest 2 8213 9c3f02aa\n{…}
const (
	manifestFormat = "varve-manifest"
	pageFormat     = "varve-page"
	formatVersion  = 2

	// maxDocumentBytes bounds a manifest or page. They have a few hundred
	// entries of a few hundred bytes each.
	maxDocumentBytes = 16 << 20
	maxHeaderBytes   = 64
)

// seal encodes a document.
func sealDocument(format string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", format, err)
	}
	header := fmt.Sprintf("%s %d %d %08x\n", format, formatVersion, len(body), crc32.Checksum(body, castagnoli))
	return append([]byte(header), body...), nil
}

func unsupported(format string, version uint64) error {
	if version > formatVersion {
		return fmt.Errorf("%w: %s version %d, this build reads %d: upgrade this broker", ErrUnsupportedFormat, format, version, formatVersion)
	}
	return fmt.Errorf("%w: %s version %d was written by an unreleased build before formats were fixed; start with an empty control plane and bucket",
		ErrUnsupportedFormat, format, version)
}

// openDocument checks the envelope and decodes the JSON into v.
func openDocument(format string, b []byte, v any) error {
	line, body, found := bytes.Cut(b[:min(len(b), maxHeaderBytes)], []byte("\n"))
	if !found {
		return fmt.Errorf("%w: no %s header", ErrCorrupt, format)
	}
	body = b[len(b[:min(len(b), maxHeaderBytes)])-len(body):]
	fields := strings.Split(string(line), " ")
	if len(fields) < 2 || fields[0] != format {
		return fmt.Errorf("%w: no %s header", ErrCorrupt, format)
	}
	if version, err := strconv.ParseUint(fields[1], 10, 16); err == nil && version != formatVersion {
		return unsupported(format, version)
	}
	if want := fmt.Sprintf("%s %d %d %08x", format, formatVersion, len(body), crc32.Checksum(body, castagnoli)); string(line) != want {
		return fmt.Errorf("%w: %s has header %q, its content %q", ErrCorrupt, format, line, want)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, format, err)
	}
	return nil
}
