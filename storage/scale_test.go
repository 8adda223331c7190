package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// manyLogs is large enough to distinguish a cost per log from other costs.
const manyLogs = 300

// operations are the file system operations that can be counted.
var operations = []vfs.Op{
	vfs.OpOpen, vfs.OpRename, vfs.OpRemove, vfs.OpMkdir, vfs.OpReadDir, vfs.OpStat, vfs.OpSyncDir, vfs.OpRead, vfs.OpWrite, vfs.OpTruncate, vfs.OpSync,
}

// spent returns the operations that do performs.
func spent(f *vfs.Faulty, do func()) map[vfs.Op]int {
	before := map[vfs.Op]int{}
	for _, op := range operations {
		before[op] = f.Count(op)
	}
	do()
	cost := map[vfs.Op]int{}
	for _, op := range operations {
		if n := f.Count(op) - before[op]; n > 0 {
			cost[op] = n
		}
	}
	return cost
}

func createMany(tb testing.TB, m *Manager, n int32) {
	tb.Helper()
	for p := range n {
		if _, err := m.Create("t", p, testID); err != nil {
			tb.Fatal(err)
		}
	}
}

func fillAll(tb testing.TB, m *Manager) {
	tb.Helper()
	for l := range m.Logs() {
		fill(tb, l, 1)
	}
}

// wantCost allows perLog operations for each log and a fixed number in addition.
func wantCost(t *testing.T, what string, got, perLog map[vfs.Op]int) {
	t.Helper()
	t.Logf("%s: %v", what, got)
	for _, op := range operations {
		if limit := perLog[op]*manyLogs + 20; got[op] > limit {
			t.Errorf("%s: %d times %s for %d logs, want %d for each", what, got[op], op, manyLogs, perLog[op])
		}
	}
}

