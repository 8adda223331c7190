package storage

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// stepFS calls step after every operation that changes the file system.
type stepFS struct {
	*vfs.Mem
	step func(what string)
}

func (f *stepFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.Mem.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	f.step("open " + name)
	return &stepFile{File: file, fs: f, name: name}, nil
}

func (f *stepFS) Rename(oldName, newName string) error {
	err := f.Mem.Rename(oldName, newName)
	f.step("rename to " + newName)
	return err
}

func (f *stepFS) Remove(name string) error {
	err := f.Mem.Remove(name)
	f.step("remove " + name)
	return err
}

func (f *stepFS) SyncDir(name string) error {
	err := f.Mem.SyncDir(name)
	f.step("sync directory " + name)
	return err
}

type stepFile struct {
	vfs.File
	fs   *stepFS
	name string
}

func (f *stepFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	f.fs.step("write " + f.name)
	return n, err
}

func (f *stepFile) Sync() error {
	err := f.File.Sync()
	f.fs.step("sync " + f.name)
	return err
}

// dirtyKit returns a log of several segments with old values, tombstones, producers and
// transactions. A part of it was compacted before.
func dirtyKit(t testing.TB, fsys vfs.FS) *kit {
	t.Helper()
	k := newCompactKit(t, fsys, func(c *Config) { c.SegmentBytes = 700; c.DeleteRetentionMs = 0 })
	for i := range 12 {
		at := k.clock.Now().UnixMilli()
		key := func(n int) string { return fmt.Sprintf("k%d", n%5) }
		k.follow(
			keyed(at, []string{key(i) + fmt.Sprintf("=%d", i), key(i+1) + fmt.Sprintf("=%d", i)}),
			keyed(at, []string{key(i + 2)}),
			keyed(at, []string{fmt.Sprintf("t%d=%d", i%2, i)}, producer(1, 0, int32(i)), transactional),
			endTxn(1, 0, record.ControlType(i%2)),
		)
		if i == 5 {
			k.clean()
		}
	}
	k.makeCleanable()
	return k
}

// latest returns what a read_committed consumer of the whole log ends up with: the last value of
// every key.
func latest(t testing.TB, l *Log) map[string]string {
	t.Helper()
	end := l.EndOffset()
	aborted, err := l.AbortedTransactions(0, end)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]string{}
	before := int64(-1)
	for _, b := range readAll(t, l, l.LocalStartOffset()) {
		if b.BaseOffset() <= before {
			t.Fatalf("batch at %d after offset %d", b.BaseOffset(), before)
		}
		before = b.LastOffset()
		if b.IsControl() || slices.ContainsFunc(aborted, func(a AbortedTxn) bool {
			return b.IsTransactional() && a.ProducerID == b.ProducerID() && a.FirstOffset <= b.BaseOffset() && b.BaseOffset() < a.LastOffset
		}) {
			continue
		}
		for r, err := range b.Records() {
			switch {
			case err != nil:
				t.Fatal(err)
			case r.Value == nil:
				delete(state, string(r.Key))
			default:
				state[string(r.Key)] = fmt.Sprintf("%d:%s", r.Offset, r.Value)
			}
		}
	}
	return state
}

// checkRecovered checks a log that was opened after a crash. Each of its segments must be in one of
// the two states, before or after the cleaning.
func checkRecovered(t *testing.T, k *kit, what string, before, after []string, state map[string]string, end int64) {
	t.Helper()
	l := k.log()
	got := dump(t, l)
	for _, line := range got {
		if !slices.Contains(before, line) && !slices.Contains(after, line) {
			t.Fatalf("after %s: the log holds %s, which was neither before nor after", what, line)
		}
	}
	for _, line := range after {
		if strings.Contains(line, ":") && !slices.Contains(got, line) {
			t.Fatalf("after %s: %s is lost; the log holds %q", what, line, got)
		}
	}
	if now := latest(t, l); fmt.Sprint(now) != fmt.Sprint(state) {
		t.Fatalf("after %s: readers get %v, want %v", what, now, state)
	}
	if l.EndOffset() != end || l.LastStableOffset() != l.HighWatermark() {
		t.Fatalf("after %s: end %d, want %d; last stable offset %d, high watermark %d", what, l.EndOffset(), end, l.LastStableOffset(), l.HighWatermark())
	}
	if err := verifyFiles(l); err != nil {
		t.Fatalf("after %s: %v", what, err)
	}
	for _, name := range k.files() {
		if strings.Contains(name, "cleaned") || strings.Contains(name, "swap") || strings.Contains(name, "deleted") {
			t.Fatalf("after %s: %s is left over", what, name)
		}
	}
	// The producer continues with its next sequence number.
	if info, err := l.Append(keyed(k.clock.Now().UnixMilli(), []string{"t0=x"}, producer(1, 0, 12), transactional), 0); err != nil || info.Duplicate {
		t.Fatalf("after %s: %+v, %v", what, info, err)
	}
	if _, err := l.Append(keyed(k.clock.Now().UnixMilli(), []string{"t0=x"}, producer(1, 0, 14), transactional), 0); err == nil {
		t.Fatalf("after %s: a gap in the sequence was taken", what)
	}
}

