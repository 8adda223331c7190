package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/record"
)

// AppendInfo is the result of an append. For a duplicate, the offsets and timestamps are those of
// the stored batch.
type AppendInfo struct {
	FirstOffset    int64 // of the first record; -1 if no batch was appended
	LastOffset     int64 // of the last record; -1 if no batch was appended
	LogAppendTime  int64 // timestamp given to all records; -1: the producers' are kept
	LogStartOffset int64
	MaxTimestamp   int64
	Records        int64 // number of offsets assigned; 0 for a duplicate
	Bytes          int64 // number of bytes written
	Duplicate      bool  // the log already has the batch
	NeedsFlush     bool  // flush.messages is reached: Flush before acknowledging
}

// Append writes client batches as the leader of leaderEpoch. It checks every batch and record,
// assigns offsets and the epoch in place, and writes all batches or none. The buffer is modified
// even if the append fails, and is not retained. If one batch is a duplicate, none is written and
// the result describes that batch. On an error the log is unchanged, or its directory has failed.
func (l *Log) Append(batches []byte, leaderEpoch int32) (AppendInfo, error) {
	info, err := l.append(batches, leaderEpoch)
	if err != nil {
		return AppendInfo{}, fmt.Errorf("append to %s: %w", l.key, err)
	}
	return info, nil
}

