package vfs

import (
	"io/fs"
	"syscall"
)

// fallocKeepSize is FALLOC_FL_KEEP_SIZE, which package syscall lacks.
const fallocKeepSize = 1

// Preallocate implements Preallocator. Other systems have no call that leaves
// the length as it is; there files grow as they are written.
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
