package tiering

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// deleteBatch is the number of objects in one call of removeAll.
const deleteBatch = 128

// removeAll deletes the objects of up to deleteBatch keys within twice the time of a small
// request, in as few requests as the store allows. errs[i] is the result for keys[i]. A missing
// object is no error. It is the only place where this package itself deletes objects; package
// catalogue deletes others.
func (o *objects) removeAll(ctx context.Context, keys []string) (errs []error) {
	ctx, cancel := context.WithTimeout(ctx, 2*o.timeout)
	defer cancel()
	err := o.bucket.DeleteAll(ctx, keys)
	left, each := errors.AsType[*objstore.DeleteError](err)
	errs = make([]error, len(keys))
	for i, key := range keys {
		if each {
			err = left.Failed[key]
		}
		if errs[i] = classify("delete", key, err); errs[i] == nil {
			o.metrics.deletedObjects.Inc()
		}
	}
	return errs
}

// errNotTried is the class of the error of an object for which no request was made.
var errNotTried = errors.New("not tried")

// doomed is an object that is to be deleted with everything that it names.
type doomed struct {
	name string
	page *format.PageRef // the page that it is; nil: it names nothing
	// kept is why this build must not delete it; nil: it may.
	kept error
}

func doomedTrash(t *format.Trash) doomed {
	d := doomed{name: t.Name, kept: t.Removable()}
	if t.IsPage() {
		ref := t.PageRef()
		d.page = &ref
	}
	return d
}

// doomedEntries returns the entries of a manifest or a page that belong to its partition.
func doomedEntries(segments []format.Segment, pages []format.PageRef) []doomed {
	out := make([]doomed, 0, len(segments)+len(pages))
	for i := range segments {
		if s := &segments[i]; s.Flags&format.FlagBorrowed == 0 {
			out = append(out, doomed{name: s.Name, kept: s.Supported()})
		}
	}
	for i := range pages {
		out = append(out, doomed{name: pages[i].Name, page: &pages[i], kept: pages[i].Supported()})
	}
	return out
}

// removal deletes objects, and everything that pages among them name. One that cannot be deleted
// does not stop the others. When the store refuses all of a batch, or does not answer for a page,
// the rest is not tried. What this build does not know well enough stays, with an
// ErrUnsupportedFormat or an ErrReadOnly.
type removal struct {
	objects *objects
	prefix  string                      // of the names
	unread  func(key string, err error) // called for damaged pages
	asked   int                         // number of objects that were tried
	away    error                       // why the rest is not tried; nil: it is
}

func (o *objects) removal(prefix string, unread func(key string, err error)) *removal {
	return &removal{objects: o, prefix: prefix, unread: unread}
}

// remove deletes objects. errs[i] says that the i-th object, or something that it names, may be
// left. While anything is left, so is the page that names it.
func (r *removal) remove(ctx context.Context, all []doomed) (errs []error) {
	errs = make([]error, len(all))
	var keys []string
	var at []int
	flush := func() {
		for i, err := range r.batch(ctx, keys) {
			errs[at[i]] = err
		}
		keys, at = keys[:0], at[:0]
	}
	for i := range all {
		if errs[i] = r.members(ctx, &all[i]); errs[i] != nil {
			continue
		}
		keys, at = append(keys, r.prefix+all[i].name), append(at, i)
		if len(keys) == deleteBatch {
			flush()
		}
	}
	flush()
	return errs
}

// batch deletes objects that are no pages, or pages whose members are all gone.
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
	r.asked += len(keys)
	errs = r.objects.removeAll(ctx, keys)
	// A single object may be at fault itself, but not all of many.
	if len(keys) > 1 && !slices.Contains(errs, nil) {
		r.leave(errs[0])
	}
	return errs
}

// leave ends the removal: nothing more is tried.
func (r *removal) leave(err error) { r.away = fmt.Errorf("%w: %w", errNotTried, err) }

// members deletes everything that a page names; any other object names nothing.
func (r *removal) members(ctx context.Context, d *doomed) error {
	switch {
	case r.away != nil:
		return r.away
	case d.kept != nil || d.page == nil:
		return d.kept
	}
	key := r.prefix + d.name
	pg, err := r.objects.readPage(ctx, key, d.page)
	if err == nil {
		err = pg.Writable()
	}
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return nil // it was deleted before
	case errors.Is(err, ErrCorrupt):
		r.unread(key, err)
		return nil
	case errors.Is(err, ErrUnavailable):
		r.leave(err)
		return err
	case err != nil:
		return err
	}
	if err = firstOf(r.remove(ctx, doomedEntries(pg.Segments, pg.Pages))); err != nil {
		return fmt.Errorf("page %s: %w", d.name, err)
	}
	return nil
}
