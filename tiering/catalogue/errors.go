package catalogue

import (
	"context"
	"errors"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
)

// ErrRefused means that the bucket does not hold this cluster's history. The text says what was
// found, which cluster owns it, and what to do.
var ErrRefused = errors.New("this object store is not the cluster's")

// ErrSuspect means that unknown objects may not be garbage after all. Nothing is deleted.
var ErrSuspect = errors.New("nothing is deleted")

// Temporary reports whether an error may go away by itself: the object store or the metadata store
// did not answer.
func Temporary(err error) bool {
	return errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, kv.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
