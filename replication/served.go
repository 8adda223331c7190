package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/varvelog/varve/metadata"
)

// served is how far this broker's partitions have followed the images, for those that wait for
// that. Manager.Run writes it.
type served struct {
	mu       sync.Mutex
	revision int64 // of the newest image; 0 before the first
	first    int64 // revision of the first image
	// behind are the partitions that are not yet what an image says, with the revision of the
	// oldest image that they have not followed.
	behind map[metadata.TopicID]map[int32]int64
	// failed are the partitions that cannot be served, and why. They are tried again.
	failed map[metadata.TopicID]map[int32]error
	// early are the partitions that an image gives to this broker at a broker epoch that its
	// registration does not have, or does not know of yet.
	early map[metadata.TopicID]map[int32]int64

	pending int           // partitions that are on their way, or have something left to be done
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

// wants notes that a partition has to follow an image.
func (s *served) wants(id metadata.TopicID, number int32, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.behind[id][number]; !ok {
		put(s.behind, id, number, revision)
	}
}

// settles notes what became of a partition's attempt to follow the image of a revision. more says
// that it has to follow a newer one.
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

// hangs notes that a partition's attempt to follow an image does not return: it is not waited for.
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

// waits notes that a partition waits for this broker's registration to have an epoch; 0: for none.
func (s *served) waits(id metadata.TopicID, number int32, epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == 0 {
		drop(s.early, id, number)
	} else {
		put(s.early, id, number, epoch)
	}
}

// forget drops what is known of a partition that is not this broker's any more.
func (s *served) forget(id metadata.TopicID, number int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop(s.behind, id, number)
	drop(s.failed, id, number)
	drop(s.early, id, number)
}

// publish wakes those that wait. It returns how many partitions cannot be served.
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

// done tells whether the topics, or with none all, have followed the image of a revision. changed
// is closed when that may have changed. epoch is that of this broker's registration.
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
			return true // the manager looks again in a moment
		}
	}
	return false
}

// errors are why topics are not served in full.
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

// AwaitServed waits until this broker serves what it leads of the given topics, as far as the
// cluster's image names them now. Without topics it waits for all partitions that the image has
// here. A partition that cannot be served, or hangs, is not waited for: it is in the error, if it
// belongs to a given topic.
func (m *Manager) AwaitServed(ctx context.Context, ids []metadata.TopicID) error {
	revision := m.o.Cluster.Image().ContentRevision // images that change nothing are not followed
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

// Loaded waits until every partition has followed the first image, or has failed to. Before that
// the logs on the disk do not have their topics' settings, so that retention must not run.
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
			continue // it came in between
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the first image of the cluster: %w", context.Cause(ctx))
		}
	}
}
