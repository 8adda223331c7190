package diskcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/vfs"
)

const blockBytes = 1000

// bench is a cache of ten blocks that runs in a bubble until stop is called.
type bench struct {
	*Cache
	t        *testing.T
	registry *prometheus.Registry
	stop     func()
}

func start(t *testing.T, fsys vfs.FS) *bench {
	t.Helper()
	registry := prometheus.NewRegistry()
	c := New(Options{FS: fsys, Dir: "/cache", Bytes: 10 * blockBytes, Registerer: registry})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	synctest.Wait()
	return &bench{c, t, registry, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}}
}

// block returns the content of the n-th block of an object.
func block(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, blockBytes/2) }

func (b *bench) put(n int) {
	b.Put("object", int64(n), block(n))
	synctest.Wait()
}

func (b *bench) fetched(n int) {
	b.Fetched("object", int64(n), block(n))
	synctest.Wait()
}

// get returns true if the block is there, and checks its content.
func (b *bench) get(n int) bool {
	b.t.Helper()
	want := block(n)
	got := b.Get(b.t.Context(), "object", int64(n), len(want), crc32.Checksum(want, castagnoli))
	if got != nil && !bytes.Equal(got, want) {
		b.t.Errorf("block %d is another one", n)
	}
	return got != nil
}

// outcome returns how many reads had an outcome.
func (b *bench) outcome(name string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "varve_tiering_disk_cache_reads_total" && m.GetLabel()[0].GetValue() == name {
				return m.GetCounter().GetValue()
			}
		}
	}
	b.t.Fatalf("there is no outcome %q", name)
	return 0
}

func TestBlocksComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewMem()
		b := start(t, fsys)
		if b.get(1) {
			t.Error("it has what it was not given")
		}
		b.put(1)
		b.put(2)
		if !b.get(1) || !b.get(2) || b.get(3) {
			t.Error("it has not what it was given")
		}
		b.stop()
		if b.get(1) {
			t.Error("it goes on after its end")
		}
		again := start(t, fsys)
		if !again.get(1) || !again.get(2) || again.get(3) {
			t.Error("a start has lost what was there")
		}
		again.stop()
	})
}

// TestStartReadsNoBlock: the names are the index, so a start does not read files.
func TestStartReadsNoBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewFaulty(vfs.NewMem())
		b := start(t, fsys)
		for n := range 10 {
			b.put(n)
		}
		b.stop()
		reads := fsys.Count(vfs.OpRead)
		again := start(t, fsys)
		if n := fsys.Count(vfs.OpRead) - reads; n != 0 {
			t.Errorf("%d reads", n)
		}
		again.stop()
	})
}

func TestCacheStaysWithinItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewMem()
		b := start(t, fsys)
		for n := range 10 {
			b.put(n)
		}
		b.get(0) // used more recently than the second one
		b.put(10)
		if !b.get(0) || b.get(1) || !b.get(10) || b.mu.bytes != 10*blockBytes {
			t.Errorf("another one has gone than the oldest; %d bytes", b.mu.bytes)
		}
		b.stop()
		if n := files(t, fsys); n != 10 {
			t.Errorf("%d files", n)
		}
		small := New(Options{FS: fsys, Dir: "/cache", Bytes: 3 * blockBytes})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- small.Run(ctx) }()
		synctest.Wait()
		if n := files(t, fsys); n != 3 || small.mu.bytes != 3*blockBytes {
			t.Errorf("%d files are left of a cache that may have 3, %d bytes", n, small.mu.bytes)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// files returns the number of blocks on the disk.
func files(t *testing.T, fsys vfs.FS) int {
	t.Helper()
	n := 0
	for i := range 256 {
		entries, err := fsys.ReadDir(fmt.Sprintf("/cache/%02x", i))
		if err != nil {
			t.Fatal(err)
		}
		n += len(entries)
	}
	return n
}

// TestDamageIsAMiss checks that a block that was changed, cut or replaced by another is a miss, and
// is reported once.
func TestDamageIsAMiss(t *testing.T) {
	for what, damage := range map[string]func([]byte) []byte{
		"changed":  func(b []byte) []byte { b[17] ^= 1; return b },
		"cut":      func(b []byte) []byte { return b[:blockBytes/2] },
		"replaced": func([]byte) []byte { return block(99) },
		"longer":   func(b []byte) []byte { return append(b, 0) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys := vfs.NewMem()
				b := start(t, fsys)
				b.put(1)
				path := b.path(nameOf("object", 1), blockBytes)
				if err := vfs.WriteFile(fsys, path, damage(block(1)), 0o644); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if b.get(1) {
						t.Error("damage was returned")
					}
				}
				b.put(1)
				if b.outcome("damaged") != 1 || !b.get(1) {
					t.Errorf("it was found damaged %v times, or is not kept again", b.outcome("damaged"))
				}
				b.stop()
			})
		})
	}
}

// TestRemovedFileIsForgotten: an operator has removed the file of a block. The block takes no room
// any more, and is kept again.
func TestRemovedFileIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewMem()
		b := start(t, fsys)
		b.put(1)
		if err := fsys.Remove(b.path(nameOf("object", 1), blockBytes)); err != nil {
			t.Fatal(err)
		}
		if b.get(1) || b.mu.bytes != 0 {
			t.Errorf("it was returned, or %d bytes still count", b.mu.bytes)
		}
		b.put(1)
		if !b.get(1) {
			t.Error("it is not kept again")
		}
		b.stop()
	})
}

