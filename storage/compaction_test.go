package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

func TestCompactionKeepsTheLastRecordOfEachKey(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	k.put("a=1", "b=1", "a=2", "c=1", "b=2", "a=3")
	k.clean()
	k.want("3:c=1", "4:b=2", "5:a=3")
	if l := k.log(); l.StartOffset() != 0 || l.EndOffset() != 6 || !slices.Equal(bases(l), []int64{0, 6}) {
		t.Fatalf("log from %d to %d, segments %v", l.StartOffset(), l.EndOffset(), bases(l))
	}
	k.put("b=3")
	k.want("3:c=1", "4:b=2", "5:a=3", "6:b=3") // the active segment is not compacted
	k.clean()
	k.want("3:c=1", "5:a=3", "6:b=3")
	k.reopen()
	k.want("3:c=1", "5:a=3", "6:b=3")
	if got := k.log().cleaning.upTo.Load(); got != 7 {
		t.Fatalf("after a restart all below %d is clean, want 7", got)
	}
}

// A batch that loses records keeps its place, producer, epoch, codec and timestamps.
func TestCompactionInsideBatches(t *testing.T) {
	for codec := record.CodecNone; codec <= record.CodecZstd; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			k := newCompactKit(t, vfs.NewMem(), nil)
			with := func(b *record.Builder) {
				b.Codec, b.LeaderEpoch, b.LogAppendTime = codec, 3, codec == record.CodecLZ4
			}
			long := strings.Repeat("x", 2000) // larger than the cleaner's buffers
			first := keyed(epoch0.UnixMilli(), []string{"a=1", "b=" + long, "c=1"}, with, producer(7, 2, 40))
			k.follow(first)
			whole := keyed(epoch0.UnixMilli()+5, []string{"a=2", "d=1"}, with)
			k.follow(whole, keyed(epoch0.UnixMilli()+9, []string{"c=2"}, with))
			k.clean()
			k.want("1:b="+long, "3:a=2", "4:d=1", "5:c=2")
			got := readAll(t, k.log(), 0)
			if !bytes.Equal(got[1], whole) {
				t.Error("a batch that keeps all records was changed")
			}
			b := got[0]
			if b.Codec() != codec || b.BaseOffset() != 0 || b.LastOffset() != 2 || b.LeaderEpoch() != 3 || b.ProducerID() != 7 || b.ProducerEpoch() != 2 ||
				b.BaseSequence() != 40 || b.LastSequence() != 42 || b.MaxTimestamp() != epoch0.UnixMilli() || b.IsLogAppendTime() != first.IsLogAppendTime() {
				t.Errorf("header %x, was %x", b[:record.HeaderSize], first[:record.HeaderSize])
			}
		})
	}
}

