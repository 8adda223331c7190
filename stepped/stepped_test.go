package stepped_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/stepped"
)

func TestPauseWithoutARunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !stepped.Pause(t.Context(), time.Second) || time.Since(began) != time.Second {
			t.Errorf("the pause took %v", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if stepped.Pause(ctx, time.Hour) {
			t.Error("the context had ended")
		}
	})
}

// notes is a runner that notes what it was asked for.
type notes struct {
	waits []time.Duration
	work  []func()
	then  func()
}

func (n *notes) Go(ctx context.Context, f func(context.Context)) {
	n.work = append(n.work, func() { f(ctx) })
}

func (n *notes) Wait(_ context.Context, d time.Duration, _ func() bool) {
	n.waits = append(n.waits, d)
	if n.then != nil {
		n.then()
	}
}

func (n *notes) Chance(int64) int64 { return 0 }

func TestARunnerIsAsked(t *testing.T) {
	n := &notes{}
	ctx := stepped.With(t.Context(), n)
	if stepped.By(ctx) != stepped.Runner(n) || stepped.By(t.Context()) != nil {
		t.Fatal("the context does not carry the runner")
	}
	if !stepped.Pause(ctx, time.Hour) || len(n.waits) != 1 || n.waits[0] != time.Hour {
		t.Errorf("waits are %v", n.waits)
	}
	var group sync.WaitGroup
	ran := false
	stepped.Go(ctx, &group, func(context.Context) { ran = true })
	if group.Wait(); ran || len(n.work) != 1 {
		t.Error("the work is not the runner's")
	}
	var mu sync.Mutex
	mu.Lock()
	n.then = mu.Unlock
	stepped.Lock(ctx, &mu)
	if mu.TryLock() {
		t.Error("the lock is not held")
	}
}
