package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrLocked reports that another process, or another part of this one, holds the lock.
var ErrLocked = errors.New("file is locked by another process")

// ErrSync reports that a Sync or SyncDir was tried and failed: the content of the disk is unknown.
// An error that does not wrap it means that no sync was tried, for example because a directory
// could not be opened.
var ErrSync = errors.New("sync failed")

// syncError marks the error of a sync that was tried. It returns nil for nil.
func syncError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrSync, err)
}

// FS is the part of a file system that the storage layer uses. Names are those of the operating
// system; an implementation has no working directory. errors.Is with fs.ErrExist and fs.ErrNotExist
// distinguishes errors for names that exist from those for names that do not.
type FS interface {
	// OpenFile opens a file with the flags of package os (O_RDONLY, O_RDWR, O_CREATE, O_EXCL,
	// O_TRUNC). It does not create directories.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename moves a file or directory. It replaces an existing file atomically.
	Rename(oldName, newName string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// MkdirAll creates a directory and its parents. A directory that exists is not an error.
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable: every file created, renamed or removed in it
	// so far stays so after a crash.
	SyncDir(name string) error
	// Lock takes the exclusive lock named by a file, which it creates if needed. The lock is held
	// until the closer is closed or the process ends. Lock does not wait: it returns ErrLocked if
	// the lock is held elsewhere.
	Lock(name string) (io.Closer, error)
}

// File is an open file. It has no position: each read and write names its offset, so one File
// serves many readers and one writer at a time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the current length in bytes.
	Size() (int64, error)
	// Truncate cuts the file to size bytes, or extends it with zeros.
	Truncate(size int64) error
	// Sync makes the content and the length durable, but not times and modes, and not the name (see
	// SyncDir). After an error that wraps ErrSync, the content of the disk is unknown. The caller
	// must not retry and trust the second result.
	Sync() error
}

// WritebackStarter is implemented by files that can start the work of a later Sync early.
type WritebackStarter interface {
	// StartWriteback asks the operating system to start writing the changed bytes of a range to the
	// disk. It does not wait and makes nothing durable. The next Sync does, and reports the errors.
	StartWriteback(off, n int64)
}

// CacheAdviser is implemented by files whose pages the operating system caches in memory. Both
// methods are hints.
type CacheAdviser interface {
	// AdviseSequential announces that this File is read from its beginning to its end.
	AdviseSequential()
	// DropCache announces that no File will read a range soon. The operating system may drop the
	// range's clean pages. Changed pages stay.
	DropCache(off, n int64)
}

// OSFiler is implemented by files of the operating system, which a caller can pass to sendfile.
type OSFiler interface {
	// OSFile returns the open file. The File still owns it.
	OSFile() *os.File
}

// Reloader is implemented by files whose reads may return bytes that are not on the disk: pages
// that the kernel failed to write and now takes for clean.
type Reloader interface {
	// Reload makes later reads return the bytes on the disk, plus changes that are still to be
	// written. It is a best effort.
	Reload() error
}

// SpaceReporter is implemented by file systems that know their free space.
type SpaceReporter interface {
	// Space reports the size of the volume that holds name, and how much of it can still be
	// written, both in bytes.
	Space(name string) (total, free int64, err error)
}

// Preallocator is implemented by files that can reserve space on their disk.
type Preallocator interface {
	// Preallocate reserves space for the first size bytes of the file, so that writes there do not
	// fail for lack of space. Content and length stay unchanged: the length never counts bytes that
	// were not written. Truncate, even to the current length, releases the space after it. An error
	// that is errors.ErrUnsupported means that the volume cannot reserve; after any other error a
	// part may be reserved.
	Preallocate(size int64) error
}
