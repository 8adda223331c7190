package simulation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// TestEtcdConforms: the modelled etcd passes the conformance suite of the stores.
func TestEtcdConforms(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kvtest.Instance {
		t.Helper()
		s := &liveStore{began: time.Now(), ended: make(chan struct{})}
		s.e = newEtcd(newScheduler(1, &jumpClock{}))
		t.Cleanup(func() { _ = s.Close() })
		return kvtest.Instance{Store: s, Compact: func(_ *testing.T, revision int64) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.e.compact(revision)
		}}
	})
}

// liveStore lets the modelled etcd serve goroutines, on the time of package time.
type liveStore struct {
	mu    sync.Mutex
	e     *etcd
	began time.Time
	ended chan struct{}
}

// do runs the due events, then a function.
func do[T any](ctx context.Context, s *liveStore, what func(e *etcd) (T, error)) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none T
	select {
	case <-s.ended:
		return none, kv.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("ask: %w", err)
	}
	s.e.s.run(time.Since(s.began))
	return what(s.e)
}

func (s *liveStore) Get(ctx context.Context, key string) (kv.Pair, error) {
	return do(ctx, s, func(e *etcd) (kv.Pair, error) { return e.get(key), nil })
}

func (s *liveStore) List(ctx context.Context, prefix string) (kvs []kv.Pair, revision int64, err error) {
	revision, err = do(ctx, s, func(e *etcd) (int64, error) {
		kvs = e.list(prefix)
		return e.state.revision, nil
	})
	return kvs, revision, err
}

func (s *liveStore) Txn(ctx context.Context, comparisons []kv.Comparison, ops ...kv.Op) (int64, error) {
	return do(ctx, s, func(e *etcd) (int64, error) {
		if err := e.txn(comparisons, ops); err != nil {
			return 0, err
		}
		return e.state.revision, nil
	})
}

func (s *liveStore) Grant(ctx context.Context, ttl time.Duration) (kv.LeaseID, error) {
	return do(ctx, s, func(e *etcd) (kv.LeaseID, error) { return e.grant(ttl), nil })
}

func (s *liveStore) KeepAlive(ctx context.Context, id kv.LeaseID) error {
	_, err := do(ctx, s, func(e *etcd) (struct{}, error) { return struct{}{}, e.keepAlive(id) })
	return err
}

func (s *liveStore) Revoke(ctx context.Context, id kv.LeaseID) error {
	_, err := do(ctx, s, func(e *etcd) (struct{}, error) {
		e.revoke(id)
		return struct{}{}, nil
	})
	return err
}

func (s *liveStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
	default:
		close(s.ended)
	}
	return nil
}

func (s *liveStore) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			batch, err := do(ctx, s, func(e *etcd) (kv.Batch, error) { return e.since(from, e.state.revision) })
			if err != nil {
				yield(kv.Batch{}, fmt.Errorf("watch: %w", err))
				return
			}
			from = max(from, batch.Revision+1)
			batch.Events = slices.DeleteFunc(slices.Clone(batch.Events), func(e kv.Event) bool { return !strings.HasPrefix(e.Key, prefix) })
			if len(batch.Events) > 0 {
				batch.Revision = batch.Events[len(batch.Events)-1].ModRevision
				if !yield(batch, nil) {
					return
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			case <-s.ended:
			}
		}
	}
}

// While a mistaken etcd is in the place of the true one, its writes and leases are not part of the
// truth, and they are gone afterwards.
func TestMistakenEtcdIsNotTheTruth(t *testing.T) {
	e := newEtcd(newScheduler(1, &jumpClock{}))
	told := 0
	e.changed = func(kv.Batch) { told++ }
	put := func(value string) {
		t.Helper()
		if err := e.txn(nil, []kv.Op{kv.Put("k", []byte(value))}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(value string, revision int64) {
		t.Helper()
		if got := string(e.get("k").Value); got != value || e.state.revision != revision {
			t.Errorf("%q at revision %d, want %q at %d", got, e.state.revision, value, revision)
		}
	}
	put("old")
	e.backup()
	for range mistakeRevisions {
		put("new")
	}
	newest := e.state.revision
	e.mistake(time.Second, 2+mistakeRevisions-1)
	has("new", newest) // a broker that has seen no more could not detect it
	e.mistake(time.Second, newest)
	has("old", 2)
	put("other")
	has("other", 3)
	granted := e.grant(time.Minute)
	e.s.run(2 * time.Second)
	has("new", newest)
	if err := e.keepAlive(granted); !errors.Is(err, kv.ErrLeaseNotFound) {
		t.Errorf("the truth keeps a lease alive that the other etcd has granted: %v", err)
	}
	if told != 1+mistakeRevisions {
		t.Errorf("%d changes of the truth", told)
	}
	put("newer")
	e.mistake(time.Second, newest)
	has("old", 2)
}
