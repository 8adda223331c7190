package metadata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// MemStore is a Store in memory, with etcd's semantics, for tests and
// simulations. Time is that of a Clock: leases end by its timers.
type MemStore struct {
	clock Clock

	mu struct {
		sync.Mutex
		closed    bool
		revision  int64
		kvs       map[string]KV
		leases    map[LeaseID]*memLease
		lastLease LeaseID
		history   []Batch       // one per revision, ascending
		compacted int64         // the newest revision that is not in history
		changed   chan struct{} // closed and replaced when history grows, or at Close
	}
}

// Clock starts timers for a MemStore. Of the real one, testing/synctest makes a
// simulated one.
type Clock interface {
	// AfterFunc runs f in its own goroutine after d, unless stop comes first.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// historyLimit is how many revisions a MemStore keeps for watchers.
const historyLimit = 10_000

type memLease struct {
	ttl  time.Duration
	stop func() bool
	// generation counts the renewals, so that a timer that has fired already
	// when its lease is renewed does nothing.
	generation int
}

type realClock struct{}

func (realClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// NewMemStore makes an empty store on the time of package time.
func NewMemStore() *MemStore { return NewMemStoreWithClock(realClock{}) }

// NewMemStoreWithClock makes an empty store on another clock.
func NewMemStoreWithClock(clock Clock) *MemStore {
	s := &MemStore{clock: clock}
	s.mu.revision = 1 // as an empty etcd's
	s.mu.kvs = map[string]KV{}
	s.mu.leases = map[LeaseID]*memLease{}
	s.mu.changed = make(chan struct{})
	return s
}

// Get implements Store.
func (s *MemStore) Get(ctx context.Context, key string) (KV, error) {
	if err := ctx.Err(); err != nil {
		return KV{}, fmt.Errorf("get %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return KV{}, fmt.Errorf("get %s: %w", key, ErrClosed)
	}
	if kv, ok := s.mu.kvs[key]; ok {
		return kv, nil
	}
	return KV{Key: key}, nil
}

// List implements Store.
func (s *MemStore) List(ctx context.Context, prefix string) ([]KV, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, ErrClosed)
	}
	keys := s.keysLocked(prefix)
	kvs := make([]KV, len(keys))
	for i, key := range keys {
		kvs[i] = s.mu.kvs[key]
	}
	return kvs, s.mu.revision, nil
}

// Txn implements Store.
func (s *MemStore) Txn(ctx context.Context, comparisons []Comparison, ops ...Op) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	if err := checkOps(comparisons, ops); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return 0, fmt.Errorf("write: %w", ErrClosed)
	}
	for _, c := range comparisons {
		if !s.holdsLocked(c) {
			return 0, fmt.Errorf("write under the condition on %s: %w", c.Key, ErrConflict)
		}
	}
	for _, op := range ops {
		if _, ok := s.mu.leases[op.Lease]; op.Lease != 0 && !ok {
			return 0, fmt.Errorf("write %s: %w", op.Key, ErrLeaseNotFound)
		}
	}
	revision := s.mu.revision + 1
	events := make([]Event, 0, len(ops))
	for _, op := range ops {
		switch op.Kind {
		case OpPut:
			created := revision
			if old, ok := s.mu.kvs[op.Key]; ok {
				created = old.CreateRevision
			}
			kv := KV{Key: op.Key, Value: bytes.Clone(op.Value), CreateRevision: created, ModRevision: revision, Lease: op.Lease}
			s.mu.kvs[op.Key] = kv
			events = append(events, Event{KV: kv})
		case OpDelete:
			if _, ok := s.mu.kvs[op.Key]; ok {
				events = append(events, s.deleteLocked(op.Key, revision))
			}
		case OpDeletePrefix:
			for _, key := range s.keysLocked(op.Key) {
				events = append(events, s.deleteLocked(key, revision))
			}
		}
	}
	s.commitLocked(events)
	return s.mu.revision, nil
}

// checkOps refuses what etcd refuses.
func checkOps(comparisons []Comparison, ops []Op) error {
	if n := max(len(comparisons), len(ops)); n > MaxTxnOps {
		return fmt.Errorf("write: %d operations are too many for one transaction", n)
	}
	puts := map[string]bool{}
	for _, op := range ops {
		if op.Key == "" {
			return errors.New("write: a key is empty")
		}
		if op.Kind == OpPut && puts[op.Key] {
			return fmt.Errorf("write: the key %s is written twice in one transaction", op.Key)
		}
		puts[op.Key] = puts[op.Key] || op.Kind == OpPut
	}
	for _, op := range ops {
		for key, put := range puts {
			if put && (op.Kind == OpDelete && key == op.Key || op.Kind == OpDeletePrefix && strings.HasPrefix(key, op.Key)) {
				return fmt.Errorf("write: the key %s is written and deleted in one transaction", key)
			}
		}
	}
	return nil
}

func (s *MemStore) holdsLocked(c Comparison) bool {
	kv := s.mu.kvs[c.Key]
	switch c.Target {
	case TargetCreateRevision:
		return kv.CreateRevision == c.Revision
	case TargetModRevision:
		return kv.ModRevision == c.Revision
	case TargetValue:
		return kv.Exists() && string(kv.Value) == c.Value
	default:
		return false
	}
}

func (s *MemStore) keysLocked(prefix string) []string {
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(s.mu.kvs)), func(key string) bool {
		return !strings.HasPrefix(key, prefix)
	})
	slices.Sort(keys)
	return keys
}

func (s *MemStore) deleteLocked(key string, revision int64) Event {
	delete(s.mu.kvs, key)
	return Event{KV: KV{Key: key, ModRevision: revision}, Deleted: true}
}

// commitLocked makes the events the next revision; without any there is none.
func (s *MemStore) commitLocked(events []Event) {
	if len(events) == 0 {
		return
	}
	s.mu.revision++
	s.mu.history = append(s.mu.history, Batch{Revision: s.mu.revision, Events: events})
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
		lease.stop()
	}
	s.wakeLocked()
	return nil
}
