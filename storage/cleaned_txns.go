package storage

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/varvelog/varve/record"
)

// txnWalk follows the transactions of the batches that a cleaning passes over, from the first batch
// of its range on. It knows which batches belong to aborted transactions, and which markers no
// longer have a batch of their transaction.
type txnWalk struct {
	// ahead lists aborted transactions that the walk has not reached, by first offset.
	ahead []AbortedTxn
	// aborted and committed are keyed by producers whose marker is still to come: of transactions
	// known to be aborted, and of other transactions with a batch.
	aborted   map[int64]*abortedWalk
	committed map[int64]bool
	// retain, if not nil, receives the aborted transactions of which batches were passed. Their
	// markers stay, so their entries in the new segment's transaction index must stay too.
	retain func(AbortedTxn)
}

type abortedWalk struct {
	txn  AbortedTxn
	seen bool // a batch of the transaction was passed
}

func newTxnWalk() txnWalk {
	return txnWalk{aborted: map[int64]*abortedWalk{}, committed: map[int64]bool{}}
}

// enter adds the aborted transactions that overlap the next segment. Some may have been added
// before.
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

// data passes a data batch and reports whether its transaction was aborted. A read_committed reader
// never gets such a batch, so it can be removed.
func (w *txnWalk) data(b record.Batch) (aborted bool) {
	w.advance(b.LastOffset())
	if !b.IsTransactional() {
		return false
	}
	// An index entry may name a marker that is not where the entry says. Such an entry must not
	// make later transactions of the producer look aborted.
	if t := w.aborted[b.ProducerID()]; t != nil && b.BaseOffset() <= t.txn.LastOffset {
		t.seen = true
		return true
	}
	w.committed[b.ProducerID()] = true
	return false
}

// marker passes a control batch. It reports whether no batch of its transaction is left, so that
// the marker decides nothing any more.
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
				// unknown: there were batches, and the index does not list them as aborted
				return !unknown, nil
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