// Segments that compaction has made small are merged, up to the sizes that a segment may have.
func TestCompactionPutsSmallSegmentsTogether(t *testing.T) {
	one := int64(len(keyed(0, []string{"key00=0123456789"})))
	for _, c := range []struct {
		segment, index int64
		want           []int64 // with 12 segments of three records, and the active one
	}{
		// Limited by the size before compaction.
		{12 * one, 10 << 20, []int64{0, 12, 24, 36}},
		// All segments.
		{40 * one, 10 << 20, []int64{0, 36}},
		// Two time entries a segment, 4 fit.
		{40 * one, 4 * 12, []int64{0, 6, 12, 18, 24, 30, 36}},
		// 7 fit.
		{40 * one, 7 * 12, []int64{0, 9, 18, 27, 36}},
		// Sums do not overflow.
		{math.MaxInt32, 10 << 20, []int64{0, 36}},
		// Smaller than each segment: none is split.
		{one, 10 << 20, []int64{0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36}},
	} {
		k := newCompactKit(t, vfs.NewMem(), nil)
		for i := range 36 {
			k.clock.advance(time.Millisecond)
			k.put(fmt.Sprintf("key%02d=0123456789", i%18))
			if i%3 == 2 {
				if err := k.log().Roll(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cfg := k.log().Config()
		cfg.SegmentBytes, cfg.SegmentIndexBytes = c.segment, c.index
		k.log().SetConfig(cfg)
		k.clean()
		if got := bases(k.log()); !slices.Equal(got, c.want) {
			t.Errorf("segment.bytes %d, index %d: segments %v, want %v", c.segment, c.index, got, c.want)
		}
		records := slices.DeleteFunc(dump(t, k.log()), func(s string) bool { return !strings.Contains(s, "=") })
		if len(records) != 18 || records[0] != "18:key00=0123456789" {
			t.Errorf("log holds %q", records)
		}
		if err := verifyFiles(k.log()); err != nil {
			t.Error(err)
		}
	}
}

// Something of a segment's last batch is kept, so that the file shows where the segment ends (S9).
func TestCompactionKeepsTheEndOfSegments(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 150 })
	k.put("a=1", "a=2", "a=3", "a=4", "a=5")
	k.clean()
	want := []string{"1-1", "3-3", "4:a=5"}
	k.want(want...)
	for _, s := range k.log().list()[:3] {
		if end, err := k.log().endOfFile(k.path(fileName(s.base, extLog)), s.base); err != nil || end != s.end.Load() {
			t.Errorf("segment %d: the file ends at %d (%v), the segment at %d", s.base, end, err, s.end.Load())
		}
	}
	// That holds even if the topic is no longer compacted and the checkpoint is old.
	dead := k.dead()
	dead.create("../"+recoveryFile, []byte("0\n1\nt 0 1\n"))
	cfg := k.log().Config()
	cfg.CleanupCompact = false
	dead.options.Config = func(string) Config { return cfg }
	dead.open()
	dead.want(want...)
}

// A tombstone stays for delete.retention.ms after the first cleaning that saw it, so that consumers
// have time to read it. The horizon does not move with later cleanings.
func TestTombstonesStayUntilTheirHorizon(t *testing.T) {
	for _, logAppendTime := range []bool{false, true} {
		k := newCompactKit(t, vfs.NewMem(), nil)
		with := func(b *record.Builder) { b.LogAppendTime = logAppendTime }
		at := epoch0.UnixMilli()
		k.follow(keyed(at, []string{"a=1", "b=1"}, with), keyed(at+3, []string{"a", "c=1"}, with))
		k.clean()
		k.want("1:b=1", "2:a", "3:c=1")
		b := readAll(t, k.log(), 2)[0]
		if !b.HasDeleteHorizon() || b.BaseTimestamp() != at+1000 || b.MaxTimestamp() != at+3 {
			t.Fatalf("horizon %t at %d, max timestamp %d", b.HasDeleteHorizon(), b.BaseTimestamp(), b.MaxTimestamp())
		}
		if found, ok, err := k.log().OffsetForTimestamp(at + 1); err != nil || !ok || found.Offset != 2 || found.Timestamp != at+3 {
			t.Fatalf("%+v %t %v", found, ok, err)
		}
		k.clock.advance(999 * time.Millisecond)
		k.put("x=1")
		k.clean()
		k.want("1:b=1", "2:a", "3:c=1", "4:x=1")
		if again := readAll(t, k.log(), 2)[0]; !bytes.Equal(again, b) {
			t.Fatal("the horizon moved")
		}
		k.clock.advance(time.Millisecond)
		k.put("x=2")
		k.clean()
		k.want("1:b=1", "3:c=1", "5:x=2")
	}
}

// A tombstone must hide its key as long as the key's value may still be in the log.
func TestTombstoneInTheActiveSegment(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.DeleteRetentionMs = 0 })
	k.put("a=1", "b=1")
	k.clean()
	k.put("a")
	k.want("0:a=1", "1:b=1", "2:a")
	k.clean()
	k.want("1:b=1", "2:a")
	k.put("c=1")
	k.clean()
	k.want("1:b=1", "3:c=1")
}

func TestRecordsWithoutKeysGo(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	k.put("=1", "a=1", "=2", "b=1")
	k.clean()
	k.want("1:a=1", "3:b=1")
}

