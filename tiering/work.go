package tiering

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/tiering/ownership"
)

// work is a kind of work on a partition's remote tier. Each kind has a back-off of its own, so that
// a failing kind does not delay the others.
type work int8

const (
	workAttach work = iota // to own the manifest, and to inform the local log of it
	workUpload
	workExpire
	workSweep
	workDelete
	workCount
)

func (w work) String() string {
	return [workCount]string{"attach", "upload", "expire", "sweep", "delete"}[w]
}

// attempts decides when something that failed is retried.
type attempts struct {
	backoff   backoff.Backoff
	notBefore time.Time
}

func (m *Manager) newAttempts(longest time.Duration) attempts {
	return attempts{backoff: backoff.Backoff{Min: m.o.RetryBackoff, Max: longest}}
}

func (a *attempts) due(now time.Time) bool { return !now.Before(a.notBefore) }

func (a *attempts) failed(ctx context.Context, now time.Time) {
	a.notBefore = now.Add(a.backoff.NextFor(ctx))
}

// failure records a kind of work, or an object, whose last attempt failed.
type failure struct {
	attempts

	err   error
	since time.Time // of the first failure in a row
}

// try does a unit of a kind of work if it is due, and records the result. A unit that was canceled,
// because the partition was detached, records nothing.
func (p *partition) try(ctx context.Context, w work, unit func(context.Context) (more bool, err error)) (more bool, err error) {
	if !p.due(w) {
		return false, nil
	}
	more, err = unit(ctx)
	if ctx.Err() != nil {
		return false, err
	}
	p.report(ctx, w, err)
	return more && err == nil, err
}

// due returns true unless the kind of work has to wait after a failure.
func (p *partition) due(w work) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.failures[w]
	return f == nil || f.due(time.Now())
}

// failing reports whether the last attempt at the kind of work failed.
func (p *partition) failing(w work) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.failures[w] != nil
}

// fails reports whether the last attempt at the kind of work failed with an error of a class.
func (p *partition) fails(w work, class func(error) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.failures[w]
	return f != nil && class(f.err)
}

// lastErr returns why the manifest is not loaded, or nil if loading it has not failed.
func (p *partition) lastErr() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.mu.failures[workAttach]; f != nil {
		return f.err
	}
	return nil
}

// retryAt returns when the first of some kinds of work is retried, zero if none of them has failed.
func (p *partition) retryAt(kinds ...work) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var at time.Time
	for _, w := range kinds {
		if f := p.mu.failures[w]; f != nil && (at.IsZero() || f.notBefore.Before(at)) {
			at = f.notBefore
		}
	}
	return at
}

// note records the result of a kind of work, and returns the previous error.
func (p *partition) note(ctx context.Context, w work, err error) (was error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.failures[w]
	if f != nil {
		was = f.err
	}
	switch {
	case err == nil:
		delete(p.mu.failures, w)
		return was
	case f == nil:
		f = &failure{attempts: p.m.newAttempts(p.m.o.RetryBackoffMax), since: p.m.o.Now()}
		if p.mu.failures == nil {
			p.mu.failures = map[work]*failure{}
		}
		p.mu.failures[w] = f
	}
	f.err = err
	f.failed(ctx, time.Now())
	return was
}

// report records the result of a kind of work, and logs what is new about it.
func (p *partition) report(ctx context.Context, w work, err error) {
	was := p.note(ctx, w, err)
	logger := func() *slog.Logger { return p.logger().With(slog.String("work", w.String())) }
	switch {
	case err == nil && was != nil:
		logger().Info("remote tier of the partition works again")
	case err == nil:
	case errors.Is(err, ErrDeposed):
		if !errors.Is(was, ErrDeposed) {
			logger().Info("remote tier of the partition belongs to another leader", slog.Any("error", err))
		}
	case needsAttention(err):
		if !sameTrouble(was, err) {
			logger().Error("remote tier of the partition needs attention; part of its work stands still", slog.Any("error", err))
		}
	default:
		p.m.warnings.log(logger(), "work on the remote tier of the partition failed; it is tried again", err)
	}
}

// needsAttention reports whether an error does not go away by itself.
func needsAttention(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnsupportedFormat) || errors.Is(err, ErrReadOnly) || needsRepair(err)
}

// sameTrouble reports whether the error was already logged as the previous one. Two gaps count as
// the same: their texts differ by the log's end offset, which moves.
func sameTrouble(before, err error) bool {
	if before == nil {
		return false
	}
	return before.Error() == err.Error() || errors.Is(before, ErrGap) && errors.Is(err, ErrGap)
}

// outcome returns what follows from a unit of the owner's work.
func (p *partition) outcome(more bool) outcome {
	out := outcome{lane: laneCopy, again: more, at: p.retryAt(workExpire, workUpload, workSweep)}
	state := StateActive
	switch p.own.Phase().(type) {
	case ownership.Reading:
		state = StateReadOnly
	case ownership.Deposed:
		state, out = StateDeposed, outcome{lane: laneCopy}
	case ownership.Unclaimed, ownership.Loading, ownership.Claiming:
		state, out = StateAttaching, outcome{lane: laneAttach, again: true}
	}
	// Until the claim is settled no other work is done.
	if at := p.retryAt(workAttach); !at.IsZero() && state != StateDeposed {
		out.again, out.at = false, at
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.state = state
	return out
}

func (p *partition) state() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.state
}
