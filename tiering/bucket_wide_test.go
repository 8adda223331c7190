package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/tiering/format"
)

// cluster is metadata that a test writes in the form in which the store has them.
type cluster struct {
	t  *testing.T
	mu sync.Mutex
	m  *metadata.Image
}

// newCluster returns a cluster with the given broker as controller.
func newCluster(t *testing.T, controller int32) *cluster {
	t.Helper()
	c := &cluster{t: t, m: metadata.NewLoader(metadata.LoaderOptions{Logger: slog.New(slog.DiscardHandler)}).Image()}
	c.set("controller", `{"v":1,"broker":%d,"broker_epoch":1}`, controller)
	return c
}

func (c *cluster) apply(e kv.Event) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	revision := c.m.Revision + 1000
	e.CreateRevision, e.ModRevision = revision, revision
	next, err := c.m.Apply(kv.Batch{Revision: revision, Events: []kv.Event{e}})
	if err != nil && !next.Incomplete() {
		c.t.Fatal(err)
	}
	c.m = next
}

func (c *cluster) set(key, value string, args ...any) {
	c.t.Helper()
	c.apply(kv.Event{Pair: kv.Pair{Key: key, Value: fmt.Appendf(nil, value, args...)}})
}

func (c *cluster) remove(key string) { c.apply(kv.Event{Pair: kv.Pair{Key: key}, Deleted: true}) }

// topic creates a topic, or gives it more partitions.
func (c *cluster) topic(id metadata.TopicID, partitions int) {
	c.t.Helper()
	for n := range partitions {
		c.set(fmt.Sprintf("partitions/%s/%d", id, n), `{"v":1,"replicas":[1,2,3],"isr":[1],"leader":1}`)
	}
	c.set("topics/orders", `{"v":1,"id":"%s","partitions":%d,"created_ms":77}`, id, partitions)
}

func (c *cluster) Image() *metadata.Image { c.mu.Lock(); defer c.mu.Unlock(); return c.m }

func (c *cluster) WaitRevision(_ context.Context, revision int64) (*metadata.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, err := c.m.Apply(kv.Batch{Revision: revision})
	c.m = next
	return next, err
}

func (c *cluster) live(id metadata.TopicID, _ int64) bool {
	_, ok := c.Image().TopicByID(id)
	return ok
}

// Before the bucket is known to be the cluster's, no request is sent to it, and no pointer changes.
func TestNothingIsTouchedBeforeTheBucketIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := newCluster(t, 3)
		c.topic(w.id, 8)
		gate := catalogue.NewGate(w.faults)
		m := running(t, w, func(o *Options) {
			o.Bucket, o.Opened, o.Cluster, o.Live = gate, gate.Opened(), c, c.live
		})
		log := newFakeLog(t)
		fill(log, 3)
		tp := w.attachTo(m, log, 7, 1)
		followed := metadata.TopicPartition{Topic: "orders", Partition: 6}
		m.Follow(t.Context(), Partition{TopicID: w.id, TopicPartition: followed, LeaderEpoch: 1, Config: w.cfg.get})
		for _, tp := range []metadata.TopicPartition{tp, followed} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, _, err := m.read(ctx, tp, 0, 100, 1<<60); err == nil {
				t.Errorf("%s is read", tp)
			}
			cancel()
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if s, _ := m.Status(tp); s.State != StateAttaching || log.remoteEnd > 0 {
			t.Errorf("%+v, the log was told %d", s, log.remoteEnd)
		}
		pairs, _, err := w.store.List(t.Context(), "")
		if n := w.faults.Calls(objstoretest.AnyOp); err != nil || n != 0 || len(pairs) != 0 {
			t.Errorf("%d requests, %d keys, %v", n, len(pairs), err)
		}
		gate.Open()
		synctest.Wait()
		if s, _ := m.Status(tp); s.State != StateActive || s.EndOffset != log.end {
			t.Errorf("%+v", s)
		}
	})
}

// described returns the newest description of the topic in the bucket, nil if there is none.
func (w *world) described() *format.Topic {
	w.t.Helper()
	listed, err := catalogue.ListTopics(context.Background(), w.bucket, "tier")
	if err != nil {
		w.t.Fatal(err)
	}
	newest, ok := listed[w.id]
	if !ok {
		return nil
	}
	topic, err := catalogue.ReadTopic(context.Background(), w.bucket, "tier", w.id, newest)
	if err != nil {
		w.t.Fatal(err)
	}
	return topic
}

