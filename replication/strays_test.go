package replication

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// strayReasons returns the reasons why logs were set aside, by topic.
func strayReasons(s *storage.Manager) map[string]string {
	reasons := map[string]string{}
	for _, stray := range s.Strays() {
		reasons[stray.Topic] = stray.Reason
	}
	return reasons
}

// rewrite writes a key, or deletes it if value is nil, and waits until the manager has followed.
func (c *cluster) rewrite(key string, value []byte) {
	c.t.Helper()
	op := kv.Put(key, value)
	if value == nil {
		op = kv.Delete(key)
	}
	revision, err := c.store.Txn(c.t.Context(), nil, op)
	if err == nil {
		_, err = c.follower.WaitRevision(c.t.Context(), revision)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if c.m != nil {
		c.settle()
	}
}

func (c *cluster) value(key string) []byte {
	c.t.Helper()
	kv, err := c.store.Get(c.t.Context(), key)
	if err != nil || !kv.Exists() {
		c.t.Fatal(key, err)
	}
	return kv.Value
}

func (c *cluster) write(topic string) {
	c.t.Helper()
	if _, err := c.partition(topic, 0).Append(batch(c.t, 1000, "v"), AcksAll); err != nil {
		c.t.Fatal(err)
	}
}

// relist makes the broker's next start see the store as a full listing shows it.
func (c *cluster) relist() {
	c.t.Helper()
	c.follower = metadata.NewLoader(metadata.LoaderOptions{Store: c.store, Logger: slog.New(slog.DiscardHandler)})
	background(c.t, c.follower.Run)
	if _, err := c.follower.Wait(c.t.Context(), func(m *metadata.Image) bool { return m.Revision > 0 }); err != nil {
		c.t.Fatal(err)
	}
}

// TestUnreadableTopicKeepsItsLogs: a broker starts while it cannot read a topic's key. The topic's
// logs stay where they are, settings that may not be theirs delete none of their records, and they
// are served once the key can be read.
func TestUnreadableTopicKeepsItsLogs(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	for _, topic := range []string{"a", "gone", "kept"} {
		c.create(topic, 1, nil)
		c.write(topic)
	}
	c.shutDown()
	c.m = nil
	good := c.value("topics/a")
	c.rewrite("topics/a", []byte("{"))
	c.rewrite("topics/gone", nil)
	c.relist()
	c.start(nil)
	for _, topic := range []string{"a", "gone"} {
		log, ok := c.storage.Log(topic, 0)
		if !ok {
			t.Fatalf("the log of %s is gone: %v", topic, strayReasons(c.storage))
		}
		if cfg := log.Config(); cfg.CleanupDelete || cfg.CleanupCompact {
			t.Errorf("%s: records are deleted by settings that nobody has read", topic)
		}
	}
	if log, _ := c.storage.Log("kept", 0); !log.Config().CleanupDelete {
		t.Error("a topic that can be read has lost its settings")
	}
	c.rewrite("topics/a", good)
	p := c.partition("a", 0)
	if p.log.EndOffset() != 1 || !p.log.Config().CleanupDelete {
		t.Errorf("a ends at %d, deletes %t", p.log.EndOffset(), p.log.Config().CleanupDelete)
	}
	if got := strayReasons(c.storage); !maps.Equal(got, map[string]string{"gone": role.NoTopic}) {
		t.Errorf("set aside with the first complete image: %v", got)
	}
}

// TestDeletionOnAnIncompleteImageWaits: while some key cannot be read, the log of a topic that
// disappears is left alone.
func TestDeletionOnAnIncompleteImageWaits(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	c.create("a", 1, nil)
	c.write("a")
	c.rewrite("topics/damaged", []byte("{"))
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "a"}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.settle()
	if log, ok := c.storage.Log("a", 0); !ok || log.EndOffset() != 1 {
		t.Fatalf("its log is there: %t", ok)
	}
	c.rewrite("topics/damaged", nil)
	if _, ok := c.storage.Log("a", 0); ok || len(c.storage.Strays()) != 0 {
		t.Errorf("with a complete image its log is there: %t, set aside: %v", ok, strayReasons(c.storage))
	}
}

