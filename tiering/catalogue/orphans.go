package catalogue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// DefaultGrace is how long what nothing knows is left in a bucket after it was found: people have to
// see that metadata are lost, also after a holiday.
const DefaultGrace = 7 * 24 * time.Hour

// Orphan is a topic that nothing knows, as it is in the bucket.
type Orphan struct {
	TopicID   metadata.TopicID
	Objects   int64     // of its partitions
	Bytes     int64     // of these
	Newest    time.Time // when the last of these was written, by the store's clock
	Described bool      // by the catalogue: a topic that was deleted in order is not
	Noted     time.Time // when the bucket got the note of it; zero: it has none
}

// Suspect returns true if there is history of a topic that the catalogue still has: nothing says that
// it was deleted, so it is the metadata that may have lost it.
func (o *Orphan) Suspect() bool { return o.Described && o.Objects > 0 }

// counts returns true if the note is one of all that is there.
func (o *Orphan) counts() bool { return !o.Noted.IsZero() && !o.Newest.After(o.Noted) }

// Due is when the orphan may be deleted; zero: it is not known, for the next sweep has to note it.
func (o *Orphan) Due(grace time.Duration) time.Time {
	if !o.counts() {
		return time.Time{}
	}
	return o.Noted.Add(grace)
}

// Sweep looks for orphans in a bucket.
type Sweep struct {
	Bucket    objstore.Bucket
	Prefix    string
	ClusterID string
	Grace     time.Duration
	Now       func() time.Time
	// Known is called after the bucket was listed, and returns which topics the metadata or a pointer
	// know as of then. An error says that this is not known.
	Known func(ctx context.Context) (func(id metadata.TopicID) bool, error)
}

// Report is what a sweep has found.
type Report struct {
	Orphans []Orphan // those with the most bytes first
	// Suspects is how many of them are Suspect.
	Suspects int

	known []metadata.TopicID // topics that have a note and are known
}

// Sum is the number of objects, and of their bytes, of all orphans.
func (r *Report) Sum() (objects, bytes int64) {
	for i := range r.Orphans {
		objects += r.Orphans[i].Objects
		bytes += r.Orphans[i].Bytes
	}
	return objects, bytes
}

// Find lists the bucket and returns what nothing knows. It changes nothing.
func (s *Sweep) Find(ctx context.Context) (*Report, error) {
	all := map[metadata.TopicID]*Orphan{}
	of := func(id metadata.TopicID) *Orphan {
		if all[id] == nil {
			all[id] = &Orphan{TopicID: id}
		}
		return all[id]
	}
	for info, err := range s.Bucket.List(ctx, listed(s.Prefix)) {
		if err != nil {
			return nil, fmt.Errorf("list the bucket: %w", err)
		}
		switch key := format.ParseKey(s.Prefix, info.Key); key.Place {
		case format.PlacePartition:
			o := of(key.TopicID)
			o.Objects++
			o.Bytes += info.Size
			if info.ModTime.After(o.Newest) {
				o.Newest = info.ModTime
			}
		case format.PlaceTopic:
			of(key.TopicID).Described = true
		case format.PlaceOrphan:
			of(key.TopicID).Noted = info.ModTime
		case format.PlaceUnknown, format.PlaceBucket: // not a topic's
		}
	}
	known, err := s.Known(ctx)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	for id, o := range all {
		switch {
		case !known(id):
			r.Orphans = append(r.Orphans, *o)
			if o.Suspect() {
				r.Suspects++
			}
		case !o.Noted.IsZero():
			r.known = append(r.known, id)
		}
	}
	slices.SortFunc(r.Orphans, func(a, b Orphan) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.TopicID.String(), b.TopicID.String()))
	})
	return r, nil
}

// listed is what all keys below a prefix begin with.
func listed(prefix string) string {
	key := format.BucketKey(prefix)
	return key[:len(key)-len(format.BucketKey(""))]
}

// Note writes a note of each orphan that has none, and removes those of topics that are known
// again. One that has got objects since its note begins again. It returns the first error, having
// tried all.
func (s *Sweep) Note(ctx context.Context, r *Report) error {
	var failed error
	first := func(err error) {
		if failed == nil {
			failed = err
		}
	}
	remove := func(id metadata.TopicID) bool {
		if err := s.Bucket.Delete(ctx, format.OrphanKey(s.Prefix, id)); err != nil {
			first(fmt.Errorf("remove the note of topic %s: %w", id, err))
			return false
		}
		return true
	}
	for _, id := range r.known {
		remove(id)
	}
	for i := range r.Orphans {
		o := &r.Orphans[i]
		if ctx.Err() != nil || o.counts() {
			continue
		}
		if !o.Noted.IsZero() && !remove(o.TopicID) {
			continue
		}
		content, err := (&format.Orphan{
			ClusterID: s.ClusterID, TopicID: o.TopicID, Objects: o.Objects, Bytes: o.Bytes, SeenMs: s.Now().UnixMilli(),
		}).Encode()
		if err == nil {
			err = writeDocument(ctx, s.Bucket, format.OrphanKey(s.Prefix, o.TopicID), content)
		}
		if err != nil && !errors.Is(err, objstore.ErrExists) { // another controller was as quick
			first(err)
		}
	}
	return cmp.Or(failed, ctx.Err())
}

