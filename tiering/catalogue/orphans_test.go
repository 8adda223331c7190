package catalogue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// sweeping is a bucket in which a test looks for orphans.
type sweeping struct {
	*Sweep

	t     *testing.T
	known map[metadata.TopicID]bool
	now   time.Time
}

func newSweeping(t *testing.T, prefix string) *sweeping {
	t.Helper()
	s := &sweeping{t: t, known: map[metadata.TopicID]bool{}, now: time.Now()}
	s.Sweep = &Sweep{
		Bucket: objstoretest.NewFaults(open(t, "mem://")), Prefix: prefix, ClusterID: "cluster", Grace: DefaultGrace, Now: func() time.Time { return s.now },
		Known: func(context.Context) (func(metadata.TopicID) bool, error) {
			return func(id metadata.TopicID) bool { return s.known[id] }, nil
		},
	}
	return s
}

// object writes an object of one of a topic's partitions.
func (s *sweeping) object(id metadata.TopicID, n int) {
	s.t.Helper()
	put(s.t, s.Bucket, format.PartitionPrefix(s.Prefix, id, int32(n%3))+fmt.Sprintf("%d.segment", n), []byte("12345"))
}

// describe adds a topic to the catalogue.
func (s *sweeping) describe(id metadata.TopicID, revision int64) {
	s.t.Helper()
	err := WriteTopic(s.t.Context(), s.Bucket, s.Prefix, &format.Topic{TopicID: id, Name: "orders", Partitions: 3, Revision: revision})
	if err != nil {
		s.t.Fatal(err)
	}
}

