package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"gocloud.dev/blob"
)

// errShortAnswer reports an answer that ended before the length that the store had announced.
var errShortAnswer = errors.New("the answer broke off")

const (
	listPage       = 1000
	contentType    = "application/octet-stream"
	lookFirstBytes = 256 << 10
)

// blobBucket is a Bucket over the functions that differ between the kinds of stores. They take full
// keys and return the store's own errors.
type blobBucket struct {
	url    string // for messages
	prefix string // prepended to every key: "" or "…/"
	remedy string // hint added to the message if the store refuses uploads, or ""

	// readsTwice is set if put may read the body for a checksum first. put then calls body.send
	// itself.
	readsTwice bool
	// put stores the body under the key.
	put func(ctx context.Context, key string, body *body, ifAbsent bool) error
	// open reads n bytes of the object from off, or as many as exist. size is that of the whole
	// object. The caller closes r.
	open func(ctx context.Context, key string, off, n int64) (r io.ReadCloser, size int64, err error)
	// stat describes the object.
	stat func(ctx context.Context, key string) (ObjectInfo, error)
	// remove deletes the object. Its error may report that there was none.
	remove func(ctx context.Context, key string) error
	// removeAll deletes objects and returns the errors by key.
	removeAll func(ctx context.Context, keys []string) map[string]error
	// list yields the objects below a prefix of full keys.
	list func(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error]
	// exists returns an error that wraps ErrNoBucket if the bucket does not exist.
	exists func(ctx context.Context) error
	// release frees the resources of the store.
	release func() error
}

var _ Bucket = (*blobBucket)(nil)

// overBlobs returns a bucket that reads and deletes through gocloud.dev. The caller sets put and
// exists.
func overBlobs(blobs *blob.Bucket) *blobBucket {
	return &blobBucket{
		open: func(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
			r, err := blobs.NewRangeReader(ctx, key, off, n, nil)
			if err != nil {
				return nil, 0, err
			}
			return r, r.Size(), nil
		},
		stat: func(ctx context.Context, key string) (ObjectInfo, error) {
			a, err := blobs.Attributes(ctx, key)
			if err != nil {
				return ObjectInfo{}, err
			}
			return ObjectInfo{Key: key, Size: a.Size, ModTime: a.ModTime}, nil
		},
		remove:    blobs.Delete,
		removeAll: removeEach(blobs.Delete),
		list:      listPages(blobs),
		release:   blobs.Close,
	}
}

// lookFirst sets put for a store across a network, with a Stat before a conditional upload of more
// than lookFirstBytes. Such a store rejects the upload before it has read the whole body. The
// transfer is then wasted, and often ends in a broken connection instead of the store's answer.
func (b *blobBucket) lookFirst(put func(ctx context.Context, key string, body *body, ifAbsent bool) error) {
	b.put = func(ctx context.Context, key string, body *body, ifAbsent bool) error {
		if ifAbsent && body.size > lookFirstBytes {
			switch _, err := b.stat(ctx, key); {
			case err == nil:
				return ErrExists
			case !errors.Is(classify(err), ErrNotFound):
				return err
			}
		}
		return put(ctx, key, body, ifAbsent)
	}
}

// Put implements [Bucket].
func (b *blobBucket) Put(ctx context.Context, key string, r io.ReadSeeker, opts PutOptions) error {
	if err := checkKey(key); err != nil {
		return err
	}
	body, err := newBody(r)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if opts.Pace != nil {
		body.pace = func(n int) error { return opts.Pace(ctx, n) }
	}
	if !b.readsTwice {
		body.send()
	}
	err = b.put(ctx, b.prefix+key, body, opts.IfAbsent)
	body.seal()
	// An unreadable body is not a failure of the store, whatever error the driver returns for it.
	if failed := body.failure(); err != nil && failed != nil {
		return fmt.Errorf("put %s: read the body: %w", key, failed)
	}
	return b.wrap(ctx, "put", key, err)
}