// The last batch of a producer stays, emptied if necessary. Otherwise a restart without snapshots
// would forget its sequence, and accept a duplicate.
func TestTheLastBatchOfAProducerStays(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	at := epoch0.UnixMilli()
	for seq := range int32(3) {
		k.follow(keyed(at, []string{"a=1"}, producer(5, 1, seq)), keyed(at, []string{"a=1"}, producer(6, 1, seq)))
	}
	k.put("a=9", "z=1")
	k.clean()
	k.want("4-4", "5-5", "6:a=9", "7:z=1")
	for _, restart := range []func(){func() {}, k.reopen, func() {
		// Here the state follows from the batches alone: no snapshot, all indexes rebuilt.
		dead := k.dead()
		for _, name := range dead.files() {
			if strings.HasSuffix(name, extSnapshot) {
				dead.remove(name)
			}
		}
		dead.remove("../" + recoveryFile)
		dead.open()
		k = dead
	}} {
		restart()
		l := k.log()
		if info, err := l.Append(keyed(at, []string{"a=1"}, producer(5, 1, 2)), 0); err != nil || !info.Duplicate || info.FirstOffset != 4 {
			t.Fatalf("%+v, %v", info, err)
		}
		if _, err := l.Append(keyed(at, []string{"a=1"}, producer(6, 1, 4)), 0); !errors.Is(err, ErrOutOfOrderSequence) {
			t.Fatal(err)
		}
	}
	// A producer that has expired needs no batch.
	k.clock.advance(25 * time.Hour)
	if _, err := k.log().EnforceRetention(k.clock.Now()); err != nil {
		t.Fatal(err)
	}
	k.put("z=2")
	k.clean()
	k.want("6:a=9", "8:z=2")
}

func TestEmptyBatchesHaveNoTimestamp(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	at := epoch0.UnixMilli()
	k.follow(keyed(at+500, []string{"a=1"}, producer(5, 1, 0)), keyed(at, []string{"a=2"}))
	k.clean()
	k.want("0-0", "1:a=2")
	for range 2 {
		if newest, ok, err := k.log().MaxTimestamp(); err != nil || !ok || newest.Offset != 1 || newest.Timestamp != at {
			t.Fatalf("%+v %t %v", newest, ok, err)
		}
		if _, ok, err := k.log().OffsetForTimestamp(at + 1); err != nil || ok {
			t.Fatal(ok, err)
		}
		k.reopen()
	}
}

func TestTransactionsAreCompacted(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	at := epoch0.UnixMilli()
	txn := func(id int64, seq int32, pairs ...string) {
		k.follow(keyed(at, pairs, producer(id, 0, seq), transactional))
	}
	k.put("a=0", "b=0")                                                             // 0, 1
	txn(1, 0, "a=1")                                                                // 2, aborted
	txn(2, 0, "b=2")                                                                // 3, committed
	k.follow(endTxn(1, 0, record.ControlAbort), endTxn(2, 0, record.ControlCommit)) // 4, 5
	txn(1, 1, "c=1")                                                                // 6, committed
	k.follow(endTxn(1, 0, record.ControlCommit))                                    // 7
	// 8, 9: no record of a transaction is left after these.
	k.put("b=3", "c=2")
	k.clean()
	// An aborted record supersedes no other and is removed. Markers stay at first, the producers'
	// last batches stay for good.
	k.want("0:a=0", "3-3", "4:ABORT", "5:COMMIT", "6-6", "7:COMMIT", "8:b=3", "9:c=2")
	if txns, err := k.log().AbortedTransactions(0, 100); err != nil || len(txns) != 1 {
		t.Fatalf("%v %v", txns, err)
	}
	k.put("z=1")
	k.clean()
	k.want("0:a=0", "3-3", "4:ABORT", "5:COMMIT", "6-6", "7:COMMIT", "8:b=3", "9:c=2", "10:z=1")
	if b := readAll(t, k.log(), 4)[0]; !b.HasDeleteHorizon() || b.BaseTimestamp() != at+1000 {
		t.Fatal("the marker without a transaction got no horizon")
	}
	if b := readAll(t, k.log(), 5)[0]; b.HasDeleteHorizon() {
		t.Fatal("a marker got a horizon while a batch of its transaction is there")
	}
	if txns, err := k.log().AbortedTransactions(0, 100); err != nil || len(txns) != 0 {
		t.Fatalf("%v %v", txns, err)
	}
	k.clock.advance(time.Second)
	k.put("z=2")
	k.clean()
	k.want("0:a=0", "3-3", "5:COMMIT", "6-6", "7:COMMIT", "8:b=3", "9:c=2", "11:z=2")
	dead := k.killed()
	if l := dead.log(); l.LastStableOffset() != l.HighWatermark() || len(l.producers.open) != 0 {
		t.Fatalf("last stable offset %d, high watermark %d", l.LastStableOffset(), l.HighWatermark())
	}
}

