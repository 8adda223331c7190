package storage

import (
	"errors"
	"slices"
	"syscall"

	"github.com/varvelog/varve/vfs"
)

// Errors of this package. They come wrapped with the partition and the file.
var (
	// ErrOffsetOutOfRange says that the offset is not in the local log.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrCorrupt says that bytes on disk or in an append are not what they should be. Never retried.
	ErrCorrupt = errors.New("log is corrupt")
	// ErrCorruptRecord says that appended bytes are not valid batches (structure or checksum).
	ErrCorruptRecord = errors.New("record batch is corrupt")
	// ErrRecordTooLarge says that a batch is larger than max.message.bytes.
	ErrRecordTooLarge = errors.New("record batch is larger than max.message.bytes")
	// ErrRecordListTooLarge says that the batches of one append are larger than a segment.
	ErrRecordListTooLarge = errors.New("record batches are larger than segment.bytes")
	// ErrUnsupportedMagic says that a batch has a format other than v2.
	ErrUnsupportedMagic = errors.New("unsupported record batch format")
	// ErrInvalidRecord says that a batch breaks a rule for what clients may send.
	ErrInvalidRecord = errors.New("invalid record batch")
	// ErrInvalidTimestamp says that a batch's timestamps are outside of what the topic accepts.
	ErrInvalidTimestamp = errors.New("timestamp out of the accepted range")
	// ErrOutOfOrderSequence says that batches of an idempotent producer are missing before this one.
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrInvalidProducerEpoch says that a newer incarnation of the producer has written.
	ErrInvalidProducerEpoch = errors.New("stale producer epoch")
	// ErrInvalidTxnState says that a producer mixed plain batches into its open transaction.
	ErrInvalidTxnState = errors.New("batch is not part of the producer's open transaction")
	// ErrDirLocked says that another process uses the data directory.
	ErrDirLocked = errors.New("data directory is in use")
	// ErrDirInvalid says that a data directory cannot be used as it is; the text says what to do.
	ErrDirInvalid = errors.New("data directory cannot be used")
	// ErrTopicIDMismatch says that the directory on disk belongs to another topic of the same name.
	ErrTopicIDMismatch = errors.New("topic id differs from the one on disk")
	// ErrLogClosed says that the log was deleted or its manager closed.
	ErrLogClosed = errors.New("log is closed")
	// ErrNoLogDir says that the broker has no such data directory.
	ErrNoLogDir = errors.New("no such data directory")
	// ErrNoLog says that the partition has no log here.
	ErrNoLog = errors.New("no such log")
	// ErrNameTooLong says that the topic's name leaves no room for what marks the directories of a move.
	ErrNameTooLong = errors.New("name of the topic is too long")
	// ErrStorage says that the disk failed; after a failed fsync every log of that directory answers so.
	ErrStorage = errors.New("storage failed")
	// ErrDiskFull says that there is no space; writes are taken again when there is.
	ErrDiskFull = errors.New("no space left in the data directory")
	// ErrExhausted says that the process or the machine ran out of file descriptors or
	// memory, which says nothing about the disk; what failed may be tried again.
	ErrExhausted = errors.New("out of file descriptors or memory")
)

// RecordError says which record made Append refuse a batch as a whole. Err has the
// class.
type RecordError struct {
	Index int // of the record in its batch, from 0
	Err   error
}

// Error implements error.
func (e *RecordError) Error() string { return e.Err.Error() }

// Unwrap gives errors.Is the class.
func (e *RecordError) Unwrap() error { return e.Err }

// exhaustion are errors of opening a file, mostly, that say nothing about it.
var exhaustion = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN}

// passing says that what failed may be tried again, as it was refused and nothing
// is unknown: not so if a sync was tried.
func passing(err error) bool {
	return !errors.Is(err, vfs.ErrSync) && !errors.Is(classify(err), ErrStorage)
}

// classify tells a full disk and a lack of descriptors, which heal by themselves,
// from a broken disk.
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

// diskError is a failed operation on the disk with the class that callers look for.
type diskError struct {
	class, cause error
}

func (e *diskError) Error() string   { return e.class.Error() + ": " + e.cause.Error() }
func (e *diskError) Unwrap() []error { return []error{e.class, e.cause} }
