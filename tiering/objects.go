package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/varvelog/varve/objstore"
)

// objects is the bucket as this package uses it: every call has a deadline and
// every failure a class of this package.
type objects struct {
	bucket        objstore.Bucket
	timeout       time.Duration // of a small request
	uploadTimeout time.Duration // of a segment
	metrics       *metrics
}

// classify gives an error of the bucket one of this package's classes.
func classify(doing, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, objstore.ErrNotFound):
		return fmt.Errorf("%w: %s %s: %w", ErrCorrupt, doing, key, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s %s: object is too short: %w", ErrCorrupt, doing, key, err)
	}
	return fmt.Errorf("%w: %s %s: %w", ErrUnavailable, doing, key, err)
}

// read fills p from the object. what labels the metric.
func (o *objects) read(ctx context.Context, what, key string, at int64, p []byte) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	o.metrics.fetches.WithLabelValues(what).Inc()
	n, err := o.bucket.GetRange(ctx, key, at, p)
	o.metrics.fetchedBytes.Add(float64(n))
	if err != nil {
		o.metrics.errors.WithLabelValues("fetch").Inc()
	}
	return classify("read", key, err)
}

// readAll reads a manifest or page, whose size is not known before.
func (o *objects) readAll(ctx context.Context, what, key string) ([]byte, error) {
	statCtx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	info, err := o.bucket.Stat(statCtx, key)
	if err != nil {
		return nil, classify("stat", key, err)
	}
	if info.Size > maxDocumentBytes {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrCorrupt, key, info.Size)
	}
	b := make([]byte, info.Size)
	return b, o.read(ctx, what, key, 0, b)
}

// create writes a small object under a key that nobody else uses and reads it
// back. A write that was reported as failed before, or was repeated on the way,
// and did happen counts as done; objstore.ErrExists says that the key has
// another content.
func (o *objects) create(ctx context.Context, key string, content []byte) error {
	putCtx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err := o.bucket.Put(putCtx, key, bytes.NewReader(content), objstore.PutOptions{IfAbsent: true})
	exists := errors.Is(err, objstore.ErrExists)
	if err != nil && !exists {
		return classify("write", key, err)
	}
	got := make([]byte, len(content)+1)
	getCtx, cancelGet := context.WithTimeout(ctx, o.timeout)
	defer cancelGet()
	n, err := o.bucket.GetRange(getCtx, key, 0, got)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // one byte more than there should be was asked for
		return classify("read back", key, err)
	}
	switch {
	case bytes.Equal(got[:n], content):
		return nil
	case exists:
		return fmt.Errorf("write %s: %w", key, objstore.ErrExists)
	}
	return fmt.Errorf("%w: read back %s: not what was written", ErrCorrupt, key)
}

// upload writes a segment object and checks that it is all there: its size, and
// the footer, which is the last thing to arrive.
func (o *objects) upload(ctx context.Context, key string, obj *object) error {
	putCtx, cancel := context.WithTimeout(ctx, o.uploadTimeout)
	defer cancel()
	err := o.bucket.Put(putCtx, key, obj.body(), objstore.PutOptions{IfAbsent: true})
	// Nobody else uses the key: it is our own write, repeated on the way.
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return classify("upload", key, err)
	}
	statCtx, cancelStat := context.WithTimeout(ctx, o.timeout)
	defer cancelStat()
	info, err := o.bucket.Stat(statCtx, key)
	if err != nil {
		return classify("verify", key, err)
	}
	size := obj.footer.objectBytes()
	if info.Size != size {
		return fmt.Errorf("%w: verify %s: it has %d bytes, not %d", ErrCorrupt, key, info.Size, size)
	}
	b := make([]byte, footerSize)
	if err = o.read(ctx, "footer", key, size-footerSize, b); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	f, err := parseFooter(b)
	if err != nil {
		return fmt.Errorf("verify %s: %w", key, err)
	}
	if f != obj.footer {
		return fmt.Errorf("%w: verify %s: footer is not the one that was written", ErrCorrupt, key)
	}
	return nil
}

// readTail reads and checks what follows the log bytes of a segment object.
func (o *objects) readTail(ctx context.Context, key string, s segment) (*tail, error) {
	var t *tail
	err := o.twice(func() error {
		b := make([]byte, s.ObjectBytes-s.Bytes)
		err := o.read(ctx, "index", key, s.Bytes, b)
		if err != nil {
			return err
		}
		if t, err = parseTail(b); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if t.logBytes != s.Bytes || t.baseOffset != s.BaseOffset || t.startOffset != s.StartOffset || t.endOffset != s.EndOffset {
			return fmt.Errorf("%w: %s is not the segment that the manifest describes", ErrCorrupt, key)
		}
		return nil
	})
	return t, err
}

// readChunk reads and checks a chunk of the log bytes.
func (o *objects) readChunk(ctx context.Context, key string, t *tail, i int) ([]byte, error) {
	at, length := t.chunk(i)
	b := make([]byte, length)
	return b, o.twice(func() error {
		if err := o.read(ctx, "chunk", key, at, b); err != nil {
			return err
		}
		if sum := crc32.Checksum(b, castagnoli); sum != t.chunks[i] {
			o.metrics.corruptChunks.Inc()
			return fmt.Errorf("%w: chunk %d of %s has checksum %08x, want %08x", ErrCorrupt, i, key, sum, t.chunks[i])
		}
		return nil
	})
}

// twice repeats what found damage once: it may have happened on the way here.
func (o *objects) twice(read func() error) error {
	err := read()
	if errors.Is(err, ErrCorrupt) && !errors.Is(err, objstore.ErrNotFound) {
		err = read()
	}
	return err
}

// remove deletes an object; that there is none is not an error.
func (o *objects) remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err := classify("delete", key, o.bucket.Delete(ctx, key))
	if err == nil {
		o.metrics.deletedObjects.Inc()
	}
	return err
}
