package storage

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/varvelog/varve/record"
)

// txnWalk follows the transactions of the batches that a cleaning passes, from
// the log's first one on. It knows which batches are of aborted transactions,
// and which markers have nothing left that they decide about.
type txnWalk struct {
	// ahead are aborted transactions that the walk has not come to, by their
	// first offset.
	ahead []AbortedTxn
	// aborted and committed have the producers whose marker is still to come:
	// of transactions that were aborted, and of others with a batch.
	aborted   map[int64]*abortedWalk
	committed map[int64]bool
	// retain, if not nil, gets the aborted transactions of which batches were
	// passed: their entries in the transaction index stay, as do their markers.
	retain func(AbortedTxn)
}

type abortedWalk struct {
	txn  AbortedTxn
	seen bool // a batch of it was passed
}

func newTxnWalk() txnWalk {
	return txnWalk{aborted: map[int64]*abortedWalk{}, committed: map[int64]bool{}}
}

// enter tells the aborted transactions that overlap the segment that is next.
// Some may have been told before.
func (w *txnWalk) enter(txns []AbortedTxn) {
	w.ahead = append(w.ahead[:0], txns...)
	slices.SortStableFunc(w.ahead, func(a, b AbortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
}

// advance begins the aborted transactions up to an offset.
func (w *txnWalk) advance(offset int64) {
	n := 0
	for ; n < len(w.ahead) && w.ahead[n].FirstOffset <= offset; n++ {
		t := w.ahead[n]
		if now := w.aborted[t.ProducerID]; now == nil || now.txn.LastOffset < t.FirstOffset {
			w.aborted[t.ProducerID] = &abortedWalk{txn: t}
		}
	}
	w.ahead = w.ahead[n:]
}

// data passes a batch of records and says whether its transaction was aborted,
// so that nobody who reads committed records ever sees it.
func (w *txnWalk) data(b record.Batch) (aborted bool) {
	w.advance(b.LastOffset())
	if !b.IsTransactional() {
		return false
	}
	// An entry of the index whose marker is not where it says must not take
	// later transactions of the producer with it.
	if t := w.aborted[b.ProducerID()]; t != nil && b.BaseOffset() <= t.txn.LastOffset {
		t.seen = true
		return true
	}
	w.committed[b.ProducerID()] = true
	return false
}

// marker passes a control batch and says whether it decides about nothing any
// more: no batch of its transaction is left.
func (w *txnWalk) marker(b record.Batch) (empty bool, err error) {
	w.advance(b.LastOffset())
	for r, err := range b.Records() {
		if err != nil {
			return false, fmt.Errorf("%w: read control batch at offset %d: %w", ErrCorrupt, b.BaseOffset(), err)
		}
		kind, err := record.ParseControlKey(r.Key)
		if err != nil {
			return false, fmt.Errorf("%w: read control batch at offset %d: %w", ErrCorrupt, b.BaseOffset(), err)
		}
		id := b.ProducerID()
		switch kind {
		case record.ControlAbort:
			t, unknown := w.aborted[id], w.committed[id]
			delete(w.aborted, id)
			delete(w.committed, id)
			if t == nil || !t.seen {
				return !unknown, nil // unknown: batches that the index does not call aborted
			}
			if w.retain != nil {
				w.retain(t.txn)
			}
			return false, nil
		case record.ControlCommit:
			had := w.committed[id]
			delete(w.committed, id)
			return !had, nil
		default:
			return false, nil
		}
	}
	return true, nil // its record was removed before
}
