package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/tiering/format"
)

const (
	// maxDeletesPerUnit bounds how many objects of the trash a unit of work takes.
	maxDeletesPerUnit = deleteBatch
	// refusedMax is the longest pause before an object that cannot be deleted is tried again: it
	// costs some memory and an entry in the list, and nothing waits for it.
	refusedMax = time.Hour
)

// deletions is what is known of a partition's trash, beyond what the manifest and its trash pages
// list. The worker of the delete lane deletes the trash, and the worker that writes manifests
// leaves out what is gone. The zero value knows nothing: after a crash all trash is deleted again.
//
// It needs no claim: no later manifest names what a committed manifest lists as trash.
type deletions struct {
	mu struct {
		sync.Mutex
		manifest progress             // of the trash that the manifest lists itself
		pages    map[string]*progress // of the trash pages that it names, by their names
		emptied  map[string]bool      // trash pages whose trash is all gone
		orphans  map[string]*failure  // what the last sweep could not delete, by their keys
		// unread says that a page was deleted that could not be read, so it is not known
		// what it named.
		unread bool
	}
}

// progress is how far the trash of one list has been deleted.
type progress struct {
	gone    names               // deleted, but still listed
	refused map[string]*failure // could not be deleted
	// notBefore is when to read a trash page again; zero: now.
	notBefore time.Time
}

// names is a set of names. There are thousands of sets with a single name, for which a map would
// take ten times as much memory.
type names []string

func (n names) has(name string) bool { return slices.Contains(n, name) }

// with returns the set with one more name.
func (n names) with(name string) names {
	if n.has(name) {
		return n
	}
	return append(n, name)
}

// set returns the names as a map.
func (n names) set() map[string]bool {
	set := make(map[string]bool, len(n))
	for _, name := range n {
		set[name] = true
	}
	return set
}

// ofLocked returns the progress with the manifest's own trash, whose list is "", or with that
// of a trash page.
func (d *deletions) ofLocked(list string) *progress {
	if list == "" {
		return &d.mu.manifest
	}
	if d.mu.pages[list] == nil {
		put(&d.mu.pages, list, &progress{})
	}
	return d.mu.pages[list]
}

// done returns the names of listed trash that is gone, and of trash pages whose trash is all gone.
// The caller owns the maps.
func (d *deletions) done() (gone, emptied map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.manifest.gone.set(), maps.Clone(d.mu.emptied)
}

// goneOf returns what is gone of a list. The caller owns the map.
func (d *deletions) goneOf(list string) map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ofLocked(list).gone.set()
}

// isEmptied reports whether all trash of a trash page is gone.
func (d *deletions) isEmptied(page string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.emptied[page]
}

// doneCount returns how many trash entries the next manifest leaves out.
func (d *deletions) doneCount(m *format.Manifest) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := int64(len(d.mu.manifest.gone))
	for i := range m.TrashPages {
		if d.mu.emptied[m.TrashPages[i].Name] {
			n += m.TrashPages[i].Entries
		}
	}
	return n
}

// adopted forgets what the new current manifest does not list.
func (d *deletions) adopted(m *format.Manifest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if own := &d.mu.manifest; len(own.gone)+len(own.refused) > 0 {
		listed := make(map[string]bool, len(m.Trash))
		for i := range m.Trash {
			listed[m.Trash[i].Name] = true
		}
		own.gone = slices.DeleteFunc(own.gone, func(name string) bool { return !listed[name] })
		maps.DeleteFunc(own.refused, func(name string, _ *failure) bool { return !listed[name] })
	}
	if len(d.mu.pages)+len(d.mu.emptied) > 0 {
		named := make(map[string]bool, len(m.TrashPages))
		for i := range m.TrashPages {
			named[m.TrashPages[i].Name] = true
		}
		maps.DeleteFunc(d.mu.pages, func(name string, _ *progress) bool { return !named[name] })
		maps.DeleteFunc(d.mu.emptied, func(name string, _ bool) bool { return !named[name] })
	}
}

