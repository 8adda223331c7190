package vfs

import (
	"errors"
	"io/fs"
	"syscall"
)

// fadvDontNeed is POSIX_FADV_DONTNEED.
const fadvDontNeed = 4

// Reload implements Reloader: the kernel drops the file's clean pages, among
// them those that it failed to write.
func (f osFile) Reload() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_FADVISE64, fd, 0, 0, fadvDontNeed, 0, 0)
	})
	if err == nil && errno != 0 {
		err = &fs.PathError{Op: "fadvise", Path: f.Name(), Err: errno}
	}
	return err
}

// Sync implements File with fdatasync(2): it leaves out the times, which nobody
// relies on and which would cost a write of the journal of their own.
func (f osFile) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return pathError("sync", f.Name(), err)
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		for syncErr = syscall.Fdatasync(int(fd)); errors.Is(syncErr, syscall.EINTR); {
			syncErr = syscall.Fdatasync(int(fd))
		}
	})
	if err != nil {
		return pathError("sync", f.Name(), fs.ErrClosed)
	}
	return pathError("sync", f.Name(), syncErr)
}

// syncFileRangeWrite is Linux's SYNC_FILE_RANGE_WRITE.
const syncFileRangeWrite = 2

// StartWriteback implements WritebackStarter with sync_file_range(2). Alone,
// SYNC_FILE_RANGE_WRITE takes no error of the file away from the next Sync.
func (f osFile) StartWriteback(off, n int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = conn.Control(func(fd uintptr) {
		_ = syscall.SyncFileRange(int(fd), off, n, syncFileRangeWrite) // see the interface
	})
}