// TestCrashLeavesWhatIsWhole checks that after a crash only whole blocks are returned.
func TestCrashLeavesWhatIsWhole(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			fsys := vfs.NewMem()
			b := start(t, fsys)
			for n := range 8 {
				b.put(n)
			}
			crashed := fsys.CrashClone(seed)
			b.stop()
			again := start(t, crashed)
			for n := range 8 {
				again.get(n) // which checks its content
			}
			again.put(20)
			if !again.get(20) {
				t.Error("it keeps nothing after a crash")
			}
			again.stop()
		})
	}
}

func TestLeftoversGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewMem()
		start(t, fsys).stop()
		for _, name := range []string{"/cache/07/x.tmp", "/cache/07/00112233445566778899aabbccddee-1000.tmp", "/cache/07/zz-1"} {
			if err := vfs.WriteFile(fsys, name, []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b := start(t, fsys)
		if n := files(t, fsys); n != 0 {
			t.Errorf("%d files are left", n)
		}
		b.stop()
	})
}

// TestReplayTakesNoRoom checks that a block read from the store once is not written. A block that
// is read again is written, and stays while a long history is replayed.
func TestReplayTakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewFaulty(vfs.NewMem())
		b := start(t, fsys)
		for range 2 {
			for n := range 8 {
				b.fetched(n)
			}
		}
		writes := fsys.Count(vfs.OpWrite)
		for n := 100; n < 1100; n++ {
			b.fetched(n)
		}
		if n := fsys.Count(vfs.OpWrite) - writes; n != 0 {
			t.Errorf("the replay has written %d blocks", n)
		}
		for n := range 8 {
			if !b.get(n) {
				t.Errorf("block %d has gone", n)
			}
		}
		if n := b.mu.ghosts.Len(); n > ghostShare*10 {
			t.Errorf("%d blocks are remembered that are not kept", n)
		}
		b.stop()
	})
}

// slowFS is a disk whose reads and writes take some time.
type slowFS struct {
	vfs.FS
	takes atomic.Int64 // nanoseconds
}

func (s *slowFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	time.Sleep(time.Duration(s.takes.Load()))
	return s.FS.OpenFile(name, flag, perm)
}

// TestSlowDiskIsAMiss checks that no caller waits longer than its patience, and that no queue
// grows.
func TestSlowDiskIsAMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &slowFS{FS: vfs.NewMem()}
		b := start(t, fsys)
		b.put(1)
		fsys.takes.Store(int64(time.Minute))
		for n := range 3 * (maxReads + readers) {
			began := time.Now()
			if n >= readers+maxReads {
				if b.get(1) || time.Since(began) != 0 {
					t.Fatalf("read %d waits %v for a queue that is full", n, time.Since(began))
				}
				continue
			}
			go b.get(1)
			synctest.Wait()
		}
		if b.outcome("busy") == 0 {
			t.Error("the queue is not full")
		}
		time.Sleep(time.Hour)
		began := time.Now()
		if b.get(1) || time.Since(began) != DefaultPatience {
			t.Errorf("it waited %v", time.Since(began))
		}
		began = time.Now()
		for n := range 1000 {
			b.Put("object", int64(n+10), block(n))
		}
		if time.Since(began) != 0 || len(b.writes) > maxWrites {
			t.Errorf("putting took %v, %d are queued", time.Since(began), len(b.writes))
		}
		fsys.takes.Store(0)
		time.Sleep(time.Hour)
		b.put(2)
		if !b.get(2) {
			t.Error("it does not recover")
		}
		b.stop()
	})
}

// TestFullDiskIsLeftAlone checks that a full disk is not written for a while and then tried again.
// Blocks that are there can still be read.
func TestFullDiskIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewFaulty(vfs.NewMem())
		b := start(t, fsys)
		b.put(1)
		fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC, Short: 100})
		before := fsys.Count(vfs.OpWrite)
		for n := range 100 {
			b.put(n + 10)
		}
		if n := fsys.Count(vfs.OpWrite) - before; n != 1 {
			t.Errorf("%d writes to a full disk", n)
		}
		if !b.get(1) || b.get(10) {
			t.Error("what is there is not read, or what is not")
		}
		if n := files(t, fsys); n != 1 {
			t.Errorf("%d files", n)
		}
		fsys.Heal()
		time.Sleep(restAfterFailure)
		b.put(10)
		if !b.get(10) {
			t.Error("it is not tried again")
		}
		b.stop()
	})
}

// TestBrokenDiskIsNoError: the broker runs without the cache.
func TestBrokenDiskIsNoError(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpMkdir, vfs.OpReadDir, vfs.OpLock} {
		synctest.Test(t, func(t *testing.T) {
			fsys := vfs.NewFaulty(vfs.NewMem())
			fsys.Inject(vfs.Fault{Op: op, Err: errors.Join(os.ErrPermission)})
			c := New(Options{FS: fsys, Dir: "/cache", Bytes: 1000})
			if err := c.Run(t.Context()); err != nil {
				t.Errorf("%s: %v", op, err)
			}
			c.Put("object", 1, block(1))
			if c.Get(t.Context(), "object", 1, blockBytes, 0) != nil {
				t.Errorf("%s: it has something", op)
			}
		})
	}
}
