package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/metadata/kv/etcd"
	"github.com/varvelog/varve/notify"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/vfs"
)

// Options are the parameters of Run.
type Options struct {
	Config  config.Broker
	Logger  *slog.Logger
	Version string
	Ready   func(Ready) // called once, when the broker serves; may be nil
	FS      vfs.FS      // of the log directories; nil: the operating system's
}

// Ready says where a broker serves.
type Ready struct {
	// HOST:PORT. Kafka is the advertised address, with NAME:// before it and comma-separated if
	// there are listeners other than PLAINTEXT.
	Kafka, HTTP string
	ClusterID   string
	ObjectStore string
	Took        time.Duration
}

// startTimeout bounds the start up to the recovery of logs, which takes as long as there is data to
// check.
const startTimeout = 30 * time.Second

// stopTimeout bounds each step of the stop that waits for another process.
const stopTimeout = 5 * time.Second

// attachDelay is how long the manifests of partitions that this broker now leads wait: longer than
// a failover takes.
const attachDelay = time.Second

// server is a broker while it starts and runs.
type server struct {
	Options
	log       *slog.Logger
	parts     *stages
	registry  *prometheus.Registry
	tracer    trace.Tracer // nil: nothing is traced
	ops       operations
	settings  *settings
	lastTopic lastTopic
	values    config.Values // the broker's own configuration, fixed at start

	kafka    []net.Listener // in the order of Config.Listen
	tls      tlsParts
	http     net.Listener
	bucket   objstore.Bucket
	gate     *catalogue.Gate     // over bucket, for the tier
	identity *catalogue.Identity // of the bucket
	usable   prometheus.Gauge    // of the object store
	store    *etcd.Store
	bus      *notify.Bus
	loader   *metadata.Loader
	logs     *storage.Manager
	tier     *tiering.Manager
	replicas *replication.Manager
	groups   *groups.Coordinator

	clusterID    string
	admin        *metadata.Admin
	registration *metadata.Registration // made before it registers, see join
	controller   *controller.Controller

	lastRegistration *lastRegistration
	past             metadata.Past
	dirFailed        chan struct{} // one token: a data directory has failed
}

// Run starts a broker, serves until ctx ends, and stops it. It returns why the broker could not
// start, why a part failed while it ran, or which parts could not be stopped in order. The messages
// of the first kind say what to do.
func Run(ctx context.Context, o Options) error {
	began := time.Now()
	if err := Check(o.Config); err != nil {
		return err
	}
	return newServer(o).run(ctx, began)
}

func newServer(o Options) *server {
	s := &server{
		Options: o, log: o.Logger, parts: newStages(o.Logger), registry: prometheus.NewRegistry(), settings: newSettings(o.Config),
		dirFailed: make(chan struct{}, 1),
	}
	s.values = s.settings.Broker()
	s.registry.MustRegister(processMetrics(o.Version)...)
	s.ops.registry, s.ops.log, s.ops.pprof = s.registry, s.log, o.Config.Pprof
	return s
}

func (s *server) run(ctx context.Context, began time.Time) (err error) {
	defer func() { err = errors.Join(err, s.parts.stop()) }()
	for _, step := range []struct {
		waits string // for /readyz
		do    func(context.Context) error
	}{
		{"the TLS files", s.loadTLS},
		{"tracing", s.startTracing},
		{"the data directory", s.makeDataDir},
		{"the addresses to listen on", s.bind},
		{"the object store", s.openBucket},
		{"the control plane, etcd and NATS", s.openControl},
		{"the cluster's id, and the marker of its object store", s.foundCluster},
		{"the recovery of the local log", s.openLogs},
		{"the remote tier, replicas and groups", s.startData},
		{"the cluster to take this broker in and elect leaders", s.join},
		{"the listeners", s.serve},
	} {
		s.ops.waitFor("it waits for " + step.waits)
		if err = step.do(ctx); err != nil {
			return err
		}
	}
	s.ops.waitFor("")
	s.parts.add("readiness", func() error { s.ops.waitFor("it stops"); return nil })
	s.parts.run(ctx, "memory of the start", forgetStart)
	ready := Ready{
		Kafka: s.advertisedText(), HTTP: s.http.Addr().String(),
		ClusterID: s.logs.ClusterID(), ObjectStore: s.Config.ObjectStore, Took: time.Since(began),
	}
	s.log.Info("serving", slog.String("kafka", ready.Kafka), slog.String("version", s.Version), slog.Duration("took", ready.Took))
	if s.Ready != nil {
		s.Ready(ready)
	}
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
		return nil
	case err = <-s.parts.failed:
		return err
	}
}

