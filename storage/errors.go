package storage

import (
	"errors"
	"slices"
	"syscall"

	"github.com/varvelog/varve/vfs"
)

// Errors of this package. They are wrapped with the partition and the file.
var (
	// ErrOffsetOutOfRange means that the offset is not in the local log.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrCorrupt means that bytes on disk or in an append are invalid. It is never retried.
	ErrCorrupt = errors.New("log is corrupt")
	// ErrCorruptRecord means that appended bytes are not valid batches (structure or checksum).
	ErrCorruptRecord = errors.New("record batch is corrupt")
	// ErrRecordTooLarge means that a batch is larger than max.message.bytes.
	ErrRecordTooLarge = errors.New("record batch is larger than max.message.bytes")
	// ErrRecordListTooLarge means that the batches of one append are larger than a segment.
	ErrRecordListTooLarge = errors.New("record batches are larger than segment.bytes")
	// ErrUnsupportedMagic means that a batch has a format other than v2.
	ErrUnsupportedMagic = errors.New("unsupported record batch format")
	// ErrInvalidRecord means that a batch violates a rule for client batches.
	ErrInvalidRecord = errors.New("invalid record batch")
	// ErrInvalidTimestamp means that a batch has a timestamp outside of the topic's limits.
	ErrInvalidTimestamp = errors.New("timestamp out of the accepted range")
	// ErrOutOfOrderSequence means that batches of an idempotent producer are missing before this
	// one.
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrInvalidProducerEpoch means that a newer instance of the producer has written to the log.
	ErrInvalidProducerEpoch = errors.New("stale producer epoch")
	// ErrInvalidTxnState means that a producer mixed plain batches into its open transaction.
	ErrInvalidTxnState = errors.New("batch is not part of the producer's open transaction")
	// ErrDirLocked means that another process uses the data directory.
	ErrDirLocked = errors.New("data directory is in use")
	// ErrDirInvalid means that a data directory cannot be used as it is; the text says what to do.
	ErrDirInvalid = errors.New("data directory cannot be used")
	// ErrTopicIDMismatch means that the log on disk belongs to another topic with the same name.
	ErrTopicIDMismatch = errors.New("topic id differs from the one on disk")
	// ErrLogClosed means that the log was deleted or its manager closed.
	ErrLogClosed = errors.New("log is closed")
	// ErrNoLogDir means that the broker has no such data directory.
	ErrNoLogDir = errors.New("no such data directory")
	// ErrNoLog means that the partition has no log on this broker.
	ErrNoLog = errors.New("no such log")
	// ErrNameTooLong means that the topic's name leaves no room for the marks of a move's
	// directories.
	ErrNameTooLong = errors.New("name of the topic is too long")
	// ErrStorage means that the disk failed. After a failed fsync every log of the directory
	// returns it.
	ErrStorage = errors.New("storage failed")
	// ErrDiskFull means that no space is left. Writes are accepted again once there is some.
	ErrDiskFull = errors.New("no space left in the data directory")
	// ErrExhausted means that the process or the machine ran out of file descriptors or memory. It
	// does not mean that the disk has a fault; the operation may be retried.
	ErrExhausted = errors.New("out of file descriptors or memory")
)

// RecordError names the record because of which Append refused a whole batch. Err has the error
// class.
type RecordError struct {
	Index int // of the record in its batch, from 0
	Err   error
}

// Error implements error.
func (e *RecordError) Error() string { return e.Err.Error() }

// Unwrap returns the error with the class, for errors.Is.
func (e *RecordError) Unwrap() error { return e.Err }

// exhaustion lists errors, mostly of opening a file, that do not mean that the file or disk is bad.
var exhaustion = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN}

// passing reports whether a failed operation may be retried, because it was refused and its effect
// is known. A sync that was tried and failed is never retried (S6).
func passing(err error) bool {
	return !errors.Is(err, vfs.ErrSync) && !errors.Is(classify(err), ErrStorage)
}

// classify distinguishes a full disk and a lack of descriptors, which pass by themselves, from a
// broken disk.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrStorage), errors.Is(err, ErrDiskFull), errors.Is(err, ErrExhausted), errors.Is(err, ErrLogClosed):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &diskError{class: ErrDiskFull, cause: err}
	case !errors.Is(err, vfs.ErrSync) && slices.ContainsFunc(exhaustion, func(e error) bool { return errors.Is(err, e) }):
		return &diskError{class: ErrExhausted, cause: err}
	}
	return &diskError{class: ErrStorage, cause: err}
}

// diskError is a failed disk operation with the error class that callers look for.
type diskError struct {
	class, cause error
}

func (e *diskError) Error() string   { return e.class.Error() + ": " + e.cause.Error() }
func (e *diskError) Unwrap() []error { return []error{e.class, e.cause} }
