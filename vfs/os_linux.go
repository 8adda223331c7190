package vfs

import (
	"errors"
	"io/fs"
	"syscall"
)

// Sync implements File with fdatasync(2). It leaves out the times, which no caller relies on: they
// would cost a journal write of their own.
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
	return syncError(pathError("sync", f.Name(), syncErr))
}

// syncFileRangeWrite is Linux's SYNC_FILE_RANGE_WRITE.
const syncFileRangeWrite = 2

// StartWriteback implements WritebackStarter with sync_file_range(2). SYNC_FILE_RANGE_WRITE alone
// does not consume a write error of the file, so the next Sync still reports it.
func (f osFile) StartWriteback(off, n int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = conn.Control(func(fd uintptr) {
		// The next Sync reports the errors.
		_ = syscall.SyncFileRange(int(fd), off, n, syncFileRangeWrite)
	})
}

// The advice values of posix_fadvise(2), which package syscall does not define.
const (
	fadviseSequential = 2
	fadviseDontNeed   = 4
)

// AdviseSequential implements CacheAdviser.
func (f osFile) AdviseSequential() { f.advise(0, 0, fadviseSequential) }

// DropCache implements CacheAdviser.
func (f osFile) DropCache(off, n int64) { f.advise(off, n, fadviseDontNeed) }

// advise calls posix_fadvise(2). A length of 0 means up to the end of the file.
func (f osFile) advise(off, n int64, advice uintptr) {
	conn, err := f.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = conn.Control(func(fd uintptr) {
		// It is a hint, so errors are ignored.
		_, _, _ = syscall.Syscall6(syscall.SYS_FADVISE64, fd, uintptr(off), uintptr(n), advice, 0, 0)
	})
}

// fallocKeepSize is FALLOC_FL_KEEP_SIZE, which package syscall does not define.
const fallocKeepSize = 1

// Preallocate implements Preallocator. Other systems have no call that keeps the length unchanged;
// there, files take space as they are written.
func (f osFile) Preallocate(size int64) error {
	if size <= 0 {
		return nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		for {
			if result = syscall.Fallocate(int(fd), fallocKeepSize, 0, size); result != syscall.EINTR {
				return
			}
		}
	})
	if err == nil && result != nil {
		err = &fs.PathError{Op: "fallocate", Path: f.Name(), Err: result}
	}
	return err
}
