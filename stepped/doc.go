// Package stepped is the seam between code that waits and a simulation that runs it one step at a
// time. It owns the interface Runner, the context value that carries one, and every operation that
// a runner has to control:
//
//	Pause                 passes time
//	Receive, Broadcast    wait for a value, or for a condition
//	Done                  waits for a channel to be closed
//	Lock                  takes a lock that is held across a call that may wait
//	Go, InParallel        start work beside the caller
//	Int64N                draws a number
//
// Without a runner, which is always the case in production, these are package time, channels,
// mutexes, goroutines and package rand. Code that uses them does not need to ask By for the runner.
//
// It must not know what is simulated: package simulation has the only Runner.
//
// Invariant: code under a runner blocks only in the runner's methods. Thus exactly one coroutine
// runs at a time, in an order that the runner chooses.
package stepped
