package storage

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// batchFields are positions of fields in a batch. The CRC does not cover the first ones, up to the
// magic.
var batchFields = []struct {
	name string
	at   int
}{
	{"base offset, high", 1},
	{"base offset, low", 7},
	{"length, high", 8},
	{"length, low", 11},
	{"leader epoch", 15},
	{"magic", 16},
	{"crc", 18},
	{"attributes", 22},
	{"last offset delta", 25},
	{"base timestamp", 33},
	{"max timestamp", 40},
	{"producer id", 50},
	{"producer epoch", 52},
	{"sequence", 56},
	{"count", 60},
	{"body", 65},
	{"end of body", -1},
}

// TestFlippedBit flips one bit in one field of every batch, after every kind of shutdown. A read
// returns what was written, or an error, or a batch that fails its checksum. Above the recovery
// point the log ends at the damage; below it the durable records stay.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	for _, ending := range endings {
		whole := newVictim(t, ending, nil)
		for offset := range int64(victimEnd) {
			for _, field := range batchFields {
				t.Run(fmt.Sprintf("%s %d %s", ending, offset, field.name), func(t *testing.T) {
					v := whole.copied(t)
					v.flip(offset, field.at)
					v.k.open()
					v.checkDamaged(ending, offset, field.name)
				})
			}
		}
	}
}

// flip changes a bit of a batch.
func (v *victim) flip(offset int64, at int) {
	v.t.Helper()
	seg := min(offset/3, 2)
	v.k.edit(fileName(seg*3, extLog), func(b []byte) []byte {
		begins := append(positions(b), len(b))
		i := int(offset - seg*3)
		if at < 0 {
			at += begins[i+1] - begins[i]
		}
		b[begins[i]+at] ^= 4
		return b
	})
}

// uncovered reports whether changing a field leaves a batch that looks sound.
func uncovered(field string) bool {
	return field == "leader epoch" || field == "base offset, high" || field == "base offset, low"
}

func (v *victim) checkDamaged(ending string, offset int64, field string) {
	t, l := v.t, v.k.log()
	t.Helper()
	sound := int64(0)
	for from := l.LocalStartOffset(); from < l.EndOffset(); {
		b, err := readOne(l, from)
		if err != nil {
			break
		}
		if sound < offset && !bytes.Equal(b, v.batches[sound]) {
			t.Fatalf("batch %d is %d", sound, b.BaseOffset())
		}
		if sound >= offset && !uncovered(field) {
			t.Fatalf("read on behind the damaged batch %d: %d", offset, b.BaseOffset())
		}
		from = b.NextOffset()
		sound++
	}
	if sound < offset {
		t.Fatalf("%d batches before the damaged one, want %d", sound, offset)
	}
	active := offset >= 6
	switch {
	case ending == killed && !uncovered(field) && l.EndOffset() != offset,
		ending != killed && !active && !uncovered(field) && l.EndOffset() != victimEnd,
		ending == flushed && offset >= victimRecovery && !uncovered(field) && l.EndOffset() != offset:
		t.Fatalf("end %d", l.EndOffset())
	}
	if ending != killed && !active { // the segments after the damage are unchanged
		after := (offset/3 + 1) * 3
		got, err := readRange(l, after, victimEnd)
		if err != nil || len(got) != int(victimEnd-after) || !bytes.Equal(got[0], v.batches[after]) {
			t.Fatalf("%d batches behind the damaged segment: %v", len(got), err)
		}
	}
	if ending == clean && active {
		// The start did not read the active segment before its last index entry. A crash would end
		// the log at the damage, as in Kafka.
		mustAppend(t, l, batchOf(1, 50, victimTime(victimEnd)))
		return
	}
	v.checkAppendable()
}

// checkAppendable appends at the end and finds the batch after another kill.
func (v *victim) checkAppendable() {
	t, l := v.t, v.k.log()
	t.Helper()
	end := l.EndOffset()
	b := batchOf(2, 50, victimTime(victimEnd+end))
	if info := mustAppend(t, l, b); info.FirstOffset != end {
		t.Fatalf("appended at %d, the end was %d", info.FirstOffset, end)
	}
	if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	v.k = v.k.killed()
	if got, err := readRange(v.k.log(), end, end+2); err != nil || len(got) != 1 || !bytes.Equal(got[0], b) {
		t.Fatalf("what was appended after the recovery reads as %d batches, %v", len(got), err)
	}
}