// Wherever a cleaning is interrupted, by a kill or by a power cut, each segment is found as it was
// or as it was to become.
func TestCrashAtEveryStepOfACleaning(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	fsys := &stepFS{Mem: mem, step: func(string) {}}
	k := dirtyKit(t, fsys)
	before, state, end := dump(t, k.log()), latest(t, k.log()), k.log().EndOffset()
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
	k.cleanOnce(k.share())
	fsys.step = func(string) {}
	after := dump(t, k.log())
	if len(after) >= len(before) || len(bases(k.log())) < 3 || fmt.Sprint(latest(t, k.log())) != fmt.Sprint(state) {
		t.Fatalf("before\n%q, after\n%q, segments %v", before, after, bases(k.log()))
	}
	if len(crashes) < 200 {
		t.Fatalf("%d crashes", len(crashes))
	}
	olds, news := 0, 0
	for _, c := range crashes {
		next := k.on(c.fs)
		next.open()
		got := dump(t, next.log())
		if slices.Equal(got, before) {
			olds++
		}
		if slices.Equal(got, after) {
			news++
		}
		checkRecovered(t, next, c.what, before, after, state, end)
		_ = next.m.Close() // its files are not needed any more
	}
	if olds == 0 || news == 0 || olds+news == len(crashes) {
		t.Fatalf("of %d crashes %d left the old log, %d the new one", len(crashes), olds, news)
	}
}

// Each step of a swap is durable before the next one, so that it is safe on a file system that
// reorders changes.
func TestOrderOfASwap(t *testing.T) {
	fsys := &stepFS{Mem: vfs.NewMem(), step: func(string) {}}
	k := newCompactKit(t, fsys, nil)
	k.put("a=1", "a=2")
	k.makeCleanable()
	var steps []string
	fsys.step = func(what string) {
		verb, name, _ := strings.Cut(what, " ")
		switch base := name[strings.LastIndex(name, "/")+1:]; {
		case verb == "open" || verb == "remove":
		case base == "t-0":
			steps = append(steps, "sync names")
		default:
			steps = append(steps, verb+strings.TrimPrefix(base, seg0))
		}
	}
	k.cleanOnce(k.share())
	fsys.step = func(string) {}
	want := []string{
		"write.log.cleaned", "write.timeindex.cleaned", "sync.log.cleaned", "sync.index.cleaned", "sync.timeindex.cleaned",
		"rename.index.swap", "rename.timeindex.swap", "rename.txnindex.swap", "rename.log.swap", "sync names",
		"rename.log.1.deleted", "rename.index.1.deleted", "rename.timeindex.1.deleted", "rename.txnindex.1.deleted", "sync names",
		"rename.index", "rename.timeindex", "rename.txnindex", "rename.log", "sync names",
	}
	if len(steps) < len(want) || !slices.Equal(steps[:len(want)], want) {
		t.Fatalf("%q, want\n%q", steps, want)
	}
}

