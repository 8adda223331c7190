package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

func TestCompactedTopicNeedsKeys(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.CleanupCompact = true }).log()
	mustAppend(t, l, batchOf(3, 10, epoch0.UnixMilli()))
	var b record.Builder
	b.Append(epoch0.UnixMilli(), nil, []byte("v"))
	keyless, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = l.Append(keyless, 0); !errors.Is(err, ErrInvalidRecord) {
		t.Fatal(err)
	}
}

func TestCompressionTypeRecompresses(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.Compression = Compression{Recompress: true, Codec: record.CodecZstd} })
	l := k.log()
	plain := batchOf(20, 100, epoch0.UnixMilli(), producer(4, 0, 0))
	gzip := batchOf(20, 100, epoch0.UnixMilli(), producer(4, 0, 20), func(b *record.Builder) { b.Codec = record.CodecGzip })
	zstd := batchOf(2, 100, epoch0.UnixMilli(), func(b *record.Builder) { b.Codec = record.CodecZstd })
	info := mustAppend(t, l, slices.Concat(plain, gzip, zstd))
	if info.LastOffset != 41 {
		t.Fatalf("%+v", info)
	}
	want := slices.Collect(eachBatch(slices.Concat(plain, gzip, zstd)))
	for i, b := range readAll(t, l, 0) {
		if b.Codec() != record.CodecZstd || b.Check() != nil || b.ProducerID() != want[i].ProducerID() {
			t.Fatalf("batch %d: codec %v, check %v", i, b.Codec(), b.Check())
		}
		if got := values(t, b); !slices.Equal(got, values(t, want[i])) {
			t.Fatalf("batch %d holds %d records, or others", i, len(got))
		}
	}
	dup := batchOf(20, 100, epoch0.UnixMilli(), producer(4, 0, 20))
	if info = mustAppend(t, l, dup); !info.Duplicate || info.FirstOffset != 20 {
		t.Fatalf("%+v", info)
	}
}

func values(t *testing.T, b record.Batch) (v []string) {
	t.Helper()
	for r, err := range b.Records() {
		if err != nil {
			t.Fatal(err)
		}
		v = append(v, string(r.Key)+string(r.Value))
	}
	return v
}

// TestCompressionTypes: every codec converts to every other, and nothing but the batch's codec
// changes.
func TestCompressionTypes(t *testing.T) {
	codecs := []record.Codec{record.CodecNone, record.CodecGzip, record.CodecSnappy, record.CodecLZ4, record.CodecZstd}
	for _, to := range codecs {
		k := newKit(t, vfs.NewMem(), func(c *Config) { c.Compression = Compression{Recompress: true, Codec: to} })
		l := k.log()
		for i, from := range codecs {
			sent := batchOf(10, 200, epoch0.UnixMilli()+int64(i)*100, producer(7, 3, int32(10*i)), func(b *record.Builder) { b.Codec = from })
			want := slices.Clone(sent)
			info := mustAppend(t, l, sent)
			got := readAll(t, l, info.FirstOffset)[0]
			if got.Codec() != to || got.Check() != nil || info.Bytes != int64(len(got)) || info.MaxTimestamp != want.MaxTimestamp() {
				t.Fatalf("%v to %v: codec %v, check %v, %+v", from, to, got.Codec(), got.Check(), info)
			}
			if from == to {
				got.SetBaseOffset(0)
				if string(got) != string(want) {
					t.Errorf("%v to %v: a batch that needs no other codec was changed", from, to)
				}
				continue
			}
			if got.ProducerID() != 7 || got.ProducerEpoch() != 3 || got.BaseSequence() != int32(10*i) || got.Count() != 10 ||
				got.BaseTimestamp() != want.BaseTimestamp() || got.MaxTimestamp() != want.MaxTimestamp() || got.IsLogAppendTime() {
				t.Errorf("%v to %v: the header differs in more than the codec", from, to)
			}
			if !slices.Equal(values(t, got), values(t, want)) {
				t.Errorf("%v to %v: other records", from, to)
			}
			if info = mustAppend(t, l, want); !info.Duplicate || info.FirstOffset != int64(10*i) {
				t.Errorf("%v to %v: sent again: %+v", from, to, info)
			}
		}
		commit(l)
		for i := range codecs { // the records are found by time, also after a restart
			want := epoch0.UnixMilli() + int64(i)*100 + 4
			at, ok, err := l.OffsetForTimestamp(want)
			if err != nil || !ok || at.Offset != int64(10*i+4) || at.Timestamp != want {
				t.Errorf("to %v: %d is found at %+v, %v", to, want, at, err)
			}
		}
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		if err := verifyFiles(l); err != nil {
			t.Errorf("to %v: %v", to, err)
		}
	}
}

