package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// Special timestamps of ListOffset.
const (
	LatestTimestamp                = -1 // the end of what the reader may see
	EarliestTimestamp              = -2 // the start of the log, over both tiers
	MaxTimestamp                   = -3 // the record with the largest timestamp
	EarliestLocalTimestamp         = -4 // the start of what is on the local disk
	LatestTieredTimestamp          = -5 // the last offset in the remote tier
	EarliestPendingUploadTimestamp = -6 // the first offset that the remote tier lacks
)

// hotLookUpWait is how long a look-up of a time that the local log has waits for the bucket, which may
// have an earlier record that is as late: longer than a manifest takes, and no delay that its client
// notices.
const hotLookUpWait = 100 * time.Millisecond

// unknownOffset is the answer when there is no such record.
var unknownOffset = storage.TimestampOffset{Offset: -1, Timestamp: -1, LeaderEpoch: -1}

// ListOffset finds an offset by time: the first record whose timestamp is ts or later, or by one of
// the special timestamps. All fields of the result are -1 if there is none.
func (p *Partition) ListOffset(ctx context.Context, ts int64, level Isolation, currentEpoch int32) (storage.TimestampOffset, error) {
	r, err := p.leading(currentEpoch)
	if err != nil {
		return unknownOffset, err
	}
	visible := upTo(level, &ReadResult{HighWatermark: p.log.HighWatermark(), LastStableOffset: p.log.LastStableOffset()}, p.log.EndOffset())
	// Before its first commit a new leader does not know how far its predecessor has let clients
	// read.
	behind := func() error {
		if level != ReadLogEnd && visible < r.LeaderEpochStartOffset {
			return fmt.Errorf("%s: high watermark %d, epoch starts at %d: %w", p.tp, visible, r.LeaderEpochStartOffset, ErrOffsetNotAvailable)
		}
		return nil
	}
	switch ts {
	case LatestTimestamp:
		return storage.TimestampOffset{Offset: visible, Timestamp: -1, LeaderEpoch: r.LeaderEpoch}, behind()
	case EarliestTimestamp:
		return p.at(p.log.StartOffset()), nil
	case EarliestLocalTimestamp:
		return p.at(p.log.LocalStartOffset()), nil
	case LatestTieredTimestamp:
		return p.latestTiered(), nil
	case EarliestPendingUploadTimestamp:
		return p.earliestPending(), nil
	}
	found, ok, err := p.search(ctx, ts)
	switch {
	case err != nil:
		return unknownOffset, fmt.Errorf("find offset of %s by time %d: %w", p.tp, ts, err)
	case ok && found.Offset < visible:
		return found, nil
	default:
		return unknownOffset, behind()
	}
}

// at is an offset with the leader epoch it was written at, or the next record will be.
func (p *Partition) at(offset int64) storage.TimestampOffset {
	return storage.TimestampOffset{Offset: offset, Timestamp: -1, LeaderEpoch: p.epochAt(offset)}
}

