package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// The cluster of the benchmarks: every broker leads a tenth of the partitions and hosts three
// tenths.
const (
	scaleBrokers    = 10
	scalePartitions = 100_000
)

// scaleCluster is a synthetic cluster in one process: its store, and broker 1 with everything that
// follows the metadata. The other brokers are only keys.
type scaleCluster struct {
	*testing.B
	store    *kvtest.MemStore
	brokers  []*metadata.Registration // by id; 0 is unused
	ids      []metadata.TopicID
	perTopic int
	follower *metadata.Loader
	replicas *replication.Manager
}

func scaleDirectory(broker int32) metadata.DirectoryID { return metadata.DirectoryID{1, byte(broker)} }

// newScaleCluster makes the keys of the cluster.
func newScaleCluster(b *testing.B, topics int) *scaleCluster {
	b.Helper()
	c := &scaleCluster{B: b, store: kvtest.NewMemStore(), brokers: make([]*metadata.Registration, scaleBrokers+1), perTopic: scalePartitions / topics}
	b.Cleanup(func() { _ = c.store.Close() })
	if _, err := metadata.EnsureClusterID(b.Context(), c.store, nil); err != nil {
		b.Fatal(err)
	}
	for id := int32(1); id <= scaleBrokers; id++ {
		c.brokers[id] = metadata.NewRegistration(metadata.RegistrationOptions{
			Store: c.store, BrokerID: id, DirectoryID: scaleDirectory(id).String(), Now: time.Now, Logger: slog.New(slog.DiscardHandler), TTL: time.Hour,
			Directories: []metadata.DirectoryID{scaleDirectory(id)},
			Listeners:   []metadata.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092, Protocol: "PLAINTEXT"}},
		})
		if _, err := c.brokers[id].Register(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var ops []kv.Op
	flush := func() {
		if _, err := c.store.Txn(b.Context(), nil, ops...); err != nil {
			b.Fatal(err)
		}
		ops = ops[:0]
	}
	for i := range topics {
		id := metadata.NewTopicID()
		c.ids = append(c.ids, id)
		for n := range c.perTopic {
			if ops = append(ops, kv.Put(c.key(i, n), c.state(i, n, 0))); len(ops) == kv.MaxTxnOps {
				flush()
			}
		}
		flush()
		ops = append(ops, kv.Put("topics/"+scaleTopic(i), fmt.Appendf(nil, `{"v":1,"id":"%s","partitions":%d,"created_ms":1}`, id, c.perTopic)))
		flush()
	}
	return c
}

func scaleTopic(i int) string { return fmt.Sprintf("topic-%05d", i) }

func (c *scaleCluster) key(topic, n int) string {
	return fmt.Sprintf("partitions/%s/%d", c.ids[topic], n)
}

// state is a partition's state at a partition epoch: all replicas in sync, or one less if it is
// odd.
func (c *scaleCluster) state(topic, n, partitionEpoch int) []byte {
	var replicas, isr, epochs, dirs []string
	first := (topic*c.perTopic + n) % scaleBrokers
	for k := range 3 {
		id := int32((first+k)%scaleBrokers + 1)
		replicas = append(replicas, fmt.Sprint(id))
		if k == 2 && partitionEpoch%2 == 1 {
			continue
		}
		isr, epochs, dirs = append(isr, fmt.Sprint(id)), append(epochs, fmt.Sprint(c.brokers[id].BrokerEpoch())), append(dirs, fmt.Sprintf("%q", scaleDirectory(id)))
	}
	return fmt.Appendf(nil, `{"v":1,"replicas":[%s],"isr":[%s],"isr_epochs":[%s],"isr_dirs":[%s],"leader":%s,"leader_epoch":0,"leader_broker_epoch":%s,"partition_epoch":%d,"created_ms":1764374400000}`,
		strings.Join(replicas, ","), strings.Join(isr, ","), strings.Join(epochs, ","), strings.Join(dirs, ","), isr[0], epochs[0], partitionEpoch)
}

