package metadata

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

func TestLoaderSeesWhatIsWritten(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1)
	if got := c.loader.Image().BrokerIDs(); len(got) != 1 || got[0] != 1 {
		t.Errorf("brokers %v", got)
	}
}

// compactingStore compacts the events that a watch needs, after the given number of lists.
type compactingStore struct {
	*kvtest.MemStore
	lists   atomic.Int32
	compact atomic.Int32
}

func (s *compactingStore) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	s.lists.Add(1)
	kvs, revision, err := s.MemStore.List(ctx, prefix)
	if s.compact.Add(-1) >= 0 {
		for range 3 {
			if _, err = s.Txn(ctx, nil, kv.Put("tier/x", nil)); err != nil {
				return nil, 0, err
			}
		}
		s.Compact(revision + 3)
	}
	return kvs, revision, err
}

func TestLoaderListsAgainAfterCompaction(t *testing.T) {
	s := &compactingStore{MemStore: kvtest.Open(t)}
	s.compact.Store(2)
	registry := prometheus.NewRegistry()
	f := NewLoader(LoaderOptions{Store: s, Logger: runtest.Logger(t), Registerer: registry})
	runtest.Background(t, f.Run)
	// Both lists were overtaken by a compaction; after the third one the watch works.
	if _, err := f.WaitRevision(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	revision, err := s.Txn(t.Context(), nil, kv.Put(brokerKey(1), encode(brokerValue{V: 1})))
	if err != nil {
		t.Fatal(err)
	}
	if image, waitErr := f.WaitRevision(t.Context(), revision); waitErr != nil || len(image.Brokers) != 1 {
		t.Fatalf("%+v, %v", image, waitErr)
	}
	if n := s.lists.Load(); n != 3 {
		t.Errorf("listed %d times", n)
	}
	if n := counter(t, registry, "varve_metadata_relists_total"); n != 2 {
		t.Errorf("counted %v", n)
	}
}

// breakingStore ends the given number of watches with an error.
type breakingStore struct {
	*kvtest.MemStore
	lists   atomic.Int32
	breaks  atomic.Int32
	watched chan int64 // their first revisions
}

func (s *breakingStore) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	s.lists.Add(1)
	return s.MemStore.List(ctx, prefix)
}

func (s *breakingStore) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	s.watched <- from
	if s.breaks.Add(-1) < 0 {
		return s.MemStore.Watch(ctx, prefix, from)
	}
	return func(yield func(kv.Batch, error) bool) {
		for batch, err := range s.MemStore.Watch(ctx, prefix, from) {
			if !yield(batch, err) {
				return
			}
			break
		}
		yield(kv.Batch{}, fmt.Errorf("watch: %w", kv.ErrUnavailable))
	}
}

// TestLoaderGoesOnWhereItWas: after a watch breaks, the loader reads only the missing changes, not
// everything.
func TestLoaderGoesOnWhereItWas(t *testing.T) {
	s := &breakingStore{MemStore: kvtest.Open(t), watched: make(chan int64, 10)}
	s.breaks.Store(2)
	f := NewLoader(LoaderOptions{Store: s, Logger: runtest.Logger(t)})
	runtest.Background(t, f.Run)
	from := <-s.watched
	for n := range int64(3) {
		revision, err := s.Txn(t.Context(), nil, kv.Put(brokerKey(int32(n)), encode(brokerValue{V: 1})))
		if err != nil {
			t.Fatal(err)
		}
		if image, waitErr := f.WaitRevision(t.Context(), revision); waitErr != nil || len(image.Brokers) != int(n)+1 {
			t.Fatalf("%+v, %v", image, waitErr)
		}
		if n < 2 {
			if next := <-s.watched; next != from+n+1 {
				t.Errorf("watches from %d, the image is of %d", next, revision)
			}
		}
	}
	if n := s.lists.Load(); n != 1 {
		t.Errorf("listed %d times", n)
	}
}

// restoredStore has an older state at a higher revision from the second list on, and has compacted
// everything in between.
type restoredStore struct {
	*kvtest.MemStore
	old   []kv.Pair
	lists int
}

