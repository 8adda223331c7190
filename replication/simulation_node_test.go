package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication/role"
	sim "github.com/varvelog/varve/simulation"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// simMachine is a broker's machine with real logs on an in-memory disk, with one or two data
// directories.
type simMachine struct {
	broker int32
	disk   *vfs.Mem
	faulty *vfs.Faulty // over disk, for the running process
	paths  []string
	ids    []metadata.DirectoryID // of paths, as of the newest start
	lost   []string               // directories that are gone for good
	node   *simNode
	starts int64
}

func newSimMachine(broker int32) sim.Machine {
	m := &simMachine{broker: broker, disk: vfs.NewMem(), paths: []string{"/one"}}
	if broker%2 == 0 {
		m.paths = append(m.paths, "/two")
	}
	return m
}

// Start implements simulation.Machine.
func (m *simMachine) Start(o sim.NodeOptions) (sim.Node, error) {
	s, err := m.open(o.Bucket != nil)
	if err != nil {
		return nil, err
	}
	m.starts++
	m.node = &simNode{o: o, changes: m.starts << 32, told: map[*Partition]role.Told{}}
	options := Options{
		BrokerID: m.broker, Storage: s, Cluster: o.Loader, Logger: slog.New(slog.DiscardHandler),
		Config: func(image *metadata.Image, topic string) Config {
			return Config{Log: simConfig(o.Bucket != nil, topic), MinInSyncReplicas: o.MinISR(image, topic)}
		},
		Followers: Followers{BrokerEpoch: o.Epoch, AlterISR: o.AlterISR, MaxLag: sim.MaxLag},
	}
	if o.Bucket != nil {
		m.node.tier = simTier(m.broker, o)
		options.Tier = m.node.tier
	}
	m.node.m = New(options)
	m.ids = nil
	for _, usage := range s.DirUsage() {
		m.ids = append(m.ids, usage.DirectoryID)
	}
	return m.node, nil
}

// simConfig: with a tier, segments have a few records and uploaded ones are deleted locally at
// once. The second topic's oldest segments are deleted from both tiers.
func simConfig(tiered bool, topic string) storage.Config {
	c := storage.DefaultConfig()
	if tiered {
		c.RemoteStorageEnable, c.SegmentBytes, c.LocalRetentionBytes, c.RetentionMs = true, 400, 500, -1
		if topic == "b" {
			c.RetentionBytes = 4000
		}
	}
	return c
}

// simTier returns a remote tier whose timeouts suit a history of some seconds.
func simTier(broker int32, o sim.NodeOptions) *tiering.Manager {
	return tiering.New(tiering.Options{
		Bucket: o.Bucket, Store: o.Store, ClusterID: "simulated", BrokerID: broker,
		Live: func(id metadata.TopicID, revision int64) bool {
			image := o.Loader.Image()
			_, exists := image.TopicByID(id)
			return exists || image.Revision < revision
		},
		AttachConcurrency: 1, UploadConcurrency: 1, DeleteConcurrency: 1, FetchConcurrency: 1,
		Interval: time.Second, RetryBackoff: 100 * time.Millisecond, RetryBackoffMax: 2 * time.Second,
		RequestTimeout: 3 * time.Second, UploadTimeout: 5 * time.Second, DeleteDelay: 6 * time.Second,
		SweepInterval: 20 * time.Second, SweepGrace: 15 * time.Second, CleanInterval: 3 * time.Second,
	})
}

func (m *simMachine) open(tiered bool) (*storage.Manager, error) {
	m.faulty = vfs.NewFaulty(m.disk)
	return storage.OpenManager(context.Background(), storage.Options{
		FS: m.faulty, Dirs: m.paths, LostDirs: m.lost, NodeID: m.broker, Logger: slog.New(slog.DiscardHandler),
		Config: func(topic string) storage.Config { return simConfig(tiered, topic) },
	})
}

// Stop implements simulation.Machine. What a process has written outlives it.
func (m *simMachine) Stop(how sim.Stop, chance uint64) error {
	switch how {
	case sim.Clean:
		_ = m.node.m.o.Storage.Close() // a failing disk is reported elsewhere
		m.disk = m.disk.Clone()
	case sim.Crashed:
		m.disk = m.disk.CrashClone(chance)
	default:
		m.disk = m.disk.Clone()
	}
	return nil
}

// Directories implements simulation.Machine.
func (m *simMachine) Directories() []metadata.DirectoryID {
	return directoryIDs(m.node.m.o.Storage.OnlineDirs())
}