func TestRecompressedBatchMustFit(t *testing.T) {
	limits := func(codec record.Codec) func(c *Config) {
		return func(c *Config) {
			c.MaxMessageBytes, c.SegmentBytes = 2000, 3000
			c.Compression = Compression{Recompress: true, Codec: codec}
		}
	}
	zipped := func(n, size int) record.Batch {
		return batchOf(n, size, epoch0.UnixMilli(), func(b *record.Builder) { b.Codec = record.CodecGzip })
	}
	l := newKit(t, vfs.NewMem(), limits(record.CodecNone)).log()
	mustAppend(t, l, zipped(10, 150))
	if _, err := l.Append(zipped(10, 200), 0); !errors.Is(err, ErrRecordTooLarge) {
		t.Errorf("2000 bytes of records, and their header, in a batch of 2000: %v", err)
	}
	for size := 170; size < 200; size++ { // the header counts too
		if info, err := l.Append(zipped(10, size), 0); err == nil && info.Bytes > 2000 {
			t.Errorf("a batch of %d bytes was stored", info.Bytes)
		}
	}
	if _, err := l.Append(slices.Concat(zipped(10, 150), zipped(10, 150)), 0); !errors.Is(err, ErrRecordListTooLarge) {
		t.Errorf("more than a segment: %v", err)
	}
	l = newKit(t, vfs.NewMem(), limits(record.CodecZstd)).log()
	// This fits after compression.
	mustAppend(t, l, slices.Concat(batchOf(10, 150, epoch0.UnixMilli()), batchOf(10, 150, epoch0.UnixMilli())))
}

// misnumbered returns a batch of two records; the second has an offset delta of 2.
func misnumbered() record.Batch {
	b := record.Builder{}
	b.AppendAt(0, epoch0.UnixMilli(), []byte("k"), nil)
	b.AppendAt(2, epoch0.UnixMilli(), []byte("k"), nil)
	batch, err := b.Build()
	if err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint32(batch[23:], 2)
	binary.BigEndian.PutUint32(batch[57:], 3)
	batch.SetCRC()
	return batch
}

// TestRecordsAreValidated: records are validated whatever the topic's settings do with them.
func TestRecordsAreValidated(t *testing.T) {
	now := epoch0.UnixMilli()
	swapped := batchOf(2, 3, now)
	first := record.HeaderSize
	swapped[first+3], swapped[first+3+11] = 2, 0 // the offset deltas
	swapped.SetCRC()
	cut := batchOf(2, 3, now)
	binary.BigEndian.PutUint32(cut[8:], uint32(len(cut)-1-12))
	cut = cut[:len(cut)-1]
	cut.SetCRC()
	more := batchOf(3, 3, now)
	binary.BigEndian.PutUint32(more[23:], 1)
	binary.BigEndian.PutUint32(more[57:], 2)
	more.SetCRC()
	early := func() record.Batch { // its header is valid
		b := record.Builder{}
		for _, ts := range []int64{now, now - 20_000, now} {
			b.Append(ts, []byte("k"), nil)
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return batch
	}()
	garbled := batchOf(2, 3, now)
	garbled[22] |= byte(record.CodecLZ4)
	garbled.SetCRC()
	for name, change := range map[string]func(c *Config){
		"kept":          func(*Config) {},
		"another codec": func(c *Config) { c.Compression = Compression{Recompress: true, Codec: record.CodecZstd} },
		"compacted":     func(c *Config) { c.CleanupCompact = true },
	} {
		l := newKit(t, vfs.NewMem(), func(c *Config) { c.TimestampBeforeMaxMs = 10_000; change(c) }).log()
		for _, tc := range []struct {
			what  string
			batch record.Batch
			want  error
		}{
			{"a gap between offsets", misnumbered(), ErrInvalidRecord},
			{"offsets out of order", swapped, ErrInvalidRecord},
			{"a record that is cut", cut, ErrInvalidRecord},
			{"more records than the header says", more, ErrInvalidRecord},
			{"a record in the middle that is too old", early, ErrInvalidTimestamp},
			{"bytes that are not of the codec", garbled, ErrInvalidRecord},
		} {
			if name == "kept" && tc.batch.Codec() != record.CodecNone {
				continue // it is not decoded
			}
			if _, err := l.Append(slices.Clone(tc.batch), 0); !errors.Is(err, tc.want) {
				t.Errorf("%s: %s: %v, want %v", name, tc.what, err, tc.want)
			}
		}
		if l.EndOffset() != 0 {
			t.Errorf("%s: something was written", name)
		}
		lying := batchOf(2, 3, now)
		lying.SetMaxTimestamp(now + 500)
		lying.SetCRC()
		if info := mustAppend(t, l, lying); info.MaxTimestamp != now+1 {
			t.Errorf("%s: the largest timestamp is %d, not that of a record", name, info.MaxTimestamp)
		}
		if b := readAll(t, l, 0)[0]; b.MaxTimestamp() != now+1 || b.Check() != nil {
			t.Errorf("%s: stored with %d, %v", name, b.MaxTimestamp(), b.Check())
		}
	}
}

func TestRecompressionUsesTheLevel(t *testing.T) {
	sizes := map[int]int64{}
	for _, level := range []int{1, 9} {
		l := newKit(t, vfs.NewMem(), func(c *Config) { c.Compression = Compression{Recompress: true, Codec: record.CodecGzip, Level: level} }).log()
		b := record.Builder{}
		for i := range 2000 {
			b.Append(epoch0.UnixMilli(), nil, fmt.Appendf(nil, "%d and %d", i*7919%1000, i*104729%500))
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		sizes[level] = mustAppend(t, l, batch).Bytes
	}
	if sizes[9] >= sizes[1] {
		t.Errorf("level 1 takes %d bytes, level 9 %d", sizes[1], sizes[9])
	}
}

// TestFollowerNeverRecompresses: a follower keeps the leader's bytes, whatever codec the topic has
// now; replicas must not differ.
func TestFollowerNeverRecompresses(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.Compression = Compression{Recompress: true, Codec: record.CodecZstd} }).log()
	sent := batchOf(10, 100, epoch0.UnixMilli(), func(b *record.Builder) { b.Codec = record.CodecGzip })
	if _, err := l.AppendAsFollower(sent); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, l, 0)[0]; string(got) != string(sent) {
		t.Error("the batch was changed")
	}
}

