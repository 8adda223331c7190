package storage

import (
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/vfs"
)

// producerSegments returns a log of two closed segments and an active one, with one producer
// throughout.
func producerSegments(t *testing.T) *kit {
	t.Helper()
	k := newKit(t, vfs.NewMem(), tiered)
	for i := range int32(9) {
		mustAppend(t, k.log(), batchOf(1, 50, epoch0.UnixMilli(), producer(7, 0, i)))
		if i == 2 || i == 5 {
			if err := k.log().Roll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit(k.log())
	return k
}

// lastSequenceAt returns the producer's last sequence in the snapshot that an upload of the segment
// ending at an offset would have.
func lastSequenceAt(t *testing.T, l *Log, end int64) int32 {
	t.Helper()
	for _, c := range l.ClosedSegments(0) {
		if c.EndOffset != end {
			continue
		}
		files, release, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if files.Snapshot == nil {
			return -1
		}
		content, err := io.ReadAll(files.Snapshot)
		if err != nil {
			t.Fatal(err)
		}
		producers, err := decodeSnapshot(content)
		if err != nil || producers[7] == nil {
			t.Fatalf("snapshot at %d: %v, %v", end, producers, err)
		}
		return producers[7].newest().lastSequence
	}
	t.Fatalf("no segment ends at %d", end)
	return -1
}

// TestFlushSyncsSnapshots: a flushed segment has its producer snapshot on the disk.
func TestFlushSyncsSnapshots(t *testing.T) {
	k := producerSegments(t)
	if err := k.log().Flush(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		next := k.on(k.mem().CrashClone(seed))
		for _, at := range []int64{3, 6} {
			content, err := vfs.ReadFile(next.fs, k.path(fileName(at, extSnapshot)), maxSnapshot)
			if err == nil {
				_, err = decodeSnapshot(content)
			}
			if err != nil {
				t.Fatalf("seed %d, snapshot at %d: %v", seed, at, err)
			}
		}
	}
}

// TestUploadMendsSnapshots: a missing or damaged snapshot does not mean that there are no
// producers. The object store must get one that was rebuilt.
func TestUploadMendsSnapshots(t *testing.T) {
	for name, damage := range map[string]func(fsys vfs.FS, path string) error{
		"missing": func(fsys vfs.FS, path string) error { return fsys.Remove(path) },
		"empty":   func(fsys vfs.FS, path string) error { return vfs.WriteFile(fsys, path, nil, 0o644) },
		"torn":    func(fsys vfs.FS, path string) error { return vfs.WriteFile(fsys, path, []byte("\x00\x01\x00"), 0o644) },
	} {
		for _, also := range []int64{3, -1} {
			k := producerSegments(t)
			if err := k.log().Flush(t.Context(), 9); err != nil {
				t.Fatal(err)
			}
			for _, at := range []int64{6, also} {
				if at < 0 {
					continue
				}
				if err := damage(k.fs, k.path(fileName(at, extSnapshot))); err != nil {
					t.Fatal(err)
				}
			}
			if got := lastSequenceAt(t, k.log(), 6); got != 5 {
				t.Errorf("%s: the last sequence at 6 is %d", name, got)
			}
		}
	}
}

// TestRecoveryMendsSnapshots: recovery rebuilds snapshots that a power cut has torn.
func TestRecoveryMendsSnapshots(t *testing.T) {
	k := producerSegments(t)
	for _, at := range []int64{3, 6} {
		if err := vfs.WriteFile(k.fs, k.path(fileName(at, extSnapshot)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	next := k.killed()
	for at, want := range map[int64]int32{3: 2, 6: 5} {
		content, err := vfs.ReadFile(next.fs, k.path(fileName(at, extSnapshot)), maxSnapshot)
		if err != nil {
			t.Fatal(err)
		}
		if producers, err := decodeSnapshot(content); err != nil || producers[7].newest().lastSequence != want {
			t.Errorf("snapshot at %d: %v", at, err)
		}
	}
}

// epochSyncFS delays the first sync of an epoch file.
type epochSyncFS struct {
	*vfs.Mem
	held atomic.Bool
	wait time.Duration
}

type epochSyncFile struct {
	vfs.File
	fs *epochSyncFS
}

func (f *epochSyncFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.Mem.OpenFile(name, flag, perm)
	if err == nil && strings.Contains(name, epochFile) {
		return epochSyncFile{file, f}, nil
	}
	return file, err
}

func (f epochSyncFile) Sync() error {
	if !f.fs.held.Swap(true) {
		<-time.After(f.fs.wait)
	}
	return f.File.Sync()
}

// TestStartFromRemoteBesideAFlush: a log starts from the object store while a flush writes the
// epoch file. Its epoch file must have the epochs of the object store, and its directory must not
// fail.
func TestStartFromRemoteBesideAFlush(t *testing.T) {
	state := remoteState(t)
	synctest.Test(t, func(t *testing.T) {
		fsys := &epochSyncFS{Mem: vfs.NewMem(), wait: time.Second}
		k := newKit(t, fsys, tiered)
		l := k.log()
		fill(t, l, 4)
		var flush sync.WaitGroup
		flush.Go(func() { _ = l.Flush(t.Context(), 4) }) // its records are gone by then
		synctest.Wait()
		if err := l.StartFromRemote(t.Context(), state); err != nil {
			t.Error(err)
		}
		flush.Wait()
		if err := l.dir().err(); err != nil {
			t.Fatal(err)
		}
		next := k.on(fsys.Clone())
		next.open()
		begun(t, next.log(), "after a kill")
	})
}