// TestNameOfAStrayIsTaken: a log whose name another topic has is set aside, even while some key
// cannot be read.
func TestNameOfAStrayIsTaken(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	c.create("a", 1, nil)
	c.write("a")
	c.shutDown()
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "a"}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "a", Partitions: 1, ReplicationFactor: 1}}, false)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.m = nil
	c.rewrite("topics/damaged", []byte("{"))
	c.relist()
	c.start(nil)
	if p := c.partition("a", 0); p.log.EndOffset() != 0 {
		t.Errorf("the new topic begins at %d", p.log.EndOffset())
	}
	if got := strayReasons(c.storage); got["a"] != role.Renamed {
		t.Errorf("set aside: %v", got)
	}
}

// brokenWatch is a store whose watch can be ended. The listing that follows waits.
type brokenWatch struct {
	*kvtest.MemStore
	lists   atomic.Int32
	ended   chan struct{} // a value ends the present watch
	listing chan struct{} // has a value while a listing waits for gate
	gate    chan struct{}
}

func (s *brokenWatch) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	if s.lists.Add(1) > 1 {
		s.listing <- struct{}{}
		select {
		case <-s.gate:
		case <-ctx.Done():
		}
	}
	return s.MemStore.List(ctx, prefix)
}

func (s *brokenWatch) Watch(parent context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		ctx, cancel := context.WithCancel(parent)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			select {
			case <-s.ended:
				cancel()
			case <-ctx.Done():
			}
		})
		for batch, err := range s.MemStore.Watch(ctx, prefix, from) {
			if ctx.Err() != nil {
				yield(kv.Batch{}, kv.ErrCompacted)
				return
			}
			if !yield(batch, err) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(kv.Batch{}, kv.ErrCompacted)
		}
	}
}

// TestListIsNoDeletion (R10): after a deletion event a topic's log is deleted. If the topic is only
// missing in a listing, after an interruption of the watch, its log is set aside. A topic whose key
// is damaged in the listing is still served.
func TestListIsNoDeletion(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	s := &brokenWatch{MemStore: c.store, ended: make(chan struct{}), listing: make(chan struct{}, 8), gate: make(chan struct{})}
	c.follower = metadata.NewLoader(metadata.LoaderOptions{Store: s, Logger: slog.New(slog.DiscardHandler)})
	background(t, c.follower.Run)
	if _, err := c.follower.Wait(t.Context(), func(m *metadata.Image) bool { return m.Revision > 0 }); err != nil {
		t.Fatal(err)
	}
	c.admin = metadata.NewAdmin(metadata.AdminOptions{Store: c.store, Loader: c.follower, Now: time.Now})
	c.start(nil)
	for _, topic := range []string{"deleted", "missing", "damaged", "kept"} {
		c.create(topic, 1, nil)
		c.write(topic)
	}
	c.rewrite("topics/deleted", nil)
	if _, ok := c.storage.Log("deleted", 0); ok || len(c.storage.Strays()) != 0 {
		t.Errorf("after a deletion the log is there: %t, set aside: %v", ok, strayReasons(c.storage))
	}

	good := c.value("topics/damaged")
	s.ended <- struct{}{}
	<-s.listing
	revision, err := c.store.Txn(t.Context(), nil, kv.Delete("topics/missing"), kv.Put("topics/damaged", []byte("{")))
	if err != nil {
		t.Fatal(err)
	}
	s.gate <- struct{}{}
	if _, err = c.follower.WaitRevision(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	c.settle()
	for _, topic := range []string{"missing", "damaged", "kept"} {
		c.write(topic) // not known yet which of them are gone
	}
	c.rewrite("topics/damaged", good)
	if got := strayReasons(c.storage); !maps.Equal(got, map[string]string{"missing": role.NoTopic}) {
		t.Errorf("set aside: %v", got)
	}
	if _, ok := c.m.Partition(tpOf("missing", 0)); ok {
		t.Error("the missing topic is still served")
	}
	for _, topic := range []string{"damaged", "kept"} {
		if end := c.partition(topic, 0).log.EndOffset(); end != 2 {
			t.Errorf("%s ends at %d", topic, end)
		}
	}
}

// TestReplicaThatMovedAway: the files of a replica that moved away are deleted while the broker
// runs. They are set aside if a start finds them, or if the state that moves the replica is not
// newer than the one before.
func TestReplicaThatMovedAway(t *testing.T) {
	away := func(epoch string) []byte {
		return []byte(`{"v":1,"replicas":[2],"isr":[2],"leader":2,"leader_epoch":9,"partition_epoch":` + epoch + `}`)
	}
	for name, tc := range map[string]struct {
		epoch   string
		stopped bool
		want    map[string]string
	}{
		"while it runs":   {"7", false, map[string]string{}},
		"while it is off": {"7", true, map[string]string{"a": role.OnOthers}},
		"set back":        {"0", false, map[string]string{"a": role.WentBack}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterTest(t, vfs.NewMem())
			c.start(nil)
			id := c.create("a", 1, nil)
			c.write("a")
			if tc.stopped {
				c.shutDown()
				c.m = nil
			}
			c.rewrite("partitions/"+id.String()+"/0", away(tc.epoch))
			if tc.stopped {
				c.start(nil)
			}
			_, ok := c.storage.Log("a", 0)
			if got := strayReasons(c.storage); ok || !maps.Equal(got, tc.want) {
				t.Errorf("log there: %t, set aside: %v", ok, got)
			}
		})
	}
}

