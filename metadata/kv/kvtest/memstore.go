package kvtest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// MemStore is a Store in memory, with etcd's semantics, for tests and simulations. Leases end by
// timers of package time, which testing/synctest simulates.
type MemStore struct {
	mu struct {
		sync.Mutex
		closed    bool
		revision  int64
		kvs       map[string]kv.Pair
		leases    map[kv.LeaseID]*memLease
		lastLease kv.LeaseID
		history   []kv.Batch    // one per revision, ascending
		compacted int64         // the newest revision that is not in history
		changed   chan struct{} // closed and replaced when history grows, or at Close
	}
}

// historyLimit is the number of revisions that a MemStore keeps for watchers.
const historyLimit = 10_000

type memLease struct {
	ttl   time.Duration
	timer *time.Timer
	// generation counts the renewals: a timer that has fired already when its lease is renewed does
	// nothing.
	generation int
}

// NewMemStore returns an empty store.
func NewMemStore() *MemStore {
	s := new(MemStore)
	s.mu.revision = 1 // as in an empty etcd
	s.mu.kvs = map[string]kv.Pair{}
	s.mu.leases = map[kv.LeaseID]*memLease{}
	s.mu.changed = make(chan struct{})
	return s
}

// Get implements Store.
func (s *MemStore) Get(ctx context.Context, key string) (kv.Pair, error) {
	if err := ctx.Err(); err != nil {
		return kv.Pair{}, fmt.Errorf("get %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return kv.Pair{}, fmt.Errorf("get %s: %w", key, kv.ErrClosed)
	}
	if pair, ok := s.mu.kvs[key]; ok {
		return pair, nil
	}
	return kv.Pair{Key: key}, nil
}

// List implements Store.
func (s *MemStore) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, kv.ErrClosed)
	}
	keys := s.keysLocked(prefix)
	kvs := make([]kv.Pair, len(keys))
	for i, key := range keys {
		kvs[i] = s.mu.kvs[key]
	}
	return kvs, s.mu.revision, nil
}

// Txn implements Store.
func (s *MemStore) Txn(ctx context.Context, comparisons []kv.Comparison, ops ...kv.Op) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	if err := kv.CheckTxn(comparisons, ops); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return 0, fmt.Errorf("write: %w", kv.ErrClosed)
	}
	for _, c := range comparisons {
		if !c.Holds(s.mu.kvs[c.Key]) {
			return 0, fmt.Errorf("write under the condition on %s: %w", c.Key, kv.ErrConflict)
		}
	}
	for _, op := range ops {
		if _, ok := s.mu.leases[op.Lease]; op.Lease != 0 && !ok {
			return 0, fmt.Errorf("write %s: %w", op.Key, kv.ErrLeaseNotFound)
		}
	}
	revision := s.mu.revision + 1
	events := make([]kv.Event, 0, len(ops))
	for _, op := range ops {
		switch op.Kind {
		case kv.OpPut:
			created := revision
			if old, ok := s.mu.kvs[op.Key]; ok {
				created = old.CreateRevision
			}
			pair := kv.Pair{Key: op.Key, Value: bytes.Clone(op.Value), CreateRevision: created, ModRevision: revision, Lease: op.Lease}
			s.mu.kvs[op.Key] = pair
			events = append(events, kv.Event{Pair: pair})
		case kv.OpDelete:
			if _, ok := s.mu.kvs[op.Key]; ok {
				events = append(events, s.deleteLocked(op.Key, revision))
			}
		case kv.OpDeletePrefix:
			for _, key := range s.keysLocked(op.Key) {
				events = append(events, s.deleteLocked(key, revision))
			}
		}
	}
	s.commitLocked(events)
	return s.mu.revision, nil
}

func (s *MemStore) keysLocked(prefix string) []string {
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(s.mu.kvs)), func(key string) bool {
		return !strings.HasPrefix(key, prefix)
	})
	slices.Sort(keys)
	return keys
}

func (s *MemStore) deleteLocked(key string, revision int64) kv.Event {
	delete(s.mu.kvs, key)
	return kv.Event{Pair: kv.Pair{Key: key, ModRevision: revision}, Deleted: true}
}

// commitLocked makes the events the next revision. Without events there is no new revision.
func (s *MemStore) commitLocked(events []kv.Event) {
	if len(events) == 0 {
		return
	}
	s.mu.revision++
	s.mu.history = append(s.mu.history, kv.Batch{Revision: s.mu.revision, Events: events})
	if extra := len(s.mu.history) - historyLimit; extra > historyLimit/10 {
		s.compactLocked(s.mu.history[extra-1].Revision)
	}
	s.wakeLocked()
}

func (s *MemStore) wakeLocked() {
	close(s.mu.changed)
	s.mu.changed = make(chan struct{})
}

// Close implements Store.
func (s *MemStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil
	}
	s.mu.closed = true
	for _, lease := range s.mu.leases {
		lease.timer.Stop()
	}
	s.wakeLocked()
	return nil
}
