package metadata

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/varvelog/varve/metadata/kv"
)

// Change is one write of a controller or an Admin. Its comparisons hold in the image that it was
// planned on. If one does not hold in the store, that image is out of date.
type Change struct {
	Partition TopicPartition // for logs; Topic is empty for a cleanup
	Reason    string
	Unclean   bool // elects a replica that may lack committed records
	Balance   bool // returns leadership to the preferred replica
	Guards    []kv.Comparison
	Ops       []kv.Op
}

// WriteAll writes changes, many to a transaction and several transactions at a time, each under the
// shared comparisons and its own. It returns the newest revision that it wrote, and one error per
// change in their order: ErrConflict if a comparison did not hold. A transaction that conflicts is
// split in halves and retried, so that a change that is out of date does not stop the others.
func WriteAll(ctx context.Context, store kv.Store, shared []kv.Comparison, changes []Change) (int64, []error) {
	errs := make([]error, len(changes))
	w := &batchWriter{store: store, shared: shared}
	groups := pack(shared, changes)
	inParallel(ctx, len(groups), func(ctx context.Context, i int) {
		first, end := groups[i].first, groups[i].end
		w.write(ctx, changes[first:end], errs[first:end], true)
	})
	return w.newest.Load(), errs
}

type batchWriter struct {
	store  kv.Store
	shared []kv.Comparison
	newest atomic.Int64
}

// write tries all changes at once and, after a conflict, each half of them. whole is true for the
// first attempt.
func (w *batchWriter) write(ctx context.Context, changes []Change, errs []error, whole bool) {
	var ops []kv.Op
	for _, c := range changes {
		ops = append(ops, c.Ops...)
	}
	revision, err := w.store.Txn(ctx, comparisonsOf(w.shared, changes), ops...)
	for old := w.newest.Load(); revision > old && !w.newest.CompareAndSwap(old, revision); {
		old = w.newest.Load()
	}
	if errors.Is(err, kv.ErrConflict) && len(changes) > 1 && (!whole || w.sharedHold(ctx)) {
		half := len(changes) / 2
		w.write(ctx, changes[:half], errs[:half], false)
		w.write(ctx, changes[half:], errs[half:], false)
		return
	}
	for i := range errs {
		errs[i] = err
	}
}

// sharedHold reports whether the shared comparisons may hold. If they do not, all changes conflict
// and splitting them is in vain. It returns true if the store does not answer.
func (w *batchWriter) sharedHold(ctx context.Context) bool {
	for _, c := range w.shared {
		pair, err := w.store.Get(ctx, c.Key)
		if err == nil && c.Target == kv.TargetCreateRevision && pair.CreateRevision != c.Revision {
			return false
		}
	}
	return true
}

// span is a range of a slice of changes.
type span struct{ first, end int }

// pack divides changes, in order, into as few transactions as they fit into.
func pack(shared []kv.Comparison, changes []Change) []span {
	var spans []span
	seen := map[kv.Comparison]bool{}
	ops := 0
	for i, change := range changes {
		ops += len(change.Ops)
		if note(seen, change.Guards); len(spans) == 0 || len(seen) > kv.MaxTxnOps || ops > kv.MaxTxnOps {
			spans = append(spans, span{first: i})
			clear(seen)
			note(seen, shared)
			note(seen, change.Guards)
			ops = len(change.Ops)
		}
		spans[len(spans)-1].end = i + 1
	}
	return spans
}

// note adds comparisons to the set of those in a transaction.
func note(seen map[kv.Comparison]bool, comparisons []kv.Comparison) {
	for _, c := range comparisons {
		seen[c] = true
	}
}

// comparisonsOf returns the comparisons of one transaction, each of them once.
func comparisonsOf(shared []kv.Comparison, changes []Change) []kv.Comparison {
	seen := map[kv.Comparison]bool{}
	var all []kv.Comparison
	add := func(comparisons []kv.Comparison) {
		for _, c := range comparisons {
			if !seen[c] {
				seen[c] = true
				all = append(all, c)
			}
		}
	}
	add(shared)
	for _, change := range changes {
		add(change.Guards)
	}
	return all
}
