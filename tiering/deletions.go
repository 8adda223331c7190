package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// maxDeletesPerUnit bounds how many objects of a deletion list a unit of work takes.
	maxDeletesPerUnit = deleteBatch
	// refusedMax is the longest that an object which cannot be deleted is left alone: it
	// costs some memory and a place on the list, and nobody waits for it.
	refusedMax = time.Hour
)

// deletions is what is known of the objects on a partition's deletion list, beside the
// list. The worker of the delete lane deletes them, and the one that writes manifests
// takes what is gone off the list. The zero value is one that knows nothing.
//
// It needs no claim: what a committed manifest lists, no later one names.
type deletions struct {
	mu struct {
		sync.Mutex
		gone    map[string]bool     // deleted, and listed still
		refused map[string]*failure // listed objects that could not be deleted
		orphans map[string]*failure // the same of what the last sweep found, by their keys
		// unread says that a page was deleted which did not say any more what it named.
		unread bool
	}
}

// done are the listed objects that are gone. The caller owns the map.
func (d *deletions) done() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.mu.gone)
}

func (d *deletions) doneCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.mu.gone)
}

// adopted forgets what the manifest, which is the current one now, does not list.
func (d *deletions) adopted(m *manifest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.mu.gone)+len(d.mu.refused) == 0 {
		return
	}
	listed := m.listed()
	maps.DeleteFunc(d.mu.gone, func(name string, _ bool) bool { return !listed[name] })
	maps.DeleteFunc(d.mu.refused, func(name string, _ *failure) bool { return !listed[name] })
}

// listed are the names on the deletion list.
func (m *manifest) listed() map[string]bool {
	names := make(map[string]bool, len(m.Deletions))
	for _, d := range m.Deletions {
		names[d.Name] = true
	}
	return names
}

// due are listed objects whose grace is over at a time, as many as a unit of work takes
// and only those that are not to be left alone. left is how many more there are, and
// next for how long none of the others is due; negative: for ever.
func (d *deletions) due(m *manifest, now time.Time) (names []string, left int, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next = -1
	sooner := func(wait time.Duration) {
		if next < 0 || wait < next {
			next = wait
		}
	}
	for _, o := range m.Deletions {
		refused := d.mu.refused[o.Name]
		switch wait := time.UnixMilli(o.AfterMs).Sub(now); {
		case d.mu.gone[o.Name]:
		case wait > 0:
			sooner(wait)
		case refused != nil && !refused.due(now):
			sooner(refused.notBefore.Sub(now))
		case len(names) == maxDeletesPerUnit:
			left++
		default:
			names = append(names, o.Name)
		}
	}
	return names, left, next
}

// ended notes what became of a listed object at a time.
func (d *deletions) ended(name string, err error, now time.Time, first func() *failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		delete(d.mu.refused, name)
		put(&d.mu.gone, name, true)
		return
	}
	refuse(&d.mu.refused, name, err, now, first)
}

// refuse notes that an object could not be deleted.
func refuse(in *map[string]*failure, name string, err error, now time.Time, first func() *failure) {
	f := (*in)[name]
	if f == nil {
		f = first()
		put(in, name, f)
	}
	f.err = err
	f.failed(now)
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

// newRefusal is an object that could not be deleted at a time.
func (m *Manager) newRefusal(now time.Time) func() *failure {
	return func() *failure { return &failure{attempts: m.newAttempts(refusedMax), since: now} }
}

// deleteListed does a unit of the delete lane's work: it deletes listed objects that are due,
// whatever becomes of the others. That they are gone is noted in the manifest with its
// next version; after a crash they are deleted again.
func (p *partition) deleteListed(ctx context.Context) (more bool, err error) {
	m, now := p.manifest.Load(), p.m.o.Now()
	names, left, _ := p.deletions.due(m, now)
	if len(names) == 0 {
		return false, nil
	}
	unread := false
	r := p.m.objects.removal(p.prefix, func(key string, readErr error) {
		unread = true
		p.logger().Error("an expired page of the remote tier is damaged: what it names is left to the sweeper",
			slog.String("object", key), slog.Any("error", readErr))
	})
	errs := r.remove(ctx, names)
	p.Stats.DeleteRequests.Add(int64(r.requests))
	refused, gone := 0, 0
	for i, name := range names {
		switch {
		case errs[i] == nil:
			gone++
		case ctx.Err() != nil || errors.Is(errs[i], errNotTried): // it says nothing of the object
			continue
		default:
			refused++
		}
		p.deletions.ended(name, errs[i], now, p.m.newRefusal(now))
	}
	if unread {
		p.deletions.noteUnread()
	}
	failed := firstOf(errs)
	if failed == nil {
		return left > 0, nil
	}
	p.Stats.DeleteErrors.Add(int64(refused))
	p.m.metrics.errors.WithLabelValues("delete").Add(float64(refused))
	if gone == 0 { // perhaps the store deletes nothing: the others come later
		return false, fmt.Errorf("delete expired objects: %w", failed)
	}
	p.m.warnings.log(p.logger(), "some expired objects cannot be deleted; they are tried again", failed)
	return left > 0, nil
}

// deleteStep is deleteListed as the delete lane runs it, and what follows from it.
func (p *partition) deleteStep(ctx context.Context) (out outcome, err error) {
	out.lane = laneDelete
	if p.state() != StateActive {
		return out, nil
	}
	out.again, err = p.try(ctx, workDelete, p.deleteListed)
	if out.at = p.retryAt(workDelete); !out.at.IsZero() {
		return out, err
	}
	if _, _, next := p.deletions.due(p.manifest.Load(), p.m.o.Now()); next >= 0 {
		out.at = time.Now().Add(next)
	}
	return out, err
}

// noteUnread has the next sweep come at once: a page is gone that did not say any more
// what it named, which is dead like itself.
func (d *deletions) noteUnread() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.unread = true
}

// takeUnread returns true once after a page was deleted that could not be read.
func (d *deletions) takeUnread() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	unread := d.mu.unread
	d.mu.unread = false
	return unread
}

// swept notes the orphans that a sweep could not remove.
func (d *deletions) swept(refused map[string]*failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, f := range refused {
		if before := d.mu.orphans[key]; before != nil {
			f.since = before.since
		}
	}
	d.mu.orphans = refused
}

// overdue are the objects that could not be deleted: how many, and of the one that this
// is so of for longest its name, or for an orphan its key, and the failure.
func (d *deletions) overdue() (n int, object string, worst failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, of := range []map[string]*failure{d.mu.refused, d.mu.orphans} {
		n += len(of)
		for name, f := range of {
			if object == "" || f.since.Before(worst.since) {
				object, worst = name, *f
			}
		}
	}
	return n, object, worst
}

// firstOf is the first error that there is.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
