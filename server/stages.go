package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// stages are the parts of a running broker in the order of their start. They stop in the reverse
// order, one after the other, so that a part can rely on the earlier ones until it has ended.
type stages struct {
	log    *slog.Logger
	failed chan error // the first part that ends by itself with an error
	parts  []part
}

// part is something to stop: a goroutine that is canceled and waited for, or something to close.
type part struct {
	name string
	stop func() error
}

func newStages(log *slog.Logger) *stages {
	return &stages{log: log, failed: make(chan error, 1)}
}

// run starts a part that works until its context ends. The context outlives the caller's: only stop
// ends it.
func (s *stages) run(ctx context.Context, name string, work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	var result error
	wg.Go(func() {
		if result = work(ctx); result == nil || ctx.Err() != nil {
			return
		}
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, result):
		default: // another part was first
		}
	})
	s.add(name, func() error {
		cancel()
		wg.Wait()
		return result
	})
}

// add adds a part that is stopped by a call.
func (s *stages) add(name string, stop func() error) {
	s.parts = append(s.parts, part{name: name, stop: stop})
}

// stop ends all parts and returns all errors.
func (s *stages) stop() error {
	var problems []error
	for _, p := range slices.Backward(s.parts) {
		began := time.Now()
		if err := p.stop(); err != nil {
			problems = append(problems, fmt.Errorf("stop %s: %w", p.name, err))
		}
		s.log.Debug("stopped", slog.String("part", p.name), slog.Duration("took", time.Since(began)))
	}
	s.parts = nil
	return errors.Join(problems...)
}
