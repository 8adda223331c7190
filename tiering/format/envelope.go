package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Document is a kind of text document: the first word of its first line.
type Document string

// The kinds of text documents.
const (
	DocumentManifest Document = "varve-manifest"
	DocumentPage     Document = "varve-page"
	DocumentTrash    Document = "varve-trash"
	DocumentBucket   Document = "varve-bucket"
	DocumentTopic    Document = "varve-topic"
	DocumentOrphan   Document = "varve-orphan"
)

const (
	// Version is the version of all text documents. Versions 1 and 2 belong to builds that were
	// never released.
	Version = 3
	// MaxDocumentBytes bounds a text document. A manifest has a few hundred entries of a few
	// hundred bytes each.
	MaxDocumentBytes = 16 << 20

	maxHeaderBytes = 64
)

// DocumentOf returns the kind of the text document that b begins with. It returns false if b is
// none.
func DocumentOf(b []byte) (Document, bool) {
	for _, d := range []Document{DocumentManifest, DocumentPage, DocumentTrash, DocumentBucket, DocumentTopic, DocumentOrphan} {
		if bytes.HasPrefix(b, []byte(d+" ")) {
			return d, true
		}
	}
	return "", false
}

// Wrap puts the header line before the JSON of a document. It returns ErrTooLarge if the document
// would exceed MaxDocumentBytes.
func (d Document) Wrap(body []byte) ([]byte, error) {
	header := fmt.Sprintf("%s %d %d %08x\n", d, Version, len(body), Checksum(body))
	if n := len(header) + len(body); n > MaxDocumentBytes {
		return nil, fmt.Errorf("%w: %s of %d bytes, at most %d", ErrTooLarge, d, n, MaxDocumentBytes)
	}
	return append([]byte(header), body...), nil
}

// Unwrap checks the header line and returns the JSON after it, which aliases b.
func (d Document) Unwrap(b []byte) ([]byte, error) {
	end := bytes.IndexByte(b[:min(len(b), maxHeaderBytes)], '\n')
	if end < 0 {
		return nil, fmt.Errorf("%w: no %s header", ErrCorrupt, d)
	}
	line, body := string(b[:end]), b[end+1:]
	fields := strings.Split(line, " ")
	if len(fields) < 2 || fields[0] != string(d) {
		return nil, fmt.Errorf("%w: no %s header", ErrCorrupt, d)
	}
	if version, err := strconv.ParseUint(fields[1], 10, 16); err == nil && version != Version {
		return nil, unsupported(string(d), version, Version)
	}
	if want := fmt.Sprintf("%s %d %d %08x", d, Version, len(body), Checksum(body)); line != want {
		return nil, fmt.Errorf("%w: %s has header %q, its content %q", ErrCorrupt, d, line, want)
	}
	return body, nil
}

// unsupported returns the error for a version that this build does not read, with what to do about
// it.
func unsupported(what string, version, readable uint64) error {
	if version > readable {
		return fmt.Errorf("%w: %s version %d, this build reads %d: upgrade this broker", ErrUnsupportedFormat, what, version, readable)
	}
	return fmt.Errorf("%w: %s version %d was written by an unreleased build before formats were fixed; "+
		"start with an empty control plane and bucket", ErrUnsupportedFormat, what, version)
}

// seal encodes a document, unless this build must not write it.
func seal(d Document, v gated) ([]byte, error) {
	asLater(v)
	if err := writable(string(d), v); err != nil {
		return nil, err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", d, err)
	}
	return d.Wrap(body)
}

// open is the reverse of seal.
func open(d Document, b []byte, v gated) error {
	body, err := d.Unwrap(b)
	if err != nil {
		return err
	}
	return decode(string(d), body, v)
}

// decode reads JSON into v, and checks whether this build may read it.
func decode(what string, body []byte, v gated) error {
	if err := json.Unmarshal(body, v); err != nil {
		// A document with an unknown feature may have members of other types.
		var gate struct {
			Read []string `json:"read"`
		}
		if json.Unmarshal(body, &gate) == nil {
			if lacking := readable(what, gate.Read); lacking != nil {
				return lacking
			}
		}
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, what, err)
	}
	read, _ := v.gates()
	return readable(what, read)
}