// TestLogWithoutItsTopicsID: such a log is identified by its name, because the file with the id is
// not synced before the log is.
func TestLogWithoutItsTopicsID(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	id := c.create("a", 1, nil)
	c.write("a")
	c.shutDown()
	if err := c.fs.Remove("/data/a-0/partition.metadata"); err != nil {
		t.Fatal(err)
	}
	c.start(nil)
	if p := c.partition("a", 0); p.log.EndOffset() != 1 || p.log.TopicID() != id {
		t.Errorf("a ends at %d, set aside: %v", p.log.EndOffset(), strayReasons(c.storage))
	}
}

// TestStrayThatCannotBeSetAside: setting a log aside is retried after a failure.
func TestStrayThatCannotBeSetAside(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem())
	c := newClusterTest(t, f)
	c.start(nil)
	c.create("a", 1, nil)
	c.write("a")
	c.shutDown()
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "a"}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	f.Inject(vfs.Fault{Op: vfs.OpRename, Name: "/data/a-0", Err: context.DeadlineExceeded, Times: 2})
	c.start(nil)
	c.create("b", 1, nil)
	c.create("c", 1, nil)
	if got := strayReasons(c.storage); got["a"] != role.NoTopic {
		t.Errorf("set aside: %v", got)
	}
}

// TestUnreadableSettingsDeleteNothing: if the settings of a topic or of this broker cannot be read,
// the affected topics keep their records until the settings can be read, or are gone.
func TestUnreadableSettingsDeleteNothing(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	c.create("a", 1, nil)
	c.create("b", 1, nil)
	deletes := func(topic string) bool { return c.partition(topic, 0).log.Config().CleanupDelete }
	for key, b := range map[string]bool{"configs/topics/a": true, "configs/brokers/1": false, "configs/brokers/default": false, "configs/brokers/2": true} {
		a := key == "configs/brokers/2"
		c.rewrite(key, []byte("{"))
		if deletes("a") != a || deletes("b") != b {
			t.Errorf("%s cannot be read: a deletes %t, b deletes %t", key, deletes("a"), deletes("b"))
		}
		c.rewrite(key, nil)
		if !deletes("a") || !deletes("b") {
			t.Errorf("%s is gone: a deletes %t, b deletes %t", key, deletes("a"), deletes("b"))
		}
	}
}