// background runs a part until the benchmark ends.
func (c *scaleCluster) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			c.Errorf("run: %v", err)
		}
	})
	c.Cleanup(func() { cancel(); wg.Wait() })
}

// watch starts a broker without replicas that follows a store.
func (c *scaleCluster) watch(store kv.Store) *metadata.Loader {
	c.Helper()
	f := metadata.NewLoader(metadata.LoaderOptions{Store: store, Logger: slog.New(slog.DiscardHandler)})
	c.background(f.Run)
	c.background(func(ctx context.Context) error { return scaleGroups(ctx, f) })
	if _, err := f.Wait(c.Context(), func(m *metadata.Image) bool { return m.TopicCount() == len(c.ids) }); err != nil {
		c.Fatal(err)
	}
	return f
}

// scaleGroups does what the group coordinator does with images.
func scaleGroups(ctx context.Context, f *metadata.Loader) error {
	images := f.Subscribe()
	defer images.Close()
	known := <-images.Images()
	for {
		select {
		case <-ctx.Done():
			return nil
		case image := <-images.Images():
			if gone := deletedTopics(known, image); len(gone) > 0 {
				return fmt.Errorf("topics %v are gone", gone)
			}
			known = image
		}
	}
}

// byRevision is a store whose watches show every revision separately, as etcd's do.
type byRevision struct{ kv.Store }

func (s byRevision) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		for batch, err := range s.Store.Watch(ctx, prefix, from) {
			if err != nil {
				yield(batch, err)
				return
			}
			for _, one := range split(batch) {
				if !yield(one, nil) {
					return
				}
			}
		}
	}
}

// split divides a batch by revisions.
func split(batch kv.Batch) []kv.Batch {
	var all []kv.Batch
	for _, e := range batch.Events {
		if len(all) == 0 || all[len(all)-1].Revision != e.ModRevision {
			all = append(all, kv.Batch{Revision: e.ModRevision})
		}
		last := &all[len(all)-1]
		last.Events = append(last.Events, e)
	}
	return all
}

// fill makes broker 1 a full one: the controller, with its replicas' logs on a disk in memory.
func (c *scaleCluster) fill() {
	c.Helper()
	c.follower = c.watch(byRevision{c.store})
	logs, err := storage.OpenManager(c.Context(), storage.Options{
		FS: vfs.NewMem(), Dirs: []string{"/data"}, ClusterID: c.follower.Image().ClusterID, NodeID: 1, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = logs.Close() })
	s := &server{settings: newSettings(config.Broker{NodeID: 1})}
	c.replicas = replication.New(replication.Options{
		BrokerID: 1, Storage: logs, Cluster: c.follower, Logger: slog.New(slog.DiscardHandler),
		Config: func(image *metadata.Image, topic string) replication.Config {
			values := s.settings.topic(image, topic)
			return replication.Config{Log: logConfig(values), MinInSyncReplicas: int(values.Int64("min.insync.replicas"))}
		},
		Followers: replication.Followers{
			BrokerEpoch: c.brokers[1].BrokerEpoch,
			Dial:        func(metadata.Broker) replication.LeaderConn { return make(mute, 1) },
		},
	})
	c1 := controller.New(controller.Options{
		Store: c.store, Loader: c.follower, Registration: c.brokers[1], Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		MinISR: s.minISR, UncleanElection: s.uncleanElection,
	})
	c.background(c.replicas.Run)
	c.background(c1.Run)
	if err = c.replicas.Loaded(c.Context()); err != nil {
		c.Fatal(err)
	}
	if _, err = c.follower.Wait(c.Context(), func(m *metadata.Image) bool { return m.ControllerID == 1 }); err != nil {
		c.Fatal(err)
	}
}

// mute is a connection to a leader that has no records.
type mute chan struct{}

