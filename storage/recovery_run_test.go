package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

// TestCrashAtEveryOperationOfRecovery: the machine dies at the nth operation of the recovery of a
// damaged log, for every n. The next recovery must reach the same end as an uninterrupted one.
func TestCrashAtEveryOperationOfRecovery(t *testing.T) {
	t.Parallel()
	seeds := uint64(1)
	if long() {
		seeds = 20
	}
	for _, compact := range []bool{false, true} {
		for _, tc := range []struct {
			name string
			hurt func(v *victim)
			end  int64
		}{
			{"nothing", func(*victim) {}, victimEnd},
			{"changed byte in a closed segment", func(v *victim) { v.flip(4, 65) }, 4},
			{"changed byte in the first segment", func(v *victim) { v.flip(1, 65) }, 1},
			{"torn tail", func(v *victim) {
				v.k.edit(seg6+extLog, func(b []byte) []byte { return b[:len(b)-9] })
			}, victimEnd - 1},
			{"zeros behind a closed segment", func(v *victim) {
				v.k.edit(seg3+extLog, func(b []byte) []byte { return append(b, make([]byte, 700)...) })
			}, victimEnd},
			{"leftovers", func(v *victim) {
				for _, name := range []string{seg0 + ".log.4.deleted", seg3 + ".log.swap", seg3 + ".index.cleaned", seg6 + ".index.tmp"} {
					v.k.create(name, []byte("leftover"))
				}
			}, victimEnd},
			{"log start above the end", func(v *victim) {
				v.k.create("../"+startFile, []byte("0\n1\nt 0 11\n"))
			}, 11},
		} {
			t.Run(fmt.Sprintf("%s, compacted %t", tc.name, compact), func(t *testing.T) {
				for n, whole := 0, false; !whole; n++ {
					v := newVictim(t, killed, func(c *Config) { c.CleanupCompact = compact })
					tc.hurt(v)
					settleDisk(t, v.k.fs, "/data")
					faulty := vfs.NewFaulty(v.k.fs)
					faulty.Inject(vfs.Fault{After: n, Err: syscall.EIO})
					options := v.k.options
					options.FS = faulty
					m, err := OpenManager(t.Context(), options)
					if whole = faulty.Hits() == 0; whole && err != nil {
						t.Fatal(err)
					}
					for seed := uint64(n); seed < uint64(n)+seeds; seed++ {
						crashed := v.on(v.k.mem().CrashClone(seed))
						crashed.k.open()
						if got := crashed.k.log().EndOffset(); got != tc.end {
							t.Fatalf("operation %d, crash %d: end %d, want %d", n, seed, got, tc.end)
						}
						if tc.end <= victimEnd {
							crashed.checkContent(tc.end)
						}
						crashed.checkAppendable()
					}
					if m != nil {
						_ = m.Close() // its result does not matter
					}
				}
			})
		}
	}
}

// on returns the same victim on another file system.
func (v *victim) on(fsys vfs.FS) *victim {
	other := *v
	other.k = v.k.on(fsys)
	return &other
}

// copied returns a copy of the victim for another test.
func (v *victim) copied(t *testing.T) *victim {
	t.Helper()
	other := v.on(v.k.mem().Clone())
	other.t, other.k.t = t, t
	return other
}

// countingFS counts the bytes read from .log files.
type countingFS struct {
	vfs.FS
	read atomic.Int64
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (c *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasSuffix(name, extLog) {
		f = countingFile{f, c}
	}
	return f, err
}

func (f countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.fs.read.Add(int64(n))
	return n, err
}

// TestRecoveryReadsLittleBelowTheRecoveryPoint counts the bytes read of a log of 4 MiB, in segments
// of 1 MiB, of which 3.5 MiB are durable.
func TestRecoveryReadsLittleBelowTheRecoveryPoint(t *testing.T) {
	const batch = 64 << 10
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 1 << 20; c.MaxMessageBytes = 2 * batch })
	appendTo := func(size int64) {
		t.Helper()
		for k.log().Size() < size {
			mustAppend(t, k.log(), batchOf(1, batch, epoch0.UnixMilli()+k.log().EndOffset()))
		}
	}
	appendTo(7 << 19)
	if err := k.log().Flush(t.Context(), k.log().EndOffset()); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	durable := k.log().Size()
	appendTo(4<<20 - batch)
	dead := k.on(nil)
	counting := &countingFS{FS: k.mem().Clone()}
	dead.fs, dead.options.FS = counting, counting
	dead.open()
	if dead.log().EndOffset() != k.log().EndOffset() {
		t.Fatalf("end %d, want %d", dead.log().EndOffset(), k.log().EndOffset())
	}
	// Windows overlap by up to a batch, and every batch below the recovery point costs a header.
	past := k.log().Size() - durable
	if most, got := past*4/3+recoveryWindow+batch, counting.read.Load(); got > most {
		t.Fatalf("recovery read %d bytes, want at most %d for %d that are not durable", got, most, past)
	}
	counting.read.Store(0)
	dead.reopen()
	if got := counting.read.Load(); got > 1<<14 {
		t.Fatalf("a clean start read %d bytes", got)
	}
}

// gateFS delays the opening of the slow log's .log until all other logs have been opened.
type gateFS struct {
	vfs.FS
	mu     sync.Mutex
	others map[string]bool
	want   int
	open   chan struct{} // closed when the last of the others was opened
}

func (g *gateFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if dir := filepath.Base(filepath.Dir(name)); strings.HasSuffix(name, extLog) {
		if dir == "t-0" {
			timer := time.NewTimer(time.Minute)
			defer timer.Stop()
			select {
			case <-g.open:
			case <-timer.C:
				return nil, errors.New("the others waited for the slow log")
			}
		} else {
			g.pass(dir)
		}
	}
	return g.FS.OpenFile(name, flag, perm)
}

func (g *gateFS) pass(dir string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.others[dir] {
		if g.others[dir] = true; len(g.others) == g.want {
			close(g.open)
		}
	}
}

// TestSlowLogDoesNotHoldOthersUp: of two recovery workers one is held by a log whose disk hangs;
// the other one must open all other logs.
func TestSlowLogDoesNotHoldOthersUp(t *testing.T) {
	const logs = 12
	k := newKit(t, vfs.NewMem(), nil)
	for p := range int32(logs) {
		l, err := k.m.Create("t", p, testID)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 3)
	}
	options := k.options
	options.FS = &gateFS{FS: k.mem().Clone(), others: map[string]bool{}, want: logs - 1, open: make(chan struct{})}
	options.RecoveryWorkers = 2
	m, err := OpenManager(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	for l := range m.Logs() {
		if l.EndOffset() != 3 {
			t.Fatalf("%s ends at %d", l.key, l.EndOffset())
		}
	}
	if err = m.Close(); err != nil {
		t.Fatal(err)
	}
}
