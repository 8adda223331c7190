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

// Errors that a Bucket's errors wrap.
var (
	// ErrNotFound is a key without an object.
	ErrNotFound = errors.New("object not found")
	// ErrExists is a Put with IfAbsent of a key that has an object.
	ErrExists = errors.New("object exists")
	// ErrNoBucket is a bucket that does not exist (any more).
	ErrNoBucket = errors.New("bucket not found")
	// ErrUnavailable is a failure that may go away by itself: the store is out
	// of reach, overloaded or slow, or a connection broke. After a Put the
	// object may be there.
	ErrUnavailable = errors.New("object store unavailable")
	// ErrInvalidKey is a key that not every kind of store can hold.
	ErrInvalidKey = errors.New("invalid object key")
)

// Bucket is a flat set of immutable objects under keys. Its methods may be
// called concurrently. See the package's comment for what they hold.
type Bucket interface {
	// Check finds out whether the bucket can be used: that it is there, that it
	// takes conditional Puts, and that objects can be deleted. It writes a small
	// object under a reserved key, which List does not show, and removes it. An
	// error that wraps ErrUnavailable may go away by itself; any other one fits in
	// one line and says what to set. An attempt takes 20 s at most.
	Check(ctx context.Context) error
	// Put stores what body holds from its present position to its end.
	Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) error
	// GetRange reads len(p) bytes of the object from off. It returns fewer only
	// with an error, io.ErrUnexpectedEOF if the object ends before.
	GetRange(ctx context.Context, key string, off int64, p []byte) (int, error)
	// Stat describes the object.
	Stat(ctx context.Context, key string) (ObjectInfo, error)
	// List yields the objects whose keys begin with prefix, in lexical order,
	// and ends after the first error.
	List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error]
	// Delete removes the object; that there is none is not an error.
	Delete(ctx context.Context, key string) error
	// DeleteAll removes the objects, in as few requests as the store allows; that
	// there is none is not an error. A key whose object cannot be removed keeps no
	// other from being removed: the error wraps a *[DeleteError] with what is left.
	DeleteAll(ctx context.Context, keys []string) error
	// Close frees what the Bucket holds; no other call may be under way.
	Close() error
}

// PutOptions changes what Put does.
type PutOptions struct {
	IfAbsent bool // lose with ErrExists if the key has an object
	// Pace is called after n bytes of the body were read to be sent, and before they are: it waits as
	// long as the caller wants the sender to wait, or until ctx ends. One call is made at a time. What
	// it takes does not count against the deadline of an attempt. nil: nothing waits.
	Pace func(ctx context.Context, n int) error
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	Key     string
	Size    int64
	ModTime time.Time // by the store's clock, to the second at worst
}

const maxKeyBytes = 900 // S3 and GCS take 1024; the rest is for prefixes

// checkKey refuses keys that some kind of store would change or not take. What
// is left is a relative path of printable ASCII that reads the same everywhere.
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
