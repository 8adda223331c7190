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

// Options configures a Manager. Registerer and Tier may be nil.
type Options struct {
	BrokerID int32
	// Storage must be running for appends that wait for the disk: syncs are done only by its Run.
	Storage    *storage.Manager
	Tier       tier // *tiering.Manager; nil without a bucket
	Cluster    *metadata.Loader
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Config returns a topic's effective settings under an image. It is called again after the
	// topic's or this broker's settings have changed.
	Config func(image *metadata.Image, topic string) Config

	// ColdMaxWait bounds how long a fetch waits for the bucket before it returns without that data,
	// and how long one read from the bucket runs (remote.fetch.max.wait.ms). Default 500 ms.
	ColdMaxWait time.Duration

	// Now is the clock of throttles, fetchers and the in-sync protocol. Default time.Now.
	Now func() time.Time

	// MaxHang is how long a partition's append, role change or deletion may make no progress before
	// Healthy reports it (varve.partition.hang.max.ms). Default 10 s.
	MaxHang time.Duration

	Followers
	Throttling
}

// Followers configures replication between brokers. Without Dial this broker has no fetchers.
type Followers struct {
	Dial        Dial
	BrokerEpoch func() int64 // of this broker's registration, 0 before it registers; required
	// AlterISR writes the ISR changes that this broker proposes as a leader; see
	// metadata.Admin.AlterISR for the errors.
	AlterISR func(ctx context.Context, changes []metadata.ISRChange) []error
	// Suspect is called after every failed fetch from a leader. It must not block. May be nil.
	Suspect func(leader metadata.Member, err error)

	// MaxLag is how long a follower may be behind the leader's log end and stay in sync
	// (replica.lag.time.max.ms). Default 30 s.
	MaxLag time.Duration

	FetchersPerLeader int           // num.replica.fetchers; default 1
	ReplicaMaxWait    time.Duration // replica.fetch.wait.max.ms; default 500 ms
	// ReplicaFetchMaxBytes is the limit for one partition (replica.fetch.max.bytes); default 1 MiB.
	ReplicaFetchMaxBytes int32
	// ReplicaResponseMaxBytes is the limit for a whole response (replica.fetch.response.max.bytes);
	// default 10 MiB.
	ReplicaResponseMaxBytes int32
}

// brokerEpoch returns the broker epoch of this broker's registration, 0 before it is registered.
func (f *Followers) brokerEpoch() int64 { return f.BrokerEpoch() }

func (f *Followers) setDefaults() {
	f.MaxLag = cmp.Or(f.MaxLag, 30*time.Second)
	f.FetchersPerLeader = cmp.Or(f.FetchersPerLeader, 1)
	f.ReplicaMaxWait = cmp.Or(f.ReplicaMaxWait, 500*time.Millisecond)
	f.ReplicaFetchMaxBytes = cmp.Or(f.ReplicaFetchMaxBytes, 1<<20)
	f.ReplicaResponseMaxBytes = cmp.Or(f.ReplicaResponseMaxBytes, 10<<20)
}

// Listener is notified about the partitions of one topic that this broker leads. The calls come one
// after the other, from the applier's goroutine, and must return soon. For one partition the
// elections have ascending epochs, and a resignation follows an election.
type Listener interface {
	// OnElected reports that this broker leads the partition from now on. An election at a higher
	// epoch may follow without a resignation in between.
	OnElected(partition, epoch int32)
	// OnResigned reports that this broker no longer leads the partition.
	OnResigned(partition int32)
}

// Manager owns this broker's partitions.
type Manager struct {
	o           Options
	coldMaxWait time.Duration
	metrics     *metrics
	cold        *coldReads
	index       atomic.Pointer[index]
	listeners   map[string]Listener // by topic; not changed after Run starts
	applier     applier             // owned by the goroutine of Run
	isr         *isrWriter
	fetchers    *replicaFetchers
	restores    *restores
	throttles   *throttles
	traffic     traffic

	served   *served
	watchdog *watchdog
}

// New returns a manager that hosts no partition until Run has seen an image.
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

// self returns this broker with the epoch of its registration, 0 before it is registered.
func (m *Manager) self() metadata.Member {
	return metadata.Member{Broker: m.o.BrokerID, Epoch: m.o.brokerEpoch()}
}

// Listen registers l for the partitions of a topic. It must be called before Run.
func (m *Manager) Listen(topic string, l Listener) { m.listeners[topic] = l }

// Run follows the cluster's images until ctx ends. It owns the goroutines that read from the
// bucket, restore followers from it, fetch from leaders, write ISR changes, and watch for hangs.
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

// ours reports whether an image has content and belongs to this data directory's cluster. An image
// of another cluster is an error: following it would delete every partition here.
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

// Partition returns the partition of that name, if it has a replica here.
func (m *Manager) Partition(tp metadata.TopicPartition) (*Partition, bool) {
	return m.index.Load().byName[tp.Topic].partition(tp.Partition)
}

// PartitionByID returns a topic's partition by the topic id, if it has a replica here.
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

// MoveLog asks storage to move a replica to another data directory; see storage.Manager.Move.
func (m *Manager) MoveLog(tp metadata.TopicPartition, dir string) error {
	return m.o.Storage.Move(tp.Topic, tp.Partition, dir)
}