// startSettles is when the work that a start defers has been done: the tier of thousands of
// partitions is looked up after they serve.
const startSettles = 10 * time.Second

// forgetStart returns the memory that the start needed to the system. Otherwise the runtime would
// keep it as room for as much garbage.
func forgetStart(ctx context.Context) error {
	settled := time.NewTimer(startSettles)
	defer settled.Stop()
	select {
	case <-settled.C:
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
	return nil
}

func (s *server) makeDataDir(context.Context) error {
	if err := os.MkdirAll(s.Config.DataDir, 0o750); err != nil {
		return fmt.Errorf("--data-dir %s: %w; choose a directory that can be written", s.Config.DataDir, err)
	}
	return nil
}

// bind takes the addresses first, so that a conflict is reported early.
func (s *server) bind(ctx context.Context) (err error) {
	for _, e := range s.Config.Listen {
		ln, listenErr := s.listen(ctx, "--listen", e.Address)
		if listenErr != nil {
			return listenErr
		}
		s.kafka = append(s.kafka, ln)
	}
	if s.http, err = s.listen(ctx, "--http", s.Config.HTTP); err != nil {
		return err
	}
	s.http = s.tls.overHTTP(s.http, s.Config.HTTPTLS)
	s.parts.run(ctx, "http", func(ctx context.Context) error { return s.ops.serve(ctx, s.http) })
	return nil
}

// listen takes one address from a flag.
func (s *server) listen(ctx context.Context, flag, address string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w; stop what uses it or choose another address", flag, address, err)
	}
	s.parts.add("address "+address, func() error {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // its server has closed it
	})
	return ln, nil
}

// openLogs opens the local tier and recovers what a crash left.
func (s *server) openLogs(ctx context.Context) (err error) {
	if s.FS == nil {
		s.FS = vfs.OS{}
	}
	s.lastRegistration = readLastRegistration(s.FS, append([]string{s.Config.DataDir}, s.Config.LogDirs()...), readBootID(), s.log)
	s.logs, err = storage.OpenManager(ctx, storage.Options{
		FS: s.FS, Dirs: s.Config.LogDirs(), LostDirs: s.values.List("varve.lost.log.dirs"), ClusterID: s.clusterID, NodeID: s.Config.NodeID,
		Logger: s.log, Registerer: s.registry, Now: time.Now,
		Config:  func(topic string) storage.Config { return s.lastTopic.get(s.settings, s.loader.Image(), topic) },
		Cleaner: func() storage.CleanerConfig { return cleanerConfig(s.settings.Broker()) },
		MoveRate: func() int64 {
			return s.settings.Broker().Int64("replica.alter.log.dirs.io.max.bytes.per.second")
		},
		Watermarks: func() storage.Watermarks {
			v := s.settings.Broker()
			return storage.Watermarks{High: v.Float64("varve.disk.high.watermark"), Low: v.Float64("varve.disk.low.watermark")}
		},
		RetentionInterval:  s.values.Duration("log.retention.check.interval.ms"),
		CheckpointInterval: s.values.Duration("log.flush.offset.checkpoint.interval.ms"),
		ProducerExpiration: s.values.Duration("producer.id.expiration.ms"),
		// 0 means at once; storage would take 0 for its default
		StrayRetention:  cmp.Or(s.values.Duration("varve.log.stray.retention.ms"), 1),
		StallTimeout:    s.values.Duration("varve.log.stall.timeout.ms"),
		WritebackBytes:  s.values.Int64("varve.log.writeback.bytes"),
		ReserveBytes:    s.values.Int64("varve.log.reserve.bytes"),
		RecoveryWorkers: int(s.values.Int64("num.recovery.threads.per.data.dir")),
		OnDirFailed:     s.onDirFailed,
		Moving: func(ctx context.Context, topic string, partition int32) (func(), error) {
			return s.replicas.Moving(ctx, topic, partition)
		},
	})
	if err != nil {
		return err
	}
	s.lastRegistration.works = s.logs.Works
	s.parts.add("local log", s.closeLogs)
	// At once: the recovery may have removed the marker of a directory that has lost records.
	s.past, err = s.lastRegistration.begin(directoryIDs(s.logs.OnlineDirs()), directoryIDs(s.logs.DistrustedDirs()))
	return err
}

