package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// objects is the bucket as this package uses it: every call has a deadline, and every failure one
// of this package's error classes.
type objects struct {
	bucket        objstore.Bucket
	timeout       time.Duration // of a small request
	uploadTimeout time.Duration // of a segment, without what the quota adds
	quota         *copyQuota
	metrics       *metrics
	buffers       sync.Pool // of *[]byte, for requests of many chunks
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

// readDocument reads a manifest or a page, whose size is recorded beside its name.
func (o *objects) readDocument(ctx context.Context, what, key string, size int64) ([]byte, error) {
	if size <= 0 || size > format.MaxDocumentBytes {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrCorrupt, key, size)
	}
	b := make([]byte, size)
	return b, o.read(ctx, what, key, 0, b)
}

// create writes a small object under a unique key and reads it back. A write that was reported as
// failed, or was repeated on the way, but did happen, counts as done. objstore.ErrExists means that
// the key has other content.
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
	// One byte more than the content was requested, so a short read is expected.
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
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

// upload writes a segment object, at rate bytes a second at most (0: no bound), and verifies it:
// its size, and its end, which is the last thing to arrive.
func (o *objects) upload(ctx context.Context, key string, obj *object, rate int64) error {
	pace, longer := o.quota.forUpload(obj.size(), rate)
	putCtx, cancel := context.WithTimeout(ctx, o.uploadTimeout+longer)
	defer cancel()
	err := o.bucket.Put(putCtx, key, obj.body(), objstore.PutOptions{IfAbsent: true, Pace: pace})
	// No other writer uses the key: ErrExists means that this write was repeated on the way.
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return classify("upload", key, err)
	}
	statCtx, cancelStat := context.WithTimeout(ctx, o.timeout)
	defer cancelStat()
	info, err := o.bucket.Stat(statCtx, key)
	if err != nil {
		return classify("verify", key, err)
	}
	if info.Size != obj.size() {
		return fmt.Errorf("%w: verify %s: it has %d bytes, not %d", ErrCorrupt, key, info.Size, obj.size())
	}
	b := make([]byte, len(obj.hot))
	if err = o.read(ctx, "verify", key, obj.size()-int64(len(b)), b); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !bytes.Equal(b, obj.hot) {
		return fmt.Errorf("%w: verify %s: its end is not the one that was written", ErrCorrupt, key)
	}
	return nil
}

// readIndex reads and checks the hot bytes of a segment.
func (o *objects) readIndex(ctx context.Context, key string, s *format.Segment) (*format.Index, error) {
	if err := s.Supported(); err != nil {
		return nil, err
	}
	var x *format.Index
	err := o.twice(func() error {
		b := make([]byte, s.HotBytes)
		err := o.read(ctx, "index", key, s.At+s.ObjectBytes-s.HotBytes, b)
		if err != nil {
			return err
		}
		if sum := format.Checksum(b); sum != s.CRC32C {
			return fmt.Errorf("%w: the last %d bytes of %s have checksum %08x, want %08x", ErrCorrupt, len(b), key, sum, s.CRC32C)
		}
		if x, err = format.ParseIndex(b, s.ObjectBytes); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if d := x.Description; d.LogBytes < s.Bytes || d.BaseOffset != s.BaseOffset || d.StartOffset > s.StartOffset || d.EndOffset < s.EndOffset {
			return fmt.Errorf("%w: %s is not the segment that the manifest describes", ErrCorrupt, key)
		}
		return nil
	})
	return x, err
}

// readChunks reads consecutive chunks of an object with one request, and checks each: a damaged
// chunk does not affect the others. The segment begins at the position at of its object. The result
// has an entry for each chunk, each with memory of its own.
func (o *objects) readChunks(ctx context.Context, key string, at int64, chunks []format.Chunk) []result[[]byte] {
	out := make([]result[[]byte], len(chunks))
	if len(chunks) == 1 {
		out[0].value, out[0].err = o.readChunk(ctx, key, at, &chunks[0])
		return out
	}
	first, last := &chunks[0], &chunks[len(chunks)-1]
	pooled := o.buffer(int(last.End() - first.Position))
	defer o.buffers.Put(pooled)
	err := o.read(ctx, "chunk", key, at+first.Position, *pooled)
	for i := range chunks {
		c := &chunks[i]
		switch b := (*pooled)[c.Position-first.Position:]; {
		case errors.Is(err, ErrCorrupt) && !errors.Is(err, objstore.ErrNotFound), err == nil && o.checkChunk(key, c, b[:c.StoredBytes]) != nil:
			// A damaged chunk is read again by itself. Of an object that is too short some
			// chunks may be there.
			out[i].value, out[i].err = o.readChunk(ctx, key, at, c)
		case err != nil:
			out[i].err = err
		default:
			out[i].value = bytes.Clone(b[:c.StoredBytes])
		}
	}
	return out
}

// buffer returns a buffer for a request of many chunks. Its content is undefined.
func (o *objects) buffer(size int) *[]byte {
	pooled, _ := o.buffers.Get().(*[]byte)
	if pooled == nil || cap(*pooled) < size {
		pooled = new([]byte)
		*pooled = make([]byte, max(size, maxRequestBytes))
	}
	*pooled = (*pooled)[:size]
	return pooled
}

// readChunk reads and checks a chunk of a segment that begins at the position at of its object.
func (o *objects) readChunk(ctx context.Context, key string, at int64, c *format.Chunk) ([]byte, error) {
	b := make([]byte, c.StoredBytes)
	return b, o.twice(func() error {
		if err := o.read(ctx, "chunk", key, at+c.Position, b); err != nil {
			return err
		}
		return o.checkChunk(key, c, b)
	})
}

func (o *objects) checkChunk(key string, c *format.Chunk, b []byte) error {
	if sum := format.Checksum(b); sum != c.CRC32C {
		o.metrics.corruptChunks.Inc()
		return fmt.Errorf("%w: chunk at %d of %s has checksum %08x, want %08x", ErrCorrupt, c.Position, key, sum, c.CRC32C)
	}
	return nil
}

// readPart reads and checks a part of a segment that begins at the position at of its object.
func (o *objects) readPart(ctx context.Context, key string, at int64, p format.Part) ([]byte, error) {
	b := make([]byte, p.Bytes)
	if p.Bytes == 0 {
		return b, nil
	}
	return b, o.twice(func() error {
		if err := o.read(ctx, "part", key, at+p.Position, b); err != nil {
			return err
		}
		if sum := format.Checksum(b); sum != p.CRC32C {
			return fmt.Errorf("%w: %s of %s has checksum %08x, want %08x", ErrCorrupt, p.Type, key, sum, p.CRC32C)
		}
		return nil
	})
}

// twice repeats a read that found damage once: the damage may have happened in transit. A missing
// object is not read again.
func (o *objects) twice(read func() error) error {
	err := read()
	if errors.Is(err, ErrCorrupt) && !errors.Is(err, objstore.ErrNotFound) {
		err = read()
	}
	return err
}

// readPage reads and checks a page of a manifest's tree.
func (o *objects) readPage(ctx context.Context, key string, ref *format.PageRef) (pg *format.Page, err error) {
	err = o.twice(func() error {
		b, readErr := o.readDocument(ctx, "page", key, ref.Size)
		if readErr != nil {
			return readErr
		}
		if pg, readErr = format.ParsePage(b, ref); readErr != nil {
			return fmt.Errorf("read %s: %w", key, readErr)
		}
		return nil
	})
	return pg, err
}
