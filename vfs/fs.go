package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrLocked says that another process, or another part of this one, holds the lock.
var ErrLocked = errors.New("file is locked by another process")

// ErrSync says that a Sync or SyncDir was tried and failed: the content of the disk
// is unknown. An error without it means that no sync was tried, because a directory
// could not be opened, say.
var ErrSync = errors.New("sync failed")

// syncError marks the error of a sync that was tried.
func syncError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrSync, err)
}

// FS is what the storage layer needs of a file system. Names are those of the
// operating system; an implementation keeps no working directory. Errors for
// names that exist or do not can be told apart with errors.Is and fs.ErrExist
// or fs.ErrNotExist.
type FS interface {
	// OpenFile opens a file with the flags of package os (O_RDONLY, O_RDWR,
	// O_CREATE, O_EXCL, O_TRUNC). It does not create directories.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename moves a file or a directory, atomically over an existing file.
	Rename(oldName, newName string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// MkdirAll makes a directory and those above it; one that exists is fine.
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists a directory in the order of names.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable: files created, renamed or
	// removed in it survive a crash as they are now.
	SyncDir(name string) error
	// Lock takes the exclusive lock that the file name stands for, creating it,
	// and holds it until the closer is closed or the process ends. It does not
	// wait: ErrLocked says that someone else has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. It has no position of its own: reads and writes name
// theirs, so that one File serves many readers and one writer at once.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the present length in bytes.
	Size() (int64, error)
	// Truncate cuts the file, or extends it with zeros.
	Truncate(size int64) error
	// Sync makes the content and its length durable; for times and modes it
	// promises nothing, nor for the name (SyncDir). After an error that is ErrSync
	// nobody knows what is on the disk; a caller must not try again and believe the
	// second answer.
	Sync() error
}

// WritebackStarter is implemented by files that can be asked to begin early
// with what Sync will wait for.
type WritebackStarter interface {
	// StartWriteback has the operating system begin to write the changed bytes
	// of a range to the disk. It does not wait for them and makes nothing
	// durable: that, and whether it went well, is told by the next Sync.
	StartWriteback(off, n int64)
}

// CacheAdviser is implemented by files whose pages the operating system keeps in memory.
type CacheAdviser interface {
	// AdviseSequential says that this File is read from its beginning to its end.
	AdviseSequential()
	// DropCache says that a range will not be read soon, by any File: what of it is in memory and on the
	// disk need not be kept. Changed pages stay. Both are hints.
	DropCache(off, n int64)
}

// OSFiler is implemented by files that the operating system knows, so that a
// caller can hand them to sendfile.
type OSFiler interface {
	// OSFile is the open file; it stays owned by the File.
	OSFile() *os.File
}

// Reloader is implemented by files whose reads may show what the disk does not
// have: pages that the kernel failed to write, and takes for clean.
type Reloader interface {
	// Reload makes reads see what the disk has, except for what is still to be
	// written. It is a best effort.
	Reload() error
}

// SpaceReporter is implemented by file systems that know how full they are.
type SpaceReporter interface {
	// Space reports the size of the volume that holds name and how much of it
	// can still be written, in bytes.
	Space(name string) (total, free int64, err error)
}

// Preallocator is implemented by files that can reserve space on their disk.
type Preallocator interface {
	// Preallocate reserves space for the first size bytes of the file: writes
	// there do not fail for want of it. Content and length stay as they are, so
	// that the length never counts bytes that nobody wrote. Truncate, also to the
	// present length, gives back what lies behind. An error that is
	// errors.ErrUnsupported says that the volume cannot reserve; after any other
	// a part may be reserved.
	Preallocate(size int64) error
}