// epochAt is the leader epoch of an offset, -1 if unknown.
func (p *Partition) epochAt(offset int64) int32 {
	epoch := int32(-1)
	for _, e := range p.log.EpochEntries() {
		if e.StartOffset > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

func (p *Partition) latestTiered() storage.TimestampOffset {
	if end := p.log.RemoteEndOffset(); p.tiered() && end > 0 {
		return p.at(end - 1)
	}
	return unknownOffset
}

func (p *Partition) earliestPending() storage.TimestampOffset {
	end := p.log.RemoteEndOffset()
	switch {
	case !p.tiered():
		return unknownOffset
	case end > 0:
		return p.at(max(end, p.log.StartOffset()))
	case p.log.LocalStartOffset() == p.log.StartOffset():
		return p.at(p.log.StartOffset()) // nothing was uploaded
	default:
		return unknownOffset // the tier's end is not known yet
	}
}

// tiered returns true if the topic uses the remote tier.
func (p *Partition) tiered() bool {
	return p.tier != nil && p.config.Load().Log.RemoteStorageEnable
}

// search looks for a timestamp in the local tier and, as far as it has what the local disk no longer
// does, in the remote one, whose records come first.
func (p *Partition) search(ctx context.Context, ts int64) (storage.TimestampOffset, bool, error) {
	if ts == MaxTimestamp {
		return p.searchMax(ctx)
	}
	local, ok, err := p.log.OffsetForTimestamp(ts)
	before, cold := p.coldBelow()
	if !cold {
		return local, ok, err
	}
	hot := err == nil && ok && local.Offset > before
	remote, found, coldErr := p.searchCold(ctx, ts, before, hot)
	switch {
	case coldErr != nil && hot:
		return local, true, nil
	case coldErr != nil:
		return unknownOffset, false, coldError(coldErr)
	case found && remote.Offset >= p.log.StartOffset():
		return remote, true, nil
	}
	return local, ok, err
}

// searchCold looks for a timestamp below the offset at which the local log begins. The local log has
// the record if it has one that is not its first: an older one goes before it, and only where
// timestamps do not ascend has the remote tier a record that is late enough. That is known at once if
// the tier's entries are in memory. Otherwise a look-up of what is hot does not wait long for them.
func (p *Partition) searchCold(ctx context.Context, ts, before int64, hot bool) (storage.TimestampOffset, bool, error) {
	if !hot {
		return p.tier.OffsetForTimestamp(ctx, p.tp, ts, before)
	}
	cached := tiering.ReadBy(ctx, tiering.Reader{Cached: true})
	remote, found, err := p.tier.OffsetForTimestamp(cached, p.tp, ts, before)
	if !errors.Is(err, tiering.ErrNotCached) {
		return remote, found, err
	}
	short, cancel := context.WithTimeout(ctx, hotLookUpWait)
	defer cancel()
	return p.tier.OffsetForTimestamp(short, p.tp, ts, before)
}

// searchMax finds the record with the largest timestamp: the first of them if several have it.
func (p *Partition) searchMax(ctx context.Context) (storage.TimestampOffset, bool, error) {
	local, ok, err := p.log.MaxTimestamp()
	before, cold := p.coldBelow()
	if err != nil || !cold {
		return local, ok, err
	}
	remote, found, err := p.tier.MaxTimestamp(ctx, p.tp, before)
	switch {
	case err != nil:
		return unknownOffset, false, coldError(err)
	case found && (!ok || remote.Timestamp >= local.Timestamp):
		return remote, true, nil
	default:
		return local, ok, nil
	}
}

// coldBelow is the offset below which the log is in the remote tier alone; false: nowhere. It has to
// be asked after the local log, whose segments may go at any time.
func (p *Partition) coldBelow() (before int64, cold bool) {
	before = p.log.LocalStartOffset()
	return before, p.tier != nil && p.log.StartOffset() < before
}

// hasCold returns true if part of the log is in the remote tier alone.
func (p *Partition) hasCold() bool {
	_, cold := p.coldBelow()
	return cold
}

// EndOffsetForEpoch returns the largest epoch that is not above the given one, and the end of its
// offsets; both are -1 when the log does not reach back that far.
func (p *Partition) EndOffsetForEpoch(ctx context.Context, epoch, currentEpoch int32) (EpochEnd, error) {
	if _, err := p.leading(currentEpoch); err != nil {
		return EpochEnd{-1, -1}, err
	}
	entries := p.log.EpochEntries()
	if !p.hasCold() || epoch < 0 || len(entries) > 0 && (epoch >= entries[0].Epoch || entries[0].StartOffset <= p.log.StartOffset()) {
		found, end := p.log.EndOffsetForEpoch(epoch)
		return EpochEnd{Epoch: found, EndOffset: end}, nil
	}
	found, end, err := p.tier.EndOffsetForEpoch(ctx, p.tp, epoch)
	if err != nil {
		return EpochEnd{-1, -1}, fmt.Errorf("find end of epoch %d of %s: %w", epoch, p.tp, coldError(err))
	}
	if found >= 0 && len(entries) > 0 {
		end = min(end, entries[0].StartOffset) // the tier knows nothing of what follows it
	}
	return EpochEnd{Epoch: found, EndOffset: end}, nil
}

// LocalEpochEnd is EndOffsetForEpoch of the log on this broker's disk, regardless of the leader.
// For an epoch after the newest one it is the newest one and the log's end.
func (p *Partition) LocalEpochEnd(epoch int32) (EpochEnd, error) {
	if p.role.Load().IsGone() {
		return EpochEnd{-1, -1}, fmt.Errorf("%s: %w", p.tp, ErrUnknownTopicOrPartition)
	}
	if err := p.log.Offline(); err != nil {
		return EpochEnd{-1, -1}, fmt.Errorf("%s: %w", p.tp, err)
	}
	if latest := p.log.LatestEpoch(); epoch >= latest {
		return EpochEnd{latest, p.log.EndOffset()}, nil
	}
	found, end := p.log.EndOffsetForEpoch(epoch)
	return EpochEnd{found, end}, nil
}

// ToHighWatermark as the offset of DeleteRecords deletes all that is committed.
const ToHighWatermark = -1
