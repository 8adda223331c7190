package simulation

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/varvelog/varve/stepped"
)

// coroutine is code that waits in the middle. It runs until its next wait, then another coroutine
// runs.
type coroutine struct {
	s       *scheduler
	process *process
	resume  func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
}

// wait is a coroutine that waits.
type wait struct {
	coroutine *coroutine
	ctx       context.Context //nolint:containedctx // of the call that waits, which it ends with
	due       time.Duration   // virtual time; negative: never
	ready     func() bool
}

var _ stepped.Runner = (*coroutine)(nil)

// spawn starts f as a coroutine of a process.
func (s *scheduler) spawn(ctx context.Context, p *process, f func(ctx context.Context)) {
	if p.dead {
		return
	}
	c := &coroutine{s: s, process: p}
	ctx = stepped.With(ctx, c)
	c.resume, c.stop = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		f(ctx)
	})
	if p.coroutines++; !slices.Contains(s.running, p) {
		s.running = append(s.running, p)
	}
	s.after(0, p, func() { s.step(c) })
	p.begun = append(p.begun, c)
}

// step runs a coroutine until its next wait.
func (s *scheduler) step(c *coroutine) {
	_, more := c.resume()
	if !more {
		c.process.coroutines--
		c.process.begun = slices.DeleteFunc(c.process.begun, func(o *coroutine) bool { return o == c })
	}
}

// Go implements stepped.Runner.
func (c *coroutine) Go(ctx context.Context, f func(ctx context.Context)) {
	c.s.spawn(ctx, c.process, f)
}

// Chance implements stepped.Runner.
func (c *coroutine) Chance(n int64) int64 { return c.s.draw("chance "+c.process.name, n) }

// Wait implements stepped.Runner. Code of a dead process does not wait: it runs to its end.
func (c *coroutine) Wait(ctx context.Context, d time.Duration, ready func() bool) {
	if c.process.dead {
		// Another coroutine of the process may hold the lock that this one waits for.
		c.yield(struct{}{})
		return
	}
	w := &wait{coroutine: c, ctx: ctx, due: -1, ready: ready}
	if d >= 0 {
		w.due = c.s.now + d
		c.s.after(d, c.process, nothing)
	}
	if deadline, ok := ctx.Deadline(); ok {
		c.s.after(deadline.Sub(c.s.began)-c.s.now, c.process, nothing)
	}
	c.process.waits = append(c.process.waits, w)
	c.yield(struct{}{})
}

// nothing is an event without an effect of its own: after it the scheduler polls the waits.
func nothing() {}

func (w *wait) over(now time.Duration) bool {
	p := w.coroutine.process
	switch {
	case p.dead:
		return true
	case p.host.frozen:
		return false
	}
	return ended(w.ctx) || w.due >= 0 && w.due <= now || w.ready != nil && w.ready()
}

// poll resumes the coroutines of a process whose waits are over, in the order of their waits, until
// none is left. An event of one process cannot affect the waits of another; an event of the world,
// a nil process, may affect all.
func (s *scheduler) poll(p *process) {
	if p != nil {
		s.pollOne(p)
		return
	}
	for i := 0; i < len(s.running); i++ {
		s.pollOne(s.running[i])
	}
}

func (s *scheduler) pollOne(p *process) {
	for again := true; again; {
		again = false
		for i := 0; i < len(p.waits); i++ {
			w := p.waits[i]
			if !w.over(s.now) {
				continue
			}
			p.waits = slices.Delete(p.waits, i, i+1)
			i--
			again = true
			s.step(w.coroutine)
		}
	}
}

// burialRounds is far more than the coroutines of a dead process need to reach their ends.
const burialRounds = 10_000

// bury runs the remaining coroutines of a dead process to their ends, in turn. They have no effect
// any more.
func (s *scheduler) bury(p *process) {
	p.waits = nil
	s.running = slices.DeleteFunc(s.running, func(o *process) bool { return o == p })
	for range burialRounds {
		if len(p.begun) == 0 {
			return
		}
		for _, c := range slices.Clone(p.begun) {
			s.step(c)
		}
	}
	panic("a coroutine of a dead process waits")
}
