package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// Op is the kind of an operation that a Fault can hit.
type Op string

// The operations of FS and File.
const (
	OpOpen     Op = "open"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpMkdir    Op = "mkdir"
	OpReadDir  Op = "readdir"
	OpStat     Op = "stat"
	OpSyncDir  Op = "syncdir"
	OpOpenDir  Op = "opendir" // the first step of SyncDir
	OpLock     Op = "lock"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpTruncate Op = "truncate"
	OpSync     Op = "sync"

	// OpWriteback is the hint to write pages back. On a fault, the file below does not receive it.
	OpWriteback   Op = "writeback"
	OpPreallocate Op = "preallocate"
)

// ErrInjected is the error of a Fault whose Err is nil.
var ErrInjected = errors.New("injected fault")

// Fault selects the operations that fail and how they fail.
type Fault struct {
	Op    Op     // "" matches every operation
	Name  string // matches names that contain it; "" matches all
	After int    // number of matches that pass before the first failure
	Times int    // number of failures before the fault is spent; 0: no limit
	Err   error  // nil: ErrInjected
	Short int    // number of bytes that a failing write still writes
	Drop  bool   // a failing sync of a Mem's file loses the unsynced changes for good
}

// Faulty forwards operations to another file system and fails those that match one of its faults.
// It is safe for concurrent use.
type Faulty struct {
	inner FS
	mu    struct {
		sync.Mutex
		faults []*Fault
		counts map[Op]int
		hits   int
	}
}

// NewFaulty wraps a file system. Without faults it only counts operations.
func NewFaulty(inner FS) *Faulty {
	f := &Faulty{inner: inner}
	f.mu.counts = map[Op]int{}
	return f
}

// Inject adds a fault.
func (f *Faulty) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.faults = append(f.mu.faults, &fault)
}

// Heal removes all faults.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.faults = nil
}

// Count is the number of operations of a kind so far, failed ones included.
func (f *Faulty) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.counts[op]
}

// Hits is the number of operations that a fault has failed.
func (f *Faulty) Hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.hits
}

// check counts an operation and returns an error if a fault hits it.
func (f *Faulty) check(op Op, name string) error {
	_, err := f.hit(op, name)
	return err
}

// hit counts an operation and returns the fault that hits it, with its error.
func (f *Faulty) hit(op Op, name string) (Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.counts[op]++
	for i, fault := range f.mu.faults {
		if fault.Op != "" && fault.Op != op || !strings.Contains(name, fault.Name) {
			continue
		}
		if fault.After > 0 {
			fault.After--
			continue
		}
		if fault.Times == 1 {
			f.mu.faults = append(f.mu.faults[:i:i], f.mu.faults[i+1:]...)
		}
		fault.Times--
		f.mu.hits++
		err := fault.Err
		if err == nil {
			err = ErrInjected
		}
		return *fault, pathError(string(op), name, err)
	}
	return Fault{}, nil
}

// OpenFile implements FS.
func (f *Faulty) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := f.check(OpOpen, name); err != nil {
		return nil, err
	}
	inner, err := f.inner.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: inner, fs: f, name: name}, nil
}

// Rename implements FS.
func (f *Faulty) Rename(oldName, newName string) error {
	if err := f.check(OpRename, oldName); err != nil {
		return err
	}
	return f.inner.Rename(oldName, newName)
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.inner.Remove(name)
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.check(OpMkdir, name); err != nil {
		return err
	}
	return f.inner.MkdirAll(name, perm)
}

// ReadDir implements FS.
func (f *Faulty) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.check(OpReadDir, name); err != nil {
		return nil, err
	}
	return f.inner.ReadDir(name)
}

// Stat implements FS.
func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.check(OpStat, name); err != nil {
		return nil, err
	}
	return f.inner.Stat(name)
}

// SyncDir implements FS. Like the operating system's, it opens the directory first: a fault of
// OpOpenDir means that no sync was tried.
func (f *Faulty) SyncDir(name string) error {
	if err := f.check(OpOpenDir, name); err != nil {
		return err
	}
	if err := f.check(OpSyncDir, name); err != nil {
		return syncError(err)
	}
	return f.inner.SyncDir(name)
}

// Lock implements FS.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.check(OpLock, name); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

// faultyFile is an open file of a Faulty.
type faultyFile struct {
	File
	fs   *Faulty
	name string
}

// ReadAt implements File.
func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.check(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// WriteAt implements File.
func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	fault, err := f.fs.hit(OpWrite, f.name)
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	if short := min(fault.Short, len(p)); short > 0 {
		n, inner := f.File.WriteAt(p[:short], off)
		return n, errors.Join(err, inner)
	}
	return 0, err
}

// Truncate implements File.
func (f *faultyFile) Truncate(size int64) error {
	if err := f.fs.check(OpTruncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Sync implements File.
func (f *faultyFile) Sync() error {
	fault, err := f.fs.hit(OpSync, f.name)
	if err == nil {
		return f.File.Sync()
	}
	if m, ok := f.File.(*memFile); ok && fault.Drop {
		m.dropUnsynced()
	}
	return syncError(err)
}

// Reload implements Reloader if the file below does.
func (f *faultyFile) Reload() error { return Reload(f.File) }

// StartWriteback implements WritebackStarter if the file below does.
func (f *faultyFile) StartWriteback(off, n int64) {
	if err := f.fs.check(OpWriteback, f.name); err != nil {
		return
	}
	if w, ok := f.File.(WritebackStarter); ok {
		w.StartWriteback(off, n)
	}
}

// AdviseSequential implements CacheAdviser if the file below does.
func (f *faultyFile) AdviseSequential() { AdviseSequential(f.File) }

// DropCache implements CacheAdviser if the file below does.
func (f *faultyFile) DropCache(off, n int64) { DropCache(f.File, off, n) }

// Preallocate implements Preallocator if the file below does.
func (f *faultyFile) Preallocate(size int64) error {
	if err := f.fs.check(OpPreallocate, f.name); err != nil {
		return err
	}
	return Preallocate(f.File, size)
}

// OSFile implements OSFiler if the file below does. Otherwise it returns nil.
func (f *faultyFile) OSFile() *os.File {
	if o, ok := f.File.(OSFiler); ok {
		return o.OSFile()
	}
	return nil
}
