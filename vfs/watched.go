package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// Watch counts the operations in progress on a disk by the tick in which they began. Tick must be
// called at an interval; the counts then show an operation that does not return. Each operation
// costs two atomic additions and no reading of a clock.
type Watch struct {
	ticks atomic.Uint64
	begun [watchSlots]atomic.Int64
}

// watchSlots is the number of ticks whose operations are counted separately.
const watchSlots = 16

// StuckTicks is the number of ticks after which an operation counts as stuck.
const StuckTicks = watchSlots / 2

func (w *Watch) begin() *atomic.Int64 {
	slot := &w.begun[w.ticks.Load()%watchSlots]
	slot.Add(1)
	return slot
}

func end(slot *atomic.Int64) { slot.Add(-1) }

// Tick starts a new tick and reports whether an operation has been in progress for at least
// StuckTicks intervals. Only one goroutine may call it. Slots are reused: an operation older than
// watchSlots ticks looks young again for a while. The caller must act on the first report.
func (w *Watch) Tick() (stuck bool) {
	now := w.ticks.Add(1)
	for age := uint64(StuckTicks + 1); age < watchSlots && age <= now; age++ {
		stuck = stuck || w.begun[(now-age)%watchSlots].Load() > 0
	}
	return stuck
}

// Watched forwards operations to another file system and counts them in the watch of their disk.
// Only reads of files, Lock and Space are not counted. A disk that hangs sooner or later blocks all
// operations that change it.
type Watched struct {
	inner FS
	watch func(name string) *Watch
}

// NewWatched wraps a file system. watch returns the watch for a name.
func NewWatched(inner FS, watch func(name string) *Watch) *Watched {
	return &Watched{inner: inner, watch: watch}
}

// OpenFile implements FS.
func (w *Watched) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	watch := w.watch(name)
	defer end(watch.begin())
	f, err := w.inner.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &watchedFile{File: f, watch: watch}, nil
}

// Rename implements FS.
func (w *Watched) Rename(oldName, newName string) error {
	defer end(w.watch(newName).begin())
	return w.inner.Rename(oldName, newName)
}

// Remove implements FS.
func (w *Watched) Remove(name string) error {
	defer end(w.watch(name).begin())
	return w.inner.Remove(name)
}

// MkdirAll implements FS.
func (w *Watched) MkdirAll(name string, perm fs.FileMode) error {
	defer end(w.watch(name).begin())
	return w.inner.MkdirAll(name, perm)
}

// ReadDir implements FS.
func (w *Watched) ReadDir(name string) ([]fs.DirEntry, error) {
	defer end(w.watch(name).begin())
	return w.inner.ReadDir(name)
}

// Stat implements FS.
func (w *Watched) Stat(name string) (fs.FileInfo, error) {
	defer end(w.watch(name).begin())
	return w.inner.Stat(name)
}

// SyncDir implements FS.
func (w *Watched) SyncDir(name string) error {
	defer end(w.watch(name).begin())
	return w.inner.SyncDir(name)
}

// Lock implements FS.
func (w *Watched) Lock(name string) (io.Closer, error) { return w.inner.Lock(name) }

// Space implements SpaceReporter if the file system below does.
func (w *Watched) Space(name string) (total, free int64, err error) {
	if r, ok := w.inner.(SpaceReporter); ok {
		return r.Space(name)
	}
	return 0, 0, errors.ErrUnsupported
}

// watchedFile is an open file of a Watched. Reads are not counted: they are many, and mostly served
// from memory.
type watchedFile struct {
	File
	watch *Watch
}

// WriteAt implements File.
func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	slot := f.watch.begin()
	n, err := f.File.WriteAt(p, off)
	end(slot)
	return n, err
}

// Truncate implements File.
func (f *watchedFile) Truncate(size int64) error {
	defer end(f.watch.begin())
	return f.File.Truncate(size)
}

// Sync implements File.
func (f *watchedFile) Sync() error {
	defer end(f.watch.begin())
	return f.File.Sync()
}

// Reload implements Reloader if the file below does.
func (f *watchedFile) Reload() error { return Reload(f.File) }

// StartWriteback implements WritebackStarter if the file below does.
func (f *watchedFile) StartWriteback(off, n int64) {
	if s, ok := f.File.(WritebackStarter); ok {
		defer end(f.watch.begin())
		s.StartWriteback(off, n)
	}
}

// AdviseSequential implements CacheAdviser if the file below does.
func (f *watchedFile) AdviseSequential() { AdviseSequential(f.File) }

// DropCache implements CacheAdviser if the file below does.
func (f *watchedFile) DropCache(off, n int64) { DropCache(f.File, off, n) }

// Preallocate implements Preallocator if the file below does.
func (f *watchedFile) Preallocate(size int64) error {
	defer end(f.watch.begin())
	return Preallocate(f.File, size)
}

// OSFile implements OSFiler if the file below does. Otherwise it returns nil.
func (f *watchedFile) OSFile() *os.File {
	if o, ok := f.File.(OSFiler); ok {
		return o.OSFile()
	}
	return nil
}
