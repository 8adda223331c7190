package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// fataler is the part of *testing.T and *rapid.T that the helpers need.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// otherDir returns the directory, of two, that the log is not in.
func (k *kit) otherDir(l *Log) *dataDir {
	return k.m.dirs[1-slices.Index(k.m.dirs, l.dir())]
}

// move moves a log to the other directory at once.
func (k *kit) move(t fataler, l *Log) {
	t.Helper()
	to := k.otherDir(l)
	if err := k.m.Move(l.Topic(), l.Partition(), to.path); err != nil {
		t.Fatalf("ask for a move: %v", err)
	}
	k.tryMove(t, to)
	if l.dir() != to {
		t.Fatalf("the log is in %s", l.dir().path)
	}
}

func (k *kit) tryMove(t fataler, to *dataDir) {
	t.Helper()
	mv := k.m.moves.next(to)
	if mv == nil {
		t.Fatalf("no move to %s", to.path)
	}
	for k.m.tryMove(context.Background(), mv) {
	}
}

// newMoveKit has the directories /a and /b, and in /a a log like that of dirtyKit: segments,
// producers, aborted transactions, epochs. All of it is flushed.
func newMoveKit(t testing.TB, fsys vfs.FS) *kit {
	t.Helper()
	k := newKit(t, fsys, func(c *Config) { c.SegmentBytes = 700; c.IndexIntervalBytes = 0 })
	k.shut()
	k.options.Dirs = []string{"/a", "/b"}
	k.open()
	l := k.log()
	for i := range 8 {
		for _, b := range []record.Batch{
			batchOf(2, 40, epoch0.UnixMilli()+int64(i), producer(1, 0, int32(2*i)), transactional),
			endTxn(1, 0, record.ControlType(i%2)),
		} {
			b.SetBaseOffset(l.EndOffset())
			b.SetLeaderEpoch(int32(i / 3))
			if _, err := l.AppendAsFollower(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit(l)
	if err := l.AdvanceStartOffset(1); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Flush(t.Context(), l.EndOffset()), k.m.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	if l.dir().path != "/a" || len(l.list()) < 3 || l.list().active().size.Load() == 0 {
		t.Fatalf("in %s with %d segments", l.dir().path, len(l.list()))
	}
	return k
}

// contents is everything that a log answers.
type contents struct {
	batches []record.Batch
	start   int64
	end     int64
	aborted string
	epochs  string
}

func contentsOf(t testing.TB, l *Log) contents {
	t.Helper()
	aborted, err := l.AbortedTransactions(0, l.EndOffset())
	if err != nil {
		t.Fatal(err)
	}
	return contents{readAll(t, l, l.LocalStartOffset()), l.StartOffset(), l.EndOffset(), fmt.Sprint(aborted), fmt.Sprint(l.EpochEntries())}
}

func (c contents) check(t testing.TB, what string, l *Log) {
	t.Helper()
	got := contentsOf(t, l)
	if !slices.EqualFunc(got.batches, c.batches, func(a, b record.Batch) bool { return bytes.Equal(a, b) }) {
		t.Fatalf("%s: %d batches to %d, want %d to %d", what, len(got.batches), got.end, len(c.batches), c.end)
	}
	if got.start != c.start || got.end != c.end || got.aborted != c.aborted || got.epochs != c.epochs {
		t.Fatalf("%s: start %d, end %d, aborted %s, epochs %s, want %d, %d, %s, %s", what,
			got.start, got.end, got.aborted, got.epochs, c.start, c.end, c.aborted, c.epochs)
	}
	if err := verifyFiles(l); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if at, ok, err := l.OffsetForTimestamp(epoch0.UnixMilli() + 7); err != nil || !ok || at.Timestamp != epoch0.UnixMilli()+7 {
		t.Fatalf("%s: a time is found at %+v (%t, %v)", what, at, ok, err)
	}
}

// homes returns the directories that have the log under its own name, and its marked directories.
func (k *kit) homes() (plain, marked []string) {
	k.t.Helper()
	for _, dir := range []string{"/a", "/b"} {
		entries, err := k.fs.ReadDir(dir)
		if err != nil {
			k.t.Fatal(err)
		}
		for _, e := range entries {
			switch {
			case e.Name() == "t-0":
				plain = append(plain, dir)
			case strings.HasPrefix(e.Name(), "t-0."):
				marked = append(marked, dir+"/"+e.Name())
			}
		}
	}
	return plain, marked
}

// goesOn checks that the producer can continue, and returns the contents with its new batch
// flushed.
func (k *kit) goesOn(what string, l *Log, seq int32) contents {
	k.t.Helper()
	b := batchOf(1, 10, epoch0.UnixMilli()+100, producer(1, 0, seq), transactional)
	if _, err := l.Append(bytes.Clone(b), 9); err != nil {
		k.t.Fatalf("%s: %v", what, err)
	}
	if info, err := l.Append(b, 9); err != nil || !info.Duplicate {
		k.t.Fatalf("%s: the same again: %+v, %v", what, info, err)
	}
	if err := l.Flush(k.t.Context(), l.EndOffset()); err != nil {
		k.t.Fatalf("%s: %v", what, err)
	}
	return contentsOf(k.t, l)
}

func TestMoveThereAndBack(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	l := k.log()
	want := contentsOf(t, l)
	for i := range 4 {
		k.move(t, l)
		want.check(t, fmt.Sprintf("move %d", i), l)
		if l.FlushedOffset() != l.EndOffset() || k.m.dirs[0].logs+k.m.dirs[1].logs != 1 || l.dir().logs != 1 {
			t.Fatalf("flushed to %d of %d, logs %d and %d", l.FlushedOffset(), l.EndOffset(), k.m.dirs[0].logs, k.m.dirs[1].logs)
		}
		if i == 1 {
			k.m.env.emptyTrash(farFuture)
		}
		want = k.goesOn("afterwards", l, int32(16+i))
	}
	k.m.env.emptyTrash(farFuture)
	if plain, marked := k.homes(); !slices.Equal(plain, []string{"/a"}) || len(marked) > 0 {
		t.Fatalf("it is in %q, and there is %q", plain, marked)
	}
	k.reopen()
	want.check(t, "after a restart", k.log())
}

// TestReadersOfTheLogThatMoved: a reader with a segment from before the move can still open its
// files. After they are removed it gets ErrOffsetOutOfRange, upon which it loads the list again.
func TestReadersOfTheLogThatMoved(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	l := k.log()
	if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	closed := l.ClosedSegments(0)[0]
	if !closed.segment.acquire() {
		t.Fatal("it is gone")
	}
	defer closed.segment.release()
	k.move(t, l)
	epochs, err := vfs.ReadFile(k.fs, filepath.Join(l.path(), epochFile), 1000)
	if err != nil || !bytes.Equal(epochs, FormatEpochs(l.EpochEntries())) {
		t.Errorf("epochs %q, %v", epochs, err)
	}
	for _, f := range closed.segment.files() {
		f.close()
	}
	_, release, err := closed.Open()
	if err != nil {
		t.Fatal(err)
	}
	release()
	for _, f := range closed.segment.files() {
		f.close()
	}
	k.m.env.emptyTrash(farFuture)
	if _, _, err = closed.Open(); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("without its files: %v", err)
	}
}

// offline returns the kit on a file system where one directory fails.
func (k *kit) offline(dir string) *kit {
	f := vfs.NewFaulty(k.fs)
	f.Inject(vfs.Fault{Name: dir, Err: syscall.EIO})
	return k.on(f)
}

// TestCrashAtEveryStepOfAMove (S12): at whatever step the machine dies, the next start finds one
// whole log. If a directory is missing at that start the log is found or offline, but never
// replaced by another one. Everything appended to it is there when both directories are back.
func TestCrashAtEveryStepOfAMove(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	fsys := &stepFS{Mem: mem, step: func(string) {}}
	k := newMoveKit(t, fsys)
	want := contentsOf(t, k.log())
	type crash struct {
		what string
		fs   *vfs.Mem
	}
	var crashes []crash
	fsys.step = func(what string) {
		n := uint64(len(crashes))
		for seed := range uint64(3) {
			crashes = append(crashes, crash{what + " and a power cut", mem.CrashClone(n*17 + seed)})
		}
		crashes = append(crashes, crash{what + " and a kill", mem.Clone()})
	}
	k.move(t, k.log())
	k.m.env.emptyTrash(farFuture)
	fsys.step = func(string) {}
	if len(crashes) < 100 {
		t.Fatalf("%d crashes", len(crashes))
	}
	found := map[string]int{}
	for i, c := range crashes {
		what := fmt.Sprintf("crash %d: %s", i, c.what)
		for _, missing := range []string{"", "/a", "/b"} {
			next, now := k.on(c.fs.Clone()), want
			if missing != "" {
				part := next.offline(missing)
				part.open()
				l, err := part.m.Reopen("t", 0, testID)
				if err != nil {
					t.Fatal(err)
				}
				if l.Offline() == nil {
					want.check(t, what+" without "+missing, l)
					now = part.goesOn(what, l, 16)
					found["without "+missing]++
				}
				_ = part.m.Close() // a directory is offline
			}
			next.open()
			plain, _ := next.homes()
			if len(plain) != 1 {
				t.Fatalf("%s, without %q in between: the log is in %q", what, missing, plain)
			}
			found[plain[0]]++
			now.check(t, what+" and "+missing, next.log())
			next.m.env.emptyTrash(farFuture)
			if missing == "" {
				now = next.goesOn(what, next.log(), 16)
				if mv := next.m.moves.of(next.log()); mv != nil { // the move continues
					next.tryMove(t, mv.to)
					now.check(t, what+", moved on", next.log())
				}
				next.reopen()
				now.check(t, what+", once more", next.log())
			}
			_ = next.m.Close() // its result does not matter
		}
	}
	for _, where := range []string{"/a", "/b", "without /a", "without /b"} {
		if found[where] == 0 {
			t.Errorf("no crash left the log %s: %v", where, found)
		}
	}
}

// TestStartWithoutTheTargetOfAMove: the target's disk is not mounted at the start after the crash.
// Its mount point is empty, and the log may be on the disk; starting without it must not serve an
// old copy.
func TestStartWithoutTheTargetOfAMove(t *testing.T) {
	mem := vfs.NewMem()
	fsys := &stepFS{Mem: mem, step: func(string) {}}
	k := newMoveKit(t, fsys)
	want := contentsOf(t, k.log())
	var moved *vfs.Mem
	fsys.step = func(what string) {
		if what == "rename to /b/t-0" {
			moved = mem.Clone()
		}
	}
	k.move(t, k.log())
	next := k.on(moved)
	if err := moved.Rename("/b", "/unmounted"); err != nil {
		t.Fatal(err)
	}
	next.open()
	wantOffline(t, next.reopened(0))
	_ = next.m.Close() // a directory is offline
	if _, err := moved.Stat("/a/" + cleanFile); err == nil {
		t.Error("the shutdown was clean, with a log that was not recovered")
	}
	given := k.on(moved.Clone())
	if err := errors.Join(vfs.RemoveAll(moved, "/b"), moved.Rename("/unmounted", "/b")); err != nil {
		t.Fatal(err)
	}
	next.open()
	if next.log().dir().path != "/b" {
		t.Fatalf("the log is in %s", next.log().dir().path)
	}
	want.check(t, "mounted again", next.log())
	// If the disk is lost for good the log is where it was.
	given.options.LostDirs = []string{formatUUID(k.m.dirs[1].id)}
	given.open()
	if given.log().dir().path != "/a" {
		t.Fatalf("the log is in %s", given.log().dir().path)
	}
	want.check(t, "without the target", given.log())
}

// TestFaultsInAMove: whichever operation fails, in either directory, one directory has the log with
// everything in it.
func TestFaultsInAMove(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/a", "/b"} {
		for op, fault := range map[vfs.Op]error{
			vfs.OpOpen: syscall.EIO, vfs.OpWrite: syscall.ENOSPC, vfs.OpRead: syscall.EIO, vfs.OpSync: syscall.EIO, vfs.OpSyncDir: syscall.EIO,
			vfs.OpRename: syscall.EIO, vfs.OpRemove: syscall.EIO, vfs.OpReadDir: syscall.EIO, vfs.OpMkdir: syscall.ENOSPC,
		} {
			t.Run(fmt.Sprintf("%s in %s", op, dir), func(t *testing.T) {
				for n := 0; ; n++ {
					mem := vfs.NewMem()
					fsys := vfs.NewFaulty(mem)
					k := newMoveKit(t, fsys)
					l := k.log()
					want := contentsOf(t, l)
					for _, s := range l.list() {
						s.closeFiles() // so that they are opened again while the fault is active
					}
					fault := vfs.Fault{Op: op, Name: dir, Err: fault, After: n, Times: 1}
					before := fsys.Hits()
					fsys.Inject(fault)
					err := k.m.Move("t", 0, "/b")
					if err == nil {
						k.tryMove(t, k.m.dirs[1])
					}
					k.m.env.emptyTrash(farFuture)
					spent := fsys.Hits() > before
					fsys.Heal()
					if l.usable() == nil {
						want.check(t, fmt.Sprintf("operation %d", n), l)
						want = k.goesOn(fmt.Sprintf("operation %d", n), l, 16)
					} else if k.m.dirs[0].err() == nil && k.m.dirs[1].err() == nil {
						t.Fatalf("operation %d: %v with both directories", n, l.usable())
					}
					for _, after := range []*vfs.Mem{mem.Clone(), mem.CrashClone(uint64(n))} {
						next := k.on(after)
						next.open()
						want.check(t, fmt.Sprintf("operation %d, after a restart", n), next.log())
						if plain, _ := next.homes(); len(plain) != 1 {
							t.Fatalf("operation %d: the log is in %q", n, plain)
						}
						_ = next.m.Close() // its result does not matter
					}
					_ = k.m.Close() // its disk may have failed
					if !spent {
						return
					}
				}
			})
		}
	}
}

// during calls f once, in the middle of the copying.
func (k *kit) during(f func()) {
	var once sync.Once
	k.m.options.MoveRate = func() int64 { once.Do(f); return math.MaxInt64 }
}

// beside runs f in a goroutine and returns when f waits for the copying to release the log.
func beside(l *Log, f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() { defer close(done); f() }()
	for {
		l.cleaning.mu.Lock()
		waiting := l.cleaning.mu.waiting
		l.cleaning.mu.Unlock()
		if waiting > 0 {
			return done
		}
		runtime.Gosched()
	}
}

func TestAppendsAndRetentionDuringAMove(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	l := k.log()
	var want contents
	k.during(func() {
		for i := range 5 {
			k.goesOn("meanwhile", l, int32(16+i))
		}
		commit(l)
		cfg := l.Config()
		cfg.RetentionBytes = 1000
		l.SetConfig(cfg)
		if n, err := l.EnforceRetention(k.clock.Now()); err != nil || n == 0 {
			t.Errorf("retention: %d, %v", n, err)
		}
		want = contentsOf(t, l)
	})
	k.move(t, l)
	got := contentsOf(t, l)
	if len(got.batches) == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%d batches to %d, want %d to %d", len(got.batches), got.end, len(want.batches), want.end)
	}
	start := l.LocalStartOffset()
	k.reopen()
	if l = k.log(); l.LocalStartOffset() != start || fmt.Sprint(contentsOf(t, l)) != fmt.Sprint(want) {
		t.Fatalf("local start %d, want %d", l.LocalStartOffset(), start)
	}
}

