package kvtest

import (
	"context"
	"sync"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
)

// Open returns an empty MemStore, which is closed when the test ends.
func Open(t testing.TB) *MemStore {
	t.Helper()
	s := NewMemStore()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Keys returns the keys that begin with prefix, in ascending order.
func Keys(t testing.TB, store kv.Store, prefix string) []string {
	t.Helper()
	pairs, _, err := store.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(pairs))
	for i, pair := range pairs {
		keys[i] = pair.Key
	}
	return keys
}

// HookedStore calls hooks before and after calls of a Store. A nil hook does nothing. Hooks may be
// set only while no call is in progress; concurrent calls may run them concurrently.
type HookedStore struct {
	kv.Store
	// BeforeTxn gets the number of the transaction, from 1 on. If it returns an error, Txn returns
	// that error and writes nothing.
	BeforeTxn func(n int) error
	// AfterTxn gets the same number after the transaction. If it returns an error, Txn returns that
	// error: the write has happened and its reply is lost.
	AfterTxn func(n int) error
	// BeforeList may return an error, which List then returns.
	BeforeList func() error
	// InsteadOfRevoke replaces Revoke.
	InsteadOfRevoke func() error

	mu sync.Mutex
	n  int // the number of the last transaction
}

// Txns returns the number of transactions so far, including failed ones.
func (s *HookedStore) Txns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Txn implements Store.
func (s *HookedStore) Txn(ctx context.Context, comparisons []kv.Comparison, ops ...kv.Op) (int64, error) {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	if s.BeforeTxn != nil {
		if err := s.BeforeTxn(n); err != nil {
			return 0, err
		}
	}
	revision, err := s.Store.Txn(ctx, comparisons, ops...)
	if s.AfterTxn != nil {
		if lost := s.AfterTxn(n); lost != nil {
			return 0, lost
		}
	}
	return revision, err
}

// List implements Store.
func (s *HookedStore) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	if s.BeforeList != nil {
		if err := s.BeforeList(); err != nil {
			return nil, 0, err
		}
	}
	return s.Store.List(ctx, prefix)
}

// Revoke implements Store.
func (s *HookedStore) Revoke(ctx context.Context, lease kv.LeaseID) error {
	if s.InsteadOfRevoke != nil {
		return s.InsteadOfRevoke()
	}
	return s.Store.Revoke(ctx, lease)
}
