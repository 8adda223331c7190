package replication

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/metadata"
)

// Deleted is a partition whose log starts where DeleteRecords has moved it. It is acknowledged only
// after WaitDeleted: until every live replica has deleted as well, another leader would give the
// records back.
type Deleted struct {
	partition *Partition
	epoch     int32 // the leader epoch that it was deleted at
	offset    int64 // the log starts there, or later
}

// DeleteRecords moves the start of the log up to an offset, ToHighWatermark for the high watermark;
// an earlier offset changes nothing. It does not wait.
func (p *Partition) DeleteRecords(offset int64) (Deleted, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, err := p.leading(-1)
	if err != nil {
		return Deleted{}, err
	}
	high := p.log.HighWatermark()
	if offset == ToHighWatermark {
		offset = high
	}
	switch {
	case p.config.Load().Log.CleanupCompact && !p.config.Load().Log.CleanupDelete:
		return Deleted{}, fmt.Errorf("delete records of %s: %w", p.tp, ErrPolicy)
	case offset < 0 || offset > high:
		return Deleted{}, fmt.Errorf("delete records of %s below %d, high watermark is %d: %w", p.tp, offset, high, ErrOffsetOutOfRange)
	}
	if offset > p.log.StartOffset() {
		if err = p.log.AdvanceStartOffset(offset); err != nil {
			return Deleted{}, fmt.Errorf("delete records of %s below %d: %w", p.tp, offset, err)
		}
		p.watchers.wake() // followers are to hear of it
	}
	return Deleted{partition: p, epoch: r.LeaderEpoch, offset: offset}, nil
}

// WaitDeleted waits for all of some deletions at the same time. It calls settled exactly once for
// each of them, with its index and the partition's low watermark, on the caller's goroutine. A
// replica has deleted records when a crash does not bring them back, see
// Log.CheckpointedStartOffset. Replicas on brokers that are not alive are not waited for, unless
// they are in sync or eligible to lead: no other one joins the in-sync set, or leads, before it has
// the leader's log start.
func (m *Manager) WaitDeleted(ctx context.Context, deletions []Deleted, settled func(i int, lowWatermark int64, err error)) {
	if len(deletions) == 0 {
		return
	}
	stop := m.wakeWithImages(ctx, deletions)
	defer stop()
	await(ctx, deletions, func(i int, err error) {
		low := int64(-1)
		if err == nil {
			low = deletions[i].partition.lowWatermark()
		}
		settled(i, low, err)
	})
}

// wakeWithImages wakes the partitions' watchers at each new image, which may show that a broker has
// died.
func (m *Manager) wakeWithImages(ctx context.Context, deletions []Deleted) (stop func()) {
	if m.o.Cluster == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	images := m.o.Cluster.Subscribe()
	go func() {
		defer close(ended)
		defer images.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-images.Images():
				for _, d := range deletions {
					d.partition.watchers.wake()
				}
			}
		}
	}()
	return func() { cancel(); <-ended }
}

func (d Deleted) at() *Partition { return d.partition }

func (d Deleted) pending() string {
	return fmt.Sprintf("all live replicas of %s have deleted the records below %d", d.partition.tp, d.offset)
}

// Done reports whether every live replica has deleted the records.
func (d Deleted) Done() (done bool, err error) {
	p := d.partition
	low := p.lowWatermark()
	r, err := p.leading(-1)
	switch {
	case err != nil:
		return true, err
	case r.LeaderEpoch != d.epoch:
		return true, fmt.Errorf("%s: deleted at leader epoch %d, which has ended: %w", p.tp, d.epoch, ErrNotLeader)
	}
	return low >= d.offset, nil
}

// startCheckpointed is told by the log that more of what was deleted stays deleted. The leader's
// own deletion may be done; a follower has the leader know.
func (p *Partition) startCheckpointed() {
	if p.role.Load().Leads() {
		p.watchers.wake()
	} else if f := p.fetcher.Load(); f != nil {
		f.interrupt()
	}
}

// lowWatermark is the lowest log start, as a crash leaves it, of the replicas on live brokers and
// of those that may be elected, this one included. One that has not fetched in this leader epoch
// makes it -1.
func (p *Partition) lowWatermark() int64 {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	low := p.log.CheckpointedStartOffset()
	var brokers map[int32]metadata.Broker
	if image := p.newestImage(); image != nil {
		brokers = image.Brokers
	}
	for _, f := range p.insync.Followers() {
		b, live := brokers[f.Broker]
		switch {
		case !live && brokers != nil && !p.insync.MayLead(f.Broker):
			continue
		case live && b.Epoch != f.Epoch:
			return -1
		}
		low = min(low, f.LogStart)
	}
	return low
}
