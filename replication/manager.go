package replication

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
)

// Options are what a Manager needs. Registerer and Tier may be nil.
type Options struct {
	BrokerID   int32
	Storage    *storage.Manager // appends wait for the disk only while it runs
	Tier       tier             // *tiering.Manager; leave it out where there is no bucket
	Cluster    *metadata.Loader
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Config returns a topic's effective settings under an image. It is asked again when the
	// topic's or this broker's settings change.
	Config func(image *metadata.Image, topic string) Config

	// ColdMaxWait is how long a fetch waits for the bucket before it returns without, and how long
	// one read from it keeps a worker (remote.fetch.max.wait.ms). Default 500 ms.
	ColdMaxWait time.Duration

	// Now is the clock that throttles, fetchers and the in-sync protocol go by. Default time.Now.
	Now func() time.Time

	// MaxHang is how long a partition's append, role change or deletion may not move before Healthy
	// says so (varve.partition.hang.max.ms). Default 10 s.
	MaxHang time.Duration

	Followers
	Throttling
}

// Followers are the options of replication between brokers; without Dial this broker has no
// fetchers.
type Followers struct {
	Dial        Dial
	BrokerEpoch func() int64 // of this broker's registration, 0 before it registers; must be given
	// AlterISR writes what this broker proposes as the leader; see metadata.Admin.AlterISR for the
	// errors.
	AlterISR func(ctx context.Context, changes []metadata.ISRChange) []error
	// Suspect is told of every failure to fetch from a leader; it must not block. May be nil.
	Suspect func(leader metadata.Member, err error)

	// MaxLag is how long a follower may lack something and stay in sync (replica.lag.time.max.ms).
	// Default 30 s.
	MaxLag time.Duration

	FetchersPerLeader       int           // num.replica.fetchers; 1
	ReplicaMaxWait          time.Duration // replica.fetch.wait.max.ms; 500 ms
	ReplicaFetchMaxBytes    int32         // of one partition (replica.fetch.max.bytes); 1 MiB
	ReplicaResponseMaxBytes int32         // of all (replica.fetch.response.max.bytes); 10 MiB
}

// brokerEpoch is that of this broker's registration, 0 before it is registered.
func (f *Followers) brokerEpoch() int64 { return f.BrokerEpoch() }

func (f *Followers) setDefaults() {
	f.MaxLag = cmp.Or(f.MaxLag, 30*time.Second)
	f.FetchersPerLeader = cmp.Or(f.FetchersPerLeader, 1)
	f.ReplicaMaxWait = cmp.Or(f.ReplicaMaxWait, 500*time.Millisecond)
	f.ReplicaFetchMaxBytes = cmp.Or(f.ReplicaFetchMaxBytes, 1<<20)
	f.ReplicaResponseMaxBytes = cmp.Or(f.ReplicaResponseMaxBytes, 10<<20)
}

// Listener is told of the partitions of one topic that this broker leads. Its methods are called
// one after the other and must return soon; for one partition they alternate, with ascending
// epochs.
type Listener interface {
	// OnElected says that this broker leads the partition from now on. An election at a higher
	// epoch may follow without a resignation.
	OnElected(partition, epoch int32)
	// OnResigned says that it does not any more.
	OnResigned(partition int32)
}

// Manager keeps this broker's partitions.
type Manager struct {
	o           Options
	coldMaxWait time.Duration
	metrics     *metrics
	cold        *coldReads
	index       atomic.Pointer[index]
	listeners   map[string]Listener // by topic; fixed when Run starts
	applier     applier             // Run's
	isr         *isrWriter
	fetchers    *replicaFetchers
	restores    *restores
	throttles   *throttles
	traffic     traffic

	served   *served
	watchdog *watchdog
}