// sweep finds and notes orphans, like a controller.
func (s *sweeping) sweep() *Report {
	s.t.Helper()
	r, err := s.Find(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if err = s.Note(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *sweeping) keys() []string {
	s.t.Helper()
	var keys []string
	for info, err := range s.Bucket.List(s.t.Context(), "") {
		if err != nil {
			s.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func TestOrphansAreDeletedAfterTheGrace(t *testing.T) {
	for _, prefix := range []string{"", "a/b"} {
		s := newSweeping(t, prefix)
		living, gone, back := metadata.TopicID{1}, metadata.TopicID{2}, metadata.TopicID{3}
		s.known[living] = true
		for n := range 300 {
			s.object(gone, n)
		}
		s.object(living, 1)
		s.describe(living, 5)
		s.object(back, 1)
		foreign := []string{"elsewhere/x", listed(prefix) + "later", listed(prefix) + gone.String() + "/x", format.TopicPrefix(prefix, gone) + "x"}
		for _, key := range foreign {
			put(t, s.Bucket, key, []byte("x"))
		}
		before := s.keys()
		r, err := s.Find(t.Context())
		if err != nil || !slices.Equal(s.keys(), before) {
			t.Fatalf("a look has changed the bucket: %v", err)
		}
		objects, bytes := r.Sum()
		if len(r.Orphans) != 2 || r.Orphans[0].TopicID != gone || r.Orphans[0].Objects != 300 || objects != 301 || bytes != 5*301 || r.Suspects != 0 {
			t.Fatalf("%+v", r)
		}
		s.sweep()
		nothing := func(when string) {
			t.Helper()
			again := s.sweep()
			if done, deleteErr := s.Delete(t.Context(), again); deleteErr != nil || done != (Removed{}) {
				t.Errorf("%s: %+v, %v", when, done, deleteErr)
			}
		}
		nothing("at once")
		s.now = s.now.Add(DefaultGrace - time.Minute)
		nothing("before the grace")
		s.known[back] = true
		s.sweep()
		s.known[back] = false
		s.now = s.now.Add(2 * time.Minute)
		r = s.sweep() // the one that was known again starts its grace period again
		done, err := s.Delete(t.Context(), r)
		if err != nil || done.Topics != 1 || done.Objects != 300 || done.Bytes != 1500 {
			t.Errorf("%+v, %v", done, err)
		}
		left := s.keys()
		for _, key := range append(foreign, format.TopicKey(prefix, living, 5), format.OrphanKey(prefix, back)) {
			if !slices.Contains(left, key) {
				t.Errorf("%s is gone", key)
			}
		}
		if len(left) != len(foreign)+2+2 {
			t.Errorf("left are %q", left)
		}
	}
}

// An object that is written after the note starts the grace period again. One that is written
// during the deletion ends the deletion.
func TestOrphanThatGrowsIsNotDeleted(t *testing.T) {
	s := newSweeping(t, "")
	id := metadata.TopicID{1}
	s.object(id, 1)
	s.sweep()
	s.object(id, 2)
	s.now = s.now.Add(2 * DefaultGrace)
	r := s.sweep()
	if done, err := s.Delete(t.Context(), r); err != nil || done.Topics != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	r = s.sweep()
	s.object(id, 3)
	if done, err := s.Delete(t.Context(), r); !errors.Is(err, ErrSuspect) || done.Topics != 0 || len(s.keys()) == 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

// The metadata seem to have been restored to an older state: nothing is deleted but what an
// operator names.
func TestDescribedOrphanIsSuspect(t *testing.T) {
	s := newSweeping(t, "")
	lost, gone := metadata.TopicID{1}, metadata.TopicID{2}
	s.object(lost, 1)
	s.describe(lost, 7)
	s.object(gone, 1)
	s.describe(metadata.TopicID{3}, 8) // without objects there is nothing to lose
	s.sweep()
	if err := s.deleteErr(lost); err == nil || !strings.Contains(err.Error(), "may be deleted on") {
		t.Errorf("before the grace: %v", err)
	}
	s.now = s.now.Add(2 * DefaultGrace)
	r := s.sweep()
	if done, err := s.Delete(t.Context(), r); !errors.Is(err, ErrSuspect) || done != (Removed{}) || r.Suspects != 1 || !strings.Contains(err.Error(), lost.String()) {
		t.Errorf("%+v, %v", done, err)
	}
	if err := s.deleteErr(metadata.TopicID{9}); !errors.Is(err, ErrSuspect) {
		t.Errorf("of no orphan: %v", err)
	}
	if done, err := s.Delete(t.Context(), r, lost); err != nil || done.Topics != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	r = s.sweep()
	if done, err := s.Delete(t.Context(), r); err != nil || done.Topics != 2 || done.Objects != 1 || len(s.keys()) != 0 {
		t.Errorf("%+v, %v, left are %q", done, err, s.keys())
	}
}

func (s *sweeping) deleteErr(id metadata.TopicID) error {
	_, err := s.Delete(s.t.Context(), s.sweep(), id)
	return err
}

// While it is unknown which topics exist, nothing is noted or deleted, and no note is removed.
func TestNothingIsAnOrphanWithoutMetadata(t *testing.T) {
	s := newSweeping(t, "")
	s.object(metadata.TopicID{1}, 1)
	s.Known = func(context.Context) (func(metadata.TopicID) bool, error) { return nil, ErrSuspect }
	if r, err := s.Find(t.Context()); !errors.Is(err, ErrSuspect) || r != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// A topic whose first object is written while the bucket is listed is no orphan.
func TestTopicOfNowIsKnown(t *testing.T) {
	s := newSweeping(t, "")
	id := metadata.TopicID{1}
	s.object(id, 1)
	s.Known = func(context.Context) (func(metadata.TopicID) bool, error) {
		s.known[id] = true // its pointer is older than its object
		return func(id metadata.TopicID) bool { return s.known[id] }, nil
	}
	if r, err := s.Find(t.Context()); err != nil || len(r.Orphans) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Each request of a deletion fails once: another sweep deletes the rest.
func TestDeletionOfOrphansGoesOn(t *testing.T) {
	for skip := range 12 {
		s := newSweeping(t, "")
		s.object(metadata.TopicID{1}, 1)
		s.object(metadata.TopicID{2}, 1)
		s.describe(metadata.TopicID{3}, 1)
		s.sweep()
		s.now = s.now.Add(2 * DefaultGrace)
		s.Bucket.(*objstoretest.Faults).Add(objstoretest.Fault{Skip: skip, Times: 1})
		if r, err := s.Find(t.Context()); err == nil {
			_, _ = s.Delete(t.Context(), r)
		}
		s.Bucket.(*objstoretest.Faults).Add(objstoretest.Fault{Times: -1})
		r, err := s.Find(t.Context())
		if err != nil { // the fault was for later
			r, err = s.Find(t.Context())
		}
		if err == nil {
			_, err = s.Delete(t.Context(), r)
		}
		if err != nil {
			r, _ = s.Find(t.Context())
			_, err = s.Delete(t.Context(), r)
		}
		if left := s.keys(); err != nil || len(left) != 0 {
			t.Errorf("after a fault of request %d: %v, left are %q", skip, err, left)
		}
	}
}

func TestNewestRevisionOfATopicCounts(t *testing.T) {
	s := newSweeping(t, "p")
	id := metadata.TopicID{1}
	for _, revision := range []int64{3, 9, 9} {
		s.describe(id, revision)
	}
	put(t, s.Bucket, format.TopicKey("p", id, 2), []byte("old"))
	got, err := ListTopics(t.Context(), s.Bucket, "p")
	if err != nil || len(got) != 1 || got[id] != 9 {
		t.Fatalf("%v, %v", got, err)
	}
	topic, err := ReadTopic(t.Context(), s.Bucket, "p", id, 9)
	if err != nil || topic.Name != "orders" || topic.Revision != 9 {
		t.Fatalf("%+v, %v", topic, err)
	}
	if topic, err = ReadTopic(t.Context(), s.Bucket, "p", id, 3); err != nil || topic != nil {
		t.Errorf("an old revision is there: %+v, %v", topic, err)
	}
	if _, err = ReadTopic(t.Context(), s.Bucket, "p", id, 2); !errors.Is(err, format.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if err = RemoveTopic(t.Context(), s.Bucket, "p", id); err != nil || len(s.keys()) != 0 {
		t.Errorf("%v, left are %q", err, s.keys())
	}
	if err = RemoveTopic(t.Context(), s.Bucket, "p", id); err != nil {
		t.Error(err)
	}
}