func TestTruncationBeginsTheCopyAnew(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	l := k.log()
	var truncated chan struct{}
	k.during(func() {
		truncated = beside(l, func() {
			if err := l.TruncateCommitted(9); err != nil {
				t.Error(err)
			}
		})
	})
	mv := func() *move {
		if err := k.m.Move("t", 0, "/b"); err != nil {
			t.Fatal(err)
		}
		return k.m.moves.next(k.m.dirs[1])
	}()
	if !k.m.tryMove(t.Context(), mv) {
		t.Fatal("the move is not to be tried again")
	}
	<-truncated
	want := contentsOf(t, l)
	if k.m.tryMove(t.Context(), mv) || l.dir().path != "/b" || want.end != 9 {
		t.Fatalf("in %s, end %d", l.dir().path, want.end)
	}
	if fmt.Sprint(contentsOf(t, l)) != fmt.Sprint(want) {
		t.Fatal("the log has changed")
	}
}

func TestDeletionEndsAMove(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	l := k.log()
	var deleted chan struct{}
	k.during(func() {
		deleted = beside(l, func() {
			if err := k.m.Delete("t", 0); err != nil {
				t.Error(err)
			}
		})
	})
	if err := k.m.Move("t", 0, "/b"); err != nil {
		t.Fatal(err)
	}
	k.m.tryMove(t.Context(), k.m.moves.next(k.m.dirs[1]))
	<-deleted
	k.m.env.emptyTrash(farFuture)
	if plain, marked := k.homes(); len(plain)+len(marked) > 0 || len(k.m.moves.queue) > 0 || k.m.dirs[0].logs+k.m.dirs[1].logs != 0 {
		t.Fatalf("there is %q, %q", plain, marked)
	}
}

