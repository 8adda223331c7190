package stepped

import (
	"context"
	"sync"
	"time"
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
