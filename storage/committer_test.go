package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/vfs"
)

// running runs the kit's manager until the returned function ends it. The function may be called
// twice.
func (k *kit) running() (stop func()) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(k.t.Context()))
	var wg sync.WaitGroup
	// Run returns an error where a test broke all disks.
	wg.Go(func() { _ = k.m.Run(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	k.t.Cleanup(stop)
	return stop
}

// pass advances the time of the synctest bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// told records the calls of one log's OnFlush function.
type told struct {
	mu   sync.Mutex
	upTo []int64
	errs []error
}

func (r *told) flushed(upTo int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.upTo, r.errs = append(r.upTo, upTo), append(r.errs, err)
}

// last returns the number of calls and the arguments of the last one.
func (r *told) last() (times int, upTo int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.upTo); n > 0 {
		return n, r.upTo[n-1], r.errs[n-1]
	}
	return 0, 0, nil
}

// waiters creates n logs whose OnFlush calls are recorded.
func (k *kit) waiters(n int) ([]*Log, []*told) {
	k.t.Helper()
	logs, results := make([]*Log, n), make([]*told, n)
	for i := range logs {
		l, err := k.m.Create("w", int32(i), testID)
		if err != nil {
			k.t.Fatal(err)
		}
		logs[i], results[i] = l, &told{}
		l.OnFlush(results[i].flushed)
	}
	return logs, results
}

// appendAndWait appends to every log and calls FlushSoon, times over.
func appendAndWait(t *testing.T, logs []*Log, times int) {
	t.Helper()
	for range times {
		for _, l := range logs {
			fill(t, l, 1)
			l.FlushSoon()
		}
	}
}

// However many appends wait, a round syncs each log once and, for new logs, the data directory
// once.
func TestWaitingLogsShareRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		faulty := vfs.NewFaulty(vfs.NewMem())
		slow := &slowFS{FS: faulty}
		k := newKit(t, slow, nil)
		logs, results := k.waiters(n)
		data, names := faulty.Count(vfs.OpSync), faulty.Count(vfs.OpSyncDir)
		since := func() (syncs, dirs int) {
			synctest.Wait()
			syncs, dirs = faulty.Count(vfs.OpSync)-data, faulty.Count(vfs.OpSyncDir)-names
			data, names = data+syncs, names+dirs
			return syncs, dirs
		}
		appendAndWait(t, logs, 1)
		defer k.running()()
		// New logs: content, partition.metadata and epoch file of each, the directory of each
		// twice, and the data directory once for all of them.
		if syncs, dirs := since(); syncs != 3*n || dirs != 2*n+1 {
			t.Fatalf("the first round took %d syncs of files, %d of directories", syncs, dirs)
		}
		slow.take(10 * time.Millisecond)
		appendAndWait(t, logs, 1)
		synctest.Wait() // the round is under way
		appendAndWait(t, logs, 9)
		if syncs, _ := since(); syncs != 0 {
			t.Fatalf("%d syncs returned before their time", syncs)
		}
		pass(time.Second)
		if syncs, dirs := since(); syncs < n || syncs > 2*n || dirs != 0 {
			t.Fatalf("10 appends to each of %d logs took %d syncs of files and %d of directories, want one under way and one for all others", n, syncs, dirs)
		}
		for i, r := range results {
			if times, upTo, err := r.last(); times > 3 || upTo != 11 || err != nil || logs[i].FlushedOffset() != 11 {
				t.Fatalf("log %d was told %d times, at last of %d, %v", i, times, upTo, err)
			}
		}
		slow.take(0)
	})
}

// When OnFlush reports an offset, a crash of the machine at that moment must not lose anything
// below it (S1).
func TestNobodyIsToldBeforeItIsDurable(t *testing.T) {
	mem := vfs.NewMem()
	k := newKit(t, mem, func(c *Config) { c.SegmentBytes = 600 })
	logs, _ := k.waiters(8)
	crashes := make(chan error, 1000)
	for i, l := range logs {
		l.OnFlush(func(upTo int64, err error) {
			if err == nil {
				err = survives(k, mem.CrashClone(uint64(i)), l.key, upTo)
			}
			crashes <- err
		})
	}
	defer k.running()()
	for range 12 {
		appendAndWait(t, logs, 2)
		for range logs {
			if err := <-crashes; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// survives opens what a crash has left and reads the log's records below upTo.
func survives(k *kit, fs vfs.FS, key partitionKey, upTo int64) error {
	o := k.options
	o.FS = fs
	m, err := OpenManager(context.Background(), o)
	if err != nil {
		return err
	}
	l, ok := m.Log(key.topic, key.partition)
	if !ok {
		return errors.Join(fmt.Errorf("log %s is gone", key), m.Close())
	}
	if end := l.EndOffset(); end < upTo {
		return errors.Join(fmt.Errorf("log %s ends at %d, told were %d", key, end, upTo), m.Close())
	}
	_, err = readRange(l, 0, upTo)
	return errors.Join(err, m.Close())
}

func TestFailedSyncEndsItsDirectoryOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.NewFaulty(vfs.NewMem())
		slow := &slowFS{FS: faulty}
		k := newKit(t, slow, nil)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
		k.options.Dirs = []string{"/a", "/b"}
		k.open()
		// The logs alternate between the directories.
		logs, results := k.waiters(100)
		defer k.running()()
		appendAndWait(t, logs, 1)
		synctest.Wait()
		faulty.Inject(vfs.Fault{Op: vfs.OpSync, Name: "/a/w-0/", Err: errors.New("broken"), Times: 1})
		slow.take(time.Millisecond)
		appendAndWait(t, logs, 1)
		pass(time.Second)
		syncs := faulty.Count(vfs.OpSync)
		for _, l := range logs {
			l.FlushSoon()
		}
		synctest.Wait()
		if n := faulty.Count(vfs.OpSync) - syncs; n != 0 {
			t.Errorf("%d syncs after one had failed and the others were done", n)
		}
		for i, l := range logs {
			_, upTo, err := results[i].last()
			if strings.HasPrefix(l.path(), "/b/") {
				if upTo != 2 || err != nil || l.FlushedOffset() != 2 {
					t.Errorf("%s of the sound disk: told of %d, %v", l.path(), upTo, err)
				}
				continue
			}
			if !errors.Is(err, ErrStorage) {
				t.Errorf("%s of the broken disk: told of %d, %v", l.path(), upTo, err)
			}
			if _, err = l.Append(batchOf(1, 5, epoch0.UnixMilli()), 0); !errors.Is(err, ErrStorage) {
				t.Errorf("%s of the broken disk takes an append: %v", l.path(), err)
			}
		}
		if logs[0].FlushedOffset() != 1 {
			t.Errorf("the log whose sync failed is flushed up to %d", logs[0].FlushedOffset())
		}
	})
}

func TestFullDiskFailsARoundAndNotTheDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.NewFaulty(vfs.NewMem())
		k := newKit(t, faulty, nil)
		logs, results := k.waiters(2)
		defer k.running()()
		faulty.Inject(vfs.Fault{Op: vfs.OpWrite, Name: "w-0/" + epochFile, Err: syscall.ENOSPC})
		appendAndWait(t, logs, 1)
		synctest.Wait()
		if _, _, err := results[0].last(); !errors.Is(err, ErrDiskFull) {
			t.Errorf("full disk: %v", err)
		}
		if _, upTo, err := results[1].last(); err != nil || upTo != 1 {
			t.Errorf("the other log: told of %d, %v", upTo, err)
		}
		faulty.Heal()
		appendAndWait(t, logs, 1)
		synctest.Wait()
		if _, upTo, err := results[0].last(); err != nil || upTo != 2 || logs[0].FlushedOffset() != 2 {
			t.Errorf("with space again: told of %d, %v", upTo, err)
		}
	})
}

// The round of a manager that shuts down reports to all logs that wait, so no append waits forever.
func TestManagerEndsWithARoundForThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowFS{FS: vfs.NewMem()}
		k := newKit(t, slow, nil)
		logs, results := k.waiters(40)
		stop := k.running()
		slow.take(time.Second)
		appendAndWait(t, logs[:1], 1)
		synctest.Wait()
		appendAndWait(t, logs, 1)
		stop()
		for i, r := range results {
			if _, upTo, err := r.last(); err != nil || upTo != logs[i].EndOffset() {
				t.Errorf("log %d: told of %d, %v", i, upTo, err)
			}
		}
		slow.take(0)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLogDeletedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowFS{FS: vfs.NewMem()}
		k := newKit(t, slow, nil)
		logs, results := k.waiters(40)
		defer k.running()()
		appendAndWait(t, logs, 1)
		synctest.Wait()
		slow.take(time.Second)
		appendAndWait(t, logs, 1)
		synctest.Wait()
		// One log is being synced, the other still waits.
		for _, i := range []int{0, 39} {
			if err := k.m.Delete("w", int32(i)); err != nil {
				t.Fatal(err)
			}
		}
		slow.take(0)
		pass(time.Second)
		for i, r := range results {
			_, upTo, err := r.last()
			if deleted := i == 0 || i == 39; deleted && !errors.Is(err, ErrLogClosed) || !deleted && (err != nil || upTo != 2) {
				t.Errorf("log %d: told of %d, %v", i, upTo, err)
			}
		}
		if err := logs[1].dir().err(); err != nil {
			t.Errorf("the directory failed: %v", err)
		}
	})
}

func TestLogTruncatedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowFS{FS: vfs.NewMem()}
		k := newKit(t, slow, nil)
		logs, results := k.waiters(1)
		defer k.running()()
		appendAndWait(t, logs, 1)
		synctest.Wait()
		fill(t, logs[0], 5)
		slow.take(time.Second)
		logs[0].FlushSoon()
		synctest.Wait()
		slow.take(0)
		if err := logs[0].Truncate(2); err != nil {
			t.Fatal(err)
		}
		// Without a FlushSoon: the round under way has to reach the new end by itself.
		fill(t, logs[0], 1)
		pass(time.Second)
		if times, upTo, err := results[0].last(); times != 2 || upTo != 3 || err != nil || logs[0].FlushedOffset() != 3 {
			t.Errorf("told %d times, at last of %d, %v; flushed up to %d", times, upTo, err, logs[0].FlushedOffset())
		}
	})
}

func TestThoseWhoWaitHearThatTheManagerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.NewFaulty(vfs.NewMem())
		slow := &slowFS{FS: faulty}
		k := newKit(t, slow, nil)
		logs, results := k.waiters(50)
		slow.take(time.Second)
		stop := k.running()
		appendAndWait(t, logs[:1], 1)
		synctest.Wait()
		faulty.Inject(vfs.Fault{Op: vfs.OpSync})
		// These wait for the second round, which begins when the only directory has failed.
		appendAndWait(t, logs, 1)
		pass(time.Minute)
		for i, r := range results {
			if _, _, err := r.last(); !errors.Is(err, ErrStorage) {
				t.Errorf("log %d: %v", i, err)
			}
		}
		stop()
	})
}
