package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

func TestIdempotence(t *testing.T) {
	type send struct {
		epoch   int16
		seq     int32
		records int
		want    error
		dup     int64 // first offset of the duplicate; -1: appended
	}
	ok := func(epoch int16, seq int32, records int) send { return send{epoch, seq, records, nil, -1} }
	for _, tc := range []struct {
		name  string
		sends []send
	}{
		{"in order", []send{ok(0, 0, 2), ok(0, 2, 1), ok(0, 3, 5)}},
		{"gap", []send{ok(0, 0, 2), {0, 3, 1, ErrOutOfOrderSequence, 0}, ok(0, 2, 1)}},
		{"again", []send{ok(0, 0, 2), {0, 0, 2, nil, 0}, ok(0, 2, 1), {0, 0, 2, nil, 0}, {0, 2, 1, nil, 2}}},
		{"again with another length", []send{ok(0, 0, 2), {0, 0, 1, ErrOutOfOrderSequence, 0}}},
		{"five are remembered", []send{
			ok(0, 0, 1), ok(0, 1, 1), ok(0, 2, 1), ok(0, 3, 1), ok(0, 4, 1),
			{0, 0, 1, nil, 0},
			ok(0, 5, 1),
			{0, 0, 1, ErrOutOfOrderSequence, 0},
			{0, 1, 1, nil, 1},
		}},
		{"stale epoch", []send{ok(3, 0, 1), {2, 1, 1, ErrInvalidProducerEpoch, 0}, ok(3, 1, 1)}},
		{"new epoch begins at 0", []send{ok(0, 0, 1), {1, 1, 1, ErrOutOfOrderSequence, 0}, ok(1, 0, 1), {0, 1, 1, ErrInvalidProducerEpoch, 0}}},
		{"old epoch's batch is no duplicate", []send{ok(0, 0, 1), ok(1, 0, 1), {1, 0, 1, nil, 1}, {0, 0, 1, ErrInvalidProducerEpoch, 0}}},
		{"unknown producer may begin anywhere", []send{ok(7, 1234, 1), ok(7, 1235, 1), {7, 1234, 1, nil, 0}}},
		{"sequences wrap", []send{ok(0, math.MaxInt32-1, 2), ok(0, 0, 1), {0, math.MaxInt32 - 1, 2, nil, 0}}},
		{"a batch wraps", []send{ok(0, math.MaxInt32, 3), {0, math.MaxInt32, 3, nil, 0}, ok(0, 2, 1)}},
	} {
		for _, restart := range []string{"", "clean", "kill"} {
			t.Run(tc.name+" "+restart, func(t *testing.T) {
				k := newKit(t, vfs.NewMem(), nil)
				for i, s := range tc.sends {
					info, err := k.log().Append(batchOf(s.records, 5, epoch0.UnixMilli(), producer(9, s.epoch, s.seq)), 0)
					if !errors.Is(err, s.want) || (s.want == nil && err != nil) {
						t.Fatalf("send %d: error %v, want %v", i, err, s.want)
					}
					if s.want == nil && (info.Duplicate != (s.dup >= 0) || (s.dup >= 0 && (info.FirstOffset != s.dup || info.LastOffset != s.dup+int64(s.records)-1))) {
						t.Fatalf("send %d: %+v, want duplicate of %d", i, info, s.dup)
					}
					switch {
					case restart == "kill":
						k = k.killed()
					case restart == "clean" && i == len(tc.sends)-2 && s.want == nil && s.dup < 0:
						// Restart only before a send that continues the sequence.
						// TestRestartRemembersBatches repeats batches after a restart.
						if next := tc.sends[i+1]; next.dup < 0 && next.want == nil {
							k.reopen()
						}
					}
				}
			})
		}
	}
}

