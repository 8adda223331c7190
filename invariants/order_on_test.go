//go:build invariants

package invariants

import (
	"errors"
	"strings"
	"sync"
	"testing"
)

type (
	outer struct{}
	inner struct{}
	leaf  struct{}
)

func (outer) Rank() Rank { return Rank{Order: 1, Name: "outer"} }
func (inner) Rank() Rank { return Rank{Order: 2, Name: "inner"} }
func (leaf) Rank() Rank  { return Rank{Order: 3, Name: "leaf", Several: true} }

// violated returns the violation that f panics with.
func violated(t *testing.T, f func()) (v *Violation) {
	t.Helper()
	defer func() {
		err, _ := recover().(error)
		if !errors.As(err, &v) {
			t.Errorf("no violation but %v", err)
			v = &Violation{}
		}
	}()
	f()
	return nil
}

func TestOrderOfLocks(t *testing.T) {
	var a Mutex[outer]
	var b Mutex[inner]
	var c, d RWMutex[leaf]
	a.Lock()
	b.Lock()
	c.RLock()
	d.Lock()
	a.Unlock() // in any order
	d.Unlock()
	c.RUnlock()
	v := violated(t, a.Lock)
	if v.ID != LockOrder || v.Of != "outer" || !strings.Contains(v.Detail, "inner is held (rank 2)") {
		t.Errorf("%v", v)
	}
	if !a.TryLock() { // does not wait
		t.Error("nobody has it")
	}
	a.Unlock()
	b.Unlock()
	a.Lock()
	b.Lock() // the earlier ones are no longer held
	a.Unlock()
	b.Unlock()
}

func TestLocksOfOneRank(t *testing.T) {
	var a, b Mutex[inner]
	a.Lock()
	_ = violated(t, b.Lock)
	_ = violated(t, a.Lock)
	a.Unlock()
	var c RWMutex[leaf]
	c.RLock()
	_ = violated(t, c.Lock) // several of the rank, but not the same lock twice
	c.RUnlock()
	_ = violated(t, c.RUnlock)
}

// TestLocksOfOthers checks that locks of other goroutines forbid nothing.
func TestLocksOfOthers(t *testing.T) {
	var a Mutex[outer]
	var b Mutex[inner]
	b.Lock()
	var others sync.WaitGroup
	others.Go(func() {
		a.Lock()
		defer a.Unlock()
		_ = violated(t, b.AssertHeld)
		_ = violated(t, b.Unlock)
	})
	others.Wait()
	b.AssertHeld()
	b.Unlock()
	_ = violated(t, b.AssertHeld)
}

func TestOrderOfTokens(t *testing.T) {
	var a, b Token[inner]
	a.Init()
	b.Init()
	var m Mutex[outer]
	a.Take()
	if a.TryTake() {
		t.Error("taken twice")
	}
	_ = violated(t, m.Lock)
	_ = violated(t, b.Take)
	_ = violated(t, func() { b.Wait() })
	b.TakeBeside()
	var other sync.WaitGroup
	other.Go(func() { b.Release() })
	other.Wait()
	a.Release()
	m.Lock()
	select {
	case b.Wait() <- struct{}{}:
		b.Taken()
	default:
		t.Error("nobody has it")
	}
	_ = violated(t, a.Take)
	b.Release()
	m.Unlock()
}

func TestSoleCaller(t *testing.T) {
	var s Sole
	leave := s.Enter("I1", "a log", "Append")
	v := violated(t, func() { s.Enter("I1", "a log", "Truncate") })
	if v.ID != "I1" || v.Detail != "Truncate begins while Append is under way" {
		t.Errorf("%v", v)
	}
	leave()
	s.Enter("I1", "a log", "Truncate")()
}

// TestNothingIsRemembered checks that locks take no memory after their goroutines have released
// them.
func TestNothingIsRemembered(t *testing.T) {
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			var m Mutex[outer]
			if !m.TryLock() {
				t.Error("no other goroutine has it")
				return
			}
			m.Unlock()
		})
	}
	all.Wait()
	for i := range shards {
		shards[i].mu.Lock()
		if n := len(shards[i].held); n > 0 {
			t.Errorf("locks of %d goroutines", n)
		}
		shards[i].mu.Unlock()
	}
}

func BenchmarkMutex(b *testing.B) {
	var m Mutex[outer]
	for b.Loop() {
		m.Lock()
		m.Unlock() //nolint:staticcheck // it is measured
	}
}

// A token outlives the goroutine that took it. No later goroutine may count as its holder.
func TestTokenOutlivesItsGoroutine(t *testing.T) {
	const many = 100
	var kept [many]Token[inner]
	for i := range kept {
		kept[i].Init()
		var wg sync.WaitGroup
		wg.Go(kept[i].Take)
		wg.Wait()
	}
	for range 10 * many {
		var wg sync.WaitGroup
		wg.Go(func() {
			var m Mutex[outer]
			if !m.TryLock() {
				t.Error("nobody has it")
			}
		})
		wg.Wait()
	}
	for i := range kept {
		kept[i].Release()
	}
}

// The id read from the runtime's memory must be the id that the runtime prints.
func TestGoroutineID(t *testing.T) {
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if got, want := goroutine(), printedID(); got != want {
				t.Errorf("goroutine %d, printed %d", got, want)
			}
		})
	}
	wg.Wait()
}

func BenchmarkGoroutineID(b *testing.B) {
	for b.Loop() {
		_ = goroutine()
	}
}
