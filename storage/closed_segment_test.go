package storage

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// adviceFS records which files were read sequentially, and which were dropped from the page cache.
type adviceFS struct {
	vfs.FS
	mu                sync.Mutex
	sequence, dropped map[string]bool
}

type adviceFile struct {
	vfs.File
	fs   *adviceFS
	name string
}

func (a *adviceFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := a.FS.OpenFile(name, flag, perm)
	return adviceFile{f, a, filepath.Base(name)}, err
}

func (f adviceFile) AdviseSequential() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.sequence[f.name] = true
}

func (f adviceFile) DropCache(_, n int64) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.dropped[f.name] = n > 0
}

// Copying a segment leaves none of its pages in the page cache, unless it belongs to the log's
// tail, which consumers read.
func TestCopiedSegmentsLeaveNoPages(t *testing.T) {
	advice := &adviceFS{FS: vfs.NewMem(), sequence: map[string]bool{}, dropped: map[string]bool{}}
	k := newKit(t, advice, func(c *Config) {
		c.SegmentBytes, c.RemoteStorageEnable = 3*int64(len(batchOf(1, 50, 0))), true
	})
	l := k.log()
	k.m.env.hotTail = 4 * int64(len(batchOf(1, 50, 0)))
	fill(t, l, 13) // four segments, and one batch
	commit(l)
	if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	for _, s := range l.ClosedSegments(0) {
		files, release, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b := make([]byte, files.Log.Size()); files.Log.Size() != s.SizeBytes {
			t.Errorf("a segment of %d bytes has %d", s.SizeBytes, len(b))
		} else if _, err = files.Log.ReadAt(b, 0); err != nil {
			t.Error(err)
		}
		release()
	}
	read, dropped := slices.Sorted(maps.Keys(advice.sequence)), slices.Sorted(maps.Keys(advice.dropped))
	if want := []string{fileName(0, extLog), fileName(3, extLog), fileName(6, extLog), fileName(9, extLog)}; !slices.Equal(read, want) {
		t.Errorf("read in a sequence are %v, want %v", read, want)
	}
	if want := []string{fileName(0, extLog), fileName(3, extLog), fileName(6, extLog)}; !slices.Equal(dropped, want) {
		t.Errorf("dropped are %v, want %v", dropped, want)
	}
}
