package tiering

import (
	"errors"

	"github.com/varvelog/varve/tiering/format"
)

// Errors of this package. They are returned wrapped, with the partition and the object.
var (
	// ErrUnavailable means that the remote tier cannot answer now: the object store or the metadata
	// store is down or slow, or the partition's manifest is not loaded yet. Retriable.
	ErrUnavailable = errors.New("remote tier is unavailable")
	// ErrOffsetOutOfRange means that the offset is not in the remote tier.
	ErrOffsetOutOfRange = errors.New("offset is not in the remote tier")
	// ErrNoBatchFollows means that the offset is in the remote tier, but no batch there contains it
	// or follows it: the next batch is where the tier ends.
	ErrNoBatchFollows = errors.New("no batch of the remote tier has the offset or follows it")
	// ErrCorrupt means that an object is missing or is not what was uploaded. A damaged chunk,
	// index, part or page was fetched a second time before. For some seconds the caches then return
	// the error without another request.
	ErrCorrupt = format.ErrCorrupt
	// ErrUnsupportedFormat means that another version of Varve wrote the object, or an entry of it:
	// a newer one, or one from before the formats were fixed.
	ErrUnsupportedFormat = format.ErrUnsupportedFormat
	// ErrReadOnly means that a newer version of Varve wrote the pointer or the manifest in a way
	// that this one can read but must not change. Nothing is uploaded or deleted until another
	// broker leads, or this one is upgraded.
	ErrReadOnly = format.ErrReadOnly
	// ErrDeposed means that another leader owns the partition's manifest. Nothing is uploaded or
	// deleted until the partition is attached again.
	ErrDeposed = errors.New("another leader owns the remote tier of the partition")
	// ErrGap means that offsets between the end of the remote tier and the first local segment
	// are missing from both, or that the log ends before the tier. An upload would lose
	// records silently.
	ErrGap = errors.New("local log does not continue the remote tier")
	// ErrDiverged means that the local log and the remote tier have different records at the same
	// offsets, and that neither may be given up without an operator's decision.
	ErrDiverged = errors.New("local log and remote tier have different histories")
	// ErrLostPointer means that the bucket has objects of the partition to which no pointer leads:
	// the metadata store is older than they are.
	ErrLostPointer = errors.New("the pointer to the partition's remote tier is lost")
	// ErrNoManifest means that the bucket has no whole manifest of the partition.
	ErrNoManifest = errors.New("the bucket has no whole manifest of the partition")
	// ErrNotCached means that a read that must not wait (Reader.Cached) would have to wait.
	ErrNotCached = errors.New("it is not in memory")
	// ErrUnknownPartition means that the partition is not attached to this Manager.
	ErrUnknownPartition = errors.New("partition is not attached to the remote tier")
	// ErrClosed means that Run has returned.
	ErrClosed = errors.New("remote tier manager is closed")
)

// errLost is the class of a commit that certainly did not happen: the caller still owns the
// manifest and may try again.
var errLost = errors.New("the manifest swap did not happen")

// errUnconfirmed is the cause that drive is given to settle a swap that failed in an
// earlier unit of work.
var errUnconfirmed = errors.New("an earlier swap was not confirmed")

// errReclaim means that the owner found a pointer that it has not written and may claim over, such
// as one of a lower leader epoch: the partition is attached again.
var errReclaim = errors.New("the tier pointer must be claimed again")
