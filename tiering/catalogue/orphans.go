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

// DefaultGrace is how long an orphan is left in a bucket after it was found. Operators have to have
// time to notice that metadata are lost, even after a vacation.
const DefaultGrace = 7 * 24 * time.Hour

// Orphan is a topic that nothing knows, as found in the bucket.
type Orphan struct {
	TopicID   metadata.TopicID
	Objects   int64     // in its partitions
	Bytes     int64     // of those objects
	Newest    time.Time // when the last object was written, by the store's clock
	Described bool      // by the catalogue; a topic that was deleted in order is not
	Noted     time.Time // when its note was written to the bucket; zero: it has none
}

// Suspect reports whether the catalogue still describes a topic with objects. Nothing says that
// such a topic was deleted, so the metadata may have lost it.
func (o *Orphan) Suspect() bool { return o.Described && o.Objects > 0 }

// counts reports whether the note covers all objects: none was written after it.
func (o *Orphan) counts() bool { return !o.Noted.IsZero() && !o.Newest.After(o.Noted) }

// Due returns when the orphan may be deleted. It returns zero if that is not known, because the
// next sweep has to note it.
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
	// Known is called after the bucket was listed. It returns a function that reports whether the
	// metadata or a pointer know a topic at that time, or an error if that cannot be determined.
	Known func(ctx context.Context) (func(id metadata.TopicID) bool, error)
}

// Report is the result of a sweep.
type Report struct {
	Orphans []Orphan // those with the most bytes first
	// Suspects is the number of orphans that are Suspect.
	Suspects int

	known []metadata.TopicID // topics that have a note and are known again
}

// Sum returns the number of objects of all orphans, and their bytes.
func (r *Report) Sum() (objects, bytes int64) {
	for i := range r.Orphans {
		objects += r.Orphans[i].Objects
		bytes += r.Orphans[i].Bytes
	}
	return objects, bytes
}

// Find lists the bucket and returns the topics that nothing knows. It changes nothing.
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
		case format.PlaceUnknown, format.PlaceBucket: // they belong to no topic
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

// listed returns the beginning of all keys below a prefix.
func listed(prefix string) string {
	key := format.BucketKey(prefix)
	return key[:len(key)-len(format.BucketKey(""))]
}

// Note writes a note of each orphan that has none, and deletes the notes of topics that are known
// again. The grace period of an orphan that has new objects since its note starts again. Note tries
// all of them and returns the first error.
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
		if err != nil && !errors.Is(err, objstore.ErrExists) { // another controller was as fast
			first(err)
		}
	}
	return cmp.Or(failed, ctx.Err())
}

// Removed counts what a deletion has deleted.
type Removed struct {
	Topics, Objects int
	Bytes           int64
}

// Delete deletes the orphans that are due. If one is suspect it deletes nothing and returns
// ErrSuspect, unless orphans are named: then it deletes only those, and all of them have to be due.
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

// suspicion returns an error that names one of the topics that the metadata may have lost.
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

// deletable returns an error with the reason if a topic that was named cannot be deleted.
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

// deleteBatch is the number of objects in one deletion call.
const deleteBatch = 128

// remove deletes the objects of a topic, then its descriptions, and last the note: after a
// crash the note still leads to the rest. An object that is younger than the note ends it
// with ErrSuspect.
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
