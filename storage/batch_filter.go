package storage

import (
	"fmt"
	"math"

	"github.com/varvelog/varve/record"
)

// batchFilter decides which part of each batch compaction keeps. It must see all batches from the
// log's first one on, in order.
type batchFilter struct {
	keys        *offsetMap
	txns        txnWalk
	now         int64
	retentionMs int64                    // delete.retention.ms
	producers   map[int64]producerRecord // the last batch that the log has of each producer
	excerpt     record.Excerpt
	keyless     int64 // number of records removed because they had no key
}

// producerRecord locates the last batch of a producer: offset is the last offset of its last data
// batch. With offset -1 only a marker with its epoch is left.
type producerRecord struct {
	offset int64
	epoch  int16
}

// lastRecordsLocked returns the last batch of every producer that the log remembers.
func (l *Log) lastRecordsLocked() map[int64]producerRecord {
	last := make(map[int64]producerRecord, len(l.producers.producers))
	for id, e := range l.producers.producers {
		last[id] = producerRecord{offset: e.newest().lastOffset, epoch: e.epoch}
	}
	return last
}

// isLast reports whether the producer's sequence and epoch would come from this batch if the
// producer state were rebuilt from the batches. Such a batch must not disappear entirely.
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

// apply appends to dst what is kept of a checked batch: the batch itself, one with fewer records,
// an empty one, or nothing. If endsSegment is set, something must be kept of it: otherwise the
// segment's end would be lost (S9).
func (f *batchFilter) apply(dst []byte, b record.Batch, endsSegment bool) ([]byte, error) {
	if b.IsControl() {
		return f.applyMarker(dst, b, endsSegment)
	}
	aborted := f.txns.data(b)
	tombstones := false
	if !aborted {
		if b.BaseOffset() > f.keys.latest {
			// The first pass has not seen it: the map was full.
			return append(dst, b...), nil
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

// choose marks the records to keep: the last one of each key, unless it is a tombstone whose delete
// horizon has passed. Records above the map's latest offset are kept; of the others, those without
// a key are dropped. tombstones reports whether a tombstone that the map covers was kept: then the
// batch needs a delete horizon.
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

// applyMarker keeps a marker while its transaction has batches, and then until its delete horizon.
// Like a tombstone, the marker gets the horizon when it is first seen without batches. A producer's
// last marker is never removed: a newer epoch in it fences older instances of the producer.
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

// expired reports whether the batch's delete horizon has passed.
func (f *batchFilter) expired(b record.Batch) bool {
	return b.HasDeleteHorizon() && b.BaseTimestamp() <= f.now
}

// horizon returns the delete horizon, in ms, of tombstones and markers that get one now.
func (f *batchFilter) horizon() int64 {
	return f.now + min(f.retentionMs, math.MaxInt64-f.now)
}
