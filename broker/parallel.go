package broker

import (
	"sync"
	"sync/atomic"
)

// inParallel runs tasks, limit at a time, and returns when all have ended. A panic in a task
// becomes a panic of the caller, whose goroutine is guarded; otherwise it would end the process.
func inParallel(limit int, tasks []func()) {
	var next atomic.Int64
	var panicked atomic.Pointer[any]
	var wg sync.WaitGroup
	for range min(limit, len(tasks)) {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panicked.CompareAndSwap(nil, &p)
				}
			}()
			for i := next.Add(1) - 1; i < int64(len(tasks)); i = next.Add(1) - 1 {
				tasks[i]()
			}
		})
	}
	wg.Wait()
	if p := panicked.Load(); p != nil {
		panic(*p)
	}
}