func (m mute) Fetch(ctx context.Context, _ *replication.ReplicaFetch) ([]replication.ReplicaFetched, error) {
	select {
	case <-m:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m mute) Hurry() {
	select {
	case m <- struct{}{}:
	default:
	}
}

func (mute) Close() {}

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rest waits until the process is idle.
func rest() {
	for quiet := 0; quiet < 3; quiet++ {
		before := cpu()
		<-time.After(2 * time.Millisecond)
		if cpu()-before > 200*time.Microsecond {
			quiet = -1
		}
	}
}

// heap returns the allocated heap in MB.
func (c *scaleCluster) heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

func scales(b *testing.B, run func(b *testing.B, topics int)) {
	b.Helper()
	for _, topics := range []int{10, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) { run(b, topics) })
	}
}

// BenchmarkPartitionChange measures a partition's new in-sync set, until everything that follows
// from it is done.
func BenchmarkPartitionChange(b *testing.B) {
	kinds := map[string]func(*scaleCluster){
		"full":    (*scaleCluster).fill,
		"watcher": func(c *scaleCluster) { c.follower = c.watch(byRevision{c.store}) },
	}
	for _, kind := range []string{"watcher", "full"} {
		b.Run(kind, func(b *testing.B) {
			scales(b, func(b *testing.B, topics int) {
				b.Helper()
				c := newScaleCluster(b, topics)
				kinds[kind](c)
				rest()
				runtime.GC()
				idle := cpu()
				for range b.N {
					rest()
				}
				began := cpu()
				idle = began - idle // of the measurement itself
				b.ResetTimer()
				for i := range b.N {
					c.change(i)
				}
				b.StopTimer()
				b.ReportMetric(float64(cpu()-began-idle)/1e6/float64(b.N), "cpu-ms/op")
			})
		})
	}
}

// change writes one partition that broker 1 leads.
func (c *scaleCluster) change(i int) {
	g := i * scaleBrokers * 7 % scalePartitions
	topic, n := g/c.perTopic, g%c.perTopic
	revision, err := c.store.Txn(c.Context(), nil, kv.Put(c.key(topic, n), c.state(topic, n, i/(scalePartitions/scaleBrokers)+1)))
	if err == nil {
		_, err = c.follower.WaitRevision(c.Context(), revision)
	}
	if err != nil {
		c.Fatal(err)
	}
	rest()
}

// BenchmarkImageMemory measures the heap of an image.
func BenchmarkImageMemory(b *testing.B) {
	scales(b, func(b *testing.B, topics int) {
		b.Helper()
		c := newScaleCluster(b, topics)
		before := c.heap()
		for range b.N {
			f := c.watch(c.store)
			rest()
			b.ReportMetric(c.heap()-before, "MB")
			runtime.KeepAlive(f)
		}
	})
}

// recording is what the store has shown since the broker's death.
type recording struct {
	batches []kv.Batch
	changes int
	last    int64
}

// BenchmarkBrokerDeath measures the end of a broker's registration, until every partition has its
// new leader and in-sync set, in the store and in broker 1's image.
func BenchmarkBrokerDeath(b *testing.B) {
	scales(b, func(b *testing.B, topics int) {
		b.Helper()
		for range b.N {
			c := newScaleCluster(b, topics)
			c.fill()
			kvs, at, err := c.store.List(b.Context(), "")
			if err != nil {
				b.Fatal(err)
			}
			var seen atomic.Pointer[recording]
			c.background(func(ctx context.Context) error { return recordDeath(ctx, c.store, at+1, &seen) })
			rest()
			runtime.GC()
			began, start := cpu(), time.Now()
			if err = c.store.Revoke(b.Context(), c.follower.Image().Brokers[scaleBrokers].Lease); err != nil {
				b.Fatal(err)
			}
			for seen.Load() == nil {
				<-time.After(time.Millisecond)
			}
			r := seen.Load()
			if _, err = c.follower.WaitRevision(b.Context(), r.last); err != nil {
				b.Fatal(err)
			}
			if err = c.replicas.AwaitServed(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(start))/1e6, "wall-ms")
			rest()
			b.ReportMetric(float64(cpu()-began)/1e6, "full-cpu-ms")
			b.ReportMetric(float64(len(r.batches)), "batches")
			c.rewrite(kvs, r)
			c.replay(kvs, at, r)
		}
	})
}