// TestCatalogueFollowsTopics: a topic is described as long as it has a pointer, and only a change
// costs a request.
func TestCatalogueFollowsTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := newCluster(t, 3)
		c.topic(w.id, 8)
		change := func(o *Options) {
			o.Cluster, o.Live, o.SweepInterval, o.SweepGrace = c, c.live, 1_000_000*time.Hour, 1000*time.Hour
		}
		m := running(t, w, change)
		log := newFakeLog(t)
		tp := w.attachTo(m, log, 7, 1)
		time.Sleep(time.Hour)
		if got := w.described(); got != nil {
			t.Errorf("a topic that is not tiered is described: %+v", got)
		}
		fill(log, 1)
		m.Kick(tp)
		time.Sleep(2 * time.Minute)
		got := w.described()
		if got == nil || got.Name != "orders" || got.Partitions != 8 || got.ReplicationFactor != 3 || got.CreatedMs != 77 || got.ClusterID != "cluster" || len(got.Configs) != 0 {
			t.Fatalf("%+v", got)
		}
		// Without a change there is no request.
		before := w.faults.Calls(objstoretest.AnyOp)
		c.set("topics/other", `{"v":1,"id":"%s","partitions":0}`, metadata.TopicID{9})
		time.Sleep(time.Hour)
		if n := w.faults.Calls(objstoretest.AnyOp) - before; n != 0 {
			t.Errorf("%d requests for an idle topic", n)
		}
		// The topic grows, and gets settings.
		c.topic(w.id, 12)
		c.set("configs/topics/orders", `{"v":1,"configs":{"retention.ms":"5"}}`)
		time.Sleep(2 * time.Minute)
		if next := w.described(); next.Partitions != 12 || next.Configs["retention.ms"] != "5" || next.Revision <= got.Revision {
			t.Errorf("%+v", next)
		}
		// A member that a newer version has added is kept, also by the next controller, which reads
		// the topic once.
		w.rewriteTopic(`"later":[1]`)
		running(t, w, change, func(o *Options) { o.BrokerID = 4 })
		c.set("controller", `{"v":1,"broker":4,"broker_epoch":1}`)
		time.Sleep(2 * time.Minute)
		c.remove("configs/topics/orders")
		time.Sleep(2 * time.Minute)
		if b, err := w.described().Encode(); err != nil || !strings.Contains(string(b), `"later":[1]`) || strings.Contains(string(b), "retention") {
			t.Errorf("%s, %v", b, err)
		}
		// The description of a deleted topic is deleted with its last pointer.
		m.Detach(t.Context(), tp)
		c.remove("topics/orders")
		time.Sleep(time.Hour)
		var left []string
		for info, err := range w.bucket.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, info.Key)
		}
		if len(left) != 0 {
			t.Errorf("left are %q", left)
		}
	})
}

// rewriteTopic adds a member to the description.
func (w *world) rewriteTopic(member string) {
	w.t.Helper()
	topic := w.described()
	b, err := topic.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := format.DocumentTopic.Unwrap(b)
	if err == nil {
		b, err = format.DocumentTopic.Wrap([]byte(strings.TrimSuffix(string(body), "}") + "," + member + "}"))
	}
	if err == nil {
		err = w.bucket.Put(context.Background(), format.TopicKey("tier", w.id, topic.Revision), strings.NewReader(string(b)), objstore.PutOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// A catalogue that cannot be written delays no upload, and is written once it can be.
func TestUploadsDoNotWaitForTheCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := newCluster(t, 3)
		c.topic(w.id, 8)
		m := running(t, w, func(o *Options) { o.Cluster = c })
		heal := w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Key: "topics/", Err: errors.New("denied")})
		log := newFakeLog(t)
		fill(log, 3)
		tp := w.attachTo(m, log, 7, 1)
		time.Sleep(5 * time.Hour)
		if s, _ := m.Status(tp); s.EndOffset != log.end || w.described() != nil {
			t.Errorf("%+v", s)
		}
		heal()
		time.Sleep(2 * time.Hour)
		if got := w.described(); got == nil {
			t.Error("it is not written")
		}
	})
}

