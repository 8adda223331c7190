package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// Errors that the errors of a Bucket wrap.
var (
	// ErrNotFound reports a key without an object.
	ErrNotFound = errors.New("object not found")
	// ErrExists reports a Put with IfAbsent of a key that has an object.
	ErrExists = errors.New("object exists")
	// ErrNoBucket reports a bucket that does not exist, or no longer exists.
	ErrNoBucket = errors.New("bucket not found")
	// ErrUnavailable reports a temporary failure: the store is unreachable, overloaded or slow, or
	// a connection broke. After a Put, the object may exist nevertheless.
	ErrUnavailable = errors.New("object store unavailable")
	// ErrInvalidKey reports a key that some kind of store cannot hold.
	ErrInvalidKey = errors.New("invalid object key")
)

// Bucket is a flat set of immutable objects under keys. Its methods may be called concurrently. The
// package comment lists its guarantees.
type Bucket interface {
	// Check reports whether the bucket can be used: it exists, honors conditional Puts, and lets
	// objects be deleted. It writes a small object under a reserved key, which List does not show,
	// and deletes it. An error that wraps ErrUnavailable is temporary. Any other error fits in one
	// line and says what to configure. One attempt takes at most 20 s.
	Check(ctx context.Context) error
	// Put stores the bytes of body from its current position to its end.
	Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) error
	// GetRange reads len(p) bytes of the object from off. It returns fewer only with an error,
	// which is io.ErrUnexpectedEOF if the object ends earlier.
	GetRange(ctx context.Context, key string, off int64, p []byte) (int, error)
	// Stat describes the object.
	Stat(ctx context.Context, key string) (ObjectInfo, error)
	// List yields the objects whose keys begin with prefix, in lexical order. It ends after the
	// first error.
	List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error]
	// Delete deletes the object. A missing object is not an error.
	Delete(ctx context.Context, key string) error
	// DeleteAll deletes the objects in as few requests as the store allows. A missing object is not
	// an error. A key that cannot be deleted does not keep the others from being deleted: the error
	// then wraps a *[DeleteError] with the keys that remain.
	DeleteAll(ctx context.Context, keys []string) error
	// Close frees the resources of the Bucket. No other call may be in progress.
	Close() error
}

// PutOptions changes the behavior of Put.
type PutOptions struct {
	IfAbsent bool // fail with ErrExists if the key has an object
	// Pace is called after n bytes of the body were read and before they are sent. It blocks for as
	// long as the sender should wait, or until ctx ends. Calls do not overlap. The time in Pace
	// does not count toward the deadline of an attempt. nil means no pacing.
	Pace func(ctx context.Context, n int) error
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	Key     string
	Size    int64
	ModTime time.Time // by the store's clock, rounded to a second or less
}

const maxKeyBytes = 900 // S3 and GCS accept 1024; the rest is for prefixes

// checkKey rejects keys that some kind of store would change or refuse. The remaining ones are
// relative paths of printable ASCII, which read the same everywhere.
func checkKey(key string) error {
	if key == "" || len(key) > maxKeyBytes {
		return fmt.Errorf("%w: %q: must have 1 to %d bytes", ErrInvalidKey, key, maxKeyBytes)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%w: %q: empty, \".\" or \"..\" between slashes", ErrInvalidKey, key)
		}
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c > '~' || c == '\\' {
			return fmt.Errorf("%w: %q: byte %#x", ErrInvalidKey, key, c)
		}
	}
	switch {
	case strings.Contains(key, "__0x"):
		return fmt.Errorf("%w: %q: \"__0x\" is how gocloud.dev escapes", ErrInvalidKey, key)
	case strings.HasSuffix(key, ".attrs"):
		return fmt.Errorf("%w: %q: \".attrs\" is a side file of gocloud.dev", ErrInvalidKey, key)
	case strings.HasPrefix(key, temporaryDir+"/"), strings.HasPrefix(key, probeDir):
		return fmt.Errorf("%w: %q: reserved", ErrInvalidKey, key)
	}
	return nil
}
