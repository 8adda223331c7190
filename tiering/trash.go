package tiering

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// unit is a unit of the delete lane's work: trash that is due. list[i] is the list that has
// trash[i]: "" for the manifest's own, or the name of a trash page that the manifest names.
type unit struct {
	p      *partition
	now    time.Time
	trash  []doomed
	list   []string
	failed error // why a trash page could not be read
}

func (u *unit) full() bool { return len(u.trash) >= maxDeletesPerUnit }

// collect takes trash that is due, not pinned, and not waiting after a failure, up to the limit of
// a unit of work.
func (u *unit) collect(ctx context.Context, m *format.Manifest) {
	if m.PinnedUntil() > u.now.UnixMilli() {
		return
	}
	u.take("", m.Trash)
	for i := range m.TrashPages {
		if u.full() || ctx.Err() != nil {
			return
		}
		u.page(ctx, &m.TrashPages[i])
	}
}

// take takes what is due of a list's trash. It returns whether all of the list is gone, and when
// the next of the rest is due.
func (u *unit) take(list string, trash []format.Trash) (gone bool, next time.Time) {
	d := &u.p.deletions
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.ofLocked(list)
	gone = true
	for i := range trash {
		t := &trash[i]
		if known.gone.has(t.Name) {
			continue
		}
		gone = false
		due := known.dueAt(t.Name, t.AfterMs)
		if due.After(u.now) {
			next = earliest(next, due)
			continue
		}
		next = u.now
		if u.full() {
			return gone, next
		}
		u.trash, u.list = append(u.trash, doomedTrash(t)), append(u.list, list)
	}
	return gone, next
}

// earliest returns the earlier of two times, of which a may be zero for none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// page takes what is due of a trash page that the manifest names, and of the pages below it.
func (u *unit) page(ctx context.Context, r *format.TrashRef) {
	d := &u.p.deletions
	d.mu.Lock()
	skip := d.mu.emptied[r.Name] || r.AfterMs > u.now.UnixMilli() || d.ofLocked(r.Name).notBefore.After(u.now)
	d.mu.Unlock()
	if skip {
		return
	}
	gone, next, err := u.below(ctx, r.Name, r)
	switch {
	case beyond(err): // Status shows it among what could not be deleted
		d.looked(r.Name, false, u.now.Add(refusedMax))
		d.ended(ctx, r.Name, r.Name, err, u.now, u.p.m.newRefusal(u.now))
	case err != nil:
		u.failed = firstOf([]error{u.failed, err})
		d.looked(r.Name, false, u.now.Add(u.p.m.o.RetryBackoffMax))
		d.ended(ctx, r.Name, r.Name, err, u.now, u.p.m.newRefusal(u.now))
	default:
		d.looked(r.Name, gone, next)
	}
}

// below is take for a trash page: one that the manifest names, or one below it. list is the name
// of the former.
func (u *unit) below(ctx context.Context, list string, r *format.TrashRef) (gone bool, next time.Time, err error) {
	page, err := u.p.loadTrash(ctx, r)
	if err == nil {
		err = page.Writable()
	}
	if errors.Is(err, objstore.ErrNotFound) { // it was deleted after everything that it named
		return true, time.Time{}, nil
	}
	if err != nil {
		return false, time.Time{}, err
	}
	gone = true
	for i := range page.Pages {
		ref := &page.Pages[i]
		if u.p.deletions.isGone(list, ref.Name) {
			continue
		}
		if u.full() {
			return false, u.now, nil
		}
		empty, due, belowErr := u.below(ctx, list, ref)
		if belowErr != nil {
			return false, time.Time{}, belowErr
		}
		if empty { // then the page itself is due
			_, due = u.take(list, []format.Trash{{Kind: format.KindTrash.String(), Name: ref.Name, Size: ref.Size, Read: ref.Read}})
		}
		gone, next = false, earliest(next, due)
	}
	empty, due := u.take(list, page.Trash)
	if empty {
		return gone, next, nil
	}
	return false, earliest(next, due), nil
}

// isGone reports whether the object of a list is deleted.
func (d *deletions) isGone(list, name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ofLocked(list).gone.has(name)
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