// A swap is not decided while some of its parts are still .cleaned. A start undoes it; a crash
// during that must not remove the signs that the next start needs.
func TestUndecidedSwapIsUndoneBeforeItsSignsGo(t *testing.T) {
	fsys := &stepFS{Mem: vfs.NewMem(), step: func(string) {}}
	k := newCompactKit(t, fsys, nil)
	k.put("a=1", "a=2")
	want := dump(t, k.log())
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{seg0 + extLog + suffixSwap, seg0 + extIndex + suffixCleaned} {
		if err := vfs.WriteFile(fsys, k.path(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var starts []*vfs.Mem
	fsys.step = func(string) { starts = append(starts, fsys.Clone()) }
	k.open()
	fsys.step = func(string) {}
	for i, mem := range append(starts, fsys.Mem) {
		next := k
		if mem != fsys.Mem {
			next = k.on(mem)
			next.open()
		}
		if got := dump(t, next.log()); !slices.Equal(got, want) {
			t.Errorf("killed at step %d of the start: %q, want %q", i, got, want)
		}
	}
}

// A second crash, at any step of the recovery from the first, must lose nothing either.
func TestCrashWhileASwapIsCompleted(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	fsys := &stepFS{Mem: mem, step: func(string) {}}
	k := dirtyKit(t, fsys)
	before, state, end := dump(t, k.log()), latest(t, k.log()), k.log().EndOffset()
	var first []*vfs.Mem
	swapping := false
	fsys.step = func(what string) {
		if strings.Contains(what, ".log.swap") {
			swapping = true
		}
		if swapping {
			first = append(first, mem.CrashClone(uint64(len(first))))
		}
	}
	k.cleanOnce(k.share())
	fsys.step = func(string) {}
	after := dump(t, k.log())
	for _, m := range first[:min(len(first), 24)] {
		var second []*vfs.Mem
		again := k.on(&stepFS{Mem: m, step: func(string) { second = append(second, m.CrashClone(uint64(len(second)))) }})
		again.open()
		taken := len(second)
		_ = again.m.Close() // its files are not needed any more
		for i, c := range second[:taken] {
			last := k.on(c)
			last.open()
			checkRecovered(t, last, fmt.Sprintf("step %d of a recovery", i), before, after, state, end)
			_ = last.m.Close() // as above
		}
	}
}

// Whichever operation of a cleaning fails, nothing is lost, nothing is left over, and the next
// cleaning or the next start finishes the work.
func TestFaultsInACleaning(t *testing.T) {
	t.Parallel()
	type kind struct {
		op    vfs.Op
		err   error
		short int
	}
	for _, f := range []kind{
		{vfs.OpWrite, syscall.ENOSPC, 0},
		{vfs.OpWrite, syscall.EIO, 20},
		{vfs.OpOpen, syscall.EIO, 0},
		{vfs.OpRename, syscall.EIO, 0},
		{vfs.OpRead, syscall.EIO, 0},
		{vfs.OpSync, syscall.EIO, 0},
		{vfs.OpSyncDir, syscall.EIO, 0},
		{vfs.OpOpenDir, syscall.EMFILE, 0},
		{vfs.OpReadDir, syscall.EIO, 0},
		{vfs.OpRemove, syscall.EIO, 0},
	} {
		t.Run(fmt.Sprintf("%s %v", f.op, f.err), func(t *testing.T) {
			for n := 0; ; n++ {
				mem := vfs.NewMem()
				fsys := vfs.NewFaulty(mem)
				k := dirtyKit(t, fsys)
				before, state, end := dump(t, k.log()), latest(t, k.log()), k.log().EndOffset()
				for _, s := range k.log().list() {
					// So that they are opened under the fault as well.
					s.closeFiles()
				}
				already := fsys.Count(f.op)
				fsys.Inject(vfs.Fault{Op: f.op, Name: "t-0", Err: f.err, After: n, Times: 1, Short: f.short})
				err := k.log().clean(t.Context(), k.share())
				hit := fsys.Count(f.op) - already
				fsys.Heal()
				if hit <= n { // there are no more operations to fail
					if err != nil || n == 0 {
						t.Fatalf("%d operations, %v", hit, err)
					}
					return
				}
				failed := k.log().usable() != nil
				if !failed {
					// The same process continues to read, and its next cleaning succeeds.
					for _, name := range k.files() {
						if f.op != vfs.OpRemove && (strings.Contains(name, "cleaned") || strings.Contains(name, "swap")) {
							t.Fatalf("operation %d: %s is left over", n, name)
						}
					}
					if now := latest(t, k.log()); fmt.Sprint(now) != fmt.Sprint(state) {
						t.Fatalf("operation %d: readers get %v, want %v", n, now, state)
					}
					k.cleanOnce(k.share())
					if now := latest(t, k.log()); fmt.Sprint(now) != fmt.Sprint(state) {
						t.Fatalf("operation %d, cleaned again: readers get %v, want %v", n, now, state)
					}
				}
				next := k.on(mem.CrashClone(uint64(n)))
				next.open()
				next.makeCleanable()
				if now := latest(t, next.log()); fmt.Sprint(now) != fmt.Sprint(state) {
					t.Fatalf("operation %d, after a restart: readers get %v, want %v", n, now, state)
				}
				next.cleanOnce(next.share())
				next.m.env.emptyTrash(next.clock.Now())
				after := dump(t, next.log())
				checkRecovered(t, next, fmt.Sprintf("operation %d", n), before, after, state, end)
				_, _ = k.m.Close(), next.m.Close() // not needed any more
			}
		})
	}
}
