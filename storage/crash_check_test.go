package storage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/varvelog/varve/record"
)

// check opens the logs, compares them with what was acknowledged, and closes them. Sometimes it
// removes the marker of the clean shutdown.
func (c *crashTest) check() {
	t := c.t
	t.Helper()
	m, err := OpenManager(t.Context(), crashOptions(c.dir))
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(crashPartitions) {
		l, createErr := m.Create("t", p, testID)
		if createErr != nil {
			t.Fatal(createErr)
		}
		if err = c.checkLog(l, &c.partitions[p]); err != nil {
			t.Fatalf("partition %d: %v", p, err)
		}
	}
	if err = m.Close(); err != nil {
		t.Fatal(err)
	}
	if c.rnd.IntN(2) == 0 {
		if err = os.Remove(filepath.Join(c.dir, cleanFile)); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *crashTest) checkLog(l *Log, said *crashLog) error {
	// The truncation was either done or not begun.
	if said.cutting >= 0 {
		if end := l.EndOffset(); len(said.acked) > 0 && end < said.acked[len(said.acked)-1].end {
			if end < said.firstBelow(said.cutting) {
				return fmt.Errorf("end %d after a truncation to %d", end, said.cutting)
			}
			said.cutAt(end)
		}
	}
	start, end := l.LocalStartOffset(), l.EndOffset()
	got, err := readRange(l, start, end)
	if err != nil {
		return err
	}
	next := start
	// The log start may be within the first batch.
	if len(got) > 0 {
		next = min(start, got[0].BaseOffset())
	}
	acked := map[int64]crashAck{}
	for _, a := range said.acked {
		acked[a.first] = a
	}
	unknown := 0
	for _, b := range got {
		if b.BaseOffset() != next {
			return fmt.Errorf("batch at %d, want %d", b.BaseOffset(), next)
		}
		next = b.NextOffset()
		if err = checkCrashBatch(l.Partition(), b); err != nil {
			return err
		}
		a, ok := acked[b.BaseOffset()]
		switch {
		case !ok:
			unknown++
			said.acked = append(said.acked, crashAck{b.BaseOffset(), next, b.LeaderEpoch()})
		case a.end != next || a.epoch != b.LeaderEpoch():
			return fmt.Errorf("batch to %d of epoch %d where %+v was acknowledged", next, b.LeaderEpoch(), a)
		}
	}
	slices.SortFunc(said.acked, func(a, b crashAck) int { return cmp.Compare(a.first, b.first) })
	if n := len(said.acked); n > 0 && said.acked[n-1].end != end || next != end {
		return fmt.Errorf("end %d, batches to %d, acknowledged to %+v", end, next, said.acked[max(0, n-1)])
	}
	// One batch may be unknown: the kill came before its acknowledgement.
	if unknown > 1 {
		return fmt.Errorf("%d batches that nobody acknowledged", unknown)
	}
	return c.checkLookups(l, got)
}

// firstBelow returns the lowest end that a truncation to an offset may have left: a batch that
// holds the offset is removed as a whole.
func (l *crashLog) firstBelow(to int64) int64 {
	for _, a := range l.acked {
		if a.first <= to && to < a.end {
			return a.first
		}
	}
	return to
}

// checkCrashBatch compares a batch with what the child writes at its offsets.
func checkCrashBatch(partition int32, b record.Batch) error {
	for r, err := range b.Records() {
		if err != nil {
			return err
		}
		p, offset, epoch := binary.BigEndian.Uint32(r.Value), binary.BigEndian.Uint64(r.Value[4:]), binary.BigEndian.Uint32(r.Value[12:])
		if int32(p) != partition || int64(offset) != r.Offset || int32(epoch) != b.LeaderEpoch() || r.Timestamp != crashTime(r.Offset) {
			return fmt.Errorf("record %d of epoch %d is record %d of partition %d, epoch %d", r.Offset, b.LeaderEpoch(), offset, p, epoch)
		}
	}
	return nil
}

// checkLookups checks the indexes, and the producer state by means of a duplicate.
func (c *crashTest) checkLookups(l *Log, got []record.Batch) error {
	if err := verifyFiles(l); err != nil {
		return err
	}
	if len(got) == 0 {
		return nil
	}
	start, end := l.LocalStartOffset(), l.EndOffset()
	for range 5 {
		offset := start + c.rnd.Int64N(end-start)
		if at, ok, err := l.OffsetForTimestamp(crashTime(offset)); err != nil || !ok || at.Offset != offset {
			return fmt.Errorf("time of offset %d is found at %+v (%t, %w)", offset, at, ok, err)
		}
		b, err := readOne(l, offset)
		if err != nil || b.BaseOffset() > offset {
			return fmt.Errorf("read at %d: %w", offset, err)
		}
		if epoch, epochEnd := l.EndOffsetForEpoch(b.LeaderEpoch()); epoch != b.LeaderEpoch() || epochEnd < b.NextOffset() {
			return fmt.Errorf("epoch %d of offset %d ends at %d (%d)", b.LeaderEpoch(), offset, epochEnd, epoch)
		}
	}
	last := record.Batch(append([]byte(nil), got[len(got)-1]...))
	first := last.BaseOffset()
	last.SetBaseOffset(0)
	info, err := l.Append(last, l.LatestEpoch())
	if err == nil && (!info.Duplicate || info.FirstOffset != first) {
		err = fmt.Errorf("batch %d again is %+v", first, info)
	}
	return err
}
