package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// runner runs the legs of all systems and collects the results.
type runner struct {
	opts     options
	dir      string // of this run's data, below the scratch directory
	out      *os.File
	progress io.Writer
	starts   int // clusters started so far, which name their directories
	results  []result
	failed   int // legs without a value
}

func newRunner(opts options, progress io.Writer) (*runner, error) {
	if err := os.MkdirAll(opts.scratch, 0o755); err != nil {
		return nil, fmt.Errorf("make the scratch directory: %w", err)
	}
	out, err := os.OpenFile(opts.out, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the file of results, -out names another: %w", err)
	}
	dir, err := os.MkdirTemp(opts.scratch, "run-")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a directory for data: %w", err), out.Close())
	}
	return &runner{opts: opts, dir: dir, out: out, progress: progress}, nil
}

// close removes the data of the run.
func (r *runner) close() error {
	return errors.Join(r.out.Close(), os.RemoveAll(r.dir))
}

// run runs all rounds. It returns the results that it has also after an error.
func (r *runner) run(ctx context.Context) ([]result, error) {
	for _, s := range r.opts.systems {
		r.say("%s: prepare", s.name)
		if err := s.dist.prepare(ctx, r.opts.scratch); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	loads, failovers := split(r.opts.selected())
	for round := range r.opts.rounds {
		order := alternate(r.opts.systems, round)
		for _, s := range order {
			if err := r.turn(ctx, round, s, loads); err != nil {
				return r.results, err
			}
		}
		for _, l := range failovers {
			for _, s := range order {
				if err := r.failover(ctx, round, s, l); err != nil {
					return r.results, err
				}
			}
		}
	}
	if r.failed > 0 {
		return r.results, fmt.Errorf("%d measurements failed; %s says why", r.failed, r.opts.out)
	}
	return r.results, nil
}

// alternate returns the systems in the order of a round: A B, then B A, and so on, so that what
// changes on the machine in the course of a run meets all systems.
func alternate(systems []system, round int) []system {
	order := slices.Clone(systems)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// split separates the legs that load one broker from those that end one of three.
func split(legs []leg) (loads, failovers []leg) {
	for _, l := range legs {
		if l.load != nil {
			loads = append(loads, l)
		} else {
			failovers = append(failovers, l)
		}
	}
	return loads, failovers
}

// start starts size brokers of a system on an empty directory.
func (r *runner) start(ctx context.Context, s system, size int) (*cluster, error) {
	if r.opts.fillCache {
		r.say("fill the page cache")
		if err := fillPageCache(ctx, r.dir, memory); err != nil {
			return nil, err
		}
	}
	r.starts++
	began := time.Now()
	dir := filepath.Join(r.dir, fmt.Sprintf("%s-%d", s.name, r.starts))
	c, err := startCluster(ctx, s, size, r.opts.port, dir)
	if err != nil {
		return nil, err
	}
	r.say("%s: brokers ready: %d, after %.2f s", s.name, size, time.Since(began).Seconds())
	return c, nil
}

// turn starts one broker of a system, runs the legs on it, and stops it.
func (r *runner) turn(ctx context.Context, round int, s system, legs []leg) (err error) {
	if len(legs) == 0 {
		return nil
	}
	c, err := r.start(ctx, s, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	a, err := newAdmin(c.addresses)
	if err != nil {
		return err
	}
	defer a.close()
	b := &bench{opts: r.opts, cluster: c, admin: a}
	if err = b.warm(ctx); err != nil {
		return err
	}
	for _, l := range legs {
		res := result{Round: round + 1, Leg: l.name, System: s.name, Unit: l.unit}
		legErr := b.measure(ctx, l, &res)
		if err = r.record(ctx, res, legErr); err != nil {
			return err
		}
		if c.nodes[0].exited() {
			return c.nodes[0].failure() // the other legs would only say that they cannot connect
		}
	}
	return nil
}

// record keeps the result of a leg that ended with legErr. It returns an error if the run cannot go
// on.
func (r *runner) record(ctx context.Context, res result, legErr error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx) // the leg failed for it
	}
	if legErr != nil {
		res.Error = legErr.Error()
		r.failed++
	}
	r.results = append(r.results, res)
	r.say("round %d of %d, %s, %s: %s", res.Round, r.opts.rounds, res.Leg, res.System, res.summary())
	return writeResult(r.out, res)
}

func (r *runner) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.progress, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}
