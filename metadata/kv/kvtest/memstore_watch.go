package kvtest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/varvelog/varve/metadata/kv"
)

// Watch implements Store. It runs on the caller's goroutine only.
func (s *MemStore) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		for {
			batch, changed, err := s.since(from)
			if err != nil {
				yield(kv.Batch{}, fmt.Errorf("watch %s from revision %d: %w", prefix, from, err))
				return
			}
			from = max(from, batch.Revision+1)
			batch.Events = slices.DeleteFunc(batch.Events, func(e kv.Event) bool {
				return !strings.HasPrefix(e.Key, prefix)
			})
			if len(batch.Events) > 0 {
				batch.Revision = batch.Events[len(batch.Events)-1].ModRevision
				if !yield(batch, nil) {
					return
				}
				if ctx.Err() == nil {
					continue
				}
			}
			select {
			case <-ctx.Done():
				yield(kv.Batch{}, fmt.Errorf("watch %s: %w", prefix, ctx.Err()))
				return
			case <-changed:
			}
		}
	}
}

// since returns a copy of the history from a revision on, and a channel that is closed when the
// history grows.
func (s *MemStore) since(from int64) (kv.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.closed:
		return kv.Batch{}, nil, kv.ErrClosed
	case from <= s.mu.compacted:
		return kv.Batch{}, nil, fmt.Errorf("%w: the oldest is %d", kv.ErrCompacted, s.mu.compacted+1)
	}
	var all kv.Batch
	for _, b := range s.mu.history {
		if b.Revision >= from {
			all.Revision = b.Revision
			all.Events = append(all.Events, b.Events...)
		}
	}
	return all, s.mu.changed, nil
}

// Compact drops the events up to and including a revision, as an operator or etcd's own compaction
// does.
func (s *MemStore) Compact(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compactLocked(min(revision, s.mu.revision))
	s.wakeLocked()
}

func (s *MemStore) compactLocked(revision int64) {
	s.mu.compacted = max(s.mu.compacted, revision)
	s.mu.history = slices.DeleteFunc(s.mu.history, func(b kv.Batch) bool { return b.Revision <= revision })
}
