package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// running returns a Manager that runs, in a bubble.
func running(t *testing.T, w *world, change ...func(*Options)) *Manager {
	t.Helper()
	o := w.options()
	o.Now = time.Now
	for _, c := range change {
		c(&o)
	}
	m := New(o)
	m.shape = format.Shape{Inline: 8, Page: 4}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return m
}

func (w *world) attachTo(m *Manager, log *fakeLog, partition, epoch int32) metadata.TopicPartition {
	tp := metadata.TopicPartition{Topic: "orders", Partition: partition}
	m.attach(context.Background(), Partition{TopicID: w.id, TopicPartition: tp, LeaderEpoch: epoch, Config: w.cfg.get}, log)
	return tp
}

func TestRunUploadsWhatIsAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := running(t, w)
		log := newFakeLog(t)
		fill(log, 4)
		tp := w.attachTo(m, log, 7, 1)
		synctest.Wait()
		s, ok := m.Status(tp)
		if !ok || s.State != StateActive || s.EndOffset != log.end || s.Segments != 4 || s.LagSegments != 0 || s.LastUpload.IsZero() || s.Manifest == "" {
			t.Fatalf("status is %+v", s)
		}
		// A kick is handled at once; without one the segment is uploaded at the next interval.
		fill(log, 1)
		m.Kick(tp)
		synctest.Wait()
		if s, _ = m.Status(tp); s.EndOffset != log.end {
			t.Errorf("tier ends at %d after a kick, want %d", s.EndOffset, log.end)
		}
		fill(log, 1)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if s, _ = m.Status(tp); s.EndOffset != log.end {
			t.Errorf("tier ends at %d after the interval, want %d", s.EndOffset, log.end)
		}
		if _, _, err := m.read(t.Context(), tp, 0, 100, 1<<60); err != nil {
			t.Error(err)
		}
		m.Detach(t.Context(), tp)
		if _, ok = m.Status(tp); ok {
			t.Error("a detached partition has a status")
		}
	})
}

func TestNewPartitionsCostTheMetadataStoreNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := running(t, w)
		_, before, err := w.store.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range int32(100) {
			w.attachTo(m, newFakeLog(t), i, 1)
		}
		synctest.Wait()
		if _, after, _ := w.store.List(t.Context(), ""); after != before {
			t.Errorf("%d writes for 100 empty partitions", after-before)
		}
	})
}

// An outage when the broker starts: the log continues, reads return a retriable error, and
// everything recovers by itself. Failures are backed off.
func TestOutageAtAttachHealsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := newFakeLog(t)
		fill(log, 2)
		b := w.start(log, 1)
		b.mustAttach()
		b.mustDrain()
		fill(log, 1)

		m := running(t, w)
		remove := w.faults.Add(objstoretest.Fault{})
		calls := w.faults.Calls(objstoretest.AnyOp)
		log = log.restarted()
		tp := w.attachTo(m, log, 7, 2)
		time.Sleep(10 * time.Minute)
		if _, _, err := m.read(t.Context(), tp, 0, 100, 1<<60); !errors.Is(err, ErrUnavailable) {
			t.Errorf("read: %v, want ErrUnavailable", err)
		}
		if s, _ := m.Status(tp); s.State != StateAttaching || s.Err == nil {
			t.Errorf("status is %+v", s)
		}
		if log.remoteEnd != -1 {
			t.Error("the log was told that it may delete")
		}
		if n := w.faults.Calls(objstoretest.AnyOp) - calls; n > 60 {
			t.Errorf("%d requests in ten minutes of an outage", n)
		}
		remove()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s, _ := m.Status(tp); s.State != StateActive || s.EndOffset != log.end || s.Err != nil {
			t.Errorf("status after the outage is %+v", s)
		}
	})
}

// A partition with a long backlog and one that fails do not starve the third.
func TestUploadsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Key: "/1/", Times: 1000})
		w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Kind: objstoretest.Slow, Latency: time.Second})
		m := running(t, w, func(o *Options) { o.UploadConcurrency = 1 })
		long, failing, short := newFakeLog(t), newFakeLog(t), newFakeLog(t)
		fill(long, 100)
		fill(failing, 1)
		fill(short, 2)
		w.attachTo(m, long, 0, 1)
		w.attachTo(m, failing, 1, 1)
		tp := w.attachTo(m, short, 2, 1)
		time.Sleep(30 * time.Second)
		if s, _ := m.Status(tp); s.EndOffset != short.end {
			t.Errorf("the short one ends at %d of %d after 30 s", s.EndOffset, short.end)
		}
	})
}

