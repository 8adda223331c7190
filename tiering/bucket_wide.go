package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/tiering/format"
)

// Cluster is what the work on the bucket as a whole needs of the metadata.
type Cluster interface {
	Image() *metadata.Image
	// WaitRevision returns an image of that revision or a later one.
	WaitRevision(ctx context.Context, revision int64) (*metadata.Image, error)
}

// bucketWide is what the controller knows of the bucket as a whole. Only the goroutine that does
// this work uses it; others see the report in orphans. Two controllers at a time do the work
// twice, and no harm.
type bucketWide struct {
	descriptions descriptions
	sweep        attempts
	nextSweep    time.Time // zero: this broker is not the controller
	orphans      atomic.Pointer[Orphans]
}

// Orphans is what the last sweep of the bucket has found of objects that belong to no topic.
type Orphans struct {
	Topics         int
	Objects, Bytes int64
	// Suspects is the number of orphans that the bucket's catalogue describes: if there is one,
	// nothing is deleted.
	Suspects int
	First    metadata.TopicID // a suspect one, if there is any, or else the largest
	Looked   time.Time
	Since    time.Time // when a sweep first noted one of them; zero: there is none
	Due      time.Time // when the first may be deleted; zero: there is none
	Err      error     // why the sweep was not complete, nil if it was
}

// Orphans returns what the last sweep of the bucket found. It returns false on a broker that does
// not sweep the bucket: only the controller does.
func (m *Manager) Orphans() (Orphans, bool) {
	if o := m.wide.orphans.Load(); o != nil {
		return *o, true
	}
	return Orphans{}, false
}

// BucketProblems returns what is wrong with the bucket as a whole, as the controller knows it.
func (m *Manager) BucketProblems() []Problem {
	o, swept := m.Orphans()
	if !swept || o.Topics == 0 {
		return nil
	}
	p := Problem{Kind: ProblemOrphans, Object: o.First.String(), Count: o.Topics, Since: o.Since, Err: o.Err}
	if o.Suspects > 0 {
		p.Kind, p.Count = ProblemSuspect, o.Suspects
	}
	what := fmt.Sprintf("%d objects, %d bytes, belong to no topic", o.Objects, o.Bytes)
	switch {
	case o.Err != nil:
		p.Err = fmt.Errorf("%s: %w", what, o.Err)
	case o.Due.IsZero():
		p.Err = errors.New(what)
	default:
		p.Err = fmt.Errorf("%s; they are deleted from %s on", what, o.Due.UTC().Format(time.RFC3339))
	}
	return []Problem{p}
}

// keepBucket does the work on the bucket as a whole while this broker is the controller.
func (m *Manager) keepBucket(ctx context.Context) {
	if m.o.Cluster != nil {
		m.everyCleanInterval(ctx, m.tendBucket)
	}
}

// tendBucket does what is due. A failure to describe topics does not keep the bucket from being
// swept.
func (m *Manager) tendBucket(ctx context.Context) {
	w := &m.wide
	image := m.o.Cluster.Image()
	if image.ControllerID != m.o.BrokerID {
		w.descriptions, w.nextSweep = descriptions{}, time.Time{}
		w.orphans.Store(nil)
		return
	}
	now := m.o.Now()
	if w.nextSweep.IsZero() { // just elected
		w.nextSweep = now.Add(jitter(ctx, m.o.SweepGrace))
		w.sweep = m.newAttempts(m.o.SweepGrace)
	}
	if err := m.describeTopics(ctx, image); err != nil && ctx.Err() == nil {
		m.warnings.log(m.o.Logger, "the topics of the bucket's catalogue are not up to date yet", err)
	}
	if now.Before(w.nextSweep) || !w.sweep.due(time.Now()) {
		return
	}
	if err := m.sweepBucket(ctx); err != nil && ctx.Err() == nil {
		w.sweep.failed(ctx, time.Now())
		m.warnings.log(m.o.Logger, "the bucket is not swept yet", err)
		return
	}
	w.sweep.backoff.Reset()
	w.nextSweep = now.Add(m.o.SweepInterval + jitter(ctx, m.o.SweepInterval/8))
}

// pointers lists the tier pointers, and returns the revision of the metadata store at which
// the list is true.
func (m *Manager) pointers(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.RequestTimeout)
	defer cancel()
	pairs, revision, err := m.store.List(ctx, prefix)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: list tier pointers: %w", ErrUnavailable, err)
	}
	return pairs, revision, nil
}

