package tiering

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// small closes n segments of one batch each.
func small(log *fakeLog, n int) {
	for range n {
		log.appendSegment(segmentSpec{batches: 1})
	}
}

// uploadedAtOnce closes segments, and fails unless all of them are uploaded before any time passes.
func uploadedAtOnce(t *testing.T, m *Manager, log *fakeLog, tp metadata.TopicPartition, n int) {
	t.Helper()
	small(log, n)
	m.Kick(tp)
	synctest.Wait()
	if s, _ := m.Status(tp); s.EndOffset != log.end {
		t.Errorf("the tier ends at offset %d of %d", s.EndOffset, log.end)
	}
}

// TestUploadsGoOnWhereNothingCanBeDeleted: neither the pace of uploads nor a kick depends on
// deletions.
func TestUploadsGoOnWhereNothingCanBeDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp})
		m := running(t, w)
		log := newFakeLog(t)
		small(log, 3)
		tp := w.attachTo(m, log, 7, 1)
		time.Sleep(5 * time.Minute) // the grace period of the replaced manifests is over
		if w.faults.Calls(objstoretest.DeleteOp) == 0 {
			t.Fatal("nothing was to be deleted")
		}
		for range 3 {
			uploadedAtOnce(t, m, log, tp, 50)
			time.Sleep(time.Minute)
		}
	})
}

// TestUploadsGoOnWhereNothingExpires: a page that retention needs is damaged.
func TestUploadsGoOnWhereNothingExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := newFakeLog(t)
		small(log, 30)
		b := w.start(log, 1)
		b.mustAttach()
		b.mustDrain()
		w.damage(b.p.prefix + b.p.all().Pages[0].Name)
		m := running(t, w)
		tp := w.attachTo(m, log, 7, 2)
		if err := log.AdvanceStartOffset(3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		uploadedAtOnce(t, m, log, tp, 50)
		if s, _ := m.Status(tp); s.StartOffset != 0 || s.Err == nil {
			t.Errorf("expiry did not fail: %+v", s)
		}
	})
}

// damage replaces an object with nonsense.
func (w *world) damage(key string) {
	w.t.Helper()
	if err := w.bucket.Put(context.Background(), key, bytes.NewReader([]byte("nonsense")), objstorePut{}); err != nil {
		w.t.Fatal(err)
	}
}

// hangingBucket has deletions that hang until their context ends.
type hangingBucket struct {
	objstoreBucket
	entered chan struct{}
}

func (b *hangingBucket) DeleteAll(ctx context.Context, _ []string) error {
	select {
	case b.entered <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestUploadsDoNotWaitForDeletions: hanging deletions delay no upload, and a detach ends them.
func TestUploadsDoNotWaitForDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hanging := &hangingBucket{w.faults, make(chan struct{}, 1)}
		m := running(t, w, func(o *Options) { o.Bucket = hanging })
		log := newFakeLog(t)
		small(log, 3)
		tp := w.attachTo(m, log, 7, 1)
		<-hanging.entered
		uploadedAtOnce(t, m, log, tp, 50)
		began := time.Now()
		m.Detach(t.Context(), tp)
		if waited := time.Since(began); waited > 0 {
			t.Errorf("detach took %v", waited)
		}
	})
}

// logged is what was logged from a level on, a line each.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logged) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

func (l *logged) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestGapIsLoggedOnce: the log's end, which is in the text, moves, but the gap is the same.
func TestGapIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := newFakeLog(t)
		small(log, 10)
		b := w.start(log, 1)
		b.mustAttach()
		b.mustDrain()
		lost := newFakeLog(t)
		small(lost, 1)
		var lines logged
		m := running(t, w, func(o *Options) { o.Logger = lines.logger(slog.LevelError) })
		tp := w.attachTo(m, lost, 7, 2)
		for range 5 {
			time.Sleep(time.Minute)
			small(lost, 1)
			m.Kick(tp)
		}
		if n := lines.with("does not continue"); n != 1 {
			t.Errorf("the gap was logged %d times: %q", n, lines.lines)
		}
	})
}

// TestHintsAreOfGrowth: a hint is sent when a partition's tier has another end, and not at
// each look at it.
func TestHintsAreOfGrowth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		var ends []int64
		m := running(t, w, func(o *Options) {
			o.UploadConcurrency = 1
			o.Tiered = func(_ metadata.TopicID, _ int32, end int64) {
				mu.Lock()
				defer mu.Unlock()
				ends = append(ends, end)
			}
		})
		log := newFakeLog(t)
		small(log, 2)
		tp := w.attachTo(m, log, 7, 1)
		synctest.Wait()
		time.Sleep(time.Hour)
		w.attachTo(m, log, 7, 2) // the leader that committed has sent the hint
		time.Sleep(time.Hour)
		small(log, 1)
		m.Kick(tp)
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if want := []int64{1, 2, 3}; len(ends) != len(want) || ends[0] != 1 || ends[1] != 2 || ends[2] != 3 {
			t.Errorf("hints of the ends %v, want %v", ends, want)
		}
	})
}

