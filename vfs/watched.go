package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// Watch counts the operations on a disk that are under way, by when they began.
// Tick has to be called at an interval; then the counts show an operation that
// does not return, for two atomic additions each and without asking a clock.
type Watch struct {
	ticks atomic.Uint64
	begun [watchSlots]atomic.Int64
}

// watchSlots is for how many ticks operations are told apart by their age.
const watchSlots = 16

// StuckTicks is after how many ticks an operation counts as stuck.
const StuckTicks = watchSlots / 2

func (w *Watch) begin() *atomic.Int64 {
	slot := &w.begun[w.ticks.Load()%watchSlots]
	slot.Add(1)
	return slot
}

func end(slot *atomic.Int64) { slot.Add(-1) }

// Tick says whether an operation has been under way for StuckTicks intervals or
// longer. One goroutine calls it.
func (w *Watch) Tick() (stuck bool) {
	now := w.ticks.Add(1)
	for age := uint64(StuckTicks + 1); age < watchSlots && age <= now; age++ {
		stuck = stuck || w.begun[(now-age)%watchSlots].Load() > 0
	}
	return stuck
}

// Watched passes operations on to another file system and enters those that change
// what is on a disk into the watch of that disk: writes, truncations, syncs and
// what changes names. A disk that hangs holds all of these up sooner or later.
type Watched struct {
	inner FS
	watch func(name string) *Watch
}

// NewWatched wraps a file system. watch gives the watch for a name.
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

// Space implements SpaceReporter when the file system below does.
func (w *Watched) Space(name string) (total, free int64, err error) {
	if r, ok := w.inner.(SpaceReporter); ok {
		return r.Space(name)
	}
	return 0, 0, errors.ErrUnsupported
}

// watchedFile is an open file of a Watched. Reads are not counted: what they are
// asked for is mostly in memory, and they are many.
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

// Reload implements Reloader when the file below does.
func (f *watchedFile) Reload() error { return Reload(f.File) }

// StartWriteback implements WritebackStarter as far as the file below does.
func (f *watchedFile) StartWriteback(off, n int64) {
	if s, ok := f.File.(WritebackStarter); ok {
		defer end(f.watch.begin())
		s.StartWriteback(off, n)
	}
}

// AdviseSequential implements CacheAdviser as far as the file below does.
func (f *watchedFile) AdviseSequential() { AdviseSequential(f.File) }

// DropCache implements CacheAdviser as far as the file below does.
func (f *watchedFile) DropCache(off, n int64) { DropCache(f.File, off, n) }

// Preallocate implements Preallocator as far as the file below does.
func (f *watchedFile) Preallocate(size int64) error {
	defer end(f.watch.begin())
	return Preallocate(f.File, size)
}

// OSFile implements OSFiler when the file below does; nil otherwise.
func (f *watchedFile) OSFile() *os.File {
	if o, ok := f.File.(OSFiler); ok {
		return o.OSFile()
	}
	return nil
}