// The abort marker may be in a later segment than the batches of its transaction.
func TestAbortedTransactionAcrossSegments(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 200 })
	at := epoch0.UnixMilli()
	for i := range int32(3) {
		k.follow(keyed(at, []string{fmt.Sprintf("k%d=1", i)}, producer(1, 0, i), transactional))
		k.put(fmt.Sprintf("x%d=1", i))
	}
	k.follow(endTxn(1, 0, record.ControlAbort)) // 6
	txns, err := k.log().AbortedTransactions(0, 100)
	if err != nil || len(txns) != 1 {
		t.Fatal(txns, err)
	}
	k.clean()
	k.want("1:x0=1", "3:x1=1", "4-4", "5:x2=1", "6:ABORT")
	if got, err := k.log().AbortedTransactions(0, 100); err != nil || !slices.Equal(got, txns) {
		t.Fatalf("aborted %v (%v), want %v", got, err, txns)
	}
}

// A marker with a newer epoch may be the only thing that fences a producer.
func TestAProducersLastMarkerStays(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.DeleteRetentionMs = 0 })
	k.follow(keyed(epoch0.UnixMilli(), []string{"a=1"}, producer(1, 0, 0), transactional), endTxn(1, 1, record.ControlAbort))
	for i := range 4 {
		k.put(fmt.Sprintf("z=%d", i))
		k.clean()
	}
	k.want("1:ABORT", "5:z=3")
	dead := k.dead()
	for _, name := range dead.files() {
		if strings.HasSuffix(name, extSnapshot) {
			dead.remove(name)
		}
	}
	dead.open()
	if _, err := dead.log().Append(keyed(epoch0.UnixMilli(), []string{"a=1"}, producer(1, 0, 1)), 0); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Fatal(err)
	}
}

func TestWhatMayBeCleaned(t *testing.T) {
	hour := int64(3600_000)
	for _, c := range []struct {
		name   string
		change func(*Config)
		before func(k *kit)
		want   int64 // end of the part that may be cleaned
	}{
		{name: "all closed segments", want: 9},
		{name: "below the high watermark", before: func(k *kit) { k.log().offsets.hw.Store(8) }, want: 6},
		{name: "below the recovery point", before: func(k *kit) { k.log().offsets.recovery.Store(6) }, want: 6},
		{name: "below an open transaction", before: func(k *kit) { k.log().offsets.unstable.Store(5) }, want: 3},
		{name: "older than min.compaction.lag.ms", change: func(c *Config) { c.MinCompactionLagMs = hour }, want: 6},
		{name: "compacted topics only", change: func(c *Config) { c.CleanupCompact = false }, want: 0},
		{name: "no tiered topics", change: func(c *Config) { c.RemoteStorageEnable = true }, want: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newCompactKit(t, vfs.NewMem(), func(cfg *Config) {
				cfg.SegmentBytes = 3 * int64(len(keyed(0, []string{"a=1"})))
				if c.change != nil {
					c.change(cfg)
				}
			})
			for range 6 {
				k.put("a=1")
			}
			k.clock.advance(time.Hour)
			k.put("a=1", "a=1", "a=1")
			k.makeCleanable()
			k.put("a=1")
			if c.before != nil {
				c.before(k)
			}
			part, err := k.log().cleanable(k.clock.Now().UnixMilli())
			if err != nil || part.end() != c.want {
				t.Fatalf("up to %d, want %d, %v", part.end(), c.want, err)
			}
		})
	}
}