// next returns how long until some of the manifest's trash is due; negative: there is none.
func (d *deletions) next(m *format.Manifest, now time.Time) time.Duration {
	if pinned := time.UnixMilli(m.PinnedUntil()).Sub(now); pinned > 0 {
		return pinned
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := time.Duration(-1)
	sooner := func(at time.Time) {
		if wait := max(at.Sub(now), 0); next < 0 || wait < next {
			next = wait
		}
	}
	for i := range m.Trash {
		t := &m.Trash[i]
		if !d.mu.manifest.gone.has(t.Name) {
			sooner(d.mu.manifest.dueAt(t.Name, t.AfterMs))
		}
	}
	for i := range m.TrashPages {
		r := &m.TrashPages[i]
		if !d.mu.emptied[r.Name] {
			sooner(latest(time.UnixMilli(r.AfterMs), d.ofLocked(r.Name).notBefore))
		}
	}
	return next
}

// dueAt returns when an object may be deleted, or after a failure is to be tried again.
func (p *progress) dueAt(name string, afterMs int64) time.Time {
	at := time.UnixMilli(afterMs)
	if f := p.refused[name]; f != nil {
		return latest(at, f.notBefore)
	}
	return at
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// ended records the result of deleting an object of a list.
func (d *deletions) ended(ctx context.Context, list, name string, err error, now time.Time, first func() *failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.ofLocked(list)
	if err == nil {
		delete(p.refused, name)
		p.gone = p.gone.with(name)
		return
	}
	refuse(ctx, &p.refused, name, err, now, first)
}

// looked records a look at a trash page: whether nothing of it is left, and otherwise when to look
// again. It clears the failure of the page itself that ended has recorded.
func (d *deletions) looked(page string, empty bool, again time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if empty {
		put(&d.mu.emptied, page, true)
		delete(d.mu.pages, page)
		return
	}
	p := d.ofLocked(page)
	p.notBefore = again
	delete(p.refused, page)
}

// refuse records that an object could not be deleted.
func refuse[K comparable](ctx context.Context, in *map[K]*failure, name K, err error, now time.Time, first func() *failure) {
	f := (*in)[name]
	if f == nil {
		f = first()
		put(in, name, f)
	}
	f.err = err
	f.failed(ctx, now)
}

func put[K comparable, V any](m *map[K]V, key K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = v
}

// newRefusal returns a function that makes the first failure to delete an object, at a time.
func (m *Manager) newRefusal(now time.Time) func() *failure {
	return func() *failure { return &failure{attempts: m.newAttempts(refusedMax), since: now} }
}

// deleteListed does a unit of the delete lane's work: it deletes trash that is due. One object that
// fails does not stop the others. The next version of the manifest leaves out what is gone.
func (p *partition) deleteListed(ctx context.Context) (more bool, err error) {
	u := unit{p: p, now: p.m.o.Now()}
	u.collect(ctx, p.manifest.Load())
	if len(u.trash) == 0 {
		return false, u.failed
	}
	unread := false
	r := p.m.objects.removal(p.prefix, func(key string, readErr error) {
		unread = true
		p.logger().Error("an expired page of the remote tier is damaged: what it names is left to the sweeper",
			slog.String("object", key), slog.Any("error", readErr))
	})
	errs := r.remove(ctx, u.trash)
	p.Stats.DeleteRequests.Add(int64(r.asked))
	refused, gone := 0, 0
	for i := range u.trash {
		switch {
		case errs[i] == nil:
			gone++
		case ctx.Err() != nil || errors.Is(errs[i], errNotTried): // says nothing about the object
			continue
		case !beyond(errs[i]): // what this build must not delete is no failure, but is in Status
			refused++
			u.failed = firstOf([]error{u.failed, errs[i]})
		}
		p.deletions.ended(ctx, u.list[i], u.trash[i].name, errs[i], u.now, p.m.newRefusal(u.now))
	}
	if unread {
		p.deletions.noteUnread()
	}
	u.failed = firstOf([]error{u.failed, r.away})
	p.Stats.DeleteErrors.Add(int64(refused))
	p.m.metrics.errors.WithLabelValues("delete").Add(float64(refused))
	// Perhaps the store deletes nothing: then the others are tried later. One refusal is
	// the object's own.
	if u.failed != nil && gone == 0 && refused != 1 {
		return false, fmt.Errorf("delete expired objects: %w", u.failed)
	}
	if u.failed != nil {
		p.m.warnings.log(p.logger(), "some expired objects cannot be deleted; they are tried again", u.failed)
	}
	return gone > 0 && p.deletions.next(p.manifest.Load(), u.now) == 0, nil
}

// deleteStep is deleteListed as the delete lane runs it, with the outcome for the scheduler.
func (p *partition) deleteStep(ctx context.Context) (out outcome, err error) {
	out.lane = laneDelete
	if p.state() != StateActive {
		return out, nil
	}
	out.again, err = p.try(ctx, workDelete, p.deleteListed)
	if out.at = p.retryAt(workDelete); !out.at.IsZero() {
		return out, err
	}
	if next := p.deletions.next(p.manifest.Load(), p.m.o.Now()); next >= 0 {
		out.at = time.Now().Add(max(next, p.m.o.RetryBackoff))
	}
	return out, err
}

// noteUnread makes the next sweep due at once: a page is gone that could not be read. What it named
// is expired like the page itself, and only a sweep can find it.
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

// swept records the orphans that a sweep could not delete.
func (d *deletions) swept(refused map[string]*failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, f := range refused { // any order
		if before := d.mu.orphans[key]; before != nil {
			f.since = before.since
		}
	}
	d.mu.orphans = refused
}

// overdue returns the number of objects that could not be deleted. Of the one that has failed
// longest it returns the name, or for an orphan the key, and the failure.
func (d *deletions) overdue() (n int, object string, worst failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	count := func(of map[string]*failure) {
		n += len(of)
		for name, f := range of { // any order
			if object == "" || f.since.Before(worst.since) {
				object, worst = name, *f
			}
		}
	}
	count(d.mu.manifest.refused)
	count(d.mu.orphans)
	for _, page := range d.mu.pages { // any order
		count(page.refused)
	}
	return n, object, worst
}

// firstOf returns the first error that is not nil.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
