package replication

import (
	"fmt"

	"github.com/varvelog/varve/replication/insync"
	"github.com/varvelog/varve/storage"
)

// The values of acks.
const (
	AcksNone   int16 = 0
	AcksLeader int16 = 1
	AcksAll    int16 = -1
)

// Appended is an append that the log has taken. It is acknowledged only after Wait or Acknowledge.
type Appended struct {
	storage.AppendInfo
	partition *Partition
	acks      int16
	epoch     int32 // of the append, which is acknowledged only at this leader epoch
}

// Append writes batches at the end of the log. It assigns their offsets and leader epoch in place,
// so it modifies batches, but does not retain it. It does not wait; see Appended.Wait.
func (p *Partition) Append(batches []byte, acks int16) (Appended, error) {
	if acks != AcksNone && acks != AcksLeader && acks != AcksAll {
		return Appended{}, fmt.Errorf("acks=%d: %w", acks, ErrInvalidRequiredAcks)
	}
	return p.append(batches, acks, -1)
}

// AppendAt is an Append with acks=all that fails with ErrFencedLeaderEpoch or ErrUnknownLeaderEpoch
// unless this broker leads at the given epoch. It is for callers whose batches depend on state that
// they have built since that election.
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
	if acks == AcksAll && !enoughInSync(r, config) {
		return Appended{}, fmt.Errorf("%s: %w", p.tp, tooFewInSync(r, config, ErrNotEnoughReplicas))
	}
	info, err := p.log.Append(batches, r.LeaderEpoch)
	if err != nil {
		return Appended{}, err
	}
	p.metrics.appendedBytes.Add(float64(info.Bytes))
	p.metrics.appendedRecords.Add(float64(info.Records))
	p.traffic.BytesIn.Add(info.Bytes)
	p.traffic.MessagesIn.Add(info.Records)
	p.kickLocked(info.Bytes)
	// A duplicate waits too: the append that it repeats may not be on disk yet.
	waits := acks != AcksNone && config.durable() && p.log.FlushedOffset() <= info.LastOffset
	if info.NeedsFlush || waits {
		p.log.FlushSoon()
	}
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.Appended{Log: p.offsets()})
	return Appended{AppendInfo: info, partition: p, acks: acks, epoch: r.LeaderEpoch}, nil
}

// kickLocked sends a Kick to the tier each time a segment must have been closed, and flushed sends
// another one once that segment is on disk, because it cannot be uploaded earlier. The tier also
// looks without a Kick, only later.
func (p *Partition) kickLocked(appended int64) {
	p.sinceKick += appended
	if p.tier == nil || p.sinceKick < p.config.Load().Log.SegmentBytes {
		return
	}
	p.sinceKick = 0
	p.kickAgain.Store(true)
	p.tier.Kick(p.tp)
}
