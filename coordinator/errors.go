package coordinator

import "errors"

// Errors that callers of a Runtime get, and that a Log returns.
var (
	// ErrNotCoordinator says that the partition is not led here (any more).
	ErrNotCoordinator = errors.New("not the coordinator")
	// ErrLoading says that the partition's log is still being read.
	ErrLoading = errors.New("coordinator is loading")
	// ErrOverloaded says that too many operations wait already; try again later.
	ErrOverloaded = errors.New("coordinator is overloaded")
	// ErrClosed says that the runtime has been closed.
	ErrClosed = errors.New("coordinator is closed")
	// ErrUnavailable says that the log takes no writes at the moment. Nothing was
	// written; try again later.
	ErrUnavailable = errors.New("coordinator log is unavailable")
	// ErrUncertain says that a write may or may not be in the log. The shard reads
	// its log again.
	ErrUncertain = errors.New("coordinator write is uncertain")
	// ErrRecordTooLarge says that one record is more than the log takes.
	ErrRecordTooLarge = errors.New("coordinator record is too large")
)