func TestWhenALogIsDue(t *testing.T) {
	one := int64(len(keyed(0, []string{"a=1"})))
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = one; c.MinCleanableDirtyRatio = 0.5; c.MaxCompactionLagMs = 60_000 })
	k.put("a=1", "b=1", "c=1")
	k.clean()
	due := func() (bool, int64) {
		t.Helper()
		part, err := k.log().cleanable(k.clock.Now().UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		cfg := k.log().Config()
		return part.due(&cfg), part.overdueMs
	}
	if is, _ := due(); is {
		t.Fatal("nothing is dirty")
	}
	k.put("d=1", "e=1")
	k.makeCleanable()
	if is, _ := due(); is {
		t.Fatal("three of five bytes are clean")
	}
	k.clock.advance(time.Minute)
	if is, _ := due(); is {
		t.Fatal("not older than max.compaction.lag.ms")
	}
	k.clock.advance(time.Millisecond)
	if is, by := due(); !is || by != 1 {
		t.Fatalf("due %t, overdue by %d ms", is, by)
	}
	k.cleanOnce(k.share())
	if is, by := due(); is || by != 0 {
		t.Fatalf("due %t, overdue by %d ms", is, by)
	}
	k.put("f=1", "g=1", "h=1", "i=1", "j=1", "k=1")
	k.makeCleanable()
	if is, _ := due(); !is {
		t.Fatal("six of eleven bytes are dirty")
	}
}

// max.compaction.lag.ms closes segments, because an active one is never compacted.
func TestMaxCompactionLagRolls(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.MaxCompactionLagMs = 1000 })
	k.put("a=1")
	k.clock.advance(1001 * time.Millisecond)
	k.put("a=2")
	if got := bases(k.log()); !slices.Equal(got, []int64{0, 1}) {
		t.Fatalf("segments %v", got)
	}
	k.clock.advance(1001 * time.Millisecond) // without an append
	k.retain(0)
	if got := bases(k.log()); !slices.Equal(got, []int64{0, 1, 2}) {
		t.Fatalf("segments %v", got)
	}
}

// Keys that do not fit in the map are left for the next cleaning. None is lost.
func TestASmallMapTakesSeveralCleanings(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400 })
	var want []string
	for i := range 60 {
		k.follow(keyed(epoch0.UnixMilli(), []string{fmt.Sprintf("k%d=1", i%20), fmt.Sprintf("k%d=1", (i+7)%20)}))
	}
	last := map[string]int64{}
	for _, line := range dump(t, k.log()) {
		var offset int64
		var rest string
		if _, err := fmt.Sscanf(line, "%d:%s", &offset, &rest); err != nil {
			t.Fatal(err)
		}
		last[rest] = offset
	}
	for key, offset := range last {
		want = append(want, fmt.Sprintf("%d:%s", offset, key))
	}
	k.makeCleanable()
	share := k.share()
	share.mapBytes = 8 * mapSlotSize
	n := 0
	for ; k.log().cleaning.upTo.Load() < k.log().EndOffset(); n++ {
		before := k.log().cleaning.upTo.Load()
		k.cleanOnce(share)
		if k.log().cleaning.upTo.Load() == before {
			t.Fatalf("no progress at %d", before)
		}
	}
	if n < 5 {
		t.Fatalf("%d cleanings with a map of 8 slots", n)
	}
	got := slices.DeleteFunc(dump(t, k.log()), func(s string) bool { return !strings.Contains(s, ":") })
	slices.Sort(got)
	slices.Sort(want)
	// Old records of a key may remain from one cleaning to the next; its last record always
	// remains.
	if len(got) > 40 || !containsAll(got, want) {
		t.Fatalf("log holds\n%q, want\n%q", got, want)
	}
}

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(s string) bool { return !slices.Contains(have, s) })
}

