package metadata

import (
	"errors"
	"fmt"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// TestOneConflictHoldsUpNobody: if one partition of a transaction has changed, all others are still
// written.
func TestOneConflictHoldsUpNobody(t *testing.T) {
	s := &kvtest.HookedStore{Store: kvtest.Open(t)}
	changes := make([]Change, 300)
	for i := range changes {
		key := fmt.Sprintf("tier/%03d", i)
		changes[i] = Change{Guards: []kv.Comparison{kv.Absent(key)}, Ops: []kv.Op{kv.Put(key, nil)}}
	}
	if _, err := s.Store.Txn(t.Context(), nil, kv.Put("tier/017", nil)); err != nil {
		t.Fatal(err)
	}
	_, errs := WriteAll(t.Context(), s, []kv.Comparison{kv.Absent("controller")}, changes)
	for i, err := range errs {
		if i == 17 != errors.Is(err, kv.ErrConflict) || i != 17 && err != nil {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if s.Txns() > 20 {
		t.Errorf("%d transactions for 300 changes and one conflict", s.Txns())
	}
	// The shared comparison does not hold, so no transaction is split.
	before := s.Txns()
	_, errs = WriteAll(t.Context(), s, []kv.Comparison{kv.CreatedAt("controller", 7)}, changes)
	if n := s.Txns() - before; n != 3 || !errors.Is(errs[0], kv.ErrConflict) || !errors.Is(errs[299], kv.ErrConflict) {
		t.Errorf("%d transactions, %v", n, errs[0])
	}
}

func TestPackKeepsToTheLimit(t *testing.T) {
	shared := []kv.Comparison{kv.Absent("controller")}
	changes := make([]Change, 400)
	for i := range changes {
		changes[i] = Change{Guards: []kv.Comparison{kv.ModifiedAt(fmt.Sprint(i), 3), kv.CreatedAt("a", 5)}, Ops: []kv.Op{kv.Delete("a")}}
	}
	changes[150].Ops = make([]kv.Op, kv.MaxTxnOps)
	spans := pack(shared, changes)
	next := 0
	for _, s := range spans {
		ops := 0
		for _, c := range changes[s.first:s.end] {
			ops += len(c.Ops)
		}
		if guards := len(comparisonsOf(shared, changes[s.first:s.end])); guards > kv.MaxTxnOps || ops > kv.MaxTxnOps || s.first != next || s.end <= s.first {
			t.Errorf("%+v: %d comparisons and %d operations", s, guards, ops)
		}
		next = s.end
	}
	if next != len(changes) || len(spans) != 6 {
		t.Errorf("%d changes of %d in %d transactions", next, len(changes), len(spans))
	}
	if len(pack(shared, nil)) != 0 {
		t.Error("a transaction for nothing")
	}
}
