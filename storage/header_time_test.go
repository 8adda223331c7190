package storage

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// withMax returns a batch whose header has another largest timestamp than its records.
func withMax(b record.Batch, ms int64) record.Batch {
	b.SetMaxTimestamp(ms)
	b.SetCRC()
	return b
}

// Some clients leave the largest timestamp of a batch unset or set it too low. The log stores the
// one of the records, because lookups, retention and the object store rely on the header.
func TestHeaderGetsTheTimeOfItsRecords(t *testing.T) {
	now := epoch0.UnixMilli()
	lz4 := func(b *record.Builder) { b.Codec = record.CodecLZ4 }
	for name, batch := range map[string]record.Batch{
		"unset":                 withMax(batchOf(3, 10, now), record.NoTimestamp),
		"unset, compressed":     withMax(batchOf(3, 10, now, lz4), record.NoTimestamp),
		"below the first one":   withMax(batchOf(3, 10, now), now-5000),
		"the same, compressed":  withMax(batchOf(3, 10, now, lz4), now-5000),
		"that of the first one": withMax(batchOf(3, 10, now), now),
		"in the future":         withMax(batchOf(3, 10, now), now+3000),
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, vfs.NewMem(), nil)
			l := k.log()
			if info := mustAppend(t, l, batch); info.MaxTimestamp != now+2 {
				t.Errorf("appended with %d, want %d", info.MaxTimestamp, now+2)
			}
			commit(l)
			stored := readAll(t, l, 0)[0] // also checks the checksum
			if stored.MaxTimestamp() != now+2 {
				t.Errorf("stored with %d, want %d", stored.MaxTimestamp(), now+2)
			}
			for ts, want := range map[int64]int64{0: 0, now + 1: 1, now + 2: 2} {
				if at, ok, err := l.OffsetForTimestamp(ts); err != nil || !ok || at.Offset != want {
					t.Errorf("time %d is at %+v, %t, %v; want %d", ts, at, ok, err, want)
				}
			}
			if at, ok, err := l.MaxTimestamp(); err != nil || !ok || at.Offset != 2 || at.Timestamp != now+2 {
				t.Errorf("the newest is %+v, %t, %v", at, ok, err)
			}
		})
	}
}

// A topic's timestamp limits apply to every record, whatever the header says.
func TestEveryRecordIsInTime(t *testing.T) {
	now := epoch0.UnixMilli()
	ahead := func(codec record.Codec) record.Batch {
		b := record.Builder{Codec: codec}
		for _, ts := range []int64{now, now + 7_200_000, now} {
			b.Append(ts, []byte("k"), []byte("v"))
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return batch
	}
	for name, batch := range map[string]record.Batch{
		"an honest header":  withMax(ahead(record.CodecNone), now),
		"unset":             withMax(ahead(record.CodecNone), record.NoTimestamp),
		"unset, compressed": withMax(ahead(record.CodecGzip), record.NoTimestamp),
	} {
		l := newKit(t, vfs.NewMem(), nil).log()
		_, err := l.Append(batch, 0)
		var bad *RecordError
		if !errors.Is(err, ErrInvalidTimestamp) || !errors.As(err, &bad) || bad.Index != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A lookup skips a batch that cannot be decoded, and finds the records around it.
func TestLookupPassesOverWhatNobodyCanDecode(t *testing.T) {
	now := epoch0.UnixMilli()
	l := newKit(t, vfs.NewMem(), nil).log()
	garbled := batchOf(2, 30, now+10)
	garbled[22] |= byte(record.CodecLZ4)
	garbled.SetCRC()
	mustAppend(t, l, batchOf(1, 10, now))
	mustAppend(t, l, garbled)
	mustAppend(t, l, batchOf(1, 10, now+20))
	commit(l)
	if at, ok, err := l.OffsetForTimestamp(now + 5); err != nil || !ok || at.Offset != 3 {
		t.Fatalf("%+v, %t, %v", at, ok, err)
	}
}

// A small batch may decompress to one record that claims millions of headers. A lookup in it must
// cost what it decompresses to, not what it claims.
func TestLookupInABombIsCheap(t *testing.T) {
	const headers = 4 << 20
	body := []byte{0, 0, 0, 1, 1} // attributes, deltas, no key, no value
	body = binary.AppendVarint(body, headers)
	body = append(body, make([]byte, 2*headers)...)
	payload := append(binary.AppendVarint(nil, int64(len(body))), body...)
	bomb, err := batchOf(1, 0, epoch0.UnixMilli()).AppendRecompressed(nil, payload, record.CodecZstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := newKit(t, vfs.NewMem(), nil).log()
	mustAppend(t, l, bomb)
	commit(l)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if at, ok, err := l.OffsetForTimestamp(1); err != nil || !ok || at.Offset != 0 {
		t.Fatalf("%+v, %t, %v", at, ok, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 8*uint64(len(payload)) {
		t.Errorf("%d bytes for a batch of %d that decompresses to %d", used, len(bomb), len(payload))
	}
}

// An append without timestamps must not read the segment again for the time of its first batch.
func TestAppendWithoutTimestampsReadsNothing(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	l := newKit(t, fsys, nil).log()
	mustAppend(t, l, batchOf(1, 10, record.NoTimestamp))
	reads := fsys.Count(vfs.OpRead)
	for range 5 {
		var b record.Builder
		b.Append(record.NoTimestamp, nil, nil)
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, batch)
	}
	if n := fsys.Count(vfs.OpRead) - reads; n > 0 {
		t.Fatalf("%d reads", n)
	}
}
