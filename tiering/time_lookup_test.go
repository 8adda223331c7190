package tiering

import (
	"context"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// jumbled returns timestamps that do not ascend, within a segment or from one to the next;
// some are shared.
func jumbled(offset int64) int64 { return 5000 + (offset*37)%400 + offset/60*150 }

func jumbledTier(t *testing.T) *broker {
	t.Helper()
	w := newWorld(t)
	log := newFakeLog(t)
	for i := range 9 {
		codec := record.CodecNone
		if i%2 == 1 {
			codec = record.CodecLZ4
		}
		log.appendSegment(segmentSpec{batches: 3 + i*5, records: 4, valueBytes: 200, timestamp: jumbled, epoch: int32(i), codec: codec})
	}
	b := w.start(log, 9)
	b.mustAttach()
	b.mustDrain()
	return b
}

// firstAt returns Kafka's answer: the first record of all with such a timestamp.
func (l *fakeLog) firstAt(t interface{ Fatal(args ...any) }, ts, start int64) (storage.TimestampOffset, bool) {
	for _, b := range l.batches {
		for rec, err := range b.Records() {
			if err != nil {
				t.Fatal(err)
			}
			if rec.Timestamp >= ts && rec.Offset >= start {
				return storage.TimestampOffset{Offset: rec.Offset, Timestamp: rec.Timestamp, LeaderEpoch: b.LeaderEpoch()}, true
			}
		}
	}
	return storage.TimestampOffset{}, false
}

func TestOffsetForTimestampFindsTheFirstRecord(t *testing.T) {
	b := jumbledTier(t)
	largest := int64(0)
	for offset := range b.log.end {
		largest = max(largest, jumbled(offset))
	}
	rapid.Check(t, func(rt *rapid.T) {
		ts := rapid.Int64Range(4990, largest+10).Draw(rt, "timestamp")
		want, wantOK := b.log.firstAt(rt, ts, 0)
		got, ok, err := b.m.OffsetForTimestamp(context.Background(), b.tp, ts, math.MaxInt64)
		if err != nil || ok != wantOK || got != want {
			rt.Fatalf("time %d is at %+v, %t, %v; want %+v, %t", ts, got, ok, err, want, wantOK)
		}
	})
}

// Records below the log start are not found, even if they are in the same segment, or the same
// batch, as the log start.
func TestTimeLookUpsHonourTheLogStart(t *testing.T) {
	t.Parallel()
	b := jumbledTier(t)
	for start := int64(0); start < b.log.end; start += 3 {
		if err := b.log.AdvanceStartOffset(start); err != nil {
			t.Fatal(err)
		}
		if start%7 == 0 {
			b.mustDrain()
		}
		largest := int64(-1)
		for offset := start; offset < b.log.end; offset++ {
			largest = max(largest, jumbled(offset))
		}
		want, _ := b.log.firstAt(t, largest, start)
		if got, ok, err := b.m.MaxTimestamp(context.Background(), b.tp, math.MaxInt64); err != nil || !ok || got != want {
			t.Fatalf("from %d: largest timestamp is at %+v, %t, %v; want %+v", start, got, ok, err, want)
		}
		ts := jumbled(start) + 1
		wantAfter, wantOK := b.log.firstAt(t, ts, start)
		if got, ok, err := b.m.OffsetForTimestamp(context.Background(), b.tp, ts, math.MaxInt64); err != nil || ok != wantOK || got != wantAfter {
			t.Fatalf("from %d: time %d is at %+v, %t, %v; want %+v, %t", start, ts, got, ok, err, wantAfter, wantOK)
		}
	}
	if err := b.log.AdvanceStartOffset(b.log.end); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if got, ok, err := b.m.MaxTimestamp(context.Background(), b.tp, math.MaxInt64); err != nil || ok {
		t.Fatalf("of an empty tier: %+v, %t, %v", got, ok, err)
	}
	b.sweepAll()
}

func TestLogAppendTimeIsTheBatchs(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	builder := record.Builder{}
	for i := range int64(3) {
		builder.Append(10+i, nil, []byte("v"))
	}
	batch, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	batch.SetLogAppendTime(9000)
	log.closeSegment([]record.Batch{batch})
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	got, ok, err := b.m.OffsetForTimestamp(context.Background(), b.tp, 12, math.MaxInt64)
	if want := (storage.TimestampOffset{Offset: 0, Timestamp: 9000}); err != nil || !ok || got != want {
		t.Fatalf("got %+v, %t, %v; want %+v", got, ok, err, want)
	}
}

func TestTimeLookUpReadsFewPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := newFakeLog(t)
	for range 60 {
		log.appendSegment(segmentSpec{batches: 1})
	}
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	before := counter(t, b.m.metrics.fetches.WithLabelValues("page"))
	got, ok, err := b.m.OffsetForTimestamp(context.Background(), b.tp, 1000+30, math.MaxInt64)
	if err != nil || !ok || got.Offset != 30 {
		t.Fatalf("got %+v, %t, %v", got, ok, err)
	}
	if n := counter(t, b.m.metrics.fetches.WithLabelValues("page")) - before; n > 3 {
		t.Errorf("%v pages were read, want one a level", n)
	}
}