// New makes a manager that hosts nothing until Run has seen an image.
func New(o Options) *Manager {
	o.setDefaults()
	o.MaxHang = cmp.Or(o.MaxHang, 10*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Manager{
		o: o, coldMaxWait: cmp.Or(o.ColdMaxWait, 500*time.Millisecond), metrics: newMetrics(o.Registerer),
		listeners: map[string]Listener{},
	}
	m.traffic.byID = map[metadata.TopicID]*Traffic{}
	m.cold = newColdReads(m.metrics, m.coldMaxWait)
	m.throttles = newThrottles(o.Throttling, m.metrics, o.Now)
	m.index.Store(&index{byName: map[string]*hostedTopic{}, byID: map[metadata.TopicID]*hostedTopic{}})
	m.applier = newApplier(m)
	m.restores = newRestores(o.Logger, m.metrics)
	m.fetchers = newReplicaFetchers(&fetchEnv{
		o: &m.o.Followers, self: m.self, throttle: m.throttles.follower, restore: m.restores.add,
		logger: o.Logger, metrics: m.metrics, now: o.Now,
	})
	if o.AlterISR != nil {
		m.isr = m.newISRWriter()
	}
	m.served = newServed()
	m.watchdog = newWatchdog(o.MaxHang, m.Partitions, m.applier.pool.waiting, o.Logger, m.metrics)
	return m
}

func (m *Manager) newISRWriter() *isrWriter {
	return newISRWriter(&m.o.Followers, m.Partitions, m.o.Logger, m.metrics)
}

// self is this broker with the epoch of its registration, 0 before it has one.
func (m *Manager) self() metadata.Member {
	return metadata.Member{Broker: m.o.BrokerID, Epoch: m.o.brokerEpoch()}
}

// Listen has l told of the partitions of a topic. It must be called before Run.
func (m *Manager) Listen(topic string, l Listener) { m.listeners[topic] = l }

// Run follows the cluster's images until ctx ends. It owns the goroutines that read from the
// bucket, restore from it, fetch from leaders and write in-sync sets.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	m.fetchers.begin(ctx)
	defer m.fetchers.end()
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { m.cold.run(ctx) })
	wg.Go(func() { m.restores.run(ctx) })
	wg.Go(func() { m.watchdog.run(ctx) })
	if m.isr != nil {
		wg.Go(func() { m.isr.run(ctx) })
		wg.Go(func() { m.isr.place(ctx) })
	}

	defer m.applier.pool.close()
	images := m.o.Cluster.Subscribe()
	defer images.Close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case image := <-images.Images():
			if ok, err := m.ours(image); err != nil {
				return err
			} else if ok {
				m.watchdog.applying.Store(image)
				m.applier.apply(image) //nolint:contextcheck // a job ends by itself, and Run waits for it
			}
		case <-m.applier.pool.finished:
		case <-timer.C:
		}
		timer.Reset(m.applier.proceed()) //nolint:contextcheck // as above
		m.watchdog.applying.Store(nil)
	}
}

// ours tells whether an image says anything yet. One of another cluster would have everything here
// deleted.
func (m *Manager) ours(image *metadata.Image) (bool, error) {
	own := m.o.Storage.ClusterID()
	switch {
	case image.Revision == 0, image.ClusterID == "":
		return false, nil
	case image.ClusterID != own:
		return false, fmt.Errorf("follow the metadata of cluster %q: the data directory belongs to cluster %q", image.ClusterID, own)
	}
	return true, nil
}

// Partition finds a partition that has a replica here.
func (m *Manager) Partition(tp metadata.TopicPartition) (*Partition, bool) {
	return m.index.Load().byName[tp.Topic].partition(tp.Partition)
}

// PartitionByID finds a partition that has a replica here.
func (m *Manager) PartitionByID(id metadata.TopicID, number int32) (*Partition, bool) {
	return m.index.Load().byID[id].partition(number)
}

// Partitions yields all partitions that have a replica here, in no particular order.
func (m *Manager) Partitions() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		for _, t := range m.index.Load().byID {
			for _, p := range t.partitions {
				if p != nil && !yield(p) {
					return
				}
			}
		}
	}
}

// DirUsage describes the data directories.
func (m *Manager) DirUsage() []storage.DirUsage { return m.o.Storage.DirUsage() }

// MoveLog asks for a replica to be moved to another data directory; see storage.Manager.Move.
func (m *Manager) MoveLog(tp metadata.TopicPartition, dir string) error {
	return m.o.Storage.Move(tp.Topic, tp.Partition, dir)
}
