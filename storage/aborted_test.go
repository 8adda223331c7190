package storage

import (
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// Markers may be in another order than the beginnings of their transactions. An index entry that
// begins after a reader's range therefore says nothing about the next entry.
func TestAbortedTransactionsOutOfOrder(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	k.follow(
		batchOf(3, 5, epoch0.UnixMilli(), producer(1, 0, 0), transactional), // 0 to 2
		batchOf(1, 5, epoch0.UnixMilli(), producer(2, 0, 0), transactional), // 3
		endTxn(2, 0, record.ControlAbort),
		endTxn(1, 0, record.ControlAbort),
	)
	for upTo, want := range map[int64]int{3: 1, 4: 2} {
		if txns, err := k.log().AbortedTransactions(0, upTo); err != nil || len(txns) != want || txns[want-1].ProducerID != 1 {
			t.Errorf("below %d: %+v, %v; want %d", upTo, txns, err, want)
		}
	}
}

// A segment with an open transaction is not uploaded: the object store could not learn later that
// the transaction was aborted.
func TestSegmentWithAnOpenTransactionStays(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	closed := func(want int, batches ...record.Batch) {
		t.Helper()
		k.follow(batches...)
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		commit(l)
		if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
			t.Fatal(err)
		}
		if got := len(l.ClosedSegments(0)); got != want {
			t.Errorf("%d closed segments may go up, want %d", got, want)
		}
	}
	closed(0, batchOf(3, 5, epoch0.UnixMilli(), producer(1, 0, 0), transactional))
	closed(2, endTxn(1, 0, record.ControlAbort))
	for i, want := range []int64{0, 1} { // the second one has the marker
		files, release, err := l.ClosedSegments(0)[i].Open()
		if err != nil {
			t.Fatal(err)
		}
		if files.AbortedTxns != want || (files.TxnIndex != nil) != (want > 0) {
			t.Errorf("segment %d has %d aborted transactions, want %d", i, files.AbortedTxns, want)
		}
		release()
	}
}