// recordDeath records the batches of a store until all partitions of the dead broker have changed.
func recordDeath(ctx context.Context, store kv.Store, from int64, done *atomic.Pointer[recording]) error {
	r := &recording{}
	for batch, err := range store.Watch(ctx, "", from) {
		if err != nil {
			return nil // ctx has ended
		}
		r.batches, r.last = append(r.batches, split(batch)...), batch.Revision
		for _, e := range batch.Events {
			if strings.HasPrefix(e.Key, "partitions/") {
				r.changes++
			}
		}
		if r.changes == scalePartitions*3/scaleBrokers {
			done.Store(r)
			return nil
		}
	}
	return nil
}

// rewrite reports the cost of the store and the recording, which are etcd's in a real cluster: it
// makes the same writes to another store, with two watches that do nothing.
func (c *scaleCluster) rewrite(kvs []kv.Pair, r *recording) {
	c.Helper()
	store := kvtest.NewMemStore()
	defer func() { _ = store.Close() }()
	for some := range slices.Chunk(kvs, kv.MaxTxnOps) {
		var ops []kv.Op
		for _, pair := range some {
			ops = append(ops, kv.Put(pair.Key, pair.Value))
		}
		if _, err := store.Txn(c.Context(), nil, ops...); err != nil {
			c.Fatal(err)
		}
	}
	_, at, err := store.List(c.Context(), "")
	if err != nil {
		c.Fatal(err)
	}
	var seen [2]atomic.Pointer[recording]
	for i := range seen {
		c.background(func(ctx context.Context) error { return recordDeath(ctx, store, at+1, &seen[i]) })
	}
	runtime.GC()
	rest()
	began := cpu()
	for _, batch := range r.batches {
		var ops []kv.Op
		for _, e := range batch.Events {
			ops = append(ops, kv.Put(e.Key, e.Value))
		}
		if _, err = store.Txn(c.Context(), nil, ops...); err != nil {
			c.Fatal(err)
		}
	}
	for seen[0].Load() == nil || seen[1].Load() == nil {
		<-time.After(time.Millisecond)
	}
	rest()
	c.ReportMetric(float64(cpu()-began)/1e6, "store-cpu-ms")
}

// replay makes a broker without replicas follow the recording.
func (c *scaleCluster) replay(kvs []kv.Pair, at int64, r *recording) {
	c.Helper()
	store := &replayed{kvs: kvs, at: at, batches: make(chan kv.Batch)}
	f := c.watch(store)
	runtime.GC()
	rest()
	began := cpu()
	for _, batch := range r.batches {
		store.batches <- batch
	}
	if _, err := f.WaitRevision(c.Context(), r.last); err != nil {
		c.Fatal(err)
	}
	rest()
	c.ReportMetric(float64(cpu()-began)/1e6, "watcher-cpu-ms")
}

// replayed is a store that replays a recording.
type replayed struct {
	kv.Store
	kvs     []kv.Pair
	at      int64
	batches chan kv.Batch
}

func (s *replayed) List(context.Context, string) ([]kv.Pair, int64, error) {
	return slices.Clone(s.kvs), s.at, nil
}

func (s *replayed) Watch(ctx context.Context, _ string, _ int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		for {
			select {
			case batch := <-s.batches:
				if !yield(batch, nil) {
					return
				}
			case <-ctx.Done():
				yield(kv.Batch{}, errors.Join(ctx.Err()))
				return
			}
		}
	}
}
