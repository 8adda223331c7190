package replication

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication/role"
)

// position returns where a follower has to fetch from a leader, and whether it may. There is no
// position if it does not follow this leader. The log start in it is the one that survives a crash,
// because the leader acknowledges deletions on the basis of it.
func (p *Partition) position(leader metadata.Member) (at ReplicaPosition, fetch role.Fetch) {
	r, end := p.role.Load(), p.log.EndOffset()
	fetch = r.Fetch(leader, role.FollowerLog{
		Failed: p.log.Offline() != nil, Restoring: p.restoring.Load(),
		Unflushed: p.config.Load().flushesEach() && p.log.FlushedOffset() < end,
	})
	if fetch == role.NotFollowing {
		return ReplicaPosition{}, fetch
	}
	return ReplicaPosition{
		TopicID: p.topicID, Partition: p.tp.Partition, Offset: end, LogStart: p.log.CheckpointedStartOffset(),
		LeaderEpoch: r.LeaderEpoch, LastFetchedEpoch: p.log.LatestEpoch(), Directory: p.directory(),
	}, fetch
}

// replicate applies the leader's answer to a fetch from a position. An answer that has been
// overtaken changes nothing.
func (p *Partition) replicate(at ReplicaPosition, got *ReplicaFetched) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.role.Load()
	if !r.ReplicatesAt(at.LeaderEpoch) || p.log.EndOffset() != at.Offset {
		return nil
	}
	switch {
	case errors.Is(got.Err, ErrOffsetOutOfRange):
		return p.restartLocked(at, got.LogStart)
	case got.Err != nil:
		return got.Err
	case got.Diverging != nil:
		return p.truncateLocked(at, *got.Diverging)
	}
	if len(got.Records) > 0 {
		if err := p.makeRoomLocked(record.Batch(got.Records)); err != nil {
			return err
		}
		info, err := p.log.AppendAsFollower(got.Records)
		if err != nil {
			return err
		}
		p.metrics.replicatedBytes.Add(float64(info.Bytes))
		p.traffic.ReplicatedBytes.Add(info.Bytes)
		if info.NeedsFlush || p.config.Load().flushesEach() {
			p.log.FlushSoon()
		}
	}
	p.log.SetHighWatermark(got.HighWatermark)
	if got.RemoteEnd > p.log.RemoteEndOffset() {
		// Below its end this log has what the leader has, so local retention may rely on what the
		// leader has uploaded.
		p.log.SetRemoteEndOffset(got.RemoteEnd)
	}
	if start := min(got.LogStart, p.log.HighWatermark()); start > p.log.StartOffset() {
		if err := p.log.AdvanceStartOffset(start); err != nil {
			return fmt.Errorf("follow the leader's log start %d: %w", start, err)
		}
	}
	p.watchers.wake()
	return nil
}

// makeRoomLocked moves the end of an empty log back to where the first batch begins: after
// DeleteRecords the leader's log may start in the middle of that batch.
func (p *Partition) makeRoomLocked(first record.Batch) error {
	end := p.log.EndOffset()
	if len(first) < record.HeaderSize || first.BaseOffset() >= end || first.NextOffset() <= end || p.log.LocalStartOffset() < end {
		return nil // the append reports a damaged batch
	}
	if err := p.log.TruncateFully(first.BaseOffset()); err != nil {
		return fmt.Errorf("begin %s anew at %d: %w", p.tp, first.BaseOffset(), err)
	}
	return nil
}

// truncateLocked truncates to where this log and the leader's diverged, or one epoch closer to it
// (KIP-595); the answer to the next fetch shows the rest.
func (p *Partition) truncateLocked(at ReplicaPosition, leader EpochEnd) error {
	epoch, end := p.log.EndOffsetForEpoch(leader.Epoch)
	to := min(end, leader.EndOffset)
	if epoch >= 0 && epoch < leader.Epoch {
		// This log does not have the leader's epoch: what follows the epoch before it was never the
		// leader's.
		to = end
	}
	if epoch < 0 || to < 0 {
		to = p.log.StartOffset()
	}
	high := p.log.HighWatermark()
	log := p.logger.With(
		slog.String("partition", p.tp.String()), slog.Int64("from", at.Offset), slog.Int64("to", to),
		slog.Int64("high_watermark", high), slog.Int("leader_epoch", int(at.LeaderEpoch)),
	)
	truncate := p.log.Truncate
	if to >= high {
		log.Info("truncating a diverged log")
	} else {
		if err := p.mayGiveUpLocked(); err != nil {
			return err
		}
		truncate = p.log.TruncateCommitted
		p.metrics.truncationsBelowHigh.Inc()
		log.Error("truncating below the high watermark: the leader lacks records that were committed")
	}
	if err := truncate(to); err != nil {
		return fmt.Errorf("truncate %s to %d: %w", p.tp, to, err)
	}
	p.metrics.truncations.Inc()
	return nil
}

// restartLocked empties the log and starts it at the leader's log start: no record here is in the
// leader's log. This is normal for a new follower, and for a follower whose records the leader has
// deleted.
func (p *Partition) restartLocked(at ReplicaPosition, leaderStart int64) error {
	if leaderStart < 0 {
		return ErrOffsetOutOfRange
	}
	log := p.logger.With(slog.String("partition", p.tp.String()), slog.Int64("end", at.Offset), slog.Int64("leader_start", leaderStart))
	truncate := p.log.TruncateFully
	if p.log.HighWatermark() <= leaderStart {
		log.Warn("the log ends before the leader's begins and starts there")
	} else {
		if err := p.mayGiveUpLocked(); err != nil {
			return err
		}
		truncate = p.log.TruncateCommittedFully
		p.metrics.restarts.Inc()
		log.Error("the log shares nothing with the leader's, which lacks records that were committed")
	}
	if err := truncate(leaderStart); err != nil {
		return fmt.Errorf("start %s at the leader's log start %d: %w", p.tp, leaderStart, err)
	}
	p.metrics.truncations.Inc()
	return nil
}

// errInSync says that following the leader would make a replica give up committed records although
// the image has the replica in sync, so that the leader must have these records.
var errInSync = errors.New("an in-sync replica keeps its committed records")

// mayGiveUpLocked is called before committed records are given up because the leader does not have
// them. Only an unclean election explains that. It refuses if the image has this replica in sync:
// then the leader's log is damaged, or one of the two brokers is mistaken, and these records may be
// the last copy.
func (p *Partition) mayGiveUpLocked() error {
	if r := p.role.Load(); r.InSync(p.brokerID) {
		return fmt.Errorf("follow broker %d at leader epoch %d: %w", r.Leader.Broker, r.LeaderEpoch, errInSync)
	}
	return nil
}
