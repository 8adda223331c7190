package tiering

import (
	"errors"

	"github.com/varvelog/varve/tiering/format"
)

// Errors of this package. They come wrapped with the partition and the object.
var (
	// ErrUnavailable says that the remote tier cannot answer now: the object
	// store or the metadata store is down or slow, or the partition's manifest
	// is not loaded yet. Retriable.
	ErrUnavailable = errors.New("remote tier is unavailable")
	// ErrOffsetOutOfRange says that the offset is not in the remote tier.
	ErrOffsetOutOfRange = errors.New("offset is not in the remote tier")
	// ErrNoBatchFollows says that the offset is in the remote tier, and that no batch there
	// has it or follows it: what comes next is where the tier ends.
	ErrNoBatchFollows = errors.New("no batch of the remote tier has the offset or follows it")
	// ErrCorrupt says that an object is missing or is not what was uploaded. It
	// has been fetched a second time already, and is not for some seconds.
	ErrCorrupt = format.ErrCorrupt
	// ErrUnsupportedFormat says that another version of Varve wrote the object, or an
	// entry of it: a newer one, or one from before the formats were fixed.
	ErrUnsupportedFormat = format.ErrUnsupportedFormat
	// ErrReadOnly says that a newer version of Varve wrote the pointer or the manifest, in a
	// way that this one can read and must not change. Nothing is uploaded or deleted until
	// another broker leads, or this one is upgraded.
	ErrReadOnly = format.ErrReadOnly
	// ErrDeposed says that another leader owns the partition's manifest. Nothing
	// is uploaded or deleted until the partition is attached again.
	ErrDeposed = errors.New("another leader owns the remote tier of the partition")
	// ErrGap says that the local log lacks offsets between the end of the remote
	// tier and its own first segment. Uploading would lose them silently.
	ErrGap = errors.New("local log does not continue the remote tier")
	// ErrDiverged says that the local log has other records than the remote tier at the same
	// offsets, and that one of them cannot be given up without a person's word.
	ErrDiverged = errors.New("local log and remote tier have different histories")
	// ErrLostPointer says that nothing leads to objects of the partition that are there: the
	// metadata store is older than they are.
	ErrLostPointer = errors.New("the pointer to the partition's remote tier is lost")
	// ErrNoManifest says that the bucket has no manifest of the partition that is whole.
	ErrNoManifest = errors.New("the bucket has no whole manifest of the partition")
	// ErrNotCached says that a read which must not wait (Reader.Cached) would have to.
	ErrNotCached = errors.New("it is not in memory")
	// ErrUnknownPartition says that the partition is not attached here.
	ErrUnknownPartition = errors.New("partition is not attached to the remote tier")
	// ErrClosed says that Run has returned.
	ErrClosed = errors.New("remote tier manager is closed")
)

// errLost is the class of a commit that did not happen for certain: the caller
// still owns the manifest and may try again.
var errLost = errors.New("the manifest swap did not happen")

// errUnconfirmed is the cause that is given for a look at the outcome of a swap
// that failed some time ago.
var errUnconfirmed = errors.New("an earlier swap was not confirmed")

// errReclaim says that a leader of a lower epoch, or an earlier attachment of
// ours, wrote the pointer before we claimed it: attach again, over it.
var errReclaim = errors.New("the tier pointer must be claimed again")