// Distrusted implements simulation.Machine.
func (m *simMachine) Distrusted() []metadata.DirectoryID {
	return directoryIDs(m.node.m.o.Storage.DistrustedDirs())
}

func directoryIDs(all [][16]byte) []metadata.DirectoryID {
	ids := make([]metadata.DirectoryID, len(all))
	for i, id := range all {
		ids[i] = id
	}
	return ids
}

// Fail implements simulation.Machine.
func (m *simMachine) Fail(directory int64) metadata.DirectoryID {
	at := int(directory) % len(m.paths)
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpSyncDir} {
		m.faulty.Inject(vfs.Fault{Op: op, Name: m.paths[at], Drop: op == vfs.OpSync})
	}
	return m.ids[at]
}

// Lose implements simulation.Machine.
func (m *simMachine) Lose(directory int64) metadata.DirectoryID {
	at := int(directory) % len(m.paths)
	removeAll(m.disk, m.paths[at])
	m.lost = append(m.lost, m.ids[at].String())
	return m.ids[at]
}

// removeAll empties a directory.
func removeAll(fsys vfs.FS, name string) {
	entries, err := fsys.ReadDir(name)
	if err != nil {
		return // the directory does not exist
	}
	for _, e := range entries {
		path := name + "/" + e.Name()
		if e.IsDir() {
			removeAll(fsys, path)
		}
		_ = fsys.Remove(path) // cannot fail in memory
	}
	_ = fsys.SyncDir(name)
}

// simNode steps the real partitions of one process.
type simNode struct {
	o          sim.NodeOptions
	m          *Manager
	tier       *tiering.Manager // nil without a tier
	partitions []*Partition     // in the order of their names
	told       map[*Partition]role.Told
	changes    int64 // changes of any log's content other than appends
}

func (n *simNode) find(id metadata.TopicID, number int32) *Partition {
	for _, p := range n.partitions {
		if p.topicID == id && p.tp.Partition == number {
			return p
		}
	}
	return nil
}

// Run implements simulation.Node.
func (n *simNode) Run(ctx context.Context) { _ = n.tier.Run(ctx) } // ends with ctx

// Apply implements simulation.Node.
func (n *simNode) Apply(ctx context.Context, image *metadata.Image) {
	if image.Revision == 0 || image.ClusterID == "" {
		return
	}
	n.leave(ctx, image)
	for _, name := range image.TopicNames() {
		topic, _ := image.TopicByName(name)
		config := n.m.o.Config(image, name)
		for number := range topic.Partitions {
			if slices.Contains(topic.Partitions[number].Replicas, n.o.BrokerID) {
				n.become(metadata.TopicPartition{Topic: name, Partition: int32(number)}, &want{image: image, topic: topic, config: &config})
			}
		}
	}
	for _, p := range slices.Clone(n.partitions) {
		n.care(ctx, p)
	}
}

// care notifies the remote tier of a partition's role, as the applier does.
func (n *simNode) care(ctx context.Context, p *Partition) {
	for {
		r := p.role.Load()
		duty := n.told[p].Duty(r, p.tierNeeds())
		if duty == role.NoDuty || duty == role.RemoveLog {
			return
		}
		p.tellTier(ctx, n.tier, duty, r)
		n.told[p] = n.told[p].Done(duty, r)
	}
}

// become makes a partition what is wanted. A failure is retried with the next image.
func (n *simNode) become(tp metadata.TopicPartition, w *want) {
	p := n.find(w.topic.ID, tp.Partition)
	if p == nil {
		if log, ok := n.m.o.Storage.Log(tp.Topic, tp.Partition); ok && log.TopicID() != w.topic.ID {
			_ = n.m.o.Storage.Delete(tp.Topic, tp.Partition)
		}
	}
	known := p != nil
	if p, _, _ = n.m.follow(tp, p, w, false); p != nil && !known {
		n.partitions = append(n.partitions, p)
		slices.SortFunc(n.partitions, func(a, b *Partition) int {
			return a.tp.Compare(b.tp)
		})
	}
}

// leave ends the partitions that an image has on other brokers, or does not have.
func (n *simNode) leave(ctx context.Context, image *metadata.Image) {
	for _, p := range slices.Clone(n.partitions) {
		topic, exists := image.TopicByID(p.topicID)
		if exists && !n.m.applier.leftUs(topic, p.tp.Partition) {
			continue
		}
		p.leave()
		n.care(ctx, p)
		delete(n.told, p)
		n.partitions = slices.DeleteFunc(n.partitions, func(o *Partition) bool { return o == p })
		_ = n.m.o.Storage.Delete(p.tp.Topic, p.tp.Partition)
		n.changes++
	}
}

