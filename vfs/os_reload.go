//go:build linux && (amd64 || arm64)

package vfs

import (
	"io/fs"
	"syscall"
)

// fadvDontNeed is POSIX_FADV_DONTNEED.
const fadvDontNeed = 4

// Reload implements Reloader. The kernel drops the file's clean pages, including those that it
// failed to write and now takes for clean.
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