// TestTimesAcrossSettings: with LogAppendTime, recompression, and changes of both while the log is
// in use, lookups by time find each record by the time that a reader sees.
func TestTimesAcrossSettings(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.IndexIntervalBytes = 0 })
	l := k.log()
	set := func(change func(c *Config)) {
		c := l.Config()
		change(&c)
		l.SetConfig(c)
	}
	base := epoch0.UnixMilli()
	mustAppend(t, l, batchOf(5, 10, base-1000)) // 0 to 4, from base-1000 on
	set(func(c *Config) {
		c.TimestampType, c.TimestampBeforeMaxMs = LogAppendTime, 10
		c.Compression = Compression{Recompress: true, Codec: record.CodecLZ4}
	})
	// 5 to 9, at base: their own timestamps are ignored.
	info := mustAppend(t, l, batchOf(5, 10, 77, producer(1, 0, 0)))
	if info.LogAppendTime != base || info.MaxTimestamp != base {
		t.Fatalf("%+v", info)
	}
	if again := mustAppend(t, l, batchOf(5, 10, 77, producer(1, 0, 0))); !again.Duplicate || again.LogAppendTime != base {
		t.Fatalf("sent again: %+v", again)
	}
	if _, err := l.Append(batchOf(1, 10, base, func(b *record.Builder) { b.LogAppendTime = true }), 0); !errors.Is(err, ErrInvalidTimestamp) {
		t.Fatalf("a producer's own LogAppendTime: %v", err)
	}
	set(func(c *Config) { c.TimestampType, c.Compression = CreateTime, Compression{} })
	mustAppend(t, l, batchOf(5, 10, base+5)) // 10 to 14, from base+5 on
	if _, err := l.Append(batchOf(1, 10, base-11), 0); !errors.Is(err, ErrInvalidTimestamp) {
		t.Fatalf("the limit is back in force: %v", err)
	}
	commit(l)
	check := func(what string) {
		t.Helper()
		for ts, want := range map[int64]int64{base - 5000: 0, base - 998: 2, base - 900: 5, base: 5, base + 1: 10, base + 8: 13} {
			at, ok, err := l.OffsetForTimestamp(ts)
			if err != nil || !ok || at.Offset != want {
				t.Errorf("%s: base%+d is found at %+v, %v, want %d", what, ts-base, at, err, want)
			}
		}
		if at, ok, err := l.MaxTimestamp(); err != nil || !ok || at.Offset != 14 || at.Timestamp != base+9 {
			t.Errorf("%s: largest timestamp %+v, %v", what, at, err)
		}
	}
	check("while written")
	k.reopen()
	l = k.log()
	check("after a clean restart")
	k = k.killed()
	l = k.log()
	check("after a kill")
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	check("closed")
	if err := verifyFiles(l); err != nil {
		t.Fatal(err)
	}
}