func TestOffsetMap(t *testing.T) {
	m := newOffsetMap(1000*mapSlotSize, 0.9, math.MaxInt64)
	if len(m.slots) != 1000 || m.limit != 900 {
		t.Fatalf("%d slots, limit %d", len(m.slots), m.limit)
	}
	for round := range int64(3) {
		for i := range int64(900) {
			if !m.put(fmt.Append(nil, i), round*1000+i) {
				t.Fatalf("no room for key %d", i)
			}
		}
	}
	if m.put([]byte("one more"), 5) {
		t.Fatal("the map is over its limit")
	}
	for i := range int64(900) {
		if got := m.get(fmt.Append(nil, i)); got != 2000+i {
			t.Fatalf("key %d at %d", i, got)
		}
	}
	if m.get([]byte("one more")) != -1 || m.get(nil) != -1 {
		t.Fatal("a key that was never put")
	}
	for _, c := range []struct {
		size int64
		load float64
		keys int64
	}{{0, 0, 0}, {24, 1, 5}, {48, 1, 1}, {1 << 20, 1, 3}, {1 << 20, 1e-9, 3}} {
		m := newOffsetMap(c.size, c.load, c.keys)
		if !m.put([]byte("a"), 1) || m.get([]byte("b")) != -1 || len(m.slots) > 1000 {
			t.Fatalf("%+v: %d slots, limit %d", c, len(m.slots), m.limit)
		}
	}
}

// Readers keep the segments that they have. The old files are removed after the last reader.
func TestReadersAreNotDisturbed(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 300 })
	k.put("a=1", "b=1", "a=2", "b=2", "a=3", "b=3", "a=4", "b=4")
	before := readAll(t, k.log(), 0)
	held, err := k.log().Read(0, 200, 8, true)
	if err != nil {
		t.Fatal(err)
	}
	k.clean()
	k.m.env.emptyTrash(k.clock.Now())
	if got, err := held.AppendTo(nil); err != nil || !bytes.HasPrefix(got, before[0]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	held.Release()
	k.m.env.emptyTrash(k.clock.Now())
	if files := strings.Join(k.files(), " "); strings.Contains(files, "deleted") || strings.Contains(files, "cleaned") || strings.Contains(files, "swap") {
		t.Fatal(files)
	}
	// A read at an offset that was removed returns what follows.
	if got := readAll(t, k.log(), 2); got[len(got)-1].LastOffset() != 7 {
		t.Fatalf("%d batches", len(got))
	}
}

func TestSnapshotsOfReplacedSegmentsGo(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	for range 3 {
		k.put("a=1")
		if err := k.log().Roll(); err != nil {
			t.Fatal(err)
		}
	}
	k.clean()
	var snapshots []string
	for _, name := range k.files() {
		if strings.HasSuffix(name, extSnapshot) {
			snapshots = append(snapshots, name)
		}
	}
	if !slices.Equal(snapshots, []string{fileName(3, extSnapshot)}) || !slices.Equal(bases(k.log()), []int64{0, 3}) {
		t.Fatalf("snapshots %v, segments %v", snapshots, bases(k.log()))
	}
}

func TestRetentionOfCompactedTopics(t *testing.T) {
	for _, c := range []struct {
		name            string
		compact, delete bool
		want            int64
	}{{"compact", true, false, 0}, {"compact,delete", true, true, 4}, {"neither", false, false, 0}} {
		t.Run(c.name, func(t *testing.T) {
			k := newCompactKit(t, vfs.NewMem(), func(cfg *Config) {
				cfg.CleanupCompact, cfg.CleanupDelete, cfg.RetentionMs = c.compact, c.delete, 10_000
			})
			k.put("a=1", "b=1", "a=2", "c=1")
			k.clean()
			k.clock.advance(20 * time.Second)
			k.put("z=1")
			k.makeCleanable()
			if _, err := k.log().EnforceRetention(k.clock.Now()); err != nil {
				t.Fatal(err)
			}
			if got := k.log().StartOffset(); got != c.want {
				t.Fatalf("log start %d, want %d", got, c.want)
			}
			// DeleteRecords works with every policy.
			if err := k.log().AdvanceStartOffset(5); err != nil {
				t.Fatal(err)
			}
			if _, err := k.log().EnforceRetention(k.clock.Now()); err != nil || k.log().LocalStartOffset() != 5 {
				t.Fatal(k.log().LocalStartOffset(), err)
			}
		})
	}
}

