package etcd

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/varvelog/varve/metadata/kv"
)

// history notices that etcd no longer has the history that this store has followed: it was restored
// from a backup, lost its data, or is another etcd. A watch does not notice: etcd lets it wait for
// a future revision.
//
// An answer to a request that went through etcd's leader cannot be older than what this store had
// seen when it made the request. An older answer proves that the history has changed. From then on
// every call of the store fails, so that nothing of the old history is mixed with the new one.
type history struct {
	gone chan struct{} // closed when the change is noticed

	mu struct {
		sync.Mutex
		cluster  uint64 // etcd's own id; 0: unknown
		revision int64  // the newest that was seen
		err      error  // set when the change is noticed
	}
}

// newest returns the newest revision that was seen.
func (h *history) newest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.revision
}

// err returns ErrWentBack with the reason if the history has changed, nil otherwise.
func (h *history) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.err
}

// saw records a revision that etcd has had.
func (h *history) saw(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.revision = max(h.mu.revision, revision)
}

// answered checks and records an answer that must not be older than a revision. It returns an error
// if the history has changed.
func (h *history) answered(header *etcdserverpb.ResponseHeader, atLeast int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.err != nil {
		return h.mu.err
	}
	cluster, revision := header.GetClusterId(), header.GetRevision()
	switch {
	case h.mu.cluster != 0 && cluster != h.mu.cluster:
		h.mu.err = fmt.Errorf("%w: it is the etcd cluster %x, and was %x", kv.ErrWentBack, cluster, h.mu.cluster)
	case revision < atLeast:
		h.mu.err = fmt.Errorf("%w: it is at revision %d, and was at %d", kv.ErrWentBack, revision, atLeast)
	default:
		h.mu.cluster, h.mu.revision = cluster, max(h.mu.revision, revision)
		return nil
	}
	close(h.gone)
	return h.mu.err
}

// answered records an answer to a request that went through etcd's leader. since is the newest
// revision that this store had seen when it made the request.
func (s *Store) answered(header *etcdserverpb.ResponseHeader, since int64) error {
	s.health.heard()
	return s.history.answered(header, since)
}

// renewed records an answer of a single member, which may lag behind the leader. If its revision is
// older than one that was seen, renewed asks the leader.
func (s *Store) renewed(ctx context.Context, header *etcdserverpb.ResponseHeader) error {
	s.health.heard()
	since := s.history.newest()
	if header.GetRevision() >= since {
		return s.history.answered(header, 0)
	}
	_, err := s.Get(ctx, "cluster-id")
	return err
}

// Resume makes the store continue from a revision that an earlier process of this broker has seen.
// It returns ErrWentBack if etcd has not reached that revision, and nothing is written to that
// etcd.
func (s *Store) Resume(ctx context.Context, revision int64) error {
	s.history.saw(revision)
	_, err := s.Get(ctx, "cluster-id")
	return err
}