// TestBucketIsSweptByTheController: objects of unknown topics are noted, and deleted after the
// grace period, unless something makes the metadata doubtful.
func TestBucketIsSweptByTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := newCluster(t, 2)
		c.topic(w.id, 8)
		verified := errors.New("not this cluster's")
		var mu sync.Mutex
		m := running(t, w, func(o *Options) {
			o.Cluster, o.Logger = c, nil
			o.Interval, o.CleanInterval = time.Hour, time.Hour // months pass
			o.Verify = func(context.Context) error { mu.Lock(); defer mu.Unlock(); return verified }
		})
		log := newFakeLog(t)
		fill(log, 2)
		w.attachTo(m, log, 7, 1)
		leak := metadata.TopicID{7, 7, 7}
		orphan := format.PartitionPrefix("tier", leak, 0) + "00000000000000000000-0000000001-ab.segment"
		w.put(orphan)
		there := func(key string) bool {
			t.Helper()
			_, err := w.bucket.Stat(t.Context(), key)
			return err == nil
		}
		note := format.OrphanKey("tier", leak)
		month := func() { time.Sleep(30 * 24 * time.Hour) }

		time.Sleep(time.Minute) // the following steps fall between two sweeps
		month()
		if _, swept := m.Orphans(); swept || there(note) {
			t.Error("a broker that is not the controller has swept")
		}
		c.set("controller", `{"v":1,"broker":3,"broker_epoch":1}`)
		month()
		if o, swept := m.Orphans(); !swept || !errors.Is(o.Err, verified) || o.Topics != 1 || o.Objects != 1 || o.Bytes != 1 || o.First != leak || there(note) || !there(orphan) {
			t.Errorf("in a bucket of another one: %+v", o)
		}
		mu.Lock()
		verified = nil
		mu.Unlock()
		c.set("topics/broken", `{"v":99}`)
		month()
		if o, _ := m.Orphans(); there(note) || !there(orphan) {
			t.Errorf("with metadata that cannot be read: %+v", o)
		}
		c.remove("topics/broken")
		time.Sleep(2 * 24 * time.Hour)
		if p := m.BucketProblems(); len(p) != 1 || p[0].Kind != ProblemOrphans || p[0].Object != leak.String() || p[0].Count != 1 || p[0].Since.IsZero() ||
			!strings.Contains(p[0].Err.Error(), "1 objects, 1 bytes, belong to no topic; they are deleted from ") {
			t.Errorf("%+v", p)
		}
		if o, _ := m.Orphans(); o.Err != nil || o.Topics != 1 || !there(note) || !there(orphan) || o.Due.IsZero() {
			t.Errorf("%+v", o)
		}
		// One suspect orphan stops all deletions.
		lost := metadata.TopicID{8}
		w.put(format.PartitionPrefix("tier", lost, 0) + "x")
		w.put(format.TopicKey("tier", lost, 4))
		month()
		if o, _ := m.Orphans(); !errors.Is(o.Err, catalogue.ErrSuspect) || o.Suspects != 1 || o.First != lost || !there(orphan) {
			t.Errorf("%+v", o)
		}
		if p := m.BucketProblems(); len(p) != 1 || p[0].Kind != ProblemSuspect || !errors.Is(p[0].Err, catalogue.ErrSuspect) {
			t.Errorf("%+v", p)
		}
		if err := w.bucket.Delete(t.Context(), format.TopicKey("tier", lost, 4)); err != nil {
			t.Fatal(err)
		}
		// A topic with a pointer is known.
		if _, err := w.store.Txn(t.Context(), nil, kv.Put(metadata.TierKey(lost, 5), nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * 24 * time.Hour)
		if o, _ := m.Orphans(); o.Err != nil || o.Topics != 0 || there(orphan) || there(note) || !there(format.PartitionPrefix("tier", lost, 0)+"x") || there(format.OrphanKey("tier", lost)) {
			t.Errorf("%+v", o)
		}
		if names := w.objects(); !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".segment") }) {
			t.Errorf("the topic that lives has %q", names)
		}
	})
}
