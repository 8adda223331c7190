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

// errShortAnswer is an answer that broke off before the end of what the store
// had announced.
var errShortAnswer = errors.New("the answer broke off")

const (
	listPage       = 1000
	contentType    = "application/octet-stream"
	lookFirstBytes = 256 << 10
)

// blobBucket is a Bucket over the functions that differ between the kinds of
// stores. They take full keys and return the store's own errors.
type blobBucket struct {
	url    string // for messages
	prefix string // before every key: "" or "…/"
	remedy string // what to set when the store refuses uploads, or ""

	readsTwice bool // put says itself when it begins to send the body
	// put stores the body under the key.
	put func(ctx context.Context, key string, body *body, ifAbsent bool) error
	// open reads n bytes of the object from off, or what there is of them; size
	// is the whole object's. The caller closes r.
	open func(ctx context.Context, key string, off, n int64) (r io.ReadCloser, size int64, err error)
	// stat describes the object.
	stat func(ctx context.Context, key string) (ObjectInfo, error)
	// remove removes the object, or says that there is none.
	remove func(ctx context.Context, key string) error
	// removeAll removes objects and returns what went wrong, by key.
	removeAll func(ctx context.Context, keys []string) map[string]error
	// list yields the objects below a prefix of full keys.
	list func(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error]
	// exists returns an error that wraps ErrNoBucket if the bucket is not there.
	exists func(ctx context.Context) error
	// release frees what the store holds.
	release func() error
}

var _ Bucket = (*blobBucket)(nil)

// overBlobs is a bucket whose reading and deleting are gocloud.dev's. The caller
// sets put and exists.
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

// lookFirst is put for stores across a network. They refuse a conditional upload
// before they have read a body of more than lookFirstBytes, so that it is for
// nothing and, as often as not, ends in a broken connection instead of the
// store's answer.
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
	if failed := body.failure(); err != nil && failed != nil { // which is not the store's fault, whatever the driver makes of it
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

// errPastEnd is a range that begins at the end of the object or after it.
var errPastEnd = errors.New("range past the end")

// getRange reads what the object has of the range.
func (b *blobBucket) getRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	r, size, err := b.open(ctx, key, off, int64(len(p)))
	if err != nil {
		if isRangeError(err) {
			return 0, errPastEnd
		}
		return 0, err
	}
	// The store says how long the object is. Without that, an answer that breaks
	// off could not be told from an object that ends.
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
				continue // somebody else's: no key of ours
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// listPages is list for drivers whose pages are in order.
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

// wrap adds to a driver's error what was done and what kind of error it is.
func (b *blobBucket) wrap(ctx context.Context, op, key string, err error) error {
	return wrap(ctx, op, key, err, b.exists)
}

// wrap is the method's; exists returns an error that wraps ErrNoBucket if the
// bucket is not there.
func wrap(ctx context.Context, op, key string, err error, exists func(context.Context) error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // the caller's doing, whatever the driver makes of it
		return fmt.Errorf("%s %s: %w", op, key, ctx.Err())
	}
	kind := classify(err)
	if errors.Is(kind, ErrNotFound) {
		// Drivers say "not found" of a bucket as of an object, and some of both.
		// An object that is not there is a fact that others act on; that its
		// bucket is not is something else.
		if existsErr := exists(ctx); existsErr != nil {
			return fmt.Errorf("%s %s: %w", op, key, existsErr)
		}
		return fmt.Errorf("%s %s: %w", op, key, ErrNotFound)
	}
	switch {
	case kind == nil || errors.Is(err, kind):
		return fmt.Errorf("%s %s: %w", op, key, briefError{err})
	case errors.Is(kind, ErrUnavailable):
		// Without the driver's error itself: an io.ErrUnexpectedEOF or a
		// context.DeadlineExceeded means something else above.
		return fmt.Errorf("%s %s: %w: %s", op, key, kind, briefError{err}.Error())
	default:
		return fmt.Errorf("%s %s: %w: %w", op, key, kind, briefError{err})
	}
}
