package main

import (
	"context"
	"sync"
)

// group runs goroutines that end together: the first error ends the context of all.
type group struct {
	wg     sync.WaitGroup
	cancel context.CancelCauseFunc
}

// newGroup returns a group and the context that its goroutines run under.
func newGroup(ctx context.Context) (*group, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	return &group{cancel: cancel}, ctx
}

func (g *group) run(ctx context.Context, f func(ctx context.Context) error) {
	g.wg.Go(func() {
		if err := f(ctx); err != nil {
			g.cancel(err)
		}
	})
}

// wait returns after all goroutines have ended, with the first error. ctx is the group's. A load
// that was told to end has no error: its connections break at that.
func (g *group) wait(ctx context.Context) error {
	g.wg.Wait()
	err := failure(ctx)
	g.cancel(nil)
	return err
}

// failure returns the error that ended a context, or nil if its caller ended it.
func failure(ctx context.Context) error {
	if err := context.Cause(ctx); err != ctx.Err() { //nolint:errorlint // they are the same value if nothing failed
		return err
	}
	return nil
}