// TestTruncatedTail cuts the active segment at every byte: every whole batch must survive.
func TestTruncatedTail(t *testing.T) {
	t.Parallel()
	for _, ending := range endings {
		before := newVictim(t, ending, nil)
		whole := content(t, before.k.fs, before.k.path(seg6+extLog))
		begins := append(positions(whole), len(whole))
		for n := range whole {
			v := before.copied(t)
			v.k.edit(seg6+extLog, func(b []byte) []byte { return b[:n] })
			end := int64(6)
			for begins[end-5] <= n {
				end++
			}
			v.k.open()
			if got := v.k.log().EndOffset(); got != end {
				t.Fatalf("%s, cut at %d: end %d, want %d", ending, n, got, end)
			}
			if n%7 == 0 || n == begins[end-6] {
				v.checkContent(end)
				v.checkUse(end)
			}
		}
	}
}

// TestTornWrite: any subset of a batch's pages has reached the disk, and the file has its new
// length.
func TestTornWrite(t *testing.T) {
	const page = 512
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 2)
	before := k.log().Size()
	mustAppend(t, k.log(), batchOf(40, 60, epoch0.UnixMilli()+200))
	end := k.log().Size()
	fill(t, k.log(), 1)
	first, pages := before/page, end/page-before/page+1
	for arrived := range 1<<pages - 1 {
		dead := k.dead()
		dead.edit(seg0+extLog, func(b []byte) []byte {
			for i := range pages {
				if arrived&(1<<i) == 0 {
					from, to := max(before, (first+i)*page), min(end, (first+i+1)*page)
					clear(b[from:to])
				}
			}
			return b
		})
		dead.open()
		l := dead.log()
		if l.EndOffset() != 2 || len(readAll(t, l, 0)) != 2 || l.Size() != before {
			t.Fatalf("pages %b: end %d, size %d", arrived, l.EndOffset(), l.Size())
		}
		fill(t, l, 3)
		dead = dead.killed()
		if l = dead.log(); l.EndOffset() != 5 || len(readAll(t, l, 0)) != 5 {
			t.Fatalf("pages %b: end %d after appends and a kill", arrived, l.EndOffset())
		}
		if err := dead.m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestZerosBehindTheBatches: the file system has extended the file without writing it, or Kafka had
// preallocated it.
func TestZerosBehindTheBatches(t *testing.T) {
	for _, ending := range endings {
		for _, seg := range []string{seg0, seg3, seg6} {
			for _, n := range []int{1, 60, 61, 4096, 1 << 20} {
				v := newVictim(t, ending, nil)
				v.k.edit(seg+extLog, func(b []byte) []byte { return append(b, make([]byte, n)...) })
				if seg == seg6 || ending == killed {
					v.checkIntact(victimEnd)
					continue
				}
				// A trusted closed segment is not read at the start.
				v.k.open()
				if got := readThrough(t, v.k.log()); len(got) != victimEnd {
					t.Fatalf("%s, %d zeros behind %s: %d batches", ending, n, seg, len(got))
				}
			}
		}
	}
}

// readThrough reads like a consumer that knows only offsets, and skips what is no batch.
func readThrough(t *testing.T, l *Log) (batches []record.Batch) {
	t.Helper()
	for from := l.LocalStartOffset(); from < l.EndOffset(); {
		b, err := readOne(l, from)
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
		from = b.NextOffset()
	}
	return batches
}

// readOne reads the batch that contains an offset, or the next one.
func readOne(l *Log, offset int64) (record.Batch, error) {
	s, err := l.Read(offset, 1, l.EndOffset(), true)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	buf, err := s.AppendTo(nil)
	if err != nil {
		return nil, err
	}
	b, _, err := record.Split(buf)
	if err == nil {
		err = b.Check()
	}
	if err == nil && b.NextOffset() <= offset {
		err = fmt.Errorf("read at %d gives a batch that ends at %d", offset, b.NextOffset())
	}
	return b, err
}
