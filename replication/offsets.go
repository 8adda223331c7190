package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// The special timestamps of ListOffset.
const (
	LatestTimestamp                = -1 // the end of what the reader may see
	EarliestTimestamp              = -2 // the start of the log, over both tiers
	MaxTimestamp                   = -3 // the record with the largest timestamp
	EarliestLocalTimestamp         = -4 // the start of what is on local disk
	LatestTieredTimestamp          = -5 // the last offset in the remote tier
	EarliestPendingUploadTimestamp = -6 // the first offset that is not in the remote tier
)

// hotLookUpWait is how long a lookup by time waits for the bucket if the local log already has a
// match; the bucket may have an earlier record that also matches. It is longer than reading a
// manifest takes, and too short for the client to notice.
const hotLookUpWait = 100 * time.Millisecond

// unknownOffset is the answer if there is no such record.
var unknownOffset = storage.TimestampOffset{Offset: -1, Timestamp: -1, LeaderEpoch: -1}

// ListOffset finds an offset by time: the first record whose timestamp is ts or later, or the
// offset for one of the special timestamps. All fields of the result are -1 if there is none.
func (p *Partition) ListOffset(ctx context.Context, ts int64, level Isolation, currentEpoch int32) (storage.TimestampOffset, error) {
	r, err := p.leading(currentEpoch)
	if err != nil {
		return unknownOffset, err
	}
	visible := upTo(level, &ReadResult{HighWatermark: p.log.HighWatermark(), LastStableOffset: p.log.LastStableOffset()}, p.log.EndOffset())
	// Before its first commit a new leader does not know how far its predecessor let clients read.
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

// at returns an offset with the leader epoch of its record, or of the next record at the log end.
func (p *Partition) at(offset int64) storage.TimestampOffset {
	return storage.TimestampOffset{Offset: offset, Timestamp: -1, LeaderEpoch: p.epochAt(offset)}
}

// epochAt returns the leader epoch of an offset, -1 if unknown.
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
		return p.at(p.log.StartOffset()) // nothing has been uploaded
	default:
		return unknownOffset // the tier's end is not known yet
	}
}

// tiered reports whether the topic uses the remote tier.
func (p *Partition) tiered() bool {
	return p.tier != nil && p.config.Load().Log.RemoteStorageEnable
}

// search looks for a timestamp in the local tier and in the part of the remote tier below it. A
// match in the remote tier wins, because it comes first.
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

// searchCold looks for a timestamp below the start of the local log. hot means that the local log
// has a match that is not its first record. Then the record before the match is earlier than ts,
// and the remote tier has a match only if timestamps do not ascend. If the tier's entries are in
// memory this is known at once; otherwise a hot lookup waits for them only briefly.
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

// searchMax finds the record with the largest timestamp, the first such record if there are
// several.
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

// coldBelow returns the offset below which the log is only in the remote tier; false: no part is.
// Callers must ask it after reading the local log, whose segments may be deleted at any time.
func (p *Partition) coldBelow() (before int64, cold bool) {
	before = p.log.LocalStartOffset()
	return before, p.tier != nil && p.log.StartOffset() < before
}

// hasCold reports whether part of the log is only in the remote tier.
func (p *Partition) hasCold() bool {
	_, cold := p.coldBelow()
	return cold
}

// EndOffsetForEpoch returns the largest epoch that is not above the given one, and the end of its
// offsets; both are -1 if the log does not reach back that far.
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
		end = min(end, entries[0].StartOffset) // the tier does not know the epochs after its own
	}
	return EpochEnd{Epoch: found, EndOffset: end}, nil
}

// LocalEpochEnd is EndOffsetForEpoch for the log on this broker's disk, whether or not this broker
// leads. For an epoch above the newest one it returns the newest epoch and the log end.
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

// ToHighWatermark is the offset of a DeleteRecords that deletes all committed records.
const ToHighWatermark = -1
