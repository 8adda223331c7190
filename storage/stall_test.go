package storage

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/vfs"
)

// hangingFS is a file system on which, once hang was called, operations of one kind do not return
// until it is released.
type hangingFS struct {
	vfs.FS
	mu struct {
		sync.Mutex
		op   vfs.Op
		name string
	}
	released chan struct{}
	began    chan struct{} // gets a token for each operation that does not return
}

func newHangingFS() *hangingFS {
	return &hangingFS{FS: vfs.NewMem(), released: make(chan struct{}), began: make(chan struct{}, 1000)}
}

func (h *hangingFS) hang(op vfs.Op, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.op, h.mu.name = op, name
}

func (h *hangingFS) do(op vfs.Op, name string) {
	h.mu.Lock()
	hangs := op == h.mu.op && strings.Contains(name, h.mu.name)
	h.mu.Unlock()
	if hangs {
		h.began <- struct{}{}
		<-h.released
	}
}

type hangingFile struct {
	vfs.File
	fs   *hangingFS
	name string
}

func (h *hangingFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return hangingFile{f, h, name}, nil
}

func (h *hangingFS) Rename(from, to string) error {
	h.do(vfs.OpRename, from)
	return h.FS.Rename(from, to)
}

func (f hangingFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.do(vfs.OpWrite, f.name)
	return f.File.WriteAt(p, off)
}

func (f hangingFile) Sync() error {
	f.fs.do(vfs.OpSync, f.name)
	return f.File.Sync()
}

// reportedDirs are the directories for which OnDirFailed was called.
type reportedDirs struct {
	mu  sync.Mutex
	ids [][16]byte
}

func (r *reportedDirs) add(id [16]byte, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = append(r.ids, id)
}

func (r *reportedDirs) all() [][16]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids
}

func lastOf(r *told) error {
	_, _, err := r.last()
	return err
}

// TestHangingDiskEndsItsDirectoryOnly: a disk that hangs takes its directory out and no other. The
// other directories continue, flush waiters get an error, and the process can end.
func TestHangingDiskEndsItsDirectoryOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		op   vfs.Op
		file string
		try  func(l *Log)
	}{
		"write":      {vfs.OpWrite, "/a/t-0/", func(l *Log) { _ = appendOne(l) }},
		"sync":       {vfs.OpSync, "/a/t-0/", func(l *Log) { _ = l.Flush(context.Background(), l.EndOffset()) }},
		"rename":     {vfs.OpRename, "/a/t-0/", func(l *Log) { _ = l.Roll() }},
		"round":      {vfs.OpSync, "/a/t-0/", func(l *Log) { l.FlushSoon() }},
		"checkpoint": {vfs.OpSync, "/a/" + recoveryFile, func(*Log) {}},
		"delete":     {vfs.OpRename, "/a/t-0", func(l *Log) { _ = appendOne(l) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys := newHangingFS()
				release := sync.OnceFunc(func() { close(fsys.released) })
				defer release()
				k := newKit(t, fsys, nil)
				if err := k.m.Close(); err != nil {
					t.Fatal(err)
				}
				var failed reportedDirs
				k.options.Dirs, k.options.StallTimeout = []string{"/a", "/b"}, 20*time.Second
				k.options.RetentionInterval = 1 << 60 // it would wait for a mutex
				k.options.OnDirFailed = failed.add
				k.open()
				ids := k.m.OnlineDirs()
				a := k.log()
				b, err := k.m.Create("u", 0, testID)
				if err != nil || b.dir().path != "/b" {
					t.Fatal(err)
				}
				var flushed told
				a.OnFlush(flushed.flushed)
				stop := k.running()
				fill(t, a, 2)
				fill(t, b, 2)
				fsys.hang(tc.op, tc.file)
				var stuck sync.WaitGroup
				stuck.Go(func() {
					if name == "delete" {
						_ = k.m.Delete("t", 0)
						return
					}
					tc.try(a)
				})
				synctest.Wait()
				var waiting error
				flushes := name == "sync" || name == "round"
				// In the other cases it would wait for a mutex, which stops virtual time.
				if flushes {
					stuck.Go(func() { waiting = a.Flush(context.Background(), 2) })
				}
				pass(19 * time.Second)
				synctest.Wait()
				if len(failed.all()) > 0 {
					t.Fatal("too early")
				}
				pass(10 * time.Second) // a checkpoint began after 5
				synctest.Wait()
				if got := failed.all(); len(got) != 1 || got[0] != ids[0] || len(k.m.OnlineDirs()) != 1 || k.m.stalledDirs() != 1 {
					t.Fatalf("failed: %v", got)
				}
				if flushes && (!errors.Is(waiting, ErrStorage) || !errors.Is(lastOf(&flushed), ErrStorage)) {
					t.Errorf("Flush returns %v, OnFlush is told %v", waiting, lastOf(&flushed))
				}
				fill(t, b, 1)
				if err = b.Flush(t.Context(), 3); err != nil {
					t.Error(err)
				}
				pass(10 * time.Second)
				synctest.Wait()
				if written := b.dir().checkpoints.written[recoveryFile][b.key]; written != 3 {
					t.Errorf("the recovery point of the other directory is %d", written)
				}
				if _, err = k.m.Create("v", 0, testID); err != nil {
					t.Error(err)
				}
				if err = k.m.Delete("t", 0); err != nil {
					t.Error(err)
				}
				stop()
				if err = k.m.Close(); !errors.Is(err, ErrStorage) {
					t.Error(err)
				}
				release()
				stuck.Wait()
			})
		})
	}
}

// TestSlowDiskStays: an operation that takes long but returns in time has no consequences.
func TestSlowDiskStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newHangingFS()
		k := newKit(t, fsys, nil)
		defer k.running()()
		fill(t, k.log(), 1)
		fsys.hang(vfs.OpSync, ".log")
		var flush sync.WaitGroup
		flush.Go(func() {
			if err := k.log().Flush(t.Context(), 1); err != nil {
				t.Error(err)
			}
		})
		pass(29 * time.Second)
		close(fsys.released)
		flush.Wait()
		pass(time.Hour)
		if err := k.log().dir().err(); err != nil {
			t.Fatal(err)
		}
	})
}