func (s *restoredStore) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	if s.lists++; s.lists == 1 {
		return s.MemStore.List(ctx, prefix)
	}
	return s.old, 1_000_000, nil
}

func (s *restoredStore) Watch(context.Context, string, int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) { yield(kv.Batch{}, fmt.Errorf("watch: %w", kv.ErrCompacted)) }
}

// TestLoaderRefusesAnOlderStateAtANewerRevision: a backup was restored and its revision raised. The
// loader must notice by the revisions of the keys.
func TestLoaderRefusesAnOlderStateAtANewerRevision(t *testing.T) {
	id := NewTopicID()
	for key, value := range map[string][]byte{
		partitionKey(id, 0): (&Partition{Replicas: []int32{1}, ISR: []int32{1}, ISREpochs: []int64{1}, Leader: 1}).encode(),
		brokerKey(1):        encode(brokerValue{V: 1}),
		controllerKey:       encode(controllerValue{V: 1, Broker: 1}),
	} {
		t.Run(key, func(t *testing.T) {
			s := &restoredStore{MemStore: kvtest.Open(t)}
			for range 2 {
				if _, err := s.Txn(t.Context(), nil, kv.Delete(key)); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Txn(t.Context(), nil, kv.Put(key, value)); err != nil {
					t.Fatal(err)
				}
				if s.old == nil {
					s.old, _, _ = s.MemStore.List(t.Context(), "")
				}
			}
			f := NewLoader(LoaderOptions{Store: s, Logger: runtest.Logger(t)})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := f.Run(ctx); !errors.Is(err, kv.ErrWentBack) {
				t.Errorf("Run = %v", err)
			}
			if f.Image().Revision == 1_000_000 {
				t.Error("the older state was published")
			}
		})
	}
}

func TestLoaderSurvivesAnUnreachableStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		s := &kvtest.HookedStore{Store: kvtest.Open(t), BeforeList: func() error {
			if down.Load() {
				return fmt.Errorf("list: %w", kv.ErrUnavailable)
			}
			return nil
		}}
		f := NewLoader(LoaderOptions{Store: s, Logger: runtest.Logger(t)})
		stop := runtest.Background(t, f.Run)
		defer stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := f.WaitRevision(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("without a store: %v", err)
		}
		down.Store(false)
		if _, err := f.WaitRevision(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLoaderEndsWithItsStore: Run must not retry forever on a closed store.
func TestLoaderEndsWithItsStore(t *testing.T) {
	s := kvtest.Open(t)
	f := NewLoader(LoaderOptions{Store: s, Logger: runtest.Logger(t)})
	done := make(chan error, 1)
	go func() { done <- f.Run(t.Context()) }()
	if _, err := f.WaitRevision(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if err := <-done; !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Run = %v", err)
	}
}

func TestLoaderRefusesAnOlderStore(t *testing.T) {
	f := NewLoader(LoaderOptions{Store: kvtest.Open(t), Logger: runtest.Logger(t)})
	newer := newImage()
	newer.Revision = 1000
	f.publish(newer)
	if err := f.Run(t.Context()); !errors.Is(err, kv.ErrWentBack) || !strings.Contains(err.Error(), "from revision 1000 to 1") {
		t.Errorf("Run = %v", err)
	}
	if f.Image() != newer {
		t.Error("the older image was published")
	}
}

func TestUnreadableValuesAreCounted(t *testing.T) {
	s, registry := kvtest.Open(t), prometheus.NewRegistry()
	f := NewLoader(LoaderOptions{Store: s, Logger: runtest.Logger(t), Registerer: registry})
	runtest.Background(t, f.Run)
	revision, err := s.Txn(t.Context(), nil, kv.Put(brokerKey(1), []byte("{")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WaitRevision(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	if n := counter(t, registry, "varve_metadata_unreadable_batches_total"); n != 1 {
		t.Errorf("counted %v", n)
	}
}

func counter(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestSubscriptionCoalesces(t *testing.T) {
	f := NewLoader(LoaderOptions{Store: kvtest.Open(t), Logger: runtest.Logger(t)})
	s := f.Subscribe()
	if m := <-s.Images(); m != f.Image() {
		t.Fatal("the first image is not the current one")
	}
	for revision := range int64(10) { // without a reader: publishing must not block
		m := newImage()
		m.Revision = revision
		f.publish(m)
	}
	if m := <-s.Images(); m.Revision != 9 {
		t.Errorf("revision %d, want the newest", m.Revision)
	}
	s.Close()
	f.publish(newImage())
	select {
	case <-s.Images():
		t.Error("an image after Close")
	default:
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	f := NewLoader(LoaderOptions{Store: kvtest.Open(t), Logger: runtest.Logger(t)})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the broker stops")
	cancel(cause)
	if _, err := f.Wait(ctx, func(*Image) bool { return false }); !errors.Is(err, cause) {
		t.Errorf("Wait = %v", err)
	}
	if _, err := f.Wait(ctx, func(*Image) bool { return true }); err != nil {
		t.Errorf("a condition that holds already: %v", err)
	}
}

// TestTierPointersWakeNobody: changes of keys outside the image advance its revision and wake only
// WaitRevision.
func TestTierPointersWakeNobody(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1)
	before := c.loader.Image()
	s := c.loader.Subscribe()
	defer s.Close()
	<-s.Images()
	asked := 0
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := c.loader.Wait(ctx, func(*Image) bool { asked++; return false })
		ended <- err
	}()
	for range 3 {
		revision, err := c.store.Txn(t.Context(), nil, kv.Put(TierKey(TopicID{1}, 0), []byte("x")))
		if err != nil {
			t.Fatal(err)
		}
		if image, err := c.loader.WaitRevision(t.Context(), revision); err != nil || image.ContentRevision != before.ContentRevision {
			t.Fatalf("content of revision %d, before %d: %v", image.ContentRevision, before.ContentRevision, err)
		}
	}
	select {
	case image := <-s.Images():
		t.Errorf("woken with revision %d", image.Revision)
	default:
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || asked > 1 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	revision, err := c.store.Txn(t.Context(), nil, kv.Put(TierKey(TopicID{1}, 0), nil), kv.Put(topicConfigsPrefix+"a", encode(configsValue{V: 1})))
	if err != nil {
		t.Fatal(err)
	}
	if image := <-s.Images(); image.Revision != revision || image.ContentRevision != revision {
		t.Errorf("revision %d, content of %d, want %d", image.Revision, image.ContentRevision, revision)
	}
}

// TestAgain: a reader gets the newest image once more, but only one copy of it.
func TestAgain(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	s := c.loader.Subscribe()
	defer s.Close()
	first := <-s.Images()
	s.Again()
	s.Again()
	if n := len(s.Images()); n != 1 {
		t.Fatalf("%d images are delivered", n)
	}
	if image := <-s.Images(); image != first {
		t.Errorf("revision %d after %d", image.Revision, first.Revision)
	}
}

// TestArrivalsAreGathered: batches that wait are applied as one, including those that arrived
// before an error.
func TestArrivalsAreGathered(t *testing.T) {
	batch := func(revision int64) kv.Batch {
		return kv.Batch{Revision: revision, Events: append(make([]kv.Event, 0, 10), del(brokerKey(int32(revision)), revision))}
	}
	first, broken := batch(1), errors.New("broken")
	arrivals := make(chan arrival, 10)
	for revision := int64(2); revision <= 4; revision++ {
		arrivals <- arrival{batch: batch(revision)}
	}
	arrivals <- arrival{err: broken}
	arrivals <- arrival{batch: batch(5)}
	got, err := gather(arrival{batch: first}, arrivals)
	if !errors.Is(err, broken) || got.Revision != 4 || len(got.Events) != 4 || len(arrivals) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, e := range got.Events {
		if e.Key != brokerKey(int32(i+1)) {
			t.Errorf("event %d: %s", i, e.Key)
		}
	}
	if beyond := first.Events[:2][1]; beyond.Key != "" {
		t.Errorf("written into the store's batch: %+v", beyond)
	}
	if got, err = gather(arrival{err: broken}, arrivals); !errors.Is(err, broken) || len(got.Events) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
