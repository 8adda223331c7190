package tiering

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/tiering/ownership"
)

// work is a kind of work on a partition's remote tier. Each kind has a back-off of
// its own, so that one that fails holds up no other.
type work int8

const (
	workAttach work = iota // to own the manifest, and to tell the local log what it says
	workUpload
	workExpire
	workSweep
	workDelete
	workCount
)

func (w work) String() string {
	return [workCount]string{"attach", "upload", "expire", "sweep", "delete"}[w]
}

// attempts says when something that failed is tried again.
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

// failure is a kind of work, or an object, that failed the last time.
type failure struct {
	attempts

	err   error
	since time.Time // of the first failure in a row
}

// try does a unit of a kind of work if it is due, and notes how that went. A unit that
// was given up, because the partition was let go, says nothing.
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

// failing returns true if the kind of work failed the last time.
func (p *partition) failing(w work) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.failures[w] != nil
}

// fails returns true if the kind of work failed the last time, with an error of a class.
func (p *partition) fails(w work, class func(error) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.failures[w]
	return f != nil && class(f.err)
}

// lastErr is why the manifest is not loaded, nil if that has not failed.
func (p *partition) lastErr() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.mu.failures[workAttach]; f != nil {
		return f.err
	}
	return nil
}

// retryAt is when the first of some kinds of work that have failed is due again, zero
// if none has.
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

// note keeps what came of a kind of work, and returns what came of it before.
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

// report notes what came of a kind of work, and logs what is new about it.
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

// needsAttention returns true for an error that does not go away by itself.
func needsAttention(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnsupportedFormat) || errors.Is(err, ErrReadOnly) || needsRepair(err)
}

// sameTrouble returns true if people know of the error since the one before. The text
// of a gap has the log's end, which moves.
func sameTrouble(before, err error) bool {
	if before == nil {
		return false
	}
	return before.Error() == err.Error() || errors.Is(before, ErrGap) && errors.Is(err, ErrGap)
}

// outcome is what follows from a unit of the owner's work.
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
	// Until the claim is settled nothing else is done.
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
