package protocol

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func TestBudgetCountsWhatIsTakenWithoutWaiting(t *testing.T) {
	b := NewBudget(10)
	l := b.Lease(6)
	l.Take(20)
	if b.Used() != 26 {
		t.Fatalf("used %d", b.Used())
	}
	l.Release()
	l.Release()
	if b.Used() != 0 {
		t.Fatalf("used %d after release", b.Used())
	}
}

func TestBudgetServesInOrderAndOneMayExceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		first := b.Lease(100)
		var wg sync.WaitGroup
		order := make(chan int, 3)
		leases := []*Lease{b.Lease(1), b.Lease(1), b.Lease(1)}
		for i, l := range leases {
			wg.Go(func() {
				if err := l.Grow(t.Context(), 40); err != nil {
					t.Error(err)
				}
				order <- i
			})
			synctest.Wait()
		}
		// The oldest waiter exceeds the budget; the other two wait.
		if got := <-order; got != 0 || b.Waiting() != 2 || b.Used() != 143 {
			t.Fatalf("first is %d, %d wait, %d used", got, b.Waiting(), b.Used())
		}
		// It may continue to grow, and no other request overtakes the queue.
		if err := leases[0].Grow(t.Context(), 10); err != nil || b.Used() != 153 {
			t.Fatalf("used %d, %v", b.Used(), err)
		}
		leases[0].Release() // the next one takes its place
		if got := <-order; got != 1 || b.Waiting() != 1 {
			t.Fatalf("second is %d, %d wait", got, b.Waiting())
		}
		first.Release()
		if got := <-order; got != 2 {
			t.Fatalf("third is %d", got)
		}
		wg.Wait()
	})
}

func TestBudgetWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10)
		over := b.Lease(10)
		if err := over.Grow(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		l := b.Lease(0)
		done := make(chan error)
		go func() { done <- l.Grow(ctx, 5) }()
		synctest.Wait()
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) || b.Waiting() != 0 || b.Used() != 20 {
			t.Fatalf("%v, %d wait, %d used", err, b.Waiting(), b.Used())
		}
	})
}

// In any order of requests, the bytes used stay below the budget plus one request plus the bytes
// taken without waiting. No request waits forever, and every byte is returned.
func TestBudgetNeitherLeaksNorStalls(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.SliceOfN(rapid.Int64Range(1, 60), 1, 4), 1, 12).Draw(rt, "growth of each request")
		synctest.Test(t, func(t *testing.T) {
			b := NewBudget(100)
			var wg sync.WaitGroup
			for _, steps := range sizes {
				wg.Go(func() {
					l := b.Lease(1)
					defer l.Release()
					for _, n := range steps {
						if err := l.Grow(t.Context(), n); err != nil {
							t.Error(err)
						}
						if used := b.Used(); used > 100+4*60+int64(len(sizes)) {
							t.Errorf("%d used", used)
						}
					}
				})
			}
			wg.Wait()
			if b.Used() != 0 || b.Waiting() != 0 {
				t.Errorf("%d used, %d wait", b.Used(), b.Waiting())
			}
		})
	})
}
