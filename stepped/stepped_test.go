package stepped_test

import (
	"context"
	"slices"
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

// notes is a runner that records its calls.
type notes struct {
	waits []time.Duration
	ready func() bool // of the latest wait
	work  []func()
	then  func()
}

func (n *notes) Go(ctx context.Context, f func(context.Context)) {
	n.work = append(n.work, func() { f(ctx) })
}

func (n *notes) Wait(_ context.Context, d time.Duration, ready func() bool) {
	n.waits, n.ready = append(n.waits, d), ready
	if n.then != nil {
		n.then()
	}
}

func (n *notes) Chance(limit int64) int64 { return limit - 1 }

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
	if chance := stepped.Int64N(ctx, 1<<40); chance != 1<<40-1 {
		t.Errorf("%d is not the runner's chance", chance)
	}
}

func TestReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue := make(chan int, 1)
		began := time.Now()
		if _, ok := stepped.Receive(t.Context(), time.Second, queue); ok || time.Since(began) != time.Second {
			t.Errorf("nothing was sent; it took %v", time.Since(began))
		}
		time.AfterFunc(time.Hour, func() { queue <- 7 })
		if v, ok := stepped.Receive(t.Context(), -1, queue); !ok || v != 7 {
			t.Errorf("received %d, %v", v, ok)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := stepped.Receive(ctx, -1, queue); ok {
			t.Error("the context had ended")
		}
	})
}

func TestReceiveUnderARunner(t *testing.T) {
	n := &notes{}
	ctx, cancel := context.WithCancel(stepped.With(t.Context(), n))
	queue := make(chan int, 1)
	if _, ok := stepped.Receive(ctx, time.Second, queue); ok || !slices.Equal(n.waits, []time.Duration{time.Second}) || n.ready() {
		t.Errorf("nothing was sent; waits are %v", n.waits)
	}
	n.then = func() { queue <- 7 }
	if v, ok := stepped.Receive(ctx, -1, queue); !ok || v != 7 {
		t.Errorf("received %d, %v", v, ok)
	}
	n.then = func() {
		queue <- 8
		if !n.ready() {
			t.Error("the value does not end the wait")
		}
		cancel()
	}
	if _, ok := stepped.Receive(ctx, -1, queue); ok || len(queue) != 1 {
		t.Error("it was taken after the end of the context")
	}
}

func TestDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		began := time.Now()
		if stepped.Done(t.Context(), time.Second, closed) || time.Since(began) != time.Second {
			t.Errorf("it is not closed; it took %v", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if stepped.Done(ctx, -1, closed) {
			t.Error("the context has ended")
		}
		time.AfterFunc(time.Hour, func() { close(closed) })
		if !stepped.Done(t.Context(), -1, closed) {
			t.Error("it is closed")
		}
		if !stepped.Done(ctx, -1, closed) {
			t.Error("what is done is done, also when the context has ended")
		}
	})
}

func TestDoneUnderARunner(t *testing.T) {
	n := &notes{}
	ctx := stepped.With(t.Context(), n)
	closed := make(chan struct{})
	if stepped.Done(ctx, time.Second, closed) || !slices.Equal(n.waits, []time.Duration{time.Second}) || n.ready() {
		t.Errorf("it is not closed; waits are %v", n.waits)
	}
	n.then = func() { close(closed) }
	if !stepped.Done(ctx, -1, closed) || !n.ready() {
		t.Error("it is closed")
	}
	if !stepped.Done(ctx, -1, closed) || len(n.waits) != 2 {
		t.Error("what is closed is not waited for")
	}
}

func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var news stepped.Broadcast
		news.Signal() // there is no waiter
		var mu sync.Mutex
		state, looked := 0, 0
		var group sync.WaitGroup
		for want := range 3 {
			group.Go(func() {
				ready := func() bool {
					mu.Lock()
					defer mu.Unlock()
					looked++
					return state >= want
				}
				if !news.Wait(t.Context(), ready) {
					t.Error("the context has not ended")
				}
			})
		}
		synctest.Wait()
		if looked != 3 {
			t.Errorf("the waiters have looked %d times", looked)
		}
		for range 2 {
			mu.Lock()
			state++
			mu.Unlock()
			news.Signal()
			synctest.Wait()
		}
		if group.Wait(); looked != 3+2+1 {
			t.Errorf("the waiters have looked %d times", looked)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if news.Wait(ctx, func() bool { return false }) {
			t.Error("what it waits for has not come")
		}
	})
}

func TestBroadcastUnderARunner(t *testing.T) {
	n := &notes{}
	ctx := stepped.With(t.Context(), n)
	var news stepped.Broadcast
	come := false
	if news.Wait(ctx, func() bool { return come }) || !slices.Equal(n.waits, []time.Duration{-1}) {
		t.Errorf("the runner gave up; waits are %v", n.waits)
	}
	n.then = func() { come = true }
	if !news.Wait(ctx, func() bool { return come }) || !n.ready() {
		t.Error("what it waits for has come")
	}
}

func TestInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		done := make([]int, 10)
		stepped.InParallel(t.Context(), len(done), 4, func(ctx context.Context, i int) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			stepped.Pause(ctx, time.Second)
			mu.Lock()
			defer mu.Unlock()
			running--
			done[i]++
		})
		if most != 4 || slices.Min(done) != 1 || slices.Max(done) != 1 {
			t.Errorf("%d at a time, done %v", most, done)
		}
	})
	var order []int
	stepped.InParallel(stepped.With(t.Context(), &notes{}), 4, 4, func(_ context.Context, i int) { order = append(order, i) })
	if !slices.Equal(order, []int{0, 1, 2, 3}) {
		t.Errorf("coroutines run in the order %v", order)
	}
}

// Cold reads wait in Done. Without a runner it must not allocate.
func TestDoneAllocatesNothing(t *testing.T) {
	ctx, closed := t.Context(), make(chan struct{})
	close(closed)
	if n := testing.AllocsPerRun(100, func() {
		if !stepped.Done(ctx, -1, closed) {
			t.Error("the channel is closed")
		}
	}); n != 0 {
		t.Errorf("it took %v allocations", n)
	}
}