// simAppended and simDeleted add the offsets of their records.
type (
	simAppended struct{ Appended }
	simDeleted  struct{ Deleted }
)

// Offset implements simulation.Pending.
func (a simAppended) Offset() int64 { return a.LastOffset }

// Offset implements simulation.Pending.
func (d simDeleted) Offset() int64 { return d.offset }

// Append implements simulation.Node.
func (n *simNode) Append(id metadata.TopicID, tp metadata.TopicPartition, value string) (sim.Pending, error) {
	p := n.find(id, tp.Partition)
	if p == nil {
		return nil, ErrUnknownTopicOrPartition
	}
	var b record.Builder
	b.Append(1000, []byte("k"), []byte(value))
	batch, err := b.Build()
	if err != nil {
		return nil, err
	}
	a, err := p.Append(slices.Clone(batch), AcksAll)
	return simAppended{a}, err
}

// DeleteRecords implements simulation.Node.
func (n *simNode) DeleteRecords(id metadata.TopicID, tp metadata.TopicPartition, part int64) (sim.Pending, error) {
	p := n.find(id, tp.Partition)
	if p == nil {
		return nil, ErrUnknownTopicOrPartition
	}
	d, err := p.DeleteRecords(p.HighWatermark() * part / 100)
	return simDeleted{d}, err
}

// Read implements simulation.Node.
func (n *simNode) Read(ctx context.Context, id metadata.TopicID, tp metadata.TopicPartition, offset int64) ([]sim.Entry, error) {
	p := n.find(id, tp.Partition)
	if p == nil {
		return nil, ErrUnknownTopicOrPartition
	}
	result, err := p.Read(ctx, ReadRequest{
		Offset: offset, MaxBytes: 1 << 20, MinOne: true, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, FromFollower: true,
	})
	if err != nil {
		return nil, err
	}
	defer result.Records.Release()
	buf, err := result.Records.AppendTo(nil)
	if err != nil {
		return nil, err
	}
	return entries(buf, offset)
}

// Rebuild implements simulation.Node.
func (n *simNode) Rebuild(ctx context.Context, id metadata.TopicID, tp metadata.TopicPartition) error {
	p := n.find(id, tp.Partition)
	if p == nil {
		return ErrUnknownTopicOrPartition
	}
	_, err := p.RebuildTier(ctx, false)
	return err
}

// Ask implements simulation.Node.
func (n *simNode) Ask(leader metadata.Member) any {
	var asked []ReplicaPosition
	for _, p := range n.partitions {
		if at, fetch := p.position(leader); fetch == role.Ready {
			asked = append(asked, at)
		}
	}
	if asked == nil || n.o.Epoch() == 0 {
		return nil
	}
	return asked
}

// Serve implements simulation.Node.
func (n *simNode) Serve(from metadata.Member, asked any) (answer any, news bool) {
	positions := asked.([]ReplicaPosition)
	answers := make([]ReplicaFetched, len(positions))
	for i, at := range positions {
		answers[i] = ReplicaFetched{At: i, Err: ErrUnknownTopicOrPartition, RemoteEnd: -1}
		if p := n.find(at.TopicID, at.Partition); p != nil {
			answers[i] = serve(p, from, at)
			answers[i].At = i
		}
		news = news || len(answers[i].Records) > 0 || answers[i].Diverging != nil
	}
	return answers, news
}

// serve returns what a leader has for a follower at a position.
func serve(p *Partition, from metadata.Member, at ReplicaPosition) ReplicaFetched {
	result, err := p.readLocal(ReadRequest{
		Offset: at.Offset, MaxBytes: 10_000, MinOne: true, Isolation: ReadLogEnd,
		CurrentLeaderEpoch: at.LeaderEpoch, LastFetchedEpoch: at.LastFetchedEpoch,
		Replica: &from, LogStart: at.LogStart, Directory: at.Directory,
	})
	got := ReplicaFetched{
		Err: err, HighWatermark: result.HighWatermark, LogStart: result.LogStartOffset, Diverging: result.Diverging,
		RemoteEnd: cmp.Or(result.RemoteEndOffset, -1),
	}
	defer result.Records.Release()
	if err == nil {
		got.Records, got.Err = result.Records.AppendTo(nil)
	}
	return got
}

