package stepped

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Runner runs coroutines.
type Runner interface {
	// Go has f run as a coroutine of the caller's process. It does not wait.
	Go(ctx context.Context, f func(ctx context.Context))
	// Wait suspends the caller until ready returns true, d has passed, or ctx has ended. ready
	// may be nil, and a negative d is without end. ready is called at any time in between, on any
	// goroutine, and must not wait.
	Wait(ctx context.Context, d time.Duration, ready func() bool)
	// Chance is a number below n, as by chance.
	Chance(n int64) int64
}

type key struct{}

// With is a context whose code r steps.
func With(ctx context.Context, r Runner) context.Context { return context.WithValue(ctx, key{}, r) }

// By is the runner that steps the code of ctx, nil if none does.
func By(ctx context.Context) Runner {
	r, _ := ctx.Value(key{}).(Runner)
	return r
}

// lockPause is how long a coroutine leaves a lock to the one that has it.
const lockPause = time.Millisecond

// Lock locks a mutex that is held across calls that may wait.
func Lock(ctx context.Context, mu *sync.Mutex) {
	r := By(ctx)
	if r == nil {
		mu.Lock()
		return
	}
	for !mu.TryLock() {
		r.Wait(context.WithoutCancel(ctx), lockPause, nil) // another coroutine has it
	}
}

// Go runs f on a goroutine that group counts, or as a coroutine.
func Go(ctx context.Context, group *sync.WaitGroup, f func(ctx context.Context)) {
	if r := By(ctx); r != nil {
		r.Go(ctx, f)
		return
	}
	group.Go(func() { f(ctx) })
}

// Pause waits until d has passed, and reports whether ctx has not ended.
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

// Receive takes the next value of a channel. It returns false if none came before d had passed or
// ctx ended; a negative d is without end. The channel must have a buffer, and is never closed.
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

// Done waits for a channel that somebody closes. It returns false if that did not happen before d had
// passed or ctx ended; a negative d is without end. Nothing is sent to the channel.
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

// InParallel calls work for each i below n, and returns when all calls have returned. At most limit
// of them run at a time, of a negative limit all; coroutines do not, they run one after the other.
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
	_ = g.Wait() // work has no error
}

// Int64N is rand.Int64N by the chance that code of ctx has.
func Int64N(ctx context.Context, n int64) int64 {
	if r := By(ctx); r != nil {
		return r.Chance(n)
	}
	return rand.Int64N(n)
}
