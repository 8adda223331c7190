package replication

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/storage"
)

// The values of acks.
const (
	AcksNone   int16 = 0
	AcksLeader int16 = 1
	AcksAll    int16 = -1
)

// Appended is an append that the log has taken. It is acknowledged only after Wait.
type Appended struct {
	storage.AppendInfo
	partition *Partition
	acks      int16
}

// Append writes batches at the end of the log, assigning their offsets and leader epoch in place: batches is modified, and not retained.
// It does not wait; see Appended.Wait.
func (p *Partition) Append(batches []byte, acks int16) (Appended, error) {
	if acks != AcksNone && acks != AcksLeader && acks != AcksAll {
		return Appended{}, fmt.Errorf("acks=%d: %w", acks, ErrInvalidRequiredAcks)
	}
	return p.append(batches, acks, -1)
}

// AppendAt is an Append with acks=all that fails, with ErrFencedLeaderEpoch or ErrUnknownLeaderEpoch, unless this broker leads at a
// given epoch: for those whose batches rest on what they know since that election.
func (p *Partition) AppendAt(epoch int32, batches []byte) (Appended, error) {
	return p.append(batches, AcksAll, epoch)
}

func (p *Partition) append(batches []byte, acks int16, epoch int32) (Appended, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, err := p.leading(epoch)
	if err != nil {
		return Appended{}, err
	}
	config := p.config.Load()
	if need := r.needed(config); acks == AcksAll && len(r.isr) < need {
		return Appended{}, fmt.Errorf("%s: %d in sync, %d needed: %w", p.tp, len(r.isr), need, ErrNotEnoughReplicas)
	}
	info, err := p.log.Append(batches, r.epoch)
	if err != nil {
		return Appended{}, err
	}
	p.metrics.appendedBytes.Add(float64(info.Bytes))
	p.metrics.appendedRecords.Add(float64(info.Records))
	p.traffic.BytesIn.Add(info.Bytes)
	p.traffic.MessagesIn.Add(info.Records)
	p.kickLocked(info.Bytes)
	waits := acks != AcksNone && config.durable() && p.log.FlushedOffset() <= info.LastOffset // also of a duplicate
	if info.NeedsFlush || waits {
		p.log.FlushSoon()
	}
	p.advanceLocked()
	return Appended{AppendInfo: info, partition: p, acks: acks}, nil
}

// kickLocked lets the tier know about every time that a segment must have been closed, and flushed has it look again once that is on the disk: before,
// it may not go up. The tier looks for itself as well, only later.
func (p *Partition) kickLocked(appended int64) {
	p.sinceKick += appended
	if p.tier == nil || p.sinceKick < p.config.Load().Log.SegmentBytes {
		return
	}
	p.sinceKick, p.kickAgain = 0, true
	p.tier.Kick(p.tp)
}

// Wait returns when the append is as safe as its acks and the topic's varve.ack.fsync or flush.messages demand. When ctx ends it returns why; the append
// stays where it is, and nobody knows yet whether it will be committed.
func (a Appended) Wait(ctx context.Context) error {
	p := a.partition
	if done, err := a.Done(); done {
		return err
	}
	w := newWaiter()
	watches := []watch{{waiter: w}}
	p.watchers.add(&watches[0])
	defer p.watchers.remove(&watches[0])
	for {
		if done, err := a.Done(); done {
			return err
		}
		select {
		case <-w.c:
			w.take(watches)
		case <-ctx.Done():
			return fmt.Errorf("wait for offset %d of %s to be committed: %w", a.LastOffset, p.tp, context.Cause(ctx))
		}
	}
}

// Done tells whether Wait would return at once, and what.
func (a Appended) Done() (done bool, err error) {
	p := a.partition
	end := a.LastOffset + 1
	onDisk := !p.config.Load().durable() || p.log.FlushedOffset() >= end
	if onDisk && (a.acks != AcksAll || p.log.HighWatermark() >= end) {
		return true, a.enough()
	}
	// In this order: the log of a partition that is gone is closed, which fails a sync as well.
	if _, err = p.leading(-1); err != nil {
		return true, err // whether it is committed is now up to the new leader
	}
	if failure := p.flushFailure.Load(); failure != nil && failure.upTo >= end {
		return true, failure.err
	}
	return false, nil
}

// enough tells whether a record that is committed now is on as many replicas as acks=all promises: the set may have shrunk since it was
// appended. The record stays where it is.
func (a Appended) enough() error {
	r := a.partition.role.Load()
	need := r.needed(a.partition.config.Load())
	if a.acks != AcksAll || !r.leader || len(r.isr) >= need {
		return nil
	}
	return fmt.Errorf("%s: %d in sync, %d needed: %w", a.partition.tp, len(r.isr), need, ErrNotEnoughReplicasAfterAppend)
}
