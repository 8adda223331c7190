package tiering

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/objstore"
)

const (
	// deleteBatch is how many objects are deleted with one call of removeAll.
	deleteBatch = 128
	// deleteConcurrency is how many of them at a time.
	deleteConcurrency = 8
)

// removeAll deletes the objects of up to deleteBatch keys within twice the time of a
// small request; errs[i] is what became of keys[i]. That there is none is no error. It
// is the one place from which objects are deleted: a request that deletes many of
// them belongs here.
func (o *objects) removeAll(ctx context.Context, keys []string) (errs []error) {
	ctx, cancel := context.WithTimeout(ctx, 2*o.timeout)
	defer cancel()
	errs = make([]error, len(keys))
	var group errgroup.Group
	group.SetLimit(deleteConcurrency)
	for i, key := range keys {
		group.Go(func() error {
			errs[i] = o.remove(ctx, key)
			return nil
		})
	}
	_ = group.Wait() // every error has its place
	return errs
}

// errNotTried is the class of the error of an object that no request was made for.
var errNotTried = errors.New("not tried")

// removal deletes objects, and all that pages among them name. One that cannot be deleted
// keeps no other from it. When the store refuses all of a batch, or does not answer for
// a page, the rest is not tried.
type removal struct {
	objects  *objects
	prefix   string                      // of the names
	unread   func(key string, err error) // is told of pages that are damaged
	requests int
	away     error // why the rest is not tried
}

func (o *objects) removal(prefix string, unread func(key string, err error)) *removal {
	return &removal{objects: o, prefix: prefix, unread: unread}
}

// remove deletes the objects of the names; errs[i] says that names[i], or something that
// it names, may be left. As long as something is left, so is the page that tells of it.
func (r *removal) remove(ctx context.Context, names []string) (errs []error) {
	errs = make([]error, len(names))
	var keys []string
	var at []int
	flush := func() {
		for i, err := range r.batch(ctx, keys) {
			errs[at[i]] = err
		}
		keys, at = keys[:0], at[:0]
	}
	for i, name := range names {
		if errs[i] = r.members(ctx, name); errs[i] != nil {
			continue
		}
		keys, at = append(keys, r.prefix+name), append(at, i)
		if len(keys) == deleteBatch {
			flush()
		}
	}
	flush()
	return errs
}

// batch deletes objects that are no pages, or pages of which nothing is left.
func (r *removal) batch(ctx context.Context, keys []string) (errs []error) {
	if r.away != nil {
		errs = make([]error, len(keys))
		for i := range errs {
			errs[i] = r.away
		}
		return errs
	}
	if len(keys) == 0 {
		return nil
	}
	r.requests += len(keys)
	errs = r.objects.removeAll(ctx, keys)
	// One may be at fault itself; not all of many.
	if len(keys) > 1 && !slices.Contains(errs, nil) {
		r.leave(errs[0])
	}
	return errs
}

// leave has nothing more tried.
func (r *removal) leave(err error) { r.away = fmt.Errorf("%w: %w", errNotTried, err) }

// members deletes all that a page names; any other object names nothing.
func (r *removal) members(ctx context.Context, name string) error {
	if r.away != nil {
		return r.away
	}
	parsed, _ := parseName(name)
	if parsed.kind != kindPage {
		return nil
	}
	members, err := r.objects.pageMembers(ctx, r.prefix+name, parsed.level)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return nil // it was deleted before
	case errors.Is(err, ErrCorrupt):
		r.unread(r.prefix+name, err)
		return nil
	case errors.Is(err, ErrUnavailable):
		r.leave(err)
		return err
	case err != nil:
		return err
	}
	if err = firstOf(r.remove(ctx, members)); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	return nil
}

// pageMembers are the names of what a page names.
func (o *objects) pageMembers(ctx context.Context, key string, level int) (names []string, err error) {
	err = o.twice(func() error {
		b, readErr := o.readAll(ctx, "page", key)
		if readErr != nil {
			return readErr
		}
		pg := &page{}
		if readErr = openDocument(pageFormat, b, pg); readErr != nil {
			return readErr
		}
		if readErr = pg.validate(); readErr != nil {
			return readErr
		}
		if pg.Level != level {
			return fmt.Errorf("%w: page %s has level %d", ErrCorrupt, key, pg.Level)
		}
		names = pg.members()
		return nil
	})
	return names, err
}

// members are the names of what the page names.
func (p *page) members() []string {
	names := make([]string, 0, len(p.Segments)+len(p.Pages))
	for i := range p.Segments {
		names = append(names, p.Segments[i].Name)
	}
	for i := range p.Pages {
		names = append(names, p.Pages[i].Name)
	}
	return names
}