func TestSeveralBatchesOfAProducerInOneAppend(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	at := func(seq int32) record.Batch { return batchOf(2, 5, epoch0.UnixMilli(), producer(1, 0, seq)) }
	if _, err := l.Append(slices.Concat(at(0), at(4)), 0); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
	mustAppend(t, l, slices.Concat(at(0), at(2)))
	if info := mustAppend(t, l, at(2)); !info.Duplicate || info.FirstOffset != 2 {
		t.Fatalf("%+v", info)
	}
}

func TestRestartKeepsTheNewestBatchOfAProducer(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	for seq := range int32(3) {
		mustAppend(t, k.log(), batchOf(1, 2000, epoch0.UnixMilli(), producer(1, 0, seq)))
	}
	k.reopen()
	if !slices.Contains(k.files(), "00000000000000000003.snapshot") {
		t.Fatalf("no snapshot among %v", k.files())
	}
	if info := mustAppend(t, k.log(), batchOf(1, 2000, epoch0.UnixMilli(), producer(1, 0, 2))); !info.Duplicate || info.FirstOffset != 2 {
		t.Fatalf("%+v", info)
	}
	if _, err := k.log().Append(batchOf(1, 2000, epoch0.UnixMilli(), producer(1, 0, 4)), 0); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
}

func TestTruncationTakesProducersBack(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 300 }).log()
	for seq := range int32(8) {
		mustAppend(t, l, batchOf(1, 50, epoch0.UnixMilli(), producer(1, 0, seq)))
	}
	if err := l.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if info := mustAppend(t, l, batchOf(1, 50, epoch0.UnixMilli(), producer(1, 0, 5))); info.Duplicate || info.FirstOffset != 5 {
		t.Fatalf("%+v", info)
	}
}

