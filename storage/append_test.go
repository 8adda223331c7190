package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// The leader assigns offsets and epochs in place. The stored bytes are those of the caller's
// buffer.
func TestAppendAssignsOffsetsAndEpoch(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	first := batchOf(3, 10, epoch0.UnixMilli())
	info, err := l.Append(first, 7)
	if err != nil {
		t.Fatal(err)
	}
	if info.FirstOffset != 0 || info.LastOffset != 2 || info.Records != 3 || info.Bytes != int64(len(first)) || info.LogAppendTime != -1 {
		t.Fatalf("%+v", info)
	}
	two := slices.Concat(batchOf(1, 10, epoch0.UnixMilli()), batchOf(2, 10, epoch0.UnixMilli()+5))
	if info, err = l.Append(two, 8); err != nil || info.FirstOffset != 3 || info.LastOffset != 5 {
		t.Fatalf("%+v, %v", info, err)
	}
	got := readAll(t, l, 0)
	if len(got) != 3 || got[0].LeaderEpoch() != 7 || got[2].LeaderEpoch() != 8 || got[2].BaseOffset() != 4 {
		t.Fatalf("read %d batches", len(got))
	}
	if !bytes.Equal(got[0], first) {
		t.Fatal("the stored batch differs from the one that was appended")
	}
	if e := l.EpochEntries(); len(e) != 2 || e[0] != (EpochEntry{7, 0}) || e[1] != (EpochEntry{8, 3}) {
		t.Fatalf("epochs %v", e)
	}
}

// Whatever a client sends, a refused append leaves the log as it was, and the next one succeeds.
func TestAppendRefuses(t *testing.T) {
	now := epoch0.UnixMilli()
	broken := batchOf(1, 10, now)
	broken[len(broken)-1]++
	oldMagic := batchOf(1, 10, now)
	oldMagic[16] = 1
	miscounted := batchOf(2, 10, now)
	binary.BigEndian.PutUint32(miscounted[57:], 3)
	miscounted.SetCRC()
	none := batchOf(1, 10, now)
	binary.BigEndian.PutUint32(none[57:], 0)
	none.SetCRC()
	based := batchOf(1, 10, now)
	based.SetBaseOffset(5)
	for _, tc := range []struct {
		name  string
		batch []byte
		want  error
	}{
		{"nothing", nil, ErrInvalidRecord},
		{"half a batch", batchOf(1, 10, now)[:70], ErrCorruptRecord},
		{"half a header", batchOf(1, 10, now)[:10], ErrCorruptRecord},
		{"garbage after a batch", append(batchOf(1, 10, now), 1, 2, 3), ErrCorruptRecord},
		{"wrong checksum", broken, ErrCorruptRecord},
		{"old magic", oldMagic, ErrUnsupportedMagic},
		{"too large", batchOf(1, 2000, now), ErrRecordTooLarge},
		{"larger than a segment", bytes.Repeat(batchOf(1, 900, now), 11), ErrRecordListTooLarge},
		{"count differs from offsets", miscounted, ErrInvalidRecord},
		{"no records", none, ErrInvalidRecord},
		{"base offset", based, ErrInvalidRecord},
		{"control batch", batchOf(1, 10, now, func(b *record.Builder) { b.Control = true }), ErrInvalidRecord},
		{"negative sequence", batchOf(1, 10, now, producer(1, 0, -1)), ErrInvalidRecord},
		{"negative epoch", batchOf(1, 10, now, producer(1, -1, 0)), ErrInvalidRecord},
		{"transactional without producer", batchOf(1, 10, now, func(b *record.Builder) { b.Transactional = true }), ErrInvalidRecord},
		{"too old", batchOf(1, 10, now-10_001), ErrInvalidTimestamp},
		{"too new", batchOf(1, 10, now+20_001), ErrInvalidTimestamp},
		{"negative time", batchOf(1, 10, -7), ErrInvalidTimestamp},
		{"own LogAppendTime", batchOf(1, 10, now, func(b *record.Builder) { b.LogAppendTime = true }), ErrInvalidTimestamp},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newKit(t, vfs.NewMem(), func(c *Config) {
				c.MaxMessageBytes, c.SegmentBytes = 1000, 10_000
				c.TimestampBeforeMaxMs, c.TimestampAfterMaxMs = 10_000, 20_000
			})
			l := k.log()
			mustAppend(t, l, batchOf(1, 10, now))
			if _, err := l.Append(tc.batch, 0); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			mustAppend(t, l, batchOf(1, 10, record.NoTimestamp))
			if got := readAll(t, l, 0); len(got) != 2 {
				t.Fatalf("%d batches", len(got))
			}
		})
	}
}

