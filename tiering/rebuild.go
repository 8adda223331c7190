package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// Rebuilt is the result of a rebuild: the newest whole manifest of the bucket.
type Rebuilt struct {
	Was string // the manifest that the pointer named before, "" for none
	// Manifest is "" if there is neither a manifest nor a pointer, but objects, or a leader that
	// had claimed a pointer: nothing was ever committed.
	Manifest string
	// Changed says that the pointer now names the manifest; after a dry run, that it would.
	Changed bool
	// StartOffset and EndOffset (exclusive) are the manifest's range, Segments and Bytes
	// what is in it.
	StartOffset, EndOffset int64
	Segments, Bytes        int64
	// Skipped lists the manifests that were passed over, the newest first.
	Skipped []Skipped
}

// Skipped is a manifest that a rebuild has passed over.
type Skipped struct {
	Manifest string
	Err      error // the reason
}

// rebuildTries bounds how often a rebuild searches again after a concurrent write of the pointer.
const rebuildTries = 3

// Rebuild sets the pointer of a partition that this broker leads to the newest whole manifest.
// Whole means: of this partition, and with all pages and segments that it names in the bucket.
// It is for a pointer that was lost, or that is older than the bucket. Afterwards the partition
// is attached again, as if this broker had just become its leader: the log is compared with
// what was found.
//
// A pointer to a manifest that exists is only set to a newer manifest that has everything that the
// existing one has. A manifest that this build cannot read or must not change ends the rebuild: an
// older one must not replace it.
//
// A rebuild does the owner's work, and ends a unit of it that is in progress. With dryRun it only
// looks, beside the owner. It returns ErrUnknownPartition if this broker does not lead the
// partition, and ErrNoManifest if there is nothing to set the pointer to; the result then still
// has what was skipped. After ErrUnavailable the pointer may have been written, and the rebuild
// may be repeated.
func (m *Manager) Rebuild(ctx context.Context, tp metadata.TopicPartition, dryRun bool) (Rebuilt, error) {
	p, ok := m.partition(tp)
	if !ok || p.follower != nil {
		return Rebuilt{}, ErrUnknownPartition
	}
	if dryRun {
		s, err := p.search(ctx)
		return s.Rebuilt, err
	}
	if _, busy := m.rebuilding.LoadOrStore(p, true); busy {
		return Rebuilt{}, fmt.Errorf("%w: another rebuild of the partition is under way", ErrUnavailable)
	}
	defer m.rebuilding.Delete(p)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := m.scheduler.borrow(ctx, p.owning, cancel); err != nil {
		return Rebuilt{}, err
	}
	found, err := p.rebuild(ctx)
	m.scheduler.finish(p.owning, p.outcome(true))
	return found, err
}

// rebuild is Rebuild, called by the goroutine that has the partition's task.
func (p *partition) rebuild(ctx context.Context) (Rebuilt, error) {
	for range rebuildTries {
		s, err := p.search(ctx)
		if err != nil || !s.Changed {
			return s.Rebuilt, err
		}
		if err = p.repoint(ctx, s); errors.Is(err, kv.ErrConflict) {
			continue
		}
		s.Changed = err == nil
		return s.Rebuilt, err
	}
	return Rebuilt{}, fmt.Errorf("%w: the tier pointer changes again and again", ErrUnavailable)
}

// repoint writes the pointer. Whatever the result, the partition is attached again: its owner no
// longer knows the pointer. A write whose answer is lost rests on a revision that the next claim
// takes, like that of an earlier attachment.
func (p *partition) repoint(ctx context.Context, s *search) error {
	next := *s.pointer
	next.LeaderEpoch, next.BrokerID, next.Claim, next.Fence = p.LeaderEpoch, p.m.o.BrokerID, newAttempt(ctx), 0
	next.SetManifest(s.manifest, s.stored)
	next.CommittedMs = p.m.o.Now().UnixMilli()
	err := p.writeRebuilt(ctx, s.revision, &next)
	p.attachAgain(ctx)
	if err == nil {
		p.logger().Warn("the pointer to the remote tier is rebuilt from the bucket", slog.String("was", s.Was), slog.String("manifest", s.Manifest),
			slog.Int64("start", s.StartOffset), slog.Int64("end", s.EndOffset))
	}
	return err
}

// writeRebuilt swaps the pointer. A refusal may answer a repetition whose first attempt was
// written, and after any other failure the write may have happened too. So after an error the
// pointer is read again.
func (p *partition) writeRebuilt(ctx context.Context, on int64, next *format.Pointer) error {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.RequestTimeout)
	defer cancel()
	_, err := swapPointer(ctx, p.m.store, p.key, on, next)
	if err == nil {
		return nil
	}
	if now, _, readErr := p.readPointer(ctx); readErr == nil && now.Claim == next.Claim {
		return nil
	}
	return err
}

// attachAgain discards what the worker knows of the pointer, and starts over like a new leader.
// Until the log was compared with what the pointer then names, the log deletes nothing. Readers
// keep the manifest that they had until another one is loaded.
func (p *partition) attachAgain(ctx context.Context) {
	p.log.SetRemoteEndOffset(-1)
	p.apply(ownership.Resigned{})
	p.becomeLeader(ctx)
	p.chores = chores{current: p.chores.current} // of the manifest that readers have
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.failures, p.mu.damage = nil, nil
}

// borrow gives the caller the task as a worker would have it, and ends the unit of work that is in
// progress. The caller must call finish for it. The scheduler calls cancel if the caller has to
// stop earlier. It returns ErrUnknownPartition if the task was removed.
func (s *scheduler) borrow(ctx context.Context, t *task, cancel context.CancelFunc) error {
	for {
		busy, err := s.tryBorrow(t, cancel)
		if busy == nil {
			return err
		}
		if !stepped.Done(ctx, -1, busy) {
			return fmt.Errorf("%w: wait for the partition's worker: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// tryBorrow is borrow for a task that no worker has. Otherwise it returns the channel that is
// closed when the worker has ended.
func (s *scheduler) tryBorrow(t *task, cancel context.CancelFunc) (busy chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.gone:
		return nil, ErrUnknownPartition
	case t.idle != nil:
		t.cancel()
		return t.idle, nil
	case t.queued != nil:
		s.mu.queues[t.lane].of(t).Remove(t.queued)
		t.queued = nil
	}
	t.cancel, t.idle = cancel, make(chan struct{})
	return nil, nil //nolint:nilnil // it is borrowed
}