// The cleaner checkpoint is a hint (S3): without it compaction begins from scratch.
func TestTheCleanerCheckpointIsAHint(t *testing.T) {
	for name, hurt := range map[string]func(k *kit){
		"gone":          func(k *kit) { k.remove("../" + cleanerFile) },
		"damaged":       func(k *kit) { k.create("../"+cleanerFile, []byte("0\n1\nt 0")) },
		"above the end": func(k *kit) { k.create("../"+cleanerFile, []byte("0\n1\nt 0 1000\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newCompactKit(t, vfs.NewMem(), nil)
			k.put("a=1", "a=2", "b=1")
			k.clean()
			if got := string(content(t, k.fs, "/data/"+cleanerFile)); got != "0\n1\nt 0 3\n" {
				t.Fatalf("%q", got)
			}
			dead := k.dead()
			hurt(dead)
			dead.open()
			dead.put("b=2")
			dead.clean()
			dead.want("1:a=2", "3:b=2")
		})
	}
}

// What replaces truncated records is dirty, so the truncation lowers the clean part durably.
func TestTruncationTakesTheCleanPartBack(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	k.put("a=1", "b=1", "c=1", "d=1")
	k.clean()
	if err := k.log().TruncateCommitted(2); err != nil {
		t.Fatal(err)
	}
	if got := string(content(t, k.fs, "/data/"+cleanerFile)); got != "0\n1\nt 0 2\n" {
		t.Fatalf("%q", got)
	}
	k.put("a=2", "b=2")
	k.clean()
	k.want("2:a=2", "3:b=2")
}

// A damaged batch must not be rewritten with a valid checksum. The log is given up, and reported
// once.
func TestDamageIsNotGivenANewChecksum(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	k.put("a=1", "a=2", "b=1")
	k.makeCleanable()
	k.log().list()[0].closeFiles()
	k.edit(seg0+extLog, func(b []byte) []byte { b[len(b)/2]++; return b })
	var logged bytes.Buffer
	k.m.env.logger = slog.New(slog.NewTextHandler(&logged, nil))
	for range 2 {
		k.m.cleaner.clean(t.Context(), k.log(), k.share())
	}
	if !k.log().uncleanable() || k.m.cleaner.pick() != nil {
		t.Fatal("the log is tried again")
	}
	if n := strings.Count(logged.String(), "level=ERROR"); n != 1 || !strings.Contains(logged.String(), "CRC") {
		t.Fatalf("logged %d errors: %s", n, &logged)
	}
	if files := strings.Join(k.files(), " "); strings.Contains(files, "cleaned") {
		t.Fatal(files)
	}
}

// blockingFS blocks the writer of .cleaned files until the test continues it.
type blockingFS struct {
	vfs.FS
	reached, goOn chan struct{}
}

func (f *blockingFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if strings.HasSuffix(name, extLog+suffixCleaned) {
		f.reached <- struct{}{}
		<-f.goOn
	}
	return f.FS.OpenFile(name, flag, perm)
}

// Truncation and deletion abort a cleaning and wait until it has ended.
func TestTruncationAndDeletionAbortACleaning(t *testing.T) {
	for name, do := range map[string]func(k *kit) error{
		"truncate":       func(k *kit) error { return k.log().TruncateCommitted(2) },
		"truncate fully": func(k *kit) error { return k.log().TruncateFully(50) },
		"delete":         func(k *kit) error { return k.m.Delete("t", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := &blockingFS{FS: vfs.NewMem(), reached: make(chan struct{}), goOn: make(chan struct{})}
			k := newCompactKit(t, fsys, nil)
			k.put("a=1", "b=1", "a=2", "b=2")
			k.makeCleanable()
			l := k.log()
			cleaned, done := make(chan error, 1), make(chan error, 1)
			go func() { cleaned <- l.clean(t.Context(), k.share()) }()
			<-fsys.reached
			go func() { done <- do(k) }()
			for waiting := 0; waiting == 0; {
				l.cleaning.mu.Lock()
				waiting = l.cleaning.mu.waiting
				l.cleaning.mu.Unlock()
			}
			select {
			case err := <-done:
				t.Fatal("it did not wait for the cleaning", err)
			default:
			}
			close(fsys.goOn)
			if err := <-cleaned; !errors.Is(err, errCleaningAborted) {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if err := l.clean(t.Context(), k.share()); err != nil && !errors.Is(err, errCleaningAborted) {
				t.Fatal(err)
			}
			if name == "truncate" {
				k.want("0:a=1", "1:b=1")
			}
			if entries, err := fsys.ReadDir("/data/t-0"); err == nil {
				for _, e := range entries {
					if strings.Contains(e.Name(), "cleaned") || strings.Contains(e.Name(), "swap") {
						t.Fatal(e.Name())
					}
				}
			}
		})
	}
}

// A cleaning is also aborted if retention has deleted one of its segments, or if the topic is no
// longer compacted.
func TestACleaningThatIsOvertakenIsAborted(t *testing.T) {
	for name, do := range map[string]func(k *kit){
		"retention": func(k *kit) {
			if err := k.log().AdvanceStartOffset(2); err != nil {
				k.t.Fatal(err)
			}
			k.retain(1)
		},
		"policy": func(k *kit) {
			cfg := k.log().Config()
			cfg.CleanupCompact = false
			k.log().SetConfig(cfg)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := &blockingFS{FS: vfs.NewMem(), reached: make(chan struct{}), goOn: make(chan struct{})}
			k := newCompactKit(t, fsys, func(c *Config) { c.SegmentBytes = 150 })
			k.put("a=1", "b=1", "a=2", "b=2")
			k.makeCleanable()
			cfg := k.log().Config()
			cfg.SegmentBytes = 1000
			k.log().SetConfig(cfg)
			cleaned := make(chan error, 1)
			go func() { cleaned <- k.log().clean(t.Context(), k.share()) }()
			<-fsys.reached
			do(k)
			close(fsys.goOn)
			if err := <-cleaned; !errors.Is(err, errCleaningAborted) {
				t.Fatal(err)
			}
			k.want(map[string][]string{"retention": {"2:a=2", "3:b=2"}, "policy": {"0:a=1", "1:b=1", "2:a=2", "3:b=2"}}[name]...)
			if files := strings.Join(k.files(), " "); strings.Contains(files, "cleaned") || strings.Contains(files, "swap") {
				t.Fatal(files)
			}
		})
	}
}

// kafka-dump-log and varve log dump read the file itself, so it must consist of plain batches.
func TestCompactedFilesArePlainBatches(t *testing.T) {
	k := newCompactKit(t, vfs.NewMem(), nil)
	k.follow(keyed(epoch0.UnixMilli(), []string{"a=1", "b=1"}, producer(1, 0, 0)), keyed(epoch0.UnixMilli(), []string{"a=2", "c"}))
	k.clean()
	all := content(t, k.fs, k.path(seg0+extLog))
	var got []string
	for len(all) > 0 {
		b, rest, err := record.Split(all)
		if err != nil {
			t.Fatal(err)
		}
		if err = b.Check(); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d-%d count %d sequence %d-%d horizon %t size %d",
			b.BaseOffset(), b.LastOffset(), b.Count(), b.BaseSequence(), b.LastSequence(), b.HasDeleteHorizon(), len(b)))
		all = rest
	}
	want := []string{"0-1 count 1 sequence 0-1 horizon false size 70", "2-3 count 2 sequence -1--1 horizon true size 80"}
	if !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
}
