package tiering

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/ownership"
)

// candidate is a manifest that is not adopted yet.
type candidate struct {
	manifest *manifest
	pages    []sealed // that it names and are not written yet
}

// worker does a request that is not about the pointer or a manifest.
type worker func(ctx context.Context, r ownership.Request) error

// maxNamesTaken is for how many names in a row a manifest is tried.
const maxNamesTaken = 8

// apply has the state machine answer to an event, and its effects happen. Package
// ownership has the rules of who may change what; only the worker that has the
// partition calls this, and release after it.
func (p *partition) apply(e ownership.Event) ownership.Effects {
	var effects ownership.Effects
	p.own, effects = ownership.Step(p.own, e)
	if effects.Adopt != nil {
		p.adopt(*effects.Adopt)
	}
	if effects.Lost {
		p.chores.candidate = candidate{}
	}
	if p.deposed() && effects.Conflict != nil {
		p.m.metrics.deposed.Inc()
		p.setLag(lag{})
	}
	return effects
}

// adopt makes the committed manifest the one that readers see.
func (p *partition) adopt(name ownership.Manifest) {
	m := p.chores.candidate.manifest
	if name == (ownership.Manifest{}) {
		m = p.freshManifest()
	}
	p.chores.candidate = candidate{}
	p.manifest.Store(m)
	p.deletions.adopted(m)
}

// owns returns true if this broker owns the manifest and nothing is under way.
func (p *partition) owns() bool {
	_, ok := p.own.Phase().(ownership.Owned)
	return ok
}

func (p *partition) deposed() bool {
	_, ok := p.own.Phase().(ownership.Deposed)
	return ok
}

// commit makes next the current manifest. When it returns nil that has happened.
// After an error the manifest is the old one or next, which is found out before
// anything else is done.
func (p *partition) commit(ctx context.Context, next *manifest, namesStaged bool) error {
	p.chores.candidate = candidate{next, next.seal(p.m.shape, newAttempt())}
	err := p.do(ctx, ownership.CommitDue{NamesStaged: namesStaged}, nil)
	if err == nil {
		p.m.lastSuccess.note(successCommit, p.m.o.Now())
	}
	return err
}

// do has the state machine begin something, and performs it.
func (p *partition) do(ctx context.Context, due ownership.Event, work worker) error {
	p.apply(due)
	return p.drive(ctx, nil, work)
}

// drive performs what the state machine asks for until it asks for nothing. It
// returns nil if this broker owns the manifest then, and a commit that was under
// way has happened. After an error that is not ErrDeposed it is to be called
// again. The outcome of a swap that fails is looked for at once, unless it was
// before: then cause is not nil.
func (p *partition) drive(ctx context.Context, cause error, work worker) error {
	for taken := 0; ; {
		r := p.own.Next()
		if r == nil {
			return p.verdict()
		}
		e, err := p.perform(ctx, r, work)
		if _, is := e.(ownership.NameTaken); is && err == nil {
			if taken++; taken == maxNamesTaken {
				err = fmt.Errorf("%w: write manifest: %d sequences are taken", ErrUnavailable, taken)
			}
		}
		if err != nil {
			p.apply(ownership.Failed{Request: r})
			_, settling := p.own.Phase().(ownership.Settling)
			if !settling || cause != nil && !errors.Is(err, kv.ErrConflict) {
				return errors.Join(cause, err)
			}
			if cause == nil {
				cause = err
			}
			continue
		}
		effects := p.apply(e)
		switch {
		case effects.Conflict != nil && !p.deposed():
			return fmt.Errorf("%w: broker %d wrote it with leader epoch %d",
				errReclaim, effects.Conflict.BrokerID, effects.Conflict.LeaderEpoch)
		case effects.Conflict == nil && effects.Lost:
			return fmt.Errorf("%w: %w", errLost, cause)
		}
	}
}

// verdict is nil for a state at rest in which this broker owns the manifest.
func (p *partition) verdict() error {
	switch phase := p.own.Phase().(type) {
	case ownership.Owned:
		return nil
	case ownership.Deposed:
		if phase.By.Deleted {
			return fmt.Errorf("%w: the topic was deleted", ErrDeposed)
		}
		return fmt.Errorf("%w: broker %d has leader epoch %d, this is %d",
			ErrDeposed, phase.By.BrokerID, phase.By.LeaderEpoch, p.LeaderEpoch)
	}
	return ErrUnknownPartition // it was let go
}

// perform does a request, and returns the event that answers it.
func (p *partition) perform(ctx context.Context, r ownership.Request, work worker) (e ownership.Event, err error) {
	e = ownership.Done{Request: r}
	switch r := r.(type) {
	case ownership.ReadPointer:
		ptr, revision, readErr := p.readPointer(ctx)
		if readErr == nil {
			p.chores.unknown = ptr.unknown
		}
		return ownership.PointerRead{Pointer: ptr.ownership(), Revision: revision}, readErr
	case ownership.LoadManifest:
		p.chores.candidate.manifest, err = p.loadManifest(ctx, manifestName(r.Manifest))
		return e, err
	case ownership.WriteManifest:
		err = p.writeManifest(ctx, r.Manifest)
		if errors.Is(err, objstore.ErrExists) {
			return ownership.NameTaken{Write: r}, nil
		}
		return e, err
	case ownership.SwapPointer:
		revision, swapErr := p.swap(ctx, r)
		return ownership.Swapped{Swap: r, Revision: revision}, swapErr
	}
	return e, work(ctx, r)
}

// writeManifest writes the candidate's pages and then itself, under that name.
func (p *partition) writeManifest(ctx context.Context, name ownership.Manifest) error {
	c := &p.chores.candidate
	for ; len(c.pages) > 0; c.pages = c.pages[1:] {
		b, err := c.pages[0].page.encode()
		if err != nil {
			return err
		}
		if err = p.m.objects.create(ctx, p.prefix+c.pages[0].name, b); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
	}
	c.manifest.LeaderEpoch, c.manifest.Sequence = name.LeaderEpoch, name.Sequence
	b, err := c.manifest.encode()
	if err != nil {
		return err
	}
	if err = p.m.objects.create(ctx, p.prefix+c.manifest.name(), b); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}
