package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/record"
)

// AppendInfo says what became of an append.
type AppendInfo struct {
	FirstOffset    int64 // of the first record
	LastOffset     int64 // of the last record
	LogAppendTime  int64 // the timestamp given to all records, -1 if producers gave theirs
	LogStartOffset int64
	MaxTimestamp   int64
	Records        int64 // offsets assigned, 0 for a duplicate
	Bytes          int64 // written
	Duplicate      bool  // the batch was in the log; the offsets are those it has
	NeedsFlush     bool  // flush.messages is reached: Flush before acknowledging
}

// Append writes batches from a client, as the leader of leaderEpoch. It checks
// every batch and record, then assigns offsets and epoch in place, so batches is changed
// (even if the append fails), and writes all of them or none. It does not
// retain batches. If one of them is a duplicate, none is written and the answer
// is about that one.
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

// AppendAsFollower writes batches as the leader sent them, with their offsets
// and epochs. A part of a batch at the end of the buffer, where the leader cut
// its answer, is left out. Offsets may skip some (a compacted leader) but never
// go back. It does not retain or change batches.
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

// writeLocked writes checked batches with their final offsets, then lets
// readers see them. On an error the log is as it was.
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
	// In this order, see segment.size.
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

// enterProducerLocked enters a batch that was appended into the producer state and, for an
// abort marker, into the transaction index. What it begins holds the last stable offset
// before the log's end shows it.
func (l *Log) enterProducerLocked(b record.Batch, s *segment) {
	at := l.nowMs()
	l.stable.Lock()
	done, ended, err := l.producers.apply(b, at)
	l.updateUnstableLocked()
	l.stable.Unlock()
	l.noteEnd(&l.producers, b, s, done, ended, err)
}

// noteEnd enters the transaction that a control batch has ended into the transaction
// index, if it was aborted. A control batch that cannot be read ends no transaction; it
// passed its CRC, so that the leader has the same.
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

// rollIfNeededLocked begins a new segment if the batches do not belong into
// the active one: size, age by the batches' own time, full index, or offsets
// too far from the base for the index.
func (l *Log) rollIfNeededLocked(bytes int64, info *AppendInfo) error {
	cfg := l.config.Load()
	s := l.list().active()
	size := s.size.Load()
	switch {
	case info.LastOffset-s.base > math.MaxInt32:
	case info.FirstOffset < s.base: // it was begun for a batch far above the end, whose write failed
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

// waitedForRoll is the segment's age in ms: from its first batch's time to that
// of the batch to append or, without timestamps, by the clock.
func (l *Log) waitedForRoll(s *segment, newest int64) int64 {
	if !s.firstKnown {
		l.loadFirstTime(s)
	}
	if s.firstTime >= 0 && newest >= 0 {
		return newest - s.firstTime
	}
	return l.nowMs() - s.created.UnixMilli()
}

// loadFirstTime reads the first batch's time of a segment found at start, once: a
// batch may have none.
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

// eachBatch walks over whole batches that were split before.
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
