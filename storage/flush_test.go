package storage

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/vfs"
)

// slowFS delays every Sync of a file, in the time of the synctest bubble.
type slowFS struct {
	vfs.FS
	delay atomic.Int64 // a time.Duration
	syncs atomic.Int64
}

func (s *slowFS) take(d time.Duration) { s.delay.Store(int64(d)) }

type slowFile struct {
	vfs.File
	fs *slowFS
}

func (s *slowFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return slowFile{f, s}, nil
}

func (f slowFile) Sync() error {
	f.fs.syncs.Add(1)
	<-time.After(time.Duration(f.fs.delay.Load()))
	return f.File.Sync()
}

func TestConcurrentFlushesShareOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &slowFS{FS: vfs.NewMem()}
		k := newKit(t, fsys, nil)
		l := k.log()
		fill(t, l, 1)
		// The first flush syncs names as well.
		if err := l.Flush(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		fsys.take(10 * time.Millisecond)
		fsys.syncs.Store(0)
		began := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			fill(t, l, 1)
			end := l.EndOffset()
			wg.Go(func() {
				if err := l.Flush(t.Context(), end); err != nil {
					t.Error(err)
				}
				if l.FlushedOffset() < end {
					t.Errorf("flushed %d, wanted %d", l.FlushedOffset(), end)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if n := fsys.syncs.Load(); n != 2 {
			t.Fatalf("%d syncs for 20 callers, want one under way and one for all others", n)
		}
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Fatalf("took %v", took)
		}
		fsys.take(0)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAppendsGoOnDuringAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &slowFS{FS: vfs.NewMem()}
		fsys.take(time.Hour)
		k := newKit(t, fsys, nil)
		l := k.log()
		fill(t, l, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := l.Flush(t.Context(), 1); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		fill(t, l, 5) // would hang if Flush held the log's lock
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		if err := l.Flush(ctx, 6); err == nil || err.Error() != "flush t-0: enough" {
			t.Fatal(err)
		}
		wg.Wait()
		if l.FlushedOffset() != 1 {
			t.Fatalf("flushed %d", l.FlushedOffset())
		}
		fsys.take(0)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNeedsFlush(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.FlushMessages = 3 }).log()
	for i, want := range []bool{false, false, true, true} {
		if info := mustAppend(t, l, batchOf(1, 5, epoch0.UnixMilli())); info.NeedsFlush != want {
			t.Fatalf("append %d: NeedsFlush %t", i, info.NeedsFlush)
		}
	}
	if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	if info := mustAppend(t, l, batchOf(2, 5, epoch0.UnixMilli())); info.NeedsFlush {
		t.Fatal("a flush does not count")
	}
}

func TestFlushedIsWhatACrashKeeps(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 700 })
	fill(t, k.log(), 20)
	if err := k.log().Flush(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	fill(t, k.log(), 10)
	short := 0
	for seed := range uint64(50) {
		c := k.crashed(seed)
		if end := c.log().EndOffset(); end < 20 || end > 30 {
			t.Fatalf("seed %d: end %d", seed, end)
		} else if end < 30 {
			short++
		}
		if n := int64(len(readAll(t, c.log(), 0))); n != c.log().EndOffset() {
			t.Fatalf("seed %d: %d batches, end %d", seed, n, c.log().EndOffset())
		}
		if err := c.m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if short == 0 {
		t.Fatal("no crash lost anything")
	}
}

// A flush during which the log was truncated proves nothing. Flush starts again, for the new end.
func TestFlushWhileTruncatedIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &slowFS{FS: vfs.NewMem()}
		k := newKit(t, fsys, nil)
		l := k.log()
		fill(t, l, 4)
		fsys.take(time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := l.Flush(t.Context(), 4); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		fsys.take(0)
		if err := l.Truncate(2); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 1)
		before := fsys.syncs.Load()
		// Flush has noticed, and made the new end durable.
		wg.Wait()
		if l.FlushedOffset() != 3 || fsys.syncs.Load() == before {
			t.Fatalf("flushed %d after %d more syncs", l.FlushedOffset(), fsys.syncs.Load()-before)
		}
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
