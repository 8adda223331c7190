package kv

import "errors"

// Errors of the Store seam. A store wraps them, so that callers use errors.Is.
var (
	// ErrUnavailable reports that the store did not answer in time. A read may be repeated. A write
	// may or may not have happened, and the caller must check.
	ErrUnavailable = errors.New("the metadata store is unavailable")
	// ErrConflict reports that a comparison of a transaction did not hold. Nothing was written.
	ErrConflict = errors.New("the metadata changed meanwhile")
	// ErrCompacted reports that the events from the wanted revision on no longer exist. The caller
	// lists again and watches from there.
	ErrCompacted = errors.New("the wanted revision has been compacted")
	// ErrLeaseNotFound reports that the lease has expired or was revoked.
	ErrLeaseNotFound = errors.New("the lease has expired")
	// ErrNoSpace reports that the store's own database is full. It takes no more writes until it is
	// compacted or its quota is raised.
	ErrNoSpace = errors.New("the metadata store is out of space")
	// ErrWentBack reports that the store no longer has the history that was followed: it was
	// restored to an older state, or another store answers in its place. Nothing that is known of
	// the cluster may be written to it, and it must not be followed: the broker stops without
	// having deleted anything.
	ErrWentBack = errors.New("the metadata store went back to an older state, as after a restored backup: stop all brokers, and restore etcd as docs/operations/backup-and-restore-etcd.md says")
	// ErrClosed reports that the store has been closed.
	ErrClosed = errors.New("the metadata store is closed")
)