// Take implements simulation.Node.
func (n *simNode) Take(ctx context.Context, asked, answer any) error {
	positions := asked.([]ReplicaPosition)
	var errs []error
	for _, got := range answer.([]ReplicaFetched) {
		at := positions[got.At]
		p := n.find(at.TopicID, at.Partition)
		if p == nil {
			continue
		}
		end, start := p.log.EndOffset(), p.log.LocalStartOffset()
		err := p.replicate(at, &got)
		if p.log.EndOffset() < end || p.log.LocalStartOffset() != start {
			n.changes++
		}
		if errors.Is(err, ErrOffsetMovedToTier) && !p.restoring.Swap(true) {
			stepped.Go(ctx, nil, func(ctx context.Context) {
				defer p.restoring.Store(false)
				_ = p.restore(ctx) // a failure is retried with the next answer
				n.changes++
			})
		}
		if errors.Is(err, errInSync) {
			errs = append(errs, fmt.Errorf("%s: %w", p.tp, err))
		}
	}
	return errors.Join(errs...)
}

// Proposes implements simulation.Node.
func (n *simNode) Proposes() bool { return len(n.m.isr.wake) > 0 }

// WriteISR implements simulation.Node.
func (n *simNode) WriteISR(ctx context.Context) bool {
	<-n.m.isr.wake
	return n.m.isr.write(ctx, n.m.isr.take())
}

// Tick implements simulation.Node.
func (n *simNode) Tick(ctx context.Context) {
	for _, p := range slices.Clone(n.partitions) {
		p.tellDirectory()
		p.maybeShrinkISR(sim.MaxLag)
		n.care(ctx, p)
		_, _ = p.log.EnforceRetention(time.Now()) // a failing disk is reported elsewhere
	}
	n.checkpoint()
}

// Place implements simulation.Node.
func (n *simNode) Place() {
	for _, p := range n.partitions {
		p.tellDirectory()
	}
}

// Flush implements simulation.Node.
func (n *simNode) Flush() {
	for log := range n.m.o.Storage.Logs() {
		_ = log.Flush(context.Background(), log.EndOffset()) // a failing disk is reported elsewhere
	}
	n.checkpoint()
}

// checkpoint does what storage does soon after a log's start has moved.
// failing disks are reported elsewhere
func (n *simNode) checkpoint() { _ = n.m.o.Storage.Checkpoint() }

// Views implements simulation.Node.
func (n *simNode) Views() []sim.View {
	var views []sim.View
	for log := range n.m.o.Storage.Logs() {
		if log.TopicID() == (metadata.TopicID{}) || log.Offline() != nil {
			// Either a crash lost the file with the id, and the image's topic of this name will
			// adopt the log, or the log cannot be read.
			continue
		}
		v := sim.View{
			Topic: log.TopicID(), Partition: metadata.TopicPartition{Topic: log.Topic(), Partition: log.Partition()},
			Start: log.StartOffset(), LocalStart: log.LocalStartOffset(), End: log.EndOffset(), HighWatermark: log.HighWatermark(),
			Changes: n.changes, LeaderEpoch: -1, LastEpoch: log.LatestEpoch(), Directory: log.DirectoryID(),
			Entries: func(from int64) ([]sim.Entry, error) { return logEntries(log, from) },
		}
		if p := n.find(v.Topic, v.Partition.Partition); p != nil {
			r := p.role.Load()
			v.Leads, v.LeaderEpoch = r.Leads(), r.LeaderEpoch
			if v.Leads {
				for _, s := range log.ClosedSegments(0) {
					v.Closed = s.EndOffset
				}
			}
		}
		views = append(views, v)
	}
	return views
}

// logEntries returns the records of a local log from an offset on.
func logEntries(log *storage.Log, from int64) ([]sim.Entry, error) {
	var all []sim.Entry
	for from < log.EndOffset() {
		slice, err := log.Read(from, 1<<20, log.EndOffset(), true)
		if err != nil {
			return nil, err
		}
		buf, err := slice.AppendTo(nil)
		slice.Release()
		if err != nil {
			return nil, err
		}
		some, err := entries(buf, from)
		if err != nil || len(some) == 0 {
			return all, err
		}
		all = append(all, some...)
		from = some[len(some)-1].Offset + 1
	}
	return all, nil
}

// entries returns the records of batches from an offset on.
func entries(buf []byte, from int64) ([]sim.Entry, error) {
	var all []sim.Entry
	for len(buf) > 0 {
		b, rest, err := record.Split(buf)
		if err != nil {
			break // cut off by the size limit
		}
		for r, err := range b.Records() {
			if err != nil {
				return nil, err
			}
			if r.Offset >= from {
				all = append(all, sim.Entry{Offset: r.Offset, Value: string(r.Value)})
			}
		}
		buf = rest
	}
	return all, nil
}
