package storage

import (
	"fmt"
	"math"

	"github.com/varvelog/varve/record"
)

// batchFilter decides what compaction leaves of every batch, from the log's
// first one on.
type batchFilter struct {
	keys        *offsetMap
	txns        txnWalk
	now         int64
	retentionMs int64                    // delete.retention.ms
	producers   map[int64]producerRecord // the last that the log has of each
	excerpt     record.Excerpt
	keyless     int64 // records removed because they had no key
}

// producerRecord is where the last batch of a producer is: with its data, or,
// with offset -1, only a marker that has its epoch.
type producerRecord struct {
	offset int64
	epoch  int16
}

// lastRecordsLocked lists them for all producers that the log remembers.
func (l *Log) lastRecordsLocked() map[int64]producerRecord {
	last := make(map[int64]producerRecord, len(l.producers.producers))
	for id, e := range l.producers.producers {
		last[id] = producerRecord{offset: e.newest().lastOffset, epoch: e.epoch}
	}
	return last
}

// isLast says that the batch is what would tell a producer's sequence and epoch
// if the producer state had to be made from the batches.
func (f *batchFilter) isLast(b record.Batch) bool {
	if !b.HasProducer() {
		return false
	}
	last, ok := f.producers[b.ProducerID()]
	switch {
	case !ok:
		return false
	case last.offset >= 0:
		return b.LastOffset() == last.offset
	}
	return b.IsControl() && b.ProducerEpoch() == last.epoch
}

// apply appends to dst what stays of a checked batch: the batch itself, one
// with fewer records, one without any, or nothing. endsSegment: something has
// to stay of it, so that the segment's end is not lost.
func (f *batchFilter) apply(dst []byte, b record.Batch, endsSegment bool) ([]byte, error) {
	if b.IsControl() {
		return f.applyMarker(dst, b, endsSegment)
	}
	aborted := f.txns.data(b)
	tombstones := false
	if !aborted {
		if b.BaseOffset() > f.keys.latest {
			return append(dst, b...), nil // not looked at yet
		}
		var err error
		if tombstones, err = f.choose(b); err != nil {
			return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	switch {
	case aborted || f.excerpt.Kept() == 0:
		if endsSegment || f.isLast(b) {
			return record.AppendEmpty(dst, b), nil
		}
		return dst, nil
	case tombstones && !b.HasDeleteHorizon():
		return f.excerpt.AppendTo(dst, f.horizon())
	case f.excerpt.Whole():
		return append(dst, b...), nil
	}
	return f.excerpt.AppendTo(dst, record.NoTimestamp)
}

// choose picks the records that stay: the last of its key, unless that is a
// tombstone whose time is over.
func (f *batchFilter) choose(b record.Batch) (tombstones bool, err error) {
	if err = f.excerpt.Begin(b); err != nil {
		return false, err
	}
	expired := f.expired(b)
	for e, err := range f.excerpt.Entries() {
		known := e.Offset <= f.keys.latest
		switch {
		case err != nil:
			return false, err
		case known && e.Key == nil:
			f.keyless++
			continue
		case known && (e.Offset < f.keys.get(e.Key) || e.Tombstone && expired):
			continue
		}
		f.excerpt.Keep(e)
		tombstones = tombstones || known && e.Tombstone
	}
	return tombstones, nil
}

// applyMarker keeps a marker while its transaction has batches, then until the
// delete horizon that it gets when it is first seen without, as tombstones do.
// A producer's last marker stays: a newer epoch in it fences the older ones.
func (f *batchFilter) applyMarker(dst []byte, b record.Batch, endsSegment bool) ([]byte, error) {
	empty, err := f.txns.marker(b)
	switch {
	case err != nil:
		return dst, err
	case b.Count() == 0 || f.expired(b) && empty && !f.isLast(b):
		if endsSegment {
			return record.AppendEmpty(dst, b), nil
		}
		return dst, nil
	case !empty || b.HasDeleteHorizon():
		return append(dst, b...), nil
	}
	if err = f.excerpt.Begin(b); err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for e, err := range f.excerpt.Entries() {
		if err != nil {
			return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		f.excerpt.Keep(e)
	}
	return f.excerpt.AppendTo(dst, f.horizon())
}

// expired says that the batch's delete horizon has passed.
func (f *batchFilter) expired(b record.Batch) bool {
	return b.HasDeleteHorizon() && b.BaseTimestamp() <= f.now
}

// horizon is until when tombstones are kept that are first seen now.
func (f *batchFilter) horizon() int64 {
	return f.now + min(f.retentionMs, math.MaxInt64-f.now)
}