// TestIdlePartitionsCostNothing: no request to the object store, however few of their pages
// the cache holds.
func TestIdlePartitionsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cfg.set(func(c *storageConfig) { c.RetentionMs, c.RetentionBytes = 365*24*3600_000, 1<<40 })
		// The first sweep is soon.
		m := running(t, w, func(o *Options) { o.IndexCacheBytes, o.SweepGrace = 1, time.Second })
		now := time.Now().UnixMilli()
		for i := range int32(20) {
			log := newFakeLog(t)
			for range 3 + 10*(i%2) { // with pages, and without
				log.appendSegment(segmentSpec{batches: 1, timestamp: func(int64) int64 { return now }})
			}
			w.attachTo(m, log, i, 1)
		}
		// The replaced manifests are deleted, and retention has looked once.
		time.Sleep(5 * time.Minute)
		calls := w.faults.Calls(objstoretest.AnyOp)
		time.Sleep(time.Hour)
		if n := w.faults.Calls(objstoretest.AnyOp) - calls; n != 0 {
			t.Errorf("%d requests of idle partitions in an hour", n)
		}
	})
}

// TestAwaitedPartitionsAreAttachedFirst: after a failover of many partitions a reader does not wait
// for partitions without readers.
func TestAwaitedPartitionsAreAttachedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const partitions = 5 * 256
		logs := make([]*fakeLog, partitions)
		first := running(t, w)
		for i := range logs {
			logs[i] = newFakeLog(t)
			small(logs[i], 1)
			w.attachTo(first, logs[i], int32(i), 1)
		}
		synctest.Wait()
		w.faults.Add(objstoretest.Fault{Op: objstoretest.GetOp, Kind: objstoretest.Slow, Latency: time.Second})
		m := running(t, w)
		var last metadata.TopicPartition
		for i := range logs {
			last = w.attachTo(m, logs[i], int32(i), 2)
		}
		began := time.Now()
		if _, _, err := m.read(t.Context(), last, 0, 100, 1<<60); err != nil {
			t.Fatal(err)
		}
		// The partition waits for those being attached; then come its manifest, its index
		// and its chunk.
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("the read took %v", waited)
		}
	})
}

// TestAttachmentsGiveWay: a manifest that no reader waits for is loaded after the delay. A reader,
// a closed segment and a suspect leader do not wait for the delay.
func TestAttachmentsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = time.Second
		w := newWorld(t)
		first := running(t, w)
		logs := make([]*fakeLog, 4)
		for i := range logs {
			logs[i] = newFakeLog(t)
			small(logs[i], 1)
			w.attachTo(first, logs[i], int32(i), 1)
		}
		synctest.Wait()
		m := running(t, w, func(o *Options) { o.AttachDelay = delay })
		var all []metadata.TopicPartition
		for i, log := range logs[:3] {
			all = append(all, w.attachTo(m, log, int32(i), 2))
		}
		suspect := metadata.TopicPartition{Topic: "orders", Partition: 3}
		m.attach(t.Context(), Partition{
			TopicID: w.id, TopicPartition: suspect, LeaderEpoch: 2, Config: w.cfg.get, LossyEpoch: 2, Suspect: &suspectLog{fakeLog: logs[3]},
		}, logs[3])
		began := time.Now()
		attached := func(tp metadata.TopicPartition) bool {
			p, _ := m.partition(tp)
			return p.tried() == nil
		}
		synctest.Wait()
		if attached(all[0]) || attached(all[1]) || attached(all[2]) {
			t.Error("a manifest that nobody waits for is loaded at once")
		}
		if !attached(suspect) {
			t.Error("a suspect leader waits for the delay")
		}
		if _, _, err := m.read(t.Context(), all[1], 0, 100, 1<<60); err != nil || time.Since(began) >= delay {
			t.Errorf("a reader gets its records after %v, %v", time.Since(began), err)
		}
		m.Kick(all[2])
		synctest.Wait()
		if !attached(all[2]) || attached(all[0]) || time.Since(began) >= delay {
			t.Error("a closed segment waits for the delay")
		}
		time.Sleep(delay)
		synctest.Wait()
		if !attached(all[0]) {
			t.Error("after the delay the manifest is still not loaded")
		}
	})
}