func TestMoveRequests(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	l := k.log()
	want := contentsOf(t, l)
	if err := k.m.Move("t", 0, "/c"); !errors.Is(err, ErrNoLogDir) {
		t.Errorf("to an unknown directory: %v", err)
	}
	// A log that does not exist yet is created in the requested directory, once.
	if err := k.m.Move("new", 0, "/a"); !errors.Is(err, ErrNoLog) {
		t.Errorf("of an unknown log: %v", err)
	}
	created, err := k.m.Create("new", 0, testID)
	if err != nil || created.dir().path != "/a" {
		t.Fatalf("made in %s, %v", created.dir().path, err)
	}
	// A log without files only changes its place.
	k.move(t, created)
	mustAppend(t, created, batchOf(1, 10, 0))
	if _, err = k.fs.Stat("/b/new-0"); err != nil {
		t.Error(err)
	}
	long, err := k.m.Create(strings.Repeat("x", 240), 0, testID)
	if err != nil {
		t.Fatal(err)
	}
	if err = k.m.Move(long.Topic(), 0, k.otherDir(long).path); !errors.Is(err, ErrNameTooLong) {
		t.Errorf("of a long name: %v", err)
	}

	usage := func() (n int) {
		for _, u := range k.m.DirUsage() {
			n += len(u.Futures)
		}
		return n
	}
	// A repeated request is one move; a request for the present directory cancels it.
	for range 2 {
		if err = k.m.Move("t", 0, "/b/"); err != nil || usage() != 1 || len(k.m.DirUsage()[1].Futures) != 1 {
			t.Fatalf("%v, %d futures", err, usage())
		}
	}
	if err = k.m.Move("t", 0, "/a"); err != nil || usage() != 0 {
		t.Fatalf("%v, %d futures", err, usage())
	}
	k.reopen()
	if usage() != 0 {
		t.Fatal("a cancelled move goes on after a restart")
	}
	// It can also be cancelled while it is copied.
	if err = k.m.Move("t", 0, "/b"); err != nil {
		t.Fatal(err)
	}
	k.during(func() {
		if moveErr := k.m.Move("t", 0, "/a"); moveErr != nil {
			t.Error(moveErr)
		}
	})
	if k.m.tryMove(t.Context(), k.m.moves.next(k.m.dirs[1])) || k.log().dir().path != "/a" || usage() != 0 {
		t.Fatal("a cancelled move went on")
	}
	want.check(t, "after all that", k.log())
	// A request survives a crash of the machine.
	if err = k.m.Move("t", 0, "/b"); err != nil {
		t.Fatal(err)
	}
	k = k.crashed(1)
	k.tryMove(t, k.m.dirs[1])
	want.check(t, "moved after a crash", k.log())
	if k.log().dir().path != "/b" {
		t.Fatalf("it is in %s", k.log().dir().path)
	}
}

