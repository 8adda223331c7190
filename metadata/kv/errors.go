package kv

import "errors"

// Errors of the Store seam. A store wraps them, so that callers use errors.Is.
var (
	// ErrUnavailable says that the store did not answer in time. A read may be
	// repeated; a write may or may not have happened, and the caller must look.
	ErrUnavailable = errors.New("the metadata store is unavailable")
	// ErrConflict says that a comparison of a transaction did not hold; nothing
	// was written.
	ErrConflict = errors.New("the metadata changed meanwhile")
	// ErrCompacted says that the events from the wanted revision are gone. The
	// caller lists again and watches from there.
	ErrCompacted = errors.New("the wanted revision has been compacted")
	// ErrLeaseNotFound says that the lease has expired or was revoked.
	ErrLeaseNotFound = errors.New("the lease has expired")
	// ErrNoSpace says that the store's own database is full and takes no more
	// writes until it is compacted or its quota is raised.
	ErrNoSpace = errors.New("the metadata store is out of space")
	// ErrWentBack says that the store is not the one any more that was followed: it
	// was restored to an older state, or another one answers in its place. Nothing
	// that is known of the cluster may be written to it, and it is not followed:
	// the broker stops, having deleted nothing.
	ErrWentBack = errors.New("the metadata store went back to an older state, as after a restored backup: stop all brokers, and restore etcd as docs/operations.md says")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("the metadata store is closed")
)