// Removed is what a deletion has removed.
type Removed struct {
	Topics, Objects int
	Bytes           int64
}

// Delete deletes the orphans that are due. If one is suspect nothing is deleted, with ErrSuspect,
// unless it is named: then only those that are named are deleted, and all of them have to be due.
func (s *Sweep) Delete(ctx context.Context, r *Report, named ...metadata.TopicID) (Removed, error) {
	var done Removed
	if len(named) == 0 && r.Suspects > 0 {
		return done, r.suspicion()
	}
	for _, id := range named {
		if err := s.deletable(r, id); err != nil {
			return done, err
		}
	}
	var failed error
	for i := range r.Orphans {
		o := &r.Orphans[i]
		if len(named) > 0 && !slices.Contains(named, o.TopicID) || !s.due(o) {
			continue
		}
		if err := s.remove(ctx, o, &done); err != nil {
			failed = cmp.Or(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return done, failed
}

// suspicion names one of the topics that the metadata may have lost.
func (r *Report) suspicion() error {
	o := &r.Orphans[slices.IndexFunc(r.Orphans, func(o Orphan) bool { return o.Suspect() })]
	others := ""
	if n := r.Suspects - 1; n > 0 {
		others = fmt.Sprintf(", nor %d others", n)
	}
	return fmt.Errorf("%w: the bucket describes topic %s and has %d objects of it, and the metadata do not know it%s: "+
		"they may have been restored to an older state. If they are right, `varve tier orphans --delete %s` deletes it",
		ErrSuspect, o.TopicID, o.Objects, others, o.TopicID)
}

// deletable is an error that says why a topic that is named cannot be deleted.
func (s *Sweep) deletable(r *Report, id metadata.TopicID) error {
	i := slices.IndexFunc(r.Orphans, func(o Orphan) bool { return o.TopicID == id })
	if i < 0 {
		return fmt.Errorf("%w: topic %s is no orphan of the bucket", ErrSuspect, id)
	}
	switch at := r.Orphans[i].Due(s.Grace); {
	case at.IsZero():
		return fmt.Errorf("%w: no sweep of the cluster has noted topic %s, and all of its objects, as an orphan yet", ErrSuspect, id)
	case s.Now().Before(at):
		return fmt.Errorf("%w: topic %s was noted as an orphan on %s and may be deleted on %s", ErrSuspect, id,
			r.Orphans[i].Noted.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return nil
}

func (s *Sweep) due(o *Orphan) bool {
	at := o.Due(s.Grace)
	return !at.IsZero() && !s.Now().Before(at)
}

// deleteBatch is how many objects are deleted with one call.
const deleteBatch = 128

// remove deletes the objects of a topic that are older than its note, its descriptions, and as long
// as nothing is left the note.
func (s *Sweep) remove(ctx context.Context, o *Orphan, done *Removed) error {
	var keys []string
	var bytes int64
	flush := func() error {
		if len(keys) == 0 {
			return nil
		}
		if err := s.Bucket.DeleteAll(ctx, keys); err != nil {
			return fmt.Errorf("delete objects of topic %s: %w", o.TopicID, err)
		}
		done.Objects += len(keys)
		done.Bytes += bytes
		keys, bytes = keys[:0], 0
		return nil
	}
	for info, err := range s.Bucket.List(ctx, format.ObjectsPrefix(s.Prefix, o.TopicID)) {
		if err != nil {
			return fmt.Errorf("list the objects of topic %s: %w", o.TopicID, err)
		}
		if format.ParseKey(s.Prefix, info.Key).Place != format.PlacePartition {
			continue
		}
		if info.ModTime.After(o.Noted) {
			return fmt.Errorf("%w: %s was written after topic %s was noted as an orphan", ErrSuspect, info.Key, o.TopicID)
		}
		keys, bytes = append(keys, info.Key), bytes+info.Size
		if len(keys) == deleteBatch {
			if err = flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := RemoveTopic(ctx, s.Bucket, s.Prefix, o.TopicID); err != nil {
		return err
	}
	if err := s.Bucket.Delete(ctx, format.OrphanKey(s.Prefix, o.TopicID)); err != nil {
		return fmt.Errorf("remove the note of topic %s: %w", o.TopicID, err)
	}
	done.Topics++
	return nil
}
