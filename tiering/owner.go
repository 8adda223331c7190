package tiering

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// candidate is a manifest that is not adopted yet.
type candidate struct {
	manifest *format.Manifest
	stored   format.Stored   // as it was loaded or written
	pages    []format.Sealed // pages that the manifest names and that are not written yet
}

// worker performs a request that concerns neither the pointer nor a manifest, and returns the event
// that answers it.
type worker func(ctx context.Context, r ownership.Request) (ownership.Event, error)

// apply passes an event to the state machine, and performs the effects. Package ownership has the
// rules of which broker may change what. Only the worker that has the partition calls apply, and
// release after that worker has ended.
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
	p.chores.current = p.chores.candidate.stored
	if name == (ownership.Manifest{}) {
		m, p.chores.current = p.freshManifest(), format.Stored{}
	}
	p.chores.candidate = candidate{}
	p.keep(m, p.chores.current)
	p.deletions.adopted(m)
}

// owns reports whether this broker owns the manifest and no request is under way.
func (p *partition) owns() bool {
	_, ok := p.own.Phase().(ownership.Owned)
	return ok
}

func (p *partition) deposed() bool {
	_, ok := p.own.Phase().(ownership.Deposed)
	return ok
}

// commit makes next the current manifest. When it returns nil that has happened. After an error the
// current manifest is the old one or next, which is settled before any other work. names are the
// staged objects that next names.
func (p *partition) commit(ctx context.Context, next *format.Manifest, names ownership.Objects) error {
	attempt := newAttempt(ctx)
	pages, err := next.Seal(p.m.shape, attempt)
	if err != nil {
		return err
	}
	p.chores.candidate = candidate{manifest: next, pages: pages}
	if err = p.do(ctx, ownership.CommitDue{Attempt: attempt, Names: names}, nil); err != nil {
		return err
	}
	p.m.lastSuccess.note(successCommit, p.m.o.Now())
	return nil
}

// do starts a protocol step of the state machine, and performs it.
func (p *partition) do(ctx context.Context, due ownership.Event, work worker) error {
	p.apply(due)
	return p.drive(ctx, nil, work)
}

// drive performs the requests of the state machine until there is none. It returns nil if this
// broker then owns the manifest, and a commit that was under way has happened. After an error other
// than ErrDeposed it has to be called again. After a swap that fails it looks for the outcome at
// once, unless cause is not nil: then an earlier call has done so.
func (p *partition) drive(ctx context.Context, cause error, work worker) error {
	for {
		r := p.own.Next()
		if r == nil {
			return p.verdict()
		}
		e, err := p.perform(ctx, r, work)
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

// verdict returns nil if the state machine is at rest and this broker owns the manifest.
func (p *partition) verdict() error {
	switch phase := p.own.Phase().(type) {
	case ownership.Owned:
		return nil
	case ownership.Reading:
		return p.chores.readOnly
	case ownership.Deposed:
		if phase.By.Deleted {
			return fmt.Errorf("%w: the topic was deleted", ErrDeposed)
		}
		return fmt.Errorf("%w: broker %d has leader epoch %d, this is %d",
			ErrDeposed, phase.By.BrokerID, phase.By.LeaderEpoch, p.LeaderEpoch)
	}
	return ErrUnknownPartition // it was detached
}

// perform performs a request, and returns the event that answers it.
func (p *partition) perform(ctx context.Context, r ownership.Request, work worker) (e ownership.Event, err error) {
	e = ownership.Done{Request: r}
	switch r := r.(type) {
	case ownership.ReadPointer:
		ptr, revision, readErr := p.readPointer(ctx)
		if readErr != nil {
			return nil, readErr
		}
		p.chores.pointer, p.chores.readOnly = ptr, ptr.Writable()
		p.compareFacts(ptr)
		return ownership.PointerRead{Pointer: ownedAs(ptr), Revision: revision, ReadOnly: p.chores.readOnly != nil}, nil
	case ownership.LoadManifest:
		if err = p.loadCandidate(ctx); err != nil {
			return nil, err
		}
		if p.chores.readOnly == nil {
			p.chores.readOnly = p.chores.candidate.manifest.Writable()
		}
		return ownership.Loaded{Load: r, ReadOnly: p.chores.readOnly != nil}, nil
	case ownership.WriteManifest:
		return e, p.writeManifest(ctx, r.Manifest)
	case ownership.SwapPointer:
		revision, swapErr := p.swap(ctx, r)
		return ownership.Swapped{Swap: r, Revision: revision}, swapErr
	}
	return work(ctx, r)
}

// loadCandidate makes the manifest that the pointer names the candidate. It is loaded unless it is
// the adopted one.
func (p *partition) loadCandidate(ctx context.Context) (err error) {
	ptr := p.chores.pointer
	if m := p.manifest.Load(); m != nil && m.Name() == ptr.Manifest {
		p.chores.candidate = candidate{manifest: m, stored: p.chores.current}
		return nil
	}
	c := candidate{stored: format.Stored{Name: ptr.Manifest, Size: ptr.Size, CRC32C: ptr.CRC32C}}
	if c.manifest, err = p.loadOutline(ctx, c.stored); err == nil {
		p.chores.candidate = c
	}
	return err
}

// writeManifest writes the candidate's pages and then the manifest itself, under the given name.
func (p *partition) writeManifest(ctx context.Context, name ownership.Manifest) error {
	c := &p.chores.candidate
	for ; len(c.pages) > 0; c.pages = c.pages[1:] {
		if err := p.m.objects.create(ctx, p.prefix+c.pages[0].Name, c.pages[0].Content); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
	}
	c.manifest.LeaderEpoch, c.manifest.Sequence, c.manifest.Attempt = name.LeaderEpoch, name.Sequence, name.Attempt
	content, stored, err := c.manifest.Encode()
	if err != nil {
		return err
	}
	if err = p.m.objects.create(ctx, p.prefix+stored.Name, content); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	c.stored = stored
	return nil
}
