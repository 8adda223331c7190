package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/varvelog/varve/objstore"
)

// maxDocument bounds how much of a catalogue document is read, in bytes. A topic has a few hundred
// settings at most.
const maxDocument = 1 << 20

// readDocument reads an object whose size is not known. It returns false if there is none.
func readDocument(ctx context.Context, b objstore.Bucket, key string) ([]byte, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, objstore.RequestTimeout)
	defer cancel()
	info, err := b.Stat(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for %s: %w", key, err)
	}
	content := make([]byte, min(info.Size, maxDocument))
	n, err := b.GetRange(ctx, key, 0, content)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return nil, false, nil
	// After a short read the document's own checksum reports the damage.
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, false, fmt.Errorf("read %s: %w", key, err)
	}
	return content[:n], true, nil
}

// writeDocument writes an object unless there is already one under the key: then it returns
// objstore.ErrExists.
func writeDocument(ctx context.Context, b objstore.Bucket, key string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, objstore.RequestTimeout)
	defer cancel()
	if err := b.Put(ctx, key, bytes.NewReader(content), objstore.PutOptions{IfAbsent: true}); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}
