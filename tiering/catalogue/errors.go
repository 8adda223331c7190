package catalogue

import (
	"context"
	"errors"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
)

// ErrRefused says that the bucket is not the one that holds this cluster's history. Its text says
// what was found, whose it is, and what to do.
var ErrRefused = errors.New("this object store is not the cluster's")

// ErrSuspect says that something makes it doubtful that what nothing knows is garbage. Nothing is
// deleted.
var ErrSuspect = errors.New("nothing is deleted")

// Temporary returns true for an error that may go away by itself: the object store or the metadata
// store did not answer.
func Temporary(err error) bool {
	return errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, kv.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