// Detach cancels an upload and returns only when no worker has the log any more.
func TestDetachWaitsForTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stuck := &stuckBucket{objstoreBucket: w.faults, entered: make(chan struct{})}
		m := running(t, w, func(o *Options) { o.Bucket = stuck })
		log := newFakeLog(t)
		fill(log, 1)
		tp := w.attachTo(m, log, 7, 1)
		<-stuck.entered
		began := time.Now()
		m.Detach(t.Context(), tp)
		if waited := time.Since(began); waited > 0 {
			t.Errorf("detach took %v", waited)
		}
		log.mu.Lock()
		defer log.mu.Unlock()
		if log.opened != 0 {
			t.Error("the segment's files are still open")
		}
	})
}

// stuckBucket accepts an upload and keeps it until its context ends.
type stuckBucket struct {
	objstoreBucket
	once    sync.Once
	entered chan struct{}
}

func (b *stuckBucket) Put(ctx context.Context, key string, _ io.ReadSeeker, _ objstorePut) error {
	b.once.Do(func() { close(b.entered) })
	<-ctx.Done()
	return fmt.Errorf("put %s: %w", key, context.Cause(ctx))
}

func TestReattachWithAHigherEpochGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := running(t, w)
		log := newFakeLog(t)
		fill(log, 2)
		w.attachTo(m, log, 7, 1)
		synctest.Wait()
		fill(log, 2)
		tp := w.attachTo(m, log, 7, 2)
		synctest.Wait()
		if s, _ := m.Status(tp); s.EndOffset != log.end || s.LeaderEpoch != 2 || s.State != StateActive {
			t.Errorf("status is %+v", s)
		}
		// An older leader in another process cannot take over.
		other := running(t, w)
		w.attachTo(other, log, 7, 1)
		synctest.Wait()
		if s, _ := other.Status(tp); s.State != StateDeposed || !errors.Is(s.Err, ErrDeposed) {
			t.Errorf("status of the old leader is %+v", s)
		}
		time.Sleep(5 * time.Minute) // until the old manifests are deleted
		calls := w.faults.Calls(objstoretest.AnyOp)
		time.Sleep(30 * time.Minute)
		if n := w.faults.Calls(objstoretest.AnyOp) - calls; n > 0 {
			t.Errorf("%d requests of an idle and a deposed leader", n)
		}
	})
}

func TestEndOfRunEndsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		gate := &gateBucket{objstoreBucket: w.faults, open: make(chan struct{}), entered: make(chan struct{}, 100)}
		log := newFakeLog(t)
		fill(log, 1)
		b := w.start(log, 1)
		b.mustAttach()
		b.mustDrain()

		o := w.options()
		o.Bucket = gate
		m := New(o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		tp := w.attachTo(m, log, 7, 2)
		read := make(chan error)
		go func() {
			_, _, err := m.read(t.Context(), tp, 0, 100, 1<<60)
			read <- err
		}()
		<-gate.entered
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := <-read; !errors.Is(err, ErrUnavailable) {
			t.Errorf("read: %v, want ErrUnavailable", err)
		}
		if err := m.Run(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("second run: %v, want ErrClosed", err)
		}
	})
}

func TestRunCleansDeletedTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		gone := false
		m := running(t, w, func(o *Options) {
			o.Live = func(metadata.TopicID, int64) bool { mu.Lock(); defer mu.Unlock(); return !gone }
		})
		log := newFakeLog(t)
		fill(log, 2)
		tp := w.attachTo(m, log, 7, 1)
		time.Sleep(5 * time.Minute)
		if len(w.objects()) == 0 {
			t.Fatal("nothing was uploaded, or it was removed")
		}
		mu.Lock()
		gone = true
		mu.Unlock()
		m.Detach(t.Context(), tp)
		time.Sleep(20 * time.Minute) // longer than an upload may take
		synctest.Wait()
		if got := w.objects(); len(got) != 0 {
			t.Errorf("objects are left: %q", got)
		}
	})
}
