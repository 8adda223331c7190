package stepped

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Runner runs coroutines one at a time.
type Runner interface {
	// Go starts f as a coroutine of the caller's process. It does not wait.
	Go(ctx context.Context, f func(ctx context.Context))
	// Wait suspends the caller until ready returns true, d has passed, or ctx has ended. ready may
	// be nil; a negative d means no time limit. In between, ready is called at any time on any
	// goroutine, so it must not wait.
	Wait(ctx context.Context, d time.Duration, ready func() bool)
	// Chance returns a pseudo-random number in [0, n).
	Chance(n int64) int64
}

type key struct{}

// With returns a context whose code r runs step by step.
func With(ctx context.Context, r Runner) context.Context { return context.WithValue(ctx, key{}, r) }

// By returns the runner of ctx, or nil if there is none, as in production.
func By(ctx context.Context) Runner {
	r, _ := ctx.Value(key{}).(Runner)
	return r
}

// lockPause is how long a coroutine waits before it tries a held lock again.
const lockPause = time.Millisecond

// Lock locks a mutex that is held across calls that may wait. Under a runner the caller must not
// block in the mutex itself, because the holder could then never run. The lock is taken even if ctx
// has ended.
func Lock(ctx context.Context, mu *sync.Mutex) {
	r := By(ctx)
	if r == nil {
		mu.Lock()
		return
	}
	for !mu.TryLock() {
		r.Wait(context.WithoutCancel(ctx), lockPause, nil) // another coroutine holds it
	}
}

// Go runs f on a goroutine that group counts or, under a runner, as a coroutine that it does not
// count.
func Go(ctx context.Context, group *sync.WaitGroup, f func(ctx context.Context)) {
	if r := By(ctx); r != nil {
		r.Go(ctx, f)
		return
	}
	group.Go(func() { f(ctx) })
}

// Pause waits until d has passed or ctx has ended, and reports whether ctx has not ended.
func Pause(ctx context.Context, d time.Duration) bool {
	if r := By(ctx); r != nil {
		r.Wait(ctx, d, nil)
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Receive takes the next value of a channel. It returns false if none arrives before d has passed
// or ctx ends; a negative d means no time limit. The channel must be buffered and is never closed.
func Receive[T any](ctx context.Context, d time.Duration, from <-chan T) (value T, ok bool) {
	if r := By(ctx); r != nil {
		r.Wait(ctx, d, func() bool { return len(from) > 0 })
		if ctx.Err() != nil {
			return value, false
		}
		select {
		case value = <-from:
			return value, true
		default:
			return value, false
		}
	}
	var over <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case value = <-from:
		return value, true
	case <-over:
	case <-ctx.Done():
	}
	return value, false
}

// Done waits until a channel is closed. It returns false if d passes or ctx ends first; a negative
// d means no time limit. No value is ever sent on the channel.
func Done(ctx context.Context, d time.Duration, closed <-chan struct{}) bool {
	if isClosed(closed) {
		return true
	}
	if r := By(ctx); r != nil {
		r.Wait(ctx, d, func() bool { return isClosed(closed) })
		return isClosed(closed)
	}
	var over <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-closed:
	case <-over:
	case <-ctx.Done():
	}
	return isClosed(closed)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// InParallel calls work for each i below n, and returns after all calls have returned. At most
// limit of them run at a time; a negative limit means no limit. Under a runner they run one after
// another.
func InParallel(ctx context.Context, n, limit int, work func(ctx context.Context, i int)) {
	if By(ctx) != nil {
		for i := range n {
			work(ctx, i)
		}
		return
	}
	var g errgroup.Group
	g.SetLimit(limit)
	for i := range n {
		g.Go(func() error {
			work(ctx, i)
			return nil
		})
	}
	_ = g.Wait() // work returns no error
}

// Int64N returns a random number in [0, n), drawn by the runner of ctx if there is one.
func Int64N(ctx context.Context, n int64) int64 {
	if r := By(ctx); r != nil {
		return r.Chance(n)
	}
	return rand.Int64N(n)
}