// A bad batch among good ones refuses the whole append. A stored part would be in the log twice
// after the client's retry.
func TestAppendWritesAllBatchesOrNone(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	bad := batchOf(1, 10, epoch0.UnixMilli())
	bad[30]++
	if _, err := l.Append(slices.Concat(batchOf(2, 10, epoch0.UnixMilli()), bad), 0); !errors.Is(err, ErrCorruptRecord) {
		t.Fatal(err)
	}
	if l.EndOffset() != 0 || l.Size() != 0 {
		t.Fatalf("end %d, size %d", l.EndOffset(), l.Size())
	}
}

func TestLogAppendTimeIsTheBrokers(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.TimestampType = LogAppendTime; c.TimestampBeforeMaxMs = 5 })
	l := k.log()
	info := mustAppend(t, l, batchOf(3, 10, 77))
	now := epoch0.UnixMilli()
	if info.LogAppendTime != now || info.MaxTimestamp != now {
		t.Fatalf("%+v", info)
	}
	for r, err := range readAll(t, l, 0)[0].Records() {
		if err != nil || r.Timestamp != now {
			t.Fatalf("record at %d has time %d, %v", r.Offset, r.Timestamp, err)
		}
	}
}

// A follower's offsets may have gaps and never go back. The batch that the leader cut at the end of
// its response is left to the next fetch.
func TestFollowerKeepsOffsetsAndLeavesTheCutTail(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	at := func(offset int64, epoch int32) record.Batch {
		b := batchOf(2, 10, epoch0.UnixMilli())
		b.SetBaseOffset(offset)
		b.SetLeaderEpoch(epoch)
		return b
	}
	info, err := l.AppendAsFollower(slices.Concat(at(5, 1), at(9, 3), at(11, 3)[:40]))
	if err != nil || info.FirstOffset != 5 || info.LastOffset != 10 || l.EndOffset() != 11 || l.LatestEpoch() != 3 {
		t.Fatalf("%+v, %v", info, err)
	}
	if info, err = l.AppendAsFollower(at(11, 3)[:30]); err != nil || info.Records != 0 || info.Bytes != 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err = l.AppendAsFollower(at(10, 3)); !errors.Is(err, ErrInvalidRecord) {
		t.Fatalf("offsets went back: %v", err)
	}
	if _, err = l.AppendAsFollower(at(math.MaxInt64, 3)); !errors.Is(err, ErrInvalidRecord) {
		t.Fatalf("offsets overflow: %v", err)
	}
	broken := at(11, 3)
	broken[70]++
	if _, err = l.AppendAsFollower(broken); !errors.Is(err, ErrCorruptRecord) {
		t.Fatal(err)
	}
	if got := readAll(t, l, 0); len(got) != 2 || got[1].BaseOffset() != 9 {
		t.Fatalf("%d batches", len(got))
	}
}

func TestReopenFindsEverything(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 500; c.IndexIntervalBytes = 100 })
	fill(t, k.log(), 30)
	commit(k.log())
	want := readAll(t, k.log(), 0)
	k.reopen()
	l := k.log()
	if l.EndOffset() != 30 || l.HighWatermark() != 30 || l.StartOffset() != 0 || len(l.list()) < 5 {
		t.Fatalf("end %d, hw %d, start %d, %d segments", l.EndOffset(), l.HighWatermark(), l.StartOffset(), len(l.list()))
	}
	got := readAll(t, l, 0)
	if !slices.EqualFunc(got, want, func(a, b record.Batch) bool { return bytes.Equal(a, b) }) {
		t.Fatal("other batches than before")
	}
	fill(t, l, 1)
	if l.EndOffset() != 31 {
		t.Fatal(l.EndOffset())
	}
}