// closeLogs closes the logs, and then records that this broker has lost nothing.
func (s *server) closeLogs() error {
	if err := s.logs.Close(); err != nil {
		return err
	}
	return s.lastRegistration.clean()
}

// startData starts the parts that work on the logs: the tier, the replicas, the coordinators.
func (s *server) startData(ctx context.Context) error {
	s.tier = tiering.New(tiering.Options{
		Bucket: s.gate, Opened: s.gate.Opened(), Store: s.store, ClusterID: s.logs.ClusterID(), BrokerID: s.Config.NodeID,
		Logger: s.log, Registerer: s.registry, Tracer: s.tracer, Live: s.topicLives, Tiered: s.tellTiered,
		CopyRate: func() int64 {
			return s.settings.Broker().Int64("remote.log.manager.copy.max.bytes.per.second")
		},
		CopyWindow:        copyWindow(s.values),
		AttachDelay:       attachDelay,
		UploadConcurrency: int(s.values.Int64("remote.log.manager.copier.thread.pool.size")),
		FetchConcurrency:  int(s.values.Int64("remote.log.reader.threads")),
		ChunkBytes:        int(s.values.Int64("varve.tier.chunk.bytes")),
		CacheBytes:        s.values.Int64("varve.tier.cache.bytes"),
		IndexCacheBytes:   s.values.Int64("remote.log.index.file.cache.total.size.bytes"),
		// 0 means none; tiering would take 0 for its default
		ReadAheadBytes:  cmp.Or(s.values.Int64("varve.tier.read.ahead.bytes"), -1),
		FetchRate:       s.values.Int64("remote.log.manager.fetch.max.bytes.per.second"),
		ClientFetchRate: s.values.Int64("varve.tier.client.fetch.max.bytes.per.second"),
		Disk:            s.diskCache(ctx),
		RequestTimeout:  objstore.RequestTimeout,
		UploadTimeout:   uploadTimeout(),
		Interval:        s.values.Duration("remote.log.manager.task.interval.ms"),
		SweepInterval:   s.values.Duration("varve.tier.sweep.interval.ms"),
		SweepGrace:      s.values.Duration("varve.tier.sweep.grace.ms"),
		OrphanGrace:     s.values.Duration("varve.tier.orphan.grace.ms"),
		Cluster:         s.loader, Verify: s.identity.Verify,
	})
	s.parts.run(ctx, "tier", s.tier.Run)

	s.admin = metadata.NewAdmin(metadata.AdminOptions{Store: s.store, Loader: s.loader, Now: time.Now, MinISR: s.minISR, LogEnds: s.dialer().LogEnds, Logger: s.log})
	if err := s.prepareRegistration(); err != nil {
		return err
	}
	s.replicas = replication.New(replication.Options{
		BrokerID: s.Config.NodeID, Storage: s.logs, Tier: s.tier, Cluster: s.loader, Logger: s.log, Registerer: s.registry,
		Config: func(image *metadata.Image, topic string) replication.Config {
			s.settings.follow(image)
			values := s.settings.topic(image, topic)
			return replication.Config{
				Log: logConfig(values), MinInSyncReplicas: int(values.Int64("min.insync.replicas")), AckFsync: values.Bool("varve.ack.fsync"),
				LeaderThrottled:   replication.ThrottledOn(s.Config.NodeID, values.List("leader.replication.throttled.replicas")),
				FollowerThrottled: replication.ThrottledOn(s.Config.NodeID, values.List("follower.replication.throttled.replicas")),
			}
		},
		ColdMaxWait: s.values.Duration("remote.fetch.max.wait.ms"),
		MaxHang:     s.values.Duration("varve.partition.hang.max.ms"),
		Followers:   s.followers(ctx),
		Throttling:  s.throttling(),
	})
	s.parts.run(ctx, "failed directories", s.tellDirectories)
	s.startGroups(ctx)
	if err := s.followTiered(); err != nil {
		return err
	}
	if err := s.followSuspects(ctx); err != nil {
		return err
	}
	s.parts.run(ctx, "replicas", s.replicas.Run)
	s.parts.run(ctx, "log maintenance", func(ctx context.Context) error {
		// Before the first image the logs do not have their topics' settings.
		if err := s.replicas.Loaded(ctx); err != nil {
			return err
		}
		return s.logs.Run(ctx)
	})
	return nil
}

