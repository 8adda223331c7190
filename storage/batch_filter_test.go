package storage

import (
	"bytes"
	"testing"

	"github.com/varvelog/varve/record"
)

// TestFilterKeepsWhatTheMapHasNotSeen uses a map that became full within a batch. A tombstone after
// that point must stay whatever its horizon, because this cleaning keeps the value that it deletes.
func TestFilterKeepsWhatTheMapHasNotSeen(t *testing.T) {
	const horizon = 1000
	seen := keyed(horizon, []string{"a=1", "b"}, func(b *record.Builder) { b.BaseOffset = 10 })
	var x record.Excerpt
	if err := x.Begin(seen); err != nil {
		t.Fatal(err)
	}
	for e, err := range x.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		x.Keep(e)
	}
	marked, err := x.AppendTo(nil, horizon)
	if err != nil {
		t.Fatal(err)
	}
	keys := newOffsetMap(1<<10, 0.9, 10)
	keys.put([]byte("a"), 10)
	keys.latest = 10
	for latest, kept := range map[int64]int32{10: 2, 11: 1} {
		keys.latest = latest
		f := batchFilter{keys: keys, txns: newTxnWalk(), now: horizon + 1}
		out, err := f.apply(nil, record.Batch(marked), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := record.Batch(out).Count(); got != kept || kept == 2 && !bytes.Equal(out, marked) {
			t.Errorf("of a map up to %d %d records stay, want %d", latest, got, kept)
		}
	}
}

// TestAbortedTransactionEndsAtItsMarker uses an entry of the transaction index whose marker
// compaction has emptied. Later transactions of the producer must not look aborted.
func TestAbortedTransactionEndsAtItsMarker(t *testing.T) {
	w := newTxnWalk()
	w.enter([]AbortedTxn{{ProducerID: 1, FirstOffset: 0, LastOffset: 1}})
	for offset, want := range []bool{0: true, 2: false} {
		if offset == 1 {
			continue
		}
		b := keyed(0, []string{"k=v"}, producer(1, 0, int32(offset)), transactional,
			func(b *record.Builder) { b.BaseOffset = int64(offset) })
		if got := w.data(b); got != want {
			t.Errorf("a batch at offset %d is aborted: %v", offset, got)
		}
	}
}