// TestCostsOfALog counts the disk operations in each step of a log's life.
func TestCostsOfALog(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, f, nil)
	if cost := spent(f, func() { createMany(t, k.m, manyLogs) }); len(cost) != 0 {
		t.Errorf("creating logs costs %v", cost)
	}
	wantCost(t, "electing and closing empty logs", spent(f, func() {
		for l := range k.m.Logs() {
			if err := l.AssignEpoch(3, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	}), nil)

	k.open()
	createMany(t, k.m, manyLogs)
	wantCost(t, "first write", spent(f, func() { fillAll(t, k.m) }), map[vfs.Op]int{vfs.OpMkdir: 1, vfs.OpOpen: 2, vfs.OpWrite: 2})
	flush := map[vfs.Op]int{ // the batch, the topic's id, the epochs, and their names
		vfs.OpOpen: 2, vfs.OpWrite: 1, vfs.OpSync: 3, vfs.OpRename: 1, vfs.OpSyncDir: 3,
	}
	wantCost(t, "close after the first write", spent(f, func() { _ = k.m.Close() }), flush)
	// The topic's id, the epochs, the batches: these twice, because the producer state is read from
	// them too.
	load := map[vfs.Op]int{
		vfs.OpReadDir: 1, vfs.OpOpen: 3, vfs.OpRead: 4,
	}
	wantCost(t, "start after a clean shutdown", spent(f, k.open), load)
	wantCost(t, "electing and closing quiet logs", spent(f, func() {
		for l := range k.m.Logs() {
			if err := l.AssignEpoch(4, l.EndOffset()); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	}), nil)
}

// TestStartAfterAKillCostsAsLittle: opening a log that was written to and not closed reads its
// files and writes nothing.
func TestStartAfterAKillCostsAsLittle(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	createMany(t, k.m, manyLogs)
	fillAll(t, k.m)
	dead := k.dead()
	f := vfs.NewFaulty(dead.fs)
	dead.fs, dead.options.FS = f, f
	wantCost(t, "start after a kill", spent(f, dead.open), map[vfs.Op]int{
		vfs.OpReadDir: 1, vfs.OpOpen: 2, vfs.OpRead: 3,
	})
}

func TestQuietLogsHaveNoIndexFiles(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 3)
	want := []string{"00000000000000000000.log", epochFile, metadataFile}
	for _, restart := range []func(){k.reopen, func() { k = k.killed() }, k.reopen} {
		restart()
		if n := len(readAll(t, k.log(), 0)); n != 3 {
			t.Fatalf("%d batches", n)
		}
	}
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if got := k.files(); !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

// TestUnchangedCheckpointsAreNotWritten: the loop runs every few seconds.
func TestUnchangedCheckpointsAreNotWritten(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, f, nil)
	createMany(t, k.m, 10)
	fillAll(t, k.m)
	for l := range k.m.Logs() {
		commit(l)
	}
	checkpoint := func() {
		if err := k.m.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint()
	if cost := spent(f, checkpoint); len(cost) != 0 {
		t.Errorf("unchanged checkpoints cost %v", cost)
	}
	fill(t, k.log(), 1)
	commit(k.log())
	if cost := spent(f, checkpoint); cost[vfs.OpRename] != 1 {
		t.Errorf("a moved high watermark costs %v", cost)
	}
}

// TestFirstWriteToAFullDisk: the write is refused and leaves the log as it was, whichever step
// fails.
func TestFirstWriteToAFullDisk(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpMkdir, vfs.OpOpen, vfs.OpWrite} {
		for step := range 2 {
			t.Run(fmt.Sprint(op, step), func(t *testing.T) {
				f := vfs.NewFaulty(vfs.NewMem())
				k := newKit(t, f, nil)
				l := k.log()
				f.Inject(vfs.Fault{Op: op, Name: "t-0", After: step, Err: syscall.ENOSPC})
				_, err := l.Append(batchOf(1, 5, epoch0.UnixMilli()), 0)
				if refused := errors.Is(err, ErrDiskFull); refused != (op != vfs.OpMkdir || step == 0) {
					t.Fatal(err)
				} else if !refused {
					return // there is one mkdir only
				}
				if l.EndOffset() != 0 {
					t.Fatalf("the log ends at %d", l.EndOffset())
				}
				f.Heal()
				fill(t, l, 1)
				k.reopen()
				if l = k.log(); l.EndOffset() != 1 || l.TopicID() != testID {
					t.Fatalf("the log ends at %d", l.EndOffset())
				}
			})
		}
	}
}

func TestDeleteBeforeTheFirstWrite(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	if err := k.m.Delete("t", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(batchOf(1, 5, epoch0.UnixMilli()), 0); !errors.Is(err, ErrLogClosed) {
		t.Fatal(err)
	}
	k.m.env.emptyTrash(farFuture)
	next, err := k.m.Create("t", 0, [16]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, next, 1)
	k.reopen()
	if got, ok := k.m.Log("t", 0); !ok || got.TopicID() != [16]byte{9} || got.EndOffset() != 1 {
		t.Fatal("the second log is not there")
	}
}

// TestEmptyLogsCanBeUsed applies to a log that exists only in memory all operations that need no
// batch, and one that needs its directory.
func TestEmptyLogsCanBeUsed(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	_, retainErr := l.EnforceRetention(k.clock.Now())
	err := errors.Join(retainErr, l.Roll(), l.Truncate(0), l.AdvanceStartOffset(0), l.Flush(t.Context(), 0), k.m.Checkpoint())
	if err != nil {
		t.Fatal(err)
	}
	if u := k.m.DirUsage(); len(u[0].Logs) != 1 || u[0].Logs[0].Size() != 0 {
		t.Fatalf("%+v", u)
	}
	if _, err = k.fs.Stat("/data/t-0"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the directory exists: %v", err)
	}
	if err = l.TruncateFully(7); err != nil { // a follower begins where its leader does
		t.Fatal(err)
	}
	k = k.killed()
	if l = k.log(); l.EndOffset() != 7 {
		t.Fatalf("the log ends at %d", l.EndOffset())
	}
}

// TestFirstWriteSurvivesCrashes: after a flush a crash of the machine leaves everything. Before it,
// the crash leaves everything or a log that can be created again.
func TestFirstWriteSurvivesCrashes(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 1)
	for seed := range uint64(50) {
		c := k.crashed(seed)
		if l, ok := c.m.Log("t", 0); ok && l.TopicID() != testID && l.TopicID() != [16]byte{} {
			t.Fatalf("seed %d: topic id %x", seed, l.TopicID())
		}
		fill(t, c.log(), 1)
	}
	if err := k.log().Flush(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		if l, ok := k.crashed(seed).m.Log("t", 0); !ok || l.TopicID() != testID || l.EndOffset() != 1 {
			t.Fatalf("seed %d: what was flushed is gone", seed)
		}
	}
}

// newScale returns a manager on the real file system.
func newScale(tb testing.TB) (*Manager, Options) {
	tb.Helper()
	o := Options{Dirs: []string{tb.TempDir()}, Logger: slog.New(slog.DiscardHandler), MaxOpenFiles: 200}
	m, err := OpenManager(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return m, o
}

func TestAThousandLogsOnTheRealFileSystem(t *testing.T) {
	m, o := newScale(t)
	createMany(t, m, 1000)
	fillAll(t, m)
	if n := m.env.files.count(); n > 200 {
		t.Errorf("%d files are open", n)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := OpenManager(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if n := m.env.files.count(); n > 0 {
		t.Errorf("%d files are open after the start", n)
	}
	for l := range m.Logs() {
		if l.EndOffset() != 1 {
			t.Fatalf("%s ends at %d", l.key, l.EndOffset())
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryOfEmptyLogs bounds the heap generously, and allows no goroutines at all.
func TestMemoryOfEmptyLogs(t *testing.T) {
	const n, bytes = 5000, 3000
	k := newKit(t, vfs.NewMem(), nil)
	var before, after runtime.MemStats
	goroutines := runtime.NumGoroutine()
	runtime.GC()
	runtime.ReadMemStats(&before)
	createMany(t, k.m, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if per := int64(after.HeapAlloc-before.HeapAlloc) / n; per > bytes {
		t.Errorf("an empty log takes %d bytes", per)
	} else {
		t.Logf("an empty log takes %d bytes", per)
	}
	if g := runtime.NumGoroutine(); g > goroutines {
		t.Errorf("%d goroutines for %d logs", g-goroutines, n)
	}
	runtime.KeepAlive(k)
}

func BenchmarkCreate1000(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m, _ := newScale(b)
		b.StartTimer()
		createMany(b, m, 1000)
		b.StopTimer()
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkFirstWrite1000(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m, _ := newScale(b)
		createMany(b, m, 1000)
		b.StartTimer()
		fillAll(b, m)
		b.StopTimer()
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkOpen starts with logs of one batch each.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int32{1000, 10_000} {
		for _, clean := range []bool{true, false} {
			name := map[bool]string{true: "clean", false: "afterCrash"}[clean]
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				m, o := newScale(b)
				createMany(b, m, n)
				fillAll(b, m)
				for b.Loop() {
					b.StopTimer()
					if err := m.Close(); err != nil {
						b.Fatal(err)
					}
					if !clean {
						if err := (vfs.OS{}).Remove(o.Dirs[0] + "/" + cleanFile); err != nil {
							b.Fatal(err)
						}
					}
					b.StartTimer()
					var err error
					if m, err = OpenManager(b.Context(), o); err != nil {
						b.Fatal(err)
					}
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
