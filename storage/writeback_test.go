package storage

import (
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/vfs"
)

// writebackFS records the ranges of .log files whose write-back is requested. While gate is locked
// no request returns.
type writebackFS struct {
	vfs.FS
	gate   sync.RWMutex
	mu     sync.Mutex
	ranges [][2]int64
}

type writebackFile struct {
	vfs.File
	fs *writebackFS
}

func (w *writebackFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := w.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, extLog) {
		return f, err
	}
	return writebackFile{f, w}, nil
}

func (f writebackFile) StartWriteback(off, n int64) {
	f.fs.mu.Lock()
	f.fs.ranges = append(f.fs.ranges, [2]int64{off, off + n})
	f.fs.mu.Unlock()
	f.fs.gate.RLock()
	defer f.fs.gate.RUnlock()
}

// seen returns the number of ranges so far and their end; they must be contiguous.
func (w *writebackFS) seen(t *testing.T, from int64) (n int, end int64) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.ranges {
		if r[0] != from || r[1]-r[0] < writebackTest || r[1]%writebackAlign != 0 {
			t.Fatalf("ranges %v", w.ranges)
		}
		from = r[1]
	}
	return len(w.ranges), from
}

const writebackTest = 128 << 10

func newWritebackKit(t *testing.T, every int64) (*kit, *writebackFS) {
	t.Helper()
	fsys := &writebackFS{FS: vfs.NewMem()}
	k := newKit(t, fsys, nil)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.WritebackBytes = every
	k.open()
	return k, fsys
}

func appendBytes(t *testing.T, l *Log, n int64) {
	t.Helper()
	for end := l.Size() + n; l.Size() < end; {
		mustAppend(t, l, batchOf(1, 30_000, epoch0.UnixMilli()))
	}
}

func TestWritebackFollowsAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, fsys := newWritebackKit(t, writebackTest)
		l := k.log()
		defer k.running()()
		for range 40 {
			appendBytes(t, l, 100<<10)
			synctest.Wait()
			if _, end := fsys.seen(t, 0); l.Size()-end >= writebackTest+writebackAlign {
				t.Fatalf("%d bytes are left to the system", l.Size()-end)
			}
		}
		n, end := fsys.seen(t, 0)
		if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
			t.Fatal(err)
		}
		// More than enough since the last range, but not since the flush.
		appendBytes(t, l, end+writebackTest-l.Size())
		synctest.Wait()
		if m, _ := fsys.seen(t, 0); m != n {
			t.Errorf("%d ranges of what a flush has written", m-n)
		}
	})
}

func TestAppendsDoNotWaitForWriteback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, fsys := newWritebackKit(t, writebackTest)
		l := k.log()
		defer k.running()()
		fsys.gate.Lock()
		appendBytes(t, l, 2*writebackQueue*writebackTest) // more than the queue takes
		fsys.gate.Unlock()
		synctest.Wait()
		appendBytes(t, l, writebackTest)
		synctest.Wait()
		n, end := fsys.seen(t, 0)
		if n > writebackQueue+3 || l.Size()-end >= writebackTest+writebackAlign {
			t.Errorf("%d ranges up to %d of %d", n, end, l.Size())
		}
	})
}

func TestWritebackCanBeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, fsys := newWritebackKit(t, 0)
		defer k.running()()
		appendBytes(t, k.log(), 4*writebackTest)
		synctest.Wait()
		if n, _ := fsys.seen(t, 0); n != 0 {
			t.Errorf("%d ranges", n)
		}
	})
}

func TestWritebackOpensNoFileOfAClosedLog(t *testing.T) {
	k, fsys := newWritebackKit(t, writebackTest)
	l := k.log()
	appendBytes(t, l, 2*writebackTest) // a range waits in the queue, because Run is not running
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	r := <-l.dir().writeback.queue
	r.start()
	if n, _ := fsys.seen(t, 0); n != 0 || k.m.env.files.count() != 0 {
		t.Errorf("%d ranges, %d open files", n, k.m.env.files.count())
	}
}
