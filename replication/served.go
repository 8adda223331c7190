package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/varvelog/varve/metadata"
)

// served records how far this broker's partitions have followed the images, for callers that wait
// for that. The goroutine of Manager.Run writes it, and hangs may be called from any goroutine.
type served struct {
	mu       sync.Mutex
	revision int64 // of the newest image; 0 before the first
	first    int64 // revision of the first image
	// behind holds, for each partition that is not yet what an image says, the revision of the
	// oldest image that it has not followed.
	behind map[metadata.TopicID]map[int32]int64
	// failed holds the partitions that cannot be served, and why. They are being retried.
	failed map[metadata.TopicID]map[int32]error
	// early holds the partitions that an image assigns to this broker at a broker epoch that its
	// registration does not have, or does not know of yet.
	early map[metadata.TopicID]map[int32]int64

	pending int           // partitions in progress, or with something left to do
	changed chan struct{} // closed and replaced by publish
}

func newServed() *served {
	return &served{
		behind: map[metadata.TopicID]map[int32]int64{}, failed: map[metadata.TopicID]map[int32]error{},
		early: map[metadata.TopicID]map[int32]int64{}, changed: make(chan struct{}),
	}
}

// put sets one partition's entry in a map by topic.
func put[T any](m map[metadata.TopicID]map[int32]T, id metadata.TopicID, number int32, value T) {
	if m[id] == nil {
		m[id] = map[int32]T{}
	}
	m[id][number] = value
}

// drop removes one partition's entry.
func drop[T any](m map[metadata.TopicID]map[int32]T, id metadata.TopicID, number int32) {
	if delete(m[id], number); len(m[id]) == 0 {
		delete(m, id)
	}
}

// wants records that a partition has to follow an image.
func (s *served) wants(id metadata.TopicID, number int32, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.behind[id][number]; !ok {
		put(s.behind, id, number, revision)
	}
}

// settles records the outcome of a partition's attempt to follow the image of a revision. more
// means that the partition has to follow a newer image.
func (s *served) settles(id metadata.TopicID, number int32, revision int64, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if more {
		put(s.behind, id, number, revision+1)
	} else {
		drop(s.behind, id, number)
	}
	if err != nil {
		put(s.failed, id, number, err)
	} else {
		drop(s.failed, id, number)
	}
}

// hangs records that a partition's attempt to follow an image does not return. It wakes the callers
// that wait for the partition: they do not wait for a hang.
func (s *served) hangs(id metadata.TopicID, number int32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.behind[id][number]; !ok {
		return
	}
	drop(s.behind, id, number)
	put(s.failed, id, number, err)
	close(s.changed)
	s.changed = make(chan struct{})
}

// waits records that a partition waits until this broker's registration has a broker epoch; 0: it
// does not wait.
func (s *served) waits(id metadata.TopicID, number int32, epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == 0 {
		drop(s.early, id, number)
	} else {
		put(s.early, id, number, epoch)
	}
}

// forget drops the entries of a partition that has left this broker.
func (s *served) forget(id metadata.TopicID, number int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop(s.behind, id, number)
	drop(s.failed, id, number)
	drop(s.early, id, number)
}

// publish wakes the waiting callers. It returns how many partitions cannot be served.
func (s *served) publish(revision int64, pending int) (failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == 0 {
		s.first = revision
	}
	s.revision, s.pending = revision, pending
	for _, partitions := range s.failed {
		failed += len(partitions)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return failed
}

// done reports whether the topics, or all topics if there are no ids, have followed the image of a
// revision. changed is closed when the answer may have changed. epoch is that of this broker's
// registration.
func (s *served) done(revision, epoch int64, ids []metadata.TopicID) (done bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision < revision {
		return false, s.changed
	}
	if len(ids) > 0 {
		for _, id := range ids {
			if s.waitsLocked(id, revision, epoch) {
				return false, s.changed
			}
		}
		return true, s.changed
	}
	for id := range s.behind {
		if s.waitsLocked(id, revision, epoch) {
			return false, s.changed
		}
	}
	for id := range s.early {
		if s.waitsLocked(id, revision, epoch) {
			return false, s.changed
		}
	}
	return true, s.changed
}

func (s *served) waitsLocked(id metadata.TopicID, revision, epoch int64) bool {
	for _, since := range s.behind[id] {
		if since <= revision {
			return true
		}
	}
	for _, at := range s.early[id] {
		if at == epoch {
			return true // the manager retries within earlyInterval
		}
	}
	return false
}

// errors returns the errors of the topics that are not served in full.
func (s *served) errors(ids []metadata.TopicID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, id := range ids {
		for _, err := range s.failed[id] {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// AwaitServed waits until this broker serves the partitions of the given topics that the cluster's
// image has here now. Without topics it waits for all partitions that the image has here. It does
// not wait for a partition that cannot be served, or hangs; if that partition belongs to a given
// topic, the result has its error.
func (m *Manager) AwaitServed(ctx context.Context, ids []metadata.TopicID) error {
	// An image without a change of content is not followed.
	revision := m.o.Cluster.Image().ContentRevision
	for {
		done, changed := m.served.done(revision, m.o.brokerEpoch(), ids)
		if done {
			return m.served.errors(ids)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the partitions of revision %d: %w", revision, context.Cause(ctx))
		}
	}
}

// Loaded waits until every partition has followed the first image, or has failed to. Until then the
// logs on disk do not have their topics' settings, so retention must not run.
func (m *Manager) Loaded(ctx context.Context) error {
	for {
		m.served.mu.Lock()
		first := m.served.first
		m.served.mu.Unlock()
		done, changed := m.served.done(max(first, 1), 0, nil)
		switch {
		case done && first > 0:
			return nil
		case done:
			continue // the first image arrived between the two looks
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the first image of the cluster: %w", context.Cause(ctx))
		}
	}
}
