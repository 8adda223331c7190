package tiering

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// deletedTrash is the trash of the current manifest that is deleted. The next manifest leaves it out;
// after a crash it is deleted again.
type deletedTrash struct {
	gone    map[string]bool // listed by the manifest itself
	emptied map[string]bool // trash pages of which all is gone
	// in has what is gone of the other trash pages that the manifest names, and of those below them.
	in map[string]map[string]bool
}

func newDeletedTrash() deletedTrash {
	return deletedTrash{gone: map[string]bool{}, emptied: map[string]bool{}, in: map[string]map[string]bool{}}
}

// count is about how many entries the next manifest leaves out.
func (d *deletedTrash) count(m *format.Manifest) int64 {
	n := int64(len(d.gone))
	for i := range m.TrashPages {
		if d.emptied[m.TrashPages[i].Name] {
			n += m.TrashPages[i].Entries
		}
	}
	return n
}

// keep forgets what the manifest does not list.
func (d *deletedTrash) keep(m *format.Manifest) {
	for name := range d.gone {
		if !m.Deletes(name) {
			delete(d.gone, name)
		}
	}
	named := map[string]bool{}
	for i := range m.TrashPages {
		named[m.TrashPages[i].Name] = true
	}
	for name := range d.emptied {
		if !named[name] {
			delete(d.emptied, name)
		}
	}
	for name := range d.in {
		if !named[name] {
			delete(d.in, name)
		}
	}
}

// maxFailedDeletes is after how many failures the rest of the trash pages waits for another time.
const maxFailedDeletes = 8

// emptying is the deletion of what trash pages list.
type emptying struct {
	p      *partition
	now    int64
	gone   map[string]bool // of the trash page that the manifest names
	budget int
	failed []error
}

// emptyTrashPages deletes what the manifest's trash pages list, as far as it is due. What cannot be
// deleted does not keep the rest.
func (p *partition) emptyTrashPages(ctx context.Context) (more bool, err error) {
	m, d := p.manifest.Load(), &p.chores.deleted
	e := emptying{p: p, now: p.m.o.Now().UnixMilli(), budget: maxDeletesPerStep}
	for i := range m.TrashPages {
		r := &m.TrashPages[i]
		if d.emptied[r.Name] || r.AfterMs > e.now {
			continue
		}
		if d.in[r.Name] == nil {
			d.in[r.Name] = map[string]bool{}
		}
		e.gone = d.in[r.Name]
		whole, pageErr := e.page(ctx, r)
		switch {
		case pageErr != nil:
			e.failed = append(e.failed, pageErr)
		case whole:
			d.emptied[r.Name] = true
			delete(d.in, r.Name)
		}
		if e.ends() {
			break
		}
	}
	return e.budget <= 0 && len(e.failed) == 0, errors.Join(e.failed...)
}

func (e *emptying) ends() bool { return e.budget <= 0 || len(e.failed) >= maxFailedDeletes }

// page deletes what a trash page lists, and returns true if nothing of it is left.
func (e *emptying) page(ctx context.Context, r *format.TrashRef) (whole bool, err error) {
	page, err := e.p.loadTrash(ctx, r)
	if err == nil {
		err = page.Writable()
	}
	switch {
	case errors.Is(err, objstore.ErrNotFound): // it was deleted with all that it named
		return true, nil
	case beyond(err):
		return false, nil
	case err != nil:
		return false, err
	}
	whole = true
	for i := range page.Pages {
		below := &page.Pages[i]
		if e.gone[below.Name] {
			continue
		}
		empty, belowErr := e.page(ctx, below)
		if belowErr != nil {
			return false, belowErr
		}
		if !empty || !e.delete(ctx, below.Name, func() (int, error) { return 1, e.p.m.objects.remove(ctx, e.p.prefix+below.Name) }) {
			whole = false
		}
		if e.ends() {
			return false, nil
		}
	}
	for i := range page.Trash {
		t := &page.Trash[i]
		if e.gone[t.Name] {
			continue
		}
		due := t.AfterMs <= e.now
		if !due || !e.delete(ctx, t.Name, func() (int, error) { return e.p.m.objects.removeTrash(ctx, e.p.prefix, t) }) {
			whole = false
		}
		if e.ends() {
			return false, nil
		}
	}
	return whole, nil
}

// delete deletes an object, and notes that it is gone.
func (e *emptying) delete(ctx context.Context, name string, remove func() (int, error)) bool {
	if ctx.Err() != nil {
		e.failed = append(e.failed, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx)))
		return false
	}
	n, err := remove()
	e.budget -= max(n, 1)
	e.p.Stats.DeleteRequests.Add(int64(n))
	switch {
	case err == nil:
		e.gone[name] = true
	case !beyond(err):
		e.p.Stats.DeleteErrors.Add(1)
		e.p.m.metrics.errors.WithLabelValues("delete").Inc()
		e.failed = append(e.failed, fmt.Errorf("delete trash: %w", err))
	}
	return err == nil
}

// loadTrash loads a trash page.
func (p *partition) loadTrash(ctx context.Context, r *format.TrashRef) (*format.TrashPage, error) {
	if err := r.Supported(); err != nil {
		return nil, err
	}
	key := p.prefix + r.Name
	b, err := p.m.objects.readDocument(ctx, "trash", key, r.Size)
	if err != nil {
		return nil, fmt.Errorf("read trash page: %w", err)
	}
	page, err := format.ParseTrashPage(b, r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return page, nil
}