// knownTopics returns a function that reports whether the metadata, or a pointer, know a topic now.
func (m *Manager) knownTopics(ctx context.Context) (func(metadata.TopicID) bool, error) {
	pairs, revision, err := m.pointers(ctx, metadata.TierPrefix)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, m.o.RequestTimeout)
	defer cancel()
	image, err := m.o.Cluster.WaitRevision(waiting, revision)
	if err != nil {
		return nil, fmt.Errorf("%w: the metadata of revision %d are not known: %w", ErrUnavailable, revision, err)
	}
	if image.Incomplete() {
		return nil, fmt.Errorf("%w: some metadata cannot be read: %s", catalogue.ErrSuspect, image.UnreadableNames())
	}
	pointed := map[metadata.TopicID]bool{}
	for i := range pairs {
		if id, _, ok := parseTierKey(pairs[i].Key); ok {
			pointed[id] = true
		}
	}
	return func(id metadata.TopicID) bool {
		_, lives := image.TopicByID(id)
		return lives || pointed[id] || image.Vanished(id) || m.attached(id)
	}, nil
}

// sweepBucket looks for objects of topics that nothing knows, notes them in the bucket, and deletes
// those that an earlier sweep noted long enough ago. Package catalogue has the rules.
func (m *Manager) sweepBucket(ctx context.Context) error {
	s := &catalogue.Sweep{
		Bucket: m.o.Bucket, Prefix: m.o.Prefix, ClusterID: m.o.ClusterID, Grace: m.o.OrphanGrace, Now: m.o.Now, Known: m.knownTopics,
	}
	r, err := s.Find(ctx)
	if err != nil {
		return err
	}
	found := Orphans{Topics: len(r.Orphans), Suspects: r.Suspects, Looked: m.o.Now()}
	found.Objects, found.Bytes = r.Sum()
	for i := range r.Orphans {
		o := &r.Orphans[i]
		if due := o.Due(m.o.OrphanGrace); !due.IsZero() && (found.Due.IsZero() || due.Before(found.Due)) {
			found.Due = due
		}
		if since := o.Noted; !since.IsZero() && (found.Since.IsZero() || since.Before(found.Since)) {
			found.Since = since
		}
		if found.First.IsZero() || o.Suspect() && r.Suspects > 0 {
			found.First = o.TopicID
		}
	}
	if found.Topics > 0 && found.Since.IsZero() {
		found.Since = found.Looked
	}
	if m.o.Verify != nil { // the bucket may have been emptied, or replaced, since the start
		err = m.o.Verify(ctx)
	}
	var removed catalogue.Removed
	if err == nil {
		if err = s.Note(ctx, r); err == nil {
			removed, err = s.Delete(ctx, r)
		}
	}
	found.Topics -= removed.Topics
	found.Objects -= int64(removed.Objects)
	found.Bytes -= removed.Bytes
	found.Err = err
	m.wide.orphans.Store(&found)
	m.metrics.sweptObjects.Add(float64(removed.Objects))
	m.tellOrphans(found, removed)
	if errors.Is(err, catalogue.ErrSuspect) {
		return nil // an operator has to look; the next sweep tries again
	}
	return err
}

// tellOrphans logs what a sweep of the bucket has found.
func (m *Manager) tellOrphans(found Orphans, removed catalogue.Removed) {
	if removed.Topics > 0 {
		m.o.Logger.Info("objects that belong to no topic are removed from the bucket",
			slog.Int("topics", removed.Topics), slog.Int("objects", removed.Objects), slog.Int64("bytes", removed.Bytes))
	}
	if found.Topics == 0 {
		return
	}
	attrs := []any{
		slog.Int("topics", found.Topics), slog.Int64("objects", found.Objects), slog.Int64("bytes", found.Bytes),
		slog.String("topic_id", found.First.String()),
	}
	if errors.Is(found.Err, catalogue.ErrSuspect) {
		m.o.Logger.Error("objects in the bucket belong to no topic, and are not deleted", append(attrs, slog.Any("error", found.Err))...)
		return
	}
	m.o.Logger.Warn("objects in the bucket belong to no topic; they are deleted when that is so for long enough",
		append(attrs, slog.Duration("grace", m.o.OrphanGrace))...)
}

// forgetTopic deletes the topic's descriptions from the catalogue if this is its last pointer.
func (m *Manager) forgetTopic(ctx context.Context, id metadata.TopicID) error {
	pairs, _, err := m.pointers(ctx, metadata.TierPrefix+id.String()+"/")
	if err != nil || len(pairs) > 1 {
		return err
	}
	return classify("remove the descriptions", format.TopicPrefix(m.o.Prefix, id), catalogue.RemoveTopic(ctx, m.o.Bucket, m.o.Prefix, id))
}