func TestSilentProducersExpire(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	mustAppend(t, k.log(), batchOf(1, 5, epoch0.UnixMilli(), producer(1, 0, 0)))
	k.clock.advance(23 * time.Hour)
	mustAppend(t, k.log(), batchOf(1, 5, k.clock.Now().UnixMilli(), producer(2, 0, 0)))
	k.clock.advance(2 * time.Hour)
	if _, err := k.log().EnforceRetention(k.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if n := len(k.log().producers.producers); n != 1 {
		t.Fatalf("%d producers", n)
	}
}

// marker returns a follower's batch that ends a transaction.
func marker(offset int64, producerID int64, kind record.ControlType) record.Batch {
	b := record.Builder{BaseOffset: offset, HasProducer: true, ProducerID: producerID, BaseSequence: -1, Control: true, Transactional: true}
	b.Append(epoch0.UnixMilli(), []byte{0, 0, 0, byte(kind)}, []byte{0, 0, 0, 0, 0, 1})
	batch, err := b.Build()
	if err != nil {
		panic(err)
	}
	return batch
}

func txnBatch(offset, producerID int64, seq int32) record.Batch {
	b := batchOf(1, 5, epoch0.UnixMilli(), producer(producerID, 0, seq), func(b *record.Builder) { b.Transactional = true })
	b.SetBaseOffset(offset)
	return b
}

// TestLogThatBeginsAnewKnowsNoProducers: a crash after DeleteRecords, whose log start is durable at
// once, loses some or all of the log. Where the log restarts, a transaction that was open in the
// lost part, and may have ended there, must not hold back the last stable offset.
func TestLogThatBeginsAnewKnowsNoProducers(t *testing.T) {
	anew := false
	for seed := range uint64(64) {
		k := newKit(t, vfs.NewMem(), nil)
		follow := func(b record.Batch) {
			t.Helper()
			if _, err := k.log().AppendAsFollower(b); err != nil {
				t.Fatal(err)
			}
			commit(k.log())
		}
		follow(txnBatch(0, 1, 0))
		if err := k.log().Roll(); err != nil {
			t.Fatal(err)
		}
		follow(txnBatch(1, 1, 1))
		if err := errors.Join(k.log().Flush(t.Context(), 2), k.m.Checkpoint()); err != nil {
			t.Fatal(err)
		}
		follow(marker(2, 1, record.ControlCommit))
		if err := errors.Join(k.log().AdvanceStartOffset(3), k.m.Checkpoint()); err != nil {
			t.Fatal(err)
		}
		k = k.crashed(seed)
		anew = anew || k.log().Size() == 0
		follow(txnBatch(3, 2, 0))
		follow(marker(4, 2, record.ControlAbort))
		if got := k.log().LastStableOffset(); got != 5 {
			t.Errorf("seed %d: last stable offset %d", seed, got)
		}
	}
	if !anew {
		t.Error("the log was never lost")
	}
}

func TestTransactionsHoldTheLastStableOffset(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 250 })
	follow := func(b record.Batch) {
		t.Helper()
		if _, err := k.log().AppendAsFollower(b); err != nil {
			t.Fatal(err)
		}
	}
	stable := func(want int64) {
		t.Helper()
		for _, restart := range []func(){func() {}, k.reopen, func() { k = k.killed() }} {
			restart()
			if got := k.log().LastStableOffset(); got != want {
				t.Fatalf("last stable offset %d, want %d", got, want)
			}
		}
	}
	commitAll := func() {
		t.Helper()
		commit(k.log())
		if err := k.m.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	follow(txnBatch(0, 1, 0))
	follow(txnBatch(1, 2, 0))
	commitAll()
	stable(0)
	follow(marker(2, 1, record.ControlAbort))
	if got := k.log().LastStableOffset(); got != 0 {
		t.Fatalf("the marker is not committed, but the last stable offset is %d", got)
	}
	commitAll()
	stable(1)
	follow(marker(3, 2, record.ControlCommit))
	commitAll()
	stable(4)
	follow(txnBatch(4, 1, 1))
	follow(marker(5, 1, record.ControlAbort))
	commitAll()
	stable(6)
	want := []AbortedTxn{{1, 0, 2, 1}, {1, 4, 5, 6}}
	got, err := k.log().AbortedTransactions(0, 6)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("aborted %v, %v", got, err)
	}
	if got, err = k.log().AbortedTransactions(3, 5); err != nil || !slices.Equal(got, want[1:]) {
		t.Fatalf("aborted %v, %v", got, err)
	}
	if err = k.log().TruncateCommitted(5); err != nil {
		t.Fatal(err)
	}
	if got, err = k.log().AbortedTransactions(0, 6); err != nil || !slices.Equal(got, want[:1]) {
		t.Fatalf("aborted after truncation %v, %v", got, err)
	}
}

// TestFollowersTransactionIsUndecidedUntilItsMarkerIsCommitted: a follower may receive a whole
// transaction at once; the last stable offset still waits for the high watermark.
func TestFollowersTransactionIsUndecidedUntilItsMarkerIsCommitted(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	if _, err := l.AppendAsFollower(append(txnBatch(0, 1, 0), marker(1, 1, record.ControlAbort)...)); err != nil {
		t.Fatal(err)
	}
	for high, want := range []int64{0, 0, 2} {
		l.SetHighWatermark(int64(high))
		if got := l.LastStableOffset(); got != want {
			t.Errorf("last stable offset %d at high watermark %d, want %d", got, high, want)
		}
	}
}

// TestHighWatermarkMovesWhileAnAppendHangs: also past a marker that decides a transaction.
func TestHighWatermarkMovesWhileAnAppendHangs(t *testing.T) {
	fsys := newHangingFS()
	l := newKit(t, fsys, nil).log()
	for _, b := range []record.Batch{txnBatch(0, 1, 0), marker(1, 1, record.ControlCommit)} {
		if _, err := l.AppendAsFollower(b); err != nil {
			t.Fatal(err)
		}
	}
	fsys.hang(vfs.OpWrite, "/t-0/")
	var appending sync.WaitGroup
	appending.Go(func() { _ = appendOne(l) })
	defer appending.Wait()
	defer close(fsys.released)
	<-fsys.began
	moved := make(chan struct{})
	go func() { defer close(moved); l.SetHighWatermark(2) }()
	select {
	case <-moved:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for the append")
	}
	if high, stable := l.HighWatermark(), l.LastStableOffset(); high != 2 || stable != 2 {
		t.Errorf("high watermark %d, last stable offset %d", high, stable)
	}
}