// GetRange implements [Bucket].
func (b *blobBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("get %s: negative offset %d", key, off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.getRange(ctx, b.prefix+key, off, p)
	if err == nil || errors.Is(err, errPastEnd) {
		if n < len(p) {
			return n, fmt.Errorf("get %s from %d: %w", key, off, io.ErrUnexpectedEOF)
		}
		return n, nil
	}
	return n, b.wrap(ctx, "get", key, err)
}

// errPastEnd reports a range that begins at or after the end of the object.
var errPastEnd = errors.New("range past the end")

// getRange reads the part of the range that the object has.
func (b *blobBucket) getRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	r, size, err := b.open(ctx, key, off, int64(len(p)))
	if err != nil {
		if isRangeError(err) {
			return 0, errPastEnd
		}
		return 0, err
	}
	// Only the size from the store distinguishes an answer that broke off from the end of the
	// object.
	want := p[:max(0, min(int64(len(p)), size-off))]
	n, err := io.ReadFull(r, want)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w after %d of %d bytes", errShortAnswer, n, len(want))
	}
	if closeErr := r.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	return n, err
}

// Stat implements [Bucket].
func (b *blobBucket) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	if err := checkKey(key); err != nil {
		return ObjectInfo{}, err
	}
	info, err := b.stat(ctx, b.prefix+key)
	if err != nil {
		return ObjectInfo{}, b.wrap(ctx, "stat", key, err)
	}
	info.Key = key
	return info, nil
}

// List implements [Bucket].
func (b *blobBucket) List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		for info, err := range b.list(ctx, b.prefix+prefix) {
			if err != nil {
				yield(ObjectInfo{}, b.wrap(ctx, "list", prefix, err))
				return
			}
			info.Key = strings.TrimPrefix(info.Key, b.prefix)
			if checkKey(info.Key) != nil {
				continue // written by others: not a key of this package
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// listPages is list for drivers whose pages are in lexical order.
func listPages(blobs *blob.Bucket) func(context.Context, string) iter.Seq2[ObjectInfo, error] {
	return func(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
		return func(yield func(ObjectInfo, error) bool) {
			token := blob.FirstPageToken
			for token != nil {
				objects, next, err := blobs.ListPage(ctx, token, listPage, &blob.ListOptions{Prefix: prefix})
				if err != nil {
					yield(ObjectInfo{}, err)
					return
				}
				for _, o := range objects {
					if !yield(ObjectInfo{Key: o.Key, Size: o.Size, ModTime: o.ModTime}, nil) {
						return
					}
				}
				token = next
			}
		}
	}
}

// Close implements [Bucket].
func (b *blobBucket) Close() error {
	if err := b.release(); err != nil {
		return fmt.Errorf("close the bucket: %w", err)
	}
	return nil
}

// wrap adds the operation and the kind of error to a driver's error.
func (b *blobBucket) wrap(ctx context.Context, op, key string, err error) error {
	return wrap(ctx, op, key, err, b.exists)
}

// wrap is the method of the same name. exists returns an error that wraps ErrNoBucket if the bucket
// does not exist.
func wrap(ctx context.Context, op, key string, err error, exists func(context.Context) error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // the caller ended it, whatever error the driver returns
		return fmt.Errorf("%s %s: %w", op, key, ctx.Err())
	}
	kind := classify(err)
	if errors.Is(kind, ErrNotFound) {
		// Drivers report "not found" for a missing bucket as well as for a missing object. Callers
		// act on the fact that an object is missing, so a missing bucket must not look like that.
		if existsErr := exists(ctx); existsErr != nil {
			return fmt.Errorf("%s %s: %w", op, key, existsErr)
		}
		return fmt.Errorf("%s %s: %w", op, key, ErrNotFound)
	}
	switch {
	case kind == nil || errors.Is(err, kind):
		return fmt.Errorf("%s %s: %w", op, key, briefError{err})
	case errors.Is(kind, ErrUnavailable):
		// The driver's error is not wrapped: for the callers, an io.ErrUnexpectedEOF or a
		// context.DeadlineExceeded has another meaning.
		return fmt.Errorf("%s %s: %w: %s", op, key, kind, briefError{err}.Error())
	default:
		return fmt.Errorf("%s %s: %w: %w", op, key, kind, briefError{err})
	}
}