// TestMoveAwayFromAFullDisk: a full disk is a reason to move logs away, so nothing is written to
// it.
func TestMoveAwayFromAFullDisk(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem())
	k := newMoveKit(t, f)
	want := contentsOf(t, k.log())
	f.Inject(vfs.Fault{Op: vfs.OpWrite, Name: "/a/t-0", Err: syscall.ENOSPC})
	k.move(t, k.log())
	want.check(t, "moved", k.log())
}

func TestMovesWhileADirectoryIsOffline(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	k.shut()
	k.options.Dirs = []string{"/a", "/b", "/c"}
	k.open()
	k.shut()
	part := k.offline("/c")
	part.open()
	if err := part.m.Move("t", 0, "/b"); !errors.Is(err, ErrStorage) || !strings.Contains(err.Error(), "/c is offline") {
		t.Errorf("between the others: %v", err)
	}
	if err := part.m.Move("t", 0, "/c"); !errors.Is(err, ErrStorage) {
		t.Errorf("to it: %v", err)
	}
}

// TestMovesUnderLoad: writers, flush waiters and readers continue while Run moves the log back and
// forth.
func TestMovesUnderLoad(t *testing.T) {
	dir := t.TempDir()
	k := newKit(t, vfs.OS{}, func(c *Config) {
		c.SegmentBytes, c.FileDeleteDelayMs = 20_000, 0
		c.RetentionMs = -1 // the records are old, and Run would delete them on a slow machine
	})
	k.shut()
	k.options.Dirs = []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	k.options.MaxOpenFiles = 4 // so that files are closed and opened often
	k.options.FlushInterval = 5 * time.Millisecond
	k.options.Now = time.Now
	k.open()
	l := k.log()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- k.m.Run(ctx) }()
	var work sync.WaitGroup
	var durable sync.Mutex
	durableTo := int64(0)
	l.OnFlush(func(upTo int64, err error) {
		if err != nil {
			t.Errorf("flush to %d: %v", upTo, err)
		}
		durable.Lock()
		durableTo = max(durableTo, upTo)
		durable.Unlock()
	})
	var written []record.Batch
	work.Go(func() {
		for i := int32(0); ctx.Err() == nil; i++ {
			b := batchOf(1, 200, epoch0.UnixMilli()+int64(i), producer(1, 0, i))
			if _, err := l.Append(b, 0); err != nil {
				t.Errorf("append: %v", err)
				return
			}
			written = append(written, b)
			commit(l)
			l.FlushSoon()
			if i%50 == 0 {
				if err := l.Flush(ctx, l.EndOffset()); err != nil && ctx.Err() == nil {
					t.Errorf("flush: %v", err)
				}
			}
		}
	})
	for n := range 3 {
		work.Go(func() {
			for i := n; ctx.Err() == nil; i++ {
				if l.EndOffset() == 0 {
					runtime.Gosched()
					continue
				}
				from := int64(i*7919) % l.EndOffset()
				batches, err := readRange(l, from, min(from+20, l.EndOffset()))
				if err != nil || len(batches) == 0 || batches[0].BaseOffset() != from {
					t.Errorf("read at %d: %d batches, %v", from, len(batches), err)
					return
				}
				for _, c := range l.ClosedSegments(0) {
					files, release, err := c.Open()
					if errors.Is(err, ErrOffsetOutOfRange) {
						continue
					}
					if err != nil {
						t.Errorf("open segment %d: %v", c.BaseOffset, err)
						return
					}
					if files.Snapshot == nil && c.EndOffset > 0 {
						t.Errorf("segment to %d has no snapshot", c.EndOffset)
					}
					release()
				}
			}
		})
	}
	// If a move does not catch up with the writer by then, the next one begins.
	deadline := time.Now().Add(20 * time.Second)
	for range 10 {
		to := k.otherDir(l)
		for goal := l.EndOffset() + 100; l.EndOffset() < goal; {
			runtime.Gosched()
		}
		if err := k.m.Move("t", 0, to.path); err != nil {
			t.Fatal(err)
		}
		for l.dir() != to && time.Now().Before(deadline) {
			runtime.Gosched()
		}
	}
	cancel()
	work.Wait()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if err := matches(readAll(t, l, 0), written); err != nil || int64(len(written)) != l.EndOffset() || durableTo == 0 {
		t.Fatalf("%v; %d written, end %d, told of %d", err, len(written), l.EndOffset(), durableTo)
	}
	k.reopen()
	if err := matches(readAll(t, k.log(), 0), written); err != nil || k.log().EndOffset() != int64(len(written)) {
		t.Fatalf("after a restart: %v", err)
	}
	if _, err := os.Stat(k.log().path()); err != nil {
		t.Fatal(err)
	}
}
