package kvtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// Grant implements Store.
func (s *MemStore) Grant(ctx context.Context, ttl time.Duration) (kv.LeaseID, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return 0, fmt.Errorf("grant a lease: %w", kv.ErrClosed)
	}
	s.mu.lastLease++
	id, lease := s.mu.lastLease, &memLease{ttl: ttl}
	s.mu.leases[id] = lease
	s.armLocked(id, lease)
	return id, nil
}

// KeepAlive implements Store.
func (s *MemStore) KeepAlive(ctx context.Context, id kv.LeaseID) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("keep lease %d alive: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return fmt.Errorf("keep lease %d alive: %w", id, kv.ErrClosed)
	}
	lease, ok := s.mu.leases[id]
	if !ok {
		return fmt.Errorf("keep lease %d alive: %w", id, kv.ErrLeaseNotFound)
	}
	lease.timer.Stop()
	s.armLocked(id, lease)
	return nil
}

// Revoke implements Store.
func (s *MemStore) Revoke(ctx context.Context, id kv.LeaseID) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("revoke lease %d: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return fmt.Errorf("revoke lease %d: %w", id, kv.ErrClosed)
	}
	s.endLocked(id)
	return nil
}

// armLocked starts the lease's time to live.
func (s *MemStore) armLocked(id kv.LeaseID, lease *memLease) {
	lease.generation++
	generation := lease.generation
	lease.timer = time.AfterFunc(lease.ttl, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.mu.closed && s.mu.leases[id] == lease && lease.generation == generation {
			s.endLocked(id)
		}
	})
}

// endLocked deletes the lease and its keys, all at one revision.
func (s *MemStore) endLocked(id kv.LeaseID) {
	lease, ok := s.mu.leases[id]
	if !ok {
		return
	}
	lease.timer.Stop()
	delete(s.mu.leases, id)
	keys := slices.DeleteFunc(s.keysLocked(""), func(key string) bool { return s.mu.kvs[key].Lease != id })
	events := make([]kv.Event, 0, len(keys))
	for _, key := range keys {
		events = append(events, s.deleteLocked(key, s.mu.revision+1))
	}
	s.commitLocked(events)
}