// topicLives reports whether a topic exists, or may exist, at a revision or later. The tier deletes
// the objects of topics that do not.
func (s *server) topicLives(id metadata.TopicID, revision int64) bool {
	image := s.loader.Image()
	if image.Revision < revision || image.Incomplete() {
		return true // unknown yet
	}
	_, ok := image.TopicByID(id)
	return ok
}

// prepareRegistration makes the registration, which does not register yet.
func (s *server) prepareRegistration() error {
	listeners, err := s.advertised()
	if err != nil {
		return err
	}
	s.registration = metadata.NewRegistration(metadata.RegistrationOptions{
		Past: s.past, Directories: directoryIDs(s.logs.OnlineDirs()),
		Registered: func(epoch int64) { s.lastRegistration.registered(epoch, directoryIDs(s.logs.OnlineDirs())) },
		Store:      s.store, BrokerID: s.Config.NodeID, DirectoryID: s.directoryID(), Rack: s.Config.Rack, Now: time.Now, Logger: s.log,
		Listeners: listeners, Seeds: seedIDs(s.Config.Seeds), Healthy: s.healthy,
	})
	s.controller = controller.New(controller.Options{
		Store: s.store, Loader: s.loader, Registration: s.registration, Now: time.Now, Logger: s.log,
		MinISR: s.minISR, UncleanElection: s.uncleanElection, Rebalance: s.rebalancing, LogEnds: s.dialer().LogEnds,
		Probe: controller.ProbeTCP, Listener: s.Config.InterBrokerListener(), Publish: s.suspect, BeforeFence: s.store.Replace,
	})
	return nil
}

// join registers this broker and waits until it leads its partitions.
func (s *server) join(ctx context.Context) error {
	registration := s.registration
	var epoch int64
	err := s.persist(ctx, "register this broker", func(ctx context.Context) (err error) {
		epoch, err = registration.Register(ctx)
		return err
	})
	if err != nil {
		return err
	}
	s.parts.run(ctx, "metadata revision", s.noteRevisions)
	s.parts.add("registration", func() error {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err = registration.Deregister(stop); err != nil {
			s.log.Warn("this broker stays registered until its lease expires", slog.Any("error", err))
		}
		return nil
	})
	s.parts.run(ctx, "registration", registration.Run)
	s.parts.run(ctx, "controller", s.controller.Run)

	image, err := s.loader.Wait(ctx, func(m *metadata.Image) bool { return s.elected(m, epoch) })
	if err != nil {
		return err
	}
	return s.awaitServed(ctx, s.replicas.AwaitServed, topicIDs(image))
}

