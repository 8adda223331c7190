package replication

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/metadata"
)

// Deleted is a partition whose log start DeleteRecords has moved. The deletion is acknowledged only
// after WaitDeleted: until every live replica has deleted too, another leader would bring the
// records back.
type Deleted struct {
	partition *Partition
	epoch     int32 // of the deletion
	offset    int64 // the log starts here, or later
}

// DeleteRecords moves the log start up to an offset, or with ToHighWatermark to the high watermark.
// An earlier offset changes nothing. It does not wait.
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
		// Followers whose fetches wait learn the new log start.
		p.watchers.wake()
	}
	return Deleted{partition: p, epoch: r.LeaderEpoch, offset: offset}, nil
}

// WaitDeleted waits for several deletions at the same time. It calls settled exactly once per
// deletion, with its index and the partition's low watermark, on the caller's goroutine. A replica
// counts as having deleted records when a crash cannot bring them back; see
// Log.CheckpointedStartOffset. WaitDeleted does not wait for replicas on dead brokers, unless they
// are in sync or eligible to lead. Any other replica needs the leader's log start before it can
// join the ISR or lead.
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

// wakeWithImages wakes the partitions' watchers after each new image, which may show that a broker
// has died.
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

// startCheckpointed is called by the log after a higher log start has become crash-safe. On the
// leader a deletion may be complete now; a follower reports its new log start to the leader.
func (p *Partition) startCheckpointed() {
	if p.role.Load().Leads() {
		p.watchers.wake()
	} else if f := p.fetcher.Load(); f != nil {
		f.interrupt()
	}
}

// lowWatermark returns the lowest crash-safe log start among the replicas on live brokers and those
// that may be elected, including this one. It is -1 if one of them has not fetched in this leader
// epoch.
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