func TestPlainBatchInATransactionIsRefused(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	mustAppend(t, l, txnBatch(0, 1, 0))
	if _, err := l.Append(batchOf(1, 5, epoch0.UnixMilli(), producer(1, 0, 1)), 0); !errors.Is(err, ErrInvalidTxnState) {
		t.Fatal(err)
	}
	mustAppend(t, l, txnBatch(0, 1, 1))
}

// goldenSnapshot was checked with kafka-dump-log of Apache Kafka 4.3.1.
const goldenSnapshot = "0001" + "2c2d8d6a" + "00000002" +
	"00000000000003e8" + "0003" + "00000013" + "0000000000000cbb" + "00000013" + "0000018bcfe56800" + "ffffffff" + "ffffffffffffffff" +
	"00000000000003e9" + "0000" + "ffffffff" + "ffffffffffffffff" + "00000000" + "0000018bcfe56801" + "00000007" + "000000000000002a"

func TestSnapshotBytes(t *testing.T) {
	one := newProducerEntry()
	one.epoch, one.appended = 3, epoch0.UnixMilli()
	one.push(batchMeta{lastSequence: 19, offsetDelta: 19, lastOffset: 3259, timestamp: epoch0.UnixMilli()})
	two := newProducerEntry()
	two.epoch, two.appended, two.coordinatorEpoch, two.txnFirstOffset = 0, epoch0.UnixMilli()+1, 7, 42
	state := map[int64]*producerEntry{1001: two, 1000: one}
	want, err := hex.DecodeString(goldenSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	got := encodeSnapshot(state)
	if !bytes.Equal(got, want) {
		t.Fatalf("snapshot is\n%x, want\n%x", got, want)
	}
	back, err := decodeSnapshot(got)
	if err != nil || len(back) != 2 || *back[1000] != *one || *back[1001] != *two {
		t.Fatalf("%v, %v", back, err)
	}
	for i := range got {
		bad := bytes.Clone(got)
		bad[i] ^= 0x40
		if _, err = decodeSnapshot(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err = decodeSnapshot(got[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// TestRestartRemembersBatches repeats each of a producer's last batches after a clean stop, and
// after a roll and a kill: the snapshot has all of them, so that retries stay duplicates.
func TestRestartRemembersBatches(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	for i := range int32(7) {
		mustAppend(t, k.log(), batchOf(2, 10, epoch0.UnixMilli(), producer(7, 3, 2*i)))
	}
	mustAppend(t, k.log(), batchOf(1, 10, epoch0.UnixMilli(), producer(8, 0, 0)))
	check := func(what string, k *kit) {
		t.Helper()
		for i := int32(2); i < 7; i++ {
			info, err := k.log().Append(batchOf(2, 10, epoch0.UnixMilli(), producer(7, 3, 2*i)), 0)
			if err != nil || !info.Duplicate || info.FirstOffset != int64(2*i) {
				t.Errorf("%s: batch %d again: %+v, %v", what, i, info, err)
			}
		}
		if _, err := k.log().Append(batchOf(2, 10, epoch0.UnixMilli(), producer(7, 3, 2)), 0); !errors.Is(err, ErrOutOfOrderSequence) {
			t.Errorf("%s: a batch that is forgotten: %v", what, err)
		}
	}
	check("before", k)
	k.reopen()
	check("after a clean stop", k)
	if err := k.log().Roll(); err != nil {
		t.Fatal(err)
	}
	check("after a kill", k.killed())
}
