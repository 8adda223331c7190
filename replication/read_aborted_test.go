package replication

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// follow appends a record as a follower does, which may append markers.
func (b *bench) follow(t *testing.T, batch record.Builder, key []byte) {
	t.Helper()
	batch.BaseOffset = b.log.EndOffset()
	batch.Append(1000, key, make([]byte, 6))
	if _, err := b.log.AppendAsFollower(build(t, &batch)); err != nil {
		t.Fatal(err)
	}
}

// transactions has two aborted transactions, each aborted in a later segment than it began in. A
// segment has two batches:
//
//	0 of 1, 1 plain | 2 plain, 3 of 2 | 4 aborts 1, 5 plain | 6 aborts 2, 7 plain | 8 plain
func (b *bench) transactions(t *testing.T) {
	t.Helper()
	of := func(producer int64) record.Builder {
		return record.Builder{HasProducer: true, ProducerID: producer, Transactional: true}
	}
	abort := func(producer int64) {
		m := of(producer)
		m.Control, m.BaseSequence = true, record.NoSequence
		b.follow(t, m, binary.BigEndian.AppendUint16(make([]byte, 2), uint16(record.ControlAbort)))
	}
	for offset, write := range []func(){
		func() { b.follow(t, of(1), nil) }, nil, nil, func() { b.follow(t, of(2), nil) }, func() { abort(1) }, nil, func() { abort(2) }, nil, nil,
	} {
		if offset%2 == 0 && offset > 0 {
			if err := b.log.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		if write == nil {
			write = func() { b.follow(t, record.Builder{}, nil) }
		}
		write()
	}
	b.log.SetHighWatermark(b.log.EndOffset())
}

func committedAt(offset int64, maxBytes int) ReadRequest {
	r := readAt(offset)
	r.Isolation, r.MaxBytes = ReadCommitted, maxBytes
	return r
}

// below returns the transactions that begin before an end. A client may be told of the others, but
// need not be.
func below(end int64, txns []storage.AbortedTxn) []storage.AbortedTxn {
	return slices.DeleteFunc(slices.Clone(txns), func(t storage.AbortedTxn) bool { return t.FirstOffset >= end })
}

// TestColdReadsTellWhatWasAborted: cold reads return the same aborted transactions as reads of the
// local log, wherever the markers are.
func TestColdReadsTellWhatWasAborted(t *testing.T) {
	for _, border := range []int64{2, 4, 6, 8} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, vfs.NewMem(), nil)
			b.transactions(t)
			hot := map[int64]ReadResult{}
			for offset := range border {
				r, err := b.Read(t.Context(), committedAt(offset, 1))
				if err != nil {
					t.Fatal(err)
				}
				r.Records.Release()
				hot[offset] = r
			}
			if got := hot[0].Aborted; len(got) != 2 || got[0].LastOffset != 4 || got[1].LastOffset != 6 {
				t.Fatalf("aborted in the local log: %+v", got)
			}
			b.freeze(t, border)
			for offset := range border {
				want := below(offset+1, hot[offset].Aborted)
				r, err := b.Read(t.Context(), committedAt(offset, 1))
				if err != nil || !slices.Equal(r.Aborted, want) {
					t.Errorf("local log from %d, read at %d: %+v, %v; want %+v", border, offset, r.Aborted, err, want)
				}
				r.Records.Release()
				asked := []FetchPartition{part(b.Partition, offset)}
				asked[0].MaxBytes = 1
				p := params(0, 1)
				p.Isolation = ReadCommitted
				results := fetchAll(t.Context(), b.m, p, asked)
				if f := &results[0]; f.Err != nil || f.Records.Len() == 0 || !slices.Equal(f.Aborted, want) {
					t.Errorf("local log from %d, fetch at %d: %+v, %v; want %+v", border, offset, f.Aborted, f.Err, want)
				}
				results[0].Records.Release()
				if r, err = b.Read(t.Context(), readAt(offset)); err != nil || r.Aborted != nil {
					t.Errorf("read of what is not committed: %+v, %v", r.Aborted, err)
				}
				r.Records.Release()
			}
		})
	}
}

// TestAbortedWhileTheLocalLogIsDeleted: a marker leaves the local log between the lookups in the
// two tiers, and is still found.
func TestAbortedWhileTheLocalLogIsDeleted(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.transactions(t)
	b.freeze(t, 4)
	looks := 0
	b.tier.lookUp = func() {
		if looks++; looks == 1 {
			b.log.SetRemoteEndOffset(8)
			if _, err := b.log.EnforceRetention(time.Now()); err != nil {
				t.Error(err)
			}
		}
	}
	r, err := b.Read(t.Context(), committedAt(3, 1))
	if start := b.log.LocalStartOffset(); start != 8 || looks != 2 {
		t.Errorf("%d looks, the local log begins at %d", looks, start)
	}
	if err != nil || len(r.Aborted) != 2 || r.Aborted[0].LastOffset != 4 || r.Aborted[1].LastOffset != 6 {
		t.Errorf("aborted: %+v, %v", r.Aborted, err)
	}
	r.Records.Release()
}

// TestRecordsDoNotComeWithoutWhatWasAborted: without the list of aborted transactions a consumer
// would take their records for committed.
func TestRecordsDoNotComeWithoutWhatWasAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		b.transactions(t)
		b.freeze(t, 4)
		b.tier.lookUp = func() {
			b.tier.mu.Lock()
			defer b.tier.mu.Unlock()
			b.tier.err = tiering.ErrUnavailable
		}
		p := params(0, 1)
		p.Isolation = ReadCommitted
		asked := []FetchPartition{part(b.Partition, 0)}
		results := fetchAll(t.Context(), b.m, p, asked)
		if r := &results[0]; !errors.Is(r.Err, ErrColdReadFailed) || r.Records.Len() != 0 {
			t.Errorf("%d bytes, %v", r.Records.Len(), r.Err)
		}
	})
}

// TestReadOfTheUncommittedIsNotTakenOver: a fetch that needs the aborted transactions does not take
// over a read without them.
func TestReadOfTheUncommittedIsNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		b.transactions(t)
		b.freeze(t, 4)
		b.tier.hold = make(chan struct{})
		b.m.coldMaxWait = time.Second
		asked := []FetchPartition{part(b.Partition, 0)}
		if got := outcome(t, asked, fetchAll(t.Context(), b.m, params(0, 1), asked)); got[0] != "[]" {
			t.Fatalf("got %q", got)
		}
		done := make(chan []FetchResult)
		p := params(time.Minute, 1)
		p.Isolation = ReadCommitted
		go func() { done <- fetchAll(t.Context(), b.m, p, asked) }()
		synctest.Wait()
		close(b.tier.hold)
		results := <-done
		if len(results[0].Aborted) == 0 || results[0].Err != nil {
			t.Errorf("aborted: %+v, %v", results[0].Aborted, results[0].Err)
		}
		results[0].Records.Release()
	})
}

// TestAbortedTransactionsAreCharged: they count against the memory for cold results.
func TestAbortedTransactionsAreCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		b.transactions(t)
		b.freeze(t, 4)
		asked := []FetchPartition{part(b.Partition, 0)}
		p := params(0, 1)
		p.Isolation = ReadCommitted
		results := fetchAll(t.Context(), b.m, p, asked)
		if got, want := b.m.cold.mu.memory, results[0].Records.Len()+2*abortedTxnBytes; got != want {
			t.Errorf("%d bytes are charged, want %d", got, want)
		}
		results[0].Records.Release()
	})
}