// awaitServed waits until this broker serves the partitions that it leads. Partitions that cannot
// be served do not keep it from serving the others.
func (s *server) awaitServed(ctx context.Context, await func(context.Context, []metadata.TopicID) error, topics []metadata.TopicID) error {
	err := await(ctx, topics)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		s.log.Error("this broker starts without partitions that it cannot serve, and goes on trying", slog.Any("error", err))
	}
	return nil
}

// elected reports whether every partition whose last leader is this broker has a leader again since
// this broker registered. Partitions without an electable replica are not considered.
func (s *server) elected(m *metadata.Image, epoch int64) bool {
	if m.Brokers[s.Config.NodeID].Epoch < epoch {
		return false
	}
	for t := range m.Topics() {
		for i := range t.Partitions {
			p := t.Partitions[i]
			if _, led := m.Leader(p); !led && p.Leader == s.Config.NodeID && m.Electable(p) {
				// Without an electable replica the wait could last forever, so such a partition is
				// skipped.
				return false
			}
		}
	}
	return true
}

func topicIDs(m *metadata.Image) []metadata.TopicID {
	ids := make([]metadata.TopicID, 0, m.TopicCount())
	for t := range m.Topics() {
		ids = append(ids, t.ID)
	}
	return ids
}

// directoryID names this broker's data directories: the id of the first one that has an id, also if
// it is offline.
func (s *server) directoryID() string {
	var id metadata.TopicID
	for _, usage := range s.logs.DirUsage() {
		if id = usage.DirectoryID; !id.IsZero() {
			break
		}
	}
	return id.String()
}

func (s *server) serve(ctx context.Context) error {
	if err := s.registerMetrics(); err != nil {
		return err
	}
	b := broker.New(broker.Options{
		Config: s.brokerConfig(), Logger: s.log, Registerer: s.registry, Tracer: s.tracer, Static: s.Config.Set,
		Cluster: s.loader, Admin: s.admin, ProducerIDs: s.admin.AllocateProducerIDs,
		Replicas: s.replicas, Partitions: s.replicas, Groups: s.groups, Quorum: s.store.DescribeQuorum,
		Suspect:        func(follower metadata.Member, err error) { s.controller.Suspect(ctx, follower, err) },
		BucketProblems: s.tier.BucketProblems,
	})
	for i, e := range s.Config.Listen {
		listener := b.NewListener(e.Name, s.tls.listener(s.Config, e.Name))
		s.parts.run(ctx, "kafka listener "+e.Name, func(ctx context.Context) error { return listener.Serve(ctx, s.kafka[i]) })
	}
	s.parts.add("leadership", func() error {
		s.placeLogs(context.WithoutCancel(ctx))
		s.handOver(ctx)
		return nil
	})
	return nil
}

func (s *server) brokerConfig() broker.Config {
	c := broker.DefaultConfig()
	c.NodeID = s.Config.NodeID
	c.InterBrokerListener = s.Config.InterBrokerListener()
	c.MaxRequestBytes = s.values.Int32("socket.request.max.bytes")
	if c.RequestBudgetBytes = s.values.Int64("queued.max.request.bytes"); c.RequestBudgetBytes < 0 {
		c.RequestBudgetBytes = math.MaxInt64
	}
	c.MaxConnections = s.maxConnections()
	c.MaxConnectionsPerIP = int(s.values.Int64("max.connections.per.ip"))
	c.SelectByRack = config.SelectsByRack(s.values.String("replica.selector.class"))
	c.FetchMaxBytes = s.values.Int32("fetch.max.bytes")
	c.FetchSessionSlots = int(s.values.Int64("max.incremental.fetch.session.cache.slots"))
	c.IdleTimeout = s.values.Duration("connections.max.idle.ms")
	return c
}
