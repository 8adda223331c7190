// Package stepped is the seam between code that waits and a simulation that runs it one step at a
// time. It owns the interface Runner and the context value that carries one. Code that pauses,
// waits for a condition, starts work in the background, or takes a lock across a call that may
// wait, asks By for a runner. Without one, which is always so in production, it uses package time,
// channels and goroutines.
//
// It must not know what is simulated: package simulation has the only Runner.
//
// Invariant: code under a runner blocks in the runner's methods only. Then exactly one coroutine
// runs at a time, in an order that the runner chooses.
package stepped
