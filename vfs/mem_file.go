package vfs

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// memInode is the content of a file: now, at the latest sync, and the changes since, in order.
// Mem's lock guards it.
type memInode struct {
	data     []byte
	durable  []byte
	pending  []fileChange
	modified time.Time
	// reserved is the number of bytes that were preallocated and not released since.
	reserved int64
}

// fileChange is a write of data at off, or, if truncate is set, a change of the length to off.
type fileChange struct {
	truncate bool
	off      int64
	data     []byte
}

func (c fileChange) applyTo(b []byte) []byte {
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	if c.truncate {
		return b[:c.off]
	}
	copy(b[c.off:], c.data)
	return b
}

func (n *memInode) change(c fileChange, now time.Time) {
	if c.truncate {
		n.reserved = min(n.reserved, c.off)
	}
	n.data = c.applyTo(n.data)
	n.pending = append(n.pending, c)
	n.modified = now
}

func (n *memInode) crash(rnd *rand.Rand) *memInode {
	b := slices.Clone(n.durable)
	for _, c := range n.pending {
		if rnd.IntN(2) == 0 {
			continue
		}
		if len(c.data) > 0 && rnd.IntN(4) == 0 {
			c.data = c.data[:rnd.IntN(len(c.data))]
		}
		b = c.applyTo(b)
	}
	return &memInode{data: b, durable: slices.Clone(b), modified: n.modified, reserved: n.reserved}
}

// memFile is an open file of a Mem.
type memFile struct {
	fs       *Mem
	inode    *memInode
	name     string
	writable bool
	closed   atomic.Bool
}

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if f.closed.Load() {
		return 0, pathError("read", f.name, fs.ErrClosed)
	}
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.checkWrite(); err != nil {
		return 0, pathError("write", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	grows := off + int64(len(p)) - int64(len(f.inode.data))
	if size := f.fs.mu.size; size > 0 && grows > 0 && f.fs.mu.root.bytes()+grows > size {
		return 0, pathError("write", f.name, syscall.ENOSPC)
	}
	f.inode.change(fileChange{off: off, data: slices.Clone(p)}, f.fs.now())
	return len(p), nil
}

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	if err := f.checkWrite(); err != nil {
		return pathError("truncate", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.change(fileChange{truncate: true, off: size}, f.fs.now())
	return nil
}

// Preallocate implements Preallocator; see also [Mem.Reserved].
func (f *memFile) Preallocate(size int64) error {
	if err := f.checkWrite(); err != nil {
		return pathError("fallocate", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.reserved = max(f.inode.reserved, size)
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	if f.closed.Load() {
		return 0, pathError("stat", f.name, fs.ErrClosed)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.data)), nil
}

// Sync implements File.
func (f *memFile) Sync() error {
	if f.closed.Load() {
		return pathError("sync", f.name, fs.ErrClosed)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	// This applies the pending changes rather than copying the content: changes that dropUnsynced
	// has discarded must stay lost.
	for _, c := range f.inode.pending {
		f.inode.durable = c.applyTo(f.inode.durable)
	}
	f.inode.pending = nil
	return nil
}

// dropUnsynced does what a kernel does to dirty pages that it could not write: it takes them for
// clean. Readers still see them, no later Sync writes them, and a crash shows the bytes on the
// disk.
func (f *memFile) dropUnsynced() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.pending = nil
}

// Reload implements Reloader.
func (f *memFile) Reload() error {
	if f.closed.Load() {
		return pathError("reload", f.name, fs.ErrClosed)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	b := slices.Clone(f.inode.durable)
	for _, c := range f.inode.pending {
		b = c.applyTo(b)
	}
	f.inode.data = b
	return nil
}

// Close implements File.
func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) checkWrite() error {
	switch {
	case f.closed.Load():
		return fs.ErrClosed
	case !f.writable:
		return syscall.EBADF
	}
	return nil
}

// infoOf describes a node.
func infoOf(base string, node memNode) fs.FileInfo {
	if n, ok := node.(*memInode); ok {
		return memInfo{name: base, size: int64(len(n.data)), modified: n.modified}
	}
	return memInfo{name: base, dir: true}
}

type memInfo struct {
	name     string
	size     int64
	modified time.Time
	dir      bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

func (n *memInode) clone() *memInode {
	return &memInode{
		data: slices.Clone(n.data), durable: slices.Clone(n.durable),
		pending: slices.Clone(n.pending), modified: n.modified, reserved: n.reserved,
	}
}