func (l *Log) append(batches []byte, leaderEpoch int32) (AppendInfo, error) {
	if invariants.Enabled {
		defer l.solely("Append")()
	}
	if err := l.usable(); err != nil {
		return AppendInfo{}, err
	}
	// The checks that need no state of the log come first, without its lock (see checker).
	c := checker{env: l.env, cfg: l.config.Load(), now: l.nowMs()}
	stored, err := c.check(batches)
	if err != nil {
		return AppendInfo{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appendLocked(&c, stored, leaderEpoch)
}

func (l *Log) appendLocked(c *checker, batches []byte, leaderEpoch int32) (AppendInfo, error) {
	if err := l.usable(); err != nil {
		return AppendInfo{}, err
	}
	cfg := c.cfg
	info, err := l.checkProducersLocked(cfg, batches)
	if err != nil || info.Duplicate {
		return info, err
	}
	next := l.offsets.end.Load()
	info.FirstOffset = next
	for b := range eachBatch(batches) {
		b.SetBaseOffset(next)
		b.SetLeaderEpoch(leaderEpoch)
		if cfg.TimestampType == LogAppendTime {
			b.SetLogAppendTime(c.now)
			info.LogAppendTime = c.now
		}
		info.MaxTimestamp = max(info.MaxTimestamp, b.MaxTimestamp())
		next = b.NextOffset()
	}
	info.LastOffset = next - 1
	info.Records = next - info.FirstOffset
	l.assertBatchesLocked(batches, false)
	if err = l.writeLocked(batches, &info); err != nil {
		return info, err
	}
	return info, nil
}

// AppendAsFollower writes batches as the leader sent them, with their offsets and epochs. An
// incomplete batch at the end of the buffer, where the leader cut its response, is ignored. Offsets
// may have gaps (a compacted leader) but never go back. It does not retain or change batches.
func (l *Log) AppendAsFollower(batches []byte) (AppendInfo, error) {
	if invariants.Enabled {
		defer l.solely("AppendAsFollower")()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := l.followLocked(batches)
	if err != nil {
		return AppendInfo{}, fmt.Errorf("append to %s: %w", l.key, err)
	}
	return info, nil
}

func (l *Log) followLocked(batches []byte) (AppendInfo, error) {
	if err := l.usable(); err != nil {
		return AppendInfo{}, err
	}
	info := AppendInfo{LogAppendTime: record.NoTimestamp, MaxTimestamp: record.NoTimestamp, FirstOffset: -1, LastOffset: -1}
	next := l.offsets.end.Load()
	rest, whole := batches, 0
	for len(rest) > 0 {
		b, after, err := record.Split(rest)
		if errors.Is(err, record.ErrTruncated) {
			break
		}
		if err == nil {
			err = b.Check()
		}
		if err != nil {
			return info, refuse(err)
		}
		if b.BaseOffset() < next || b.NextOffset() < 0 {
			return info, fmt.Errorf("%w: batch at offset %d after end %d", ErrInvalidRecord, b.BaseOffset(), next)
		}
		if info.FirstOffset < 0 {
			info.FirstOffset = b.BaseOffset()
		}
		next, rest = b.NextOffset(), after
		whole += len(b)
		info.MaxTimestamp = max(info.MaxTimestamp, b.MaxTimestamp())
		info.Records += int64(b.LastOffsetDelta()) + 1
	}
	info.LogStartOffset = l.offsets.start.Load()
	if whole == 0 {
		return info, nil
	}
	info.LastOffset = next - 1
	l.assertBatchesLocked(batches[:whole], true)
	return info, l.writeLocked(batches[:whole], &info)
}

// writeLocked writes checked batches with their final offsets, then publishes them to readers. On
// an error the log is as it was before. If undoing a partial write fails too, the file's content is
// unknown and the directory fails. Nothing is published before the bytes are written.
func (l *Log) writeLocked(batches []byte, info *AppendInfo) error {
	if err := l.dir().room.take(int64(len(batches))); err != nil {
		return err
	}
	if err := l.ensureDirLocked(); err != nil {
		return classify(err)
	}
	if err := l.rollIfNeededLocked(int64(len(batches)), info); err != nil {
		return err
	}
	s := l.list().active()
	if err := l.preallocateLocked(s); err != nil {
		return classify(err)
	}
	l.assertRoomLocked(s, info)
	err, broken := s.write(batches)
	if broken != nil {
		l.dir().fail(fmt.Errorf("restore %s after a failed write: %w", fileName(s.base, extLog), errors.Join(err, broken)))
		return l.dir().err()
	}
	if err != nil {
		return classify(err)
	}
	if s.size.Load() == 0 {
		s.began.Store(l.nowMs())
	}
	pos, count := s.size.Load(), 0
	for b := range eachBatch(batches) {
		s.note(b, pos)
		l.epochs.assign(b.LeaderEpoch(), b.BaseOffset())
		if b.HasProducer() {
			l.enterProducerLocked(b, s)
		}
		pos += int64(len(b))
		count++
	}
	// Readers load these in the opposite order, see segment.size.
	s.end.Store(info.LastOffset + 1)
	s.size.Store(pos)
	l.offsets.end.Store(info.LastOffset + 1)
	l.dir().writeback.appended(s)
	l.assertLocked()

	info.Bytes = int64(len(batches))
	info.LogStartOffset = l.offsets.start.Load()
	info.NeedsFlush = info.LastOffset+1-l.offsets.flushed.Load() >= l.config.Load().FlushMessages
	l.env.metrics.appendBytes.Add(float64(len(batches)))
	l.env.metrics.appendBatches.Add(float64(count))
	return nil
}

// enterProducerLocked updates the producer state with an appended batch and, for an abort marker,
// the transaction index. The first unstable offset is stored before the caller publishes the log's
// end. Otherwise a reader could see an open transaction's records below the last stable offset.
func (l *Log) enterProducerLocked(b record.Batch, s *segment) {
	at := l.nowMs()
	l.stable.Lock()
	done, ended, err := l.producers.apply(b, at)
	l.updateUnstableLocked()
	l.stable.Unlock()
	l.noteEnd(&l.producers, b, s, done, ended, err)
}

// noteEnd adds the transaction that a control batch has ended to the transaction index if it was
// aborted. A control batch that cannot be parsed ends no transaction. It passed its CRC check, so
// the leader holds the same bytes.
func (l *Log) noteEnd(p *producerState, b record.Batch, s *segment, done completedTxn, ended bool, err error) {
	if err != nil {
		l.logger.Warn("pass over control batch", slog.Int64("offset", b.BaseOffset()), slog.Any("error", err))
	}
	if ended && done.aborted {
		s.txns.append(AbortedTxn{
			ProducerID: done.producerID, FirstOffset: done.firstOffset,
			LastOffset: done.lastOffset, LastStableOffset: p.stableAfter(done),
		})
	}
}

// rollIfNeededLocked begins a new segment if the batches do not belong in the active one: by size,
// by age (in the batches' own time), because an index is full, or because an offset is too far from
// the base for an index entry.
func (l *Log) rollIfNeededLocked(bytes int64, info *AppendInfo) error {
	cfg := l.config.Load()
	s := l.list().active()
	size := s.size.Load()
	switch {
	case info.LastOffset-s.base > math.MaxInt32:
	case info.FirstOffset < s.base: // begun for a batch far above the end whose write failed
	case size == 0:
		return nil
	case size > cfg.SegmentBytes-bytes || size+bytes > math.MaxInt32:
	case l.waitedForRoll(s, info.MaxTimestamp) > s.rollAfterMs(cfg):
	case s.index.full(cfg.SegmentIndexBytes) || s.times.full(cfg.SegmentIndexBytes):
	default:
		return nil
	}
	base := l.offsets.end.Load()
	if info.LastOffset-base > math.MaxInt32 { // a follower far behind a compacted leader
		base = info.FirstOffset
	}
	return l.rollLocked(base)
}

// waitedForRoll returns the segment's age in ms: from its first batch's timestamp to newest or,
// without timestamps, by the clock.
func (l *Log) waitedForRoll(s *segment, newest int64) int64 {
	if !s.firstKnown {
		l.loadFirstTime(s)
	}
	if s.firstTime >= 0 && newest >= 0 {
		return newest - s.firstTime
	}
	return l.nowMs() - s.created.UnixMilli()
}

// loadFirstTime reads the timestamp of the first batch of a segment that was found at startup. It
// does so once: firstKnown is set even if the batch has no timestamp.
func (l *Log) loadFirstTime(s *segment) {
	s.firstKnown = true
	err := s.scan(0, s.size.Load(), func(h record.Batch, _ int64) (bool, error) {
		s.firstTime = h.MaxTimestamp()
		return false, nil
	})
	if err != nil {
		l.logger.Warn("read first batch of segment", slog.Int64("segment", s.base), slog.Any("error", err))
	}
}

// eachBatch iterates over whole batches that were split before.
func eachBatch(batches []byte) func(yield func(record.Batch) bool) {
	return func(yield func(record.Batch) bool) {
		for len(batches) > 0 {
			b, rest, err := record.Split(batches)
			if err != nil || !yield(b) {
				return
			}
			batches = rest
		}
	}
}
