package etcd

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/varvelog/varve/metadata/kv"
)

// history notices that etcd has another history than the one that this store has
// followed: it was restored from a backup, lost its data, or is another etcd.
// A watch does not notice: etcd lets it wait for a revision that is still to come.
//
// An answer to a request that went through etcd's leader cannot be behind what
// this store had seen when it made the request. One that is, proves it. From then
// on every call of the store fails, so that nothing of the old history is mixed
// with the new one.
type history struct {
	gone chan struct{} // closed once it is noticed

	mu struct {
		sync.Mutex
		cluster  uint64 // etcd's own id; 0: not known yet
		revision int64  // the newest that was seen
		err      error  // what was noticed
	}
}

// newest is the newest revision that was seen.
func (h *history) newest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.revision
}

// err is what was noticed, nil if nothing was.
func (h *history) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.err
}

// saw notes a revision that etcd has had.
func (h *history) saw(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.revision = max(h.mu.revision, revision)
}

// answered checks an answer that must not be behind a revision, notes it, and
// returns what is wrong with it.
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

// answered notes an answer to a request that went through etcd's leader, and was
// made when the newest revision that this store had seen was since.
func (s *Store) answered(header *etcdserverpb.ResponseHeader, since int64) error {
	s.health.heard()
	return s.history.answered(header, since)
}

// renewed notes an answer of one member alone, which may lag behind the leader:
// one that is behind is a reason to ask the leader.
func (s *Store) renewed(ctx context.Context, header *etcdserverpb.ResponseHeader) error {
	s.health.heard()
	since := s.history.newest()
	if header.GetRevision() >= since {
		return s.history.answered(header, 0)
	}
	_, err := s.Get(ctx, "cluster-id")
	return err
}

// Resume has the store go on from a revision that an earlier process of this
// broker has seen. An etcd that has not come as far is kv.ErrWentBack, and
// nothing is written to it.
func (s *Store) Resume(ctx context.Context, revision int64) error {
	s.history.saw(revision)
	_, err := s.Get(ctx, "cluster-id")
	return err
}
